"""`doctor`: a journal and its node, looked over."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from saga_actors.cli import json_form, options
from saga_actors.cli.exits import ExitCode
from saga_actors.cli.terminal import console, safe, show

if TYPE_CHECKING:
    from saga_actors.actors.finding import Finding

WIDEST_MARK = len("wrong")
WIDEST_SUBJECT = len("processes")
INDENT = " " * (WIDEST_MARK + 2 + WIDEST_SUBJECT + 2)


@click.command()
@click.option("--deep", is_flag=True, help="Read all of the journal, and check every record; that may take minutes.")
@options.output("text", "json")
@options.journal
def doctor(deep: bool, form: str, journal: str) -> ExitCode:
    """Look a journal and its node over.

    A line for each thing says that it is ok, or what is wrong and what to do. Nothing is changed by it, and nothing
    made.

    Exits with 0 if all is well, 1 if something is not.
    """
    from saga_actors.actors.examination import examine

    findings = examine(journal, deep=deep)
    well = _print_text(findings) if form == "text" else _print_json(journal, list(findings), form)
    return ExitCode.OK if well else ExitCode.FAILED


def _print_text(findings: Iterable[Finding]) -> bool:
    """Each as soon as it is found; whether all is well."""
    draw = _draw if sys.stdout.isatty() else _print
    well = True
    for finding in findings:
        draw(finding)
        well = well and finding.well
    return well


def _print(finding: Finding) -> None:
    """Each on its line, however long that is: programs read it by lines."""
    show(f"{_mark(finding):<{WIDEST_MARK}}  {finding.subject:<{WIDEST_SUBJECT}}  {safe(finding.says)}")
    for line in finding.details:
        show(INDENT + safe(line))


def _draw(finding: Finding) -> None:
    """In the columns that there are."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=WIDEST_MARK)
    grid.add_column(width=WIDEST_SUBJECT)
    grid.add_column(overflow="fold")
    mark = Text(_mark(finding), style="green" if finding.well else "bold red")
    grid.add_row(mark, Text(finding.subject), Text(safe(finding.says)))
    for line in finding.details:
        grid.add_row("", "", Text(safe(line)))
    console().print(grid)


def _mark(finding: Finding) -> str:
    return "ok" if finding.well else "wrong"


def _print_json(journal: str, findings: list[Finding], form: str) -> bool:
    well = all(finding.well for finding in findings)
    json_form.print_one({"journal": journal, "ok": well, "findings": list(_fields(findings))}, form)
    return well


def _fields(findings: Iterable[Finding]) -> Iterator[json_form.Fields]:
    for finding in findings:
        facts = {
            name: json_form.moment(fact) if isinstance(fact, datetime) else fact for name, fact in finding.facts.items()
        }
        yield {"subject": finding.subject, "ok": finding.well, "says": finding.says, "facts": facts}
