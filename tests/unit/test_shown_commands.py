"""Every command that a page shows is one that there is, also where it is not typed by a test."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from cli_rig import JOURNAL, Types

from saga_actors.cli.main import saga_actors
from saga_actors.journal import SqliteJournal

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.*")), *sorted((ROOT / "examples").glob("**/*.md"))]
PROGRAM = r"(?:saga-actors|python -m saga_actors) "
SHOWN = re.compile(rf"^(?: {{4}}|\$ |ExecStart=\S*bin/)?{PROGRAM}(.*)$|`{PROGRAM}([a-z][^`]*)`", re.MULTILINE)
TARGET = re.compile(r"^(?:\$ | {4})?make ([a-z-]+)", re.MULTILINE)

AS_A_PROGRAM = ("bench",)
"""What parses its arguments itself."""


def shown() -> list[str]:
    """Each once; as far as a shell would give it to the program."""
    texts = (page.read_text() for page in PAGES if page.suffix in (".md", ".service"))
    found = (" ".join(either).replace("\n", " ") for text in texts for either in SHOWN.findall(text))
    return sorted({re.split(r" > | \| |; ", command)[0].strip() for command in found})


@pytest.mark.parametrize("command", shown())
def test_a_command_that_is_shown_is_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its verb and its options are there, and get values of their kind."""
    monkeypatch.setenv("SAGA_ACTORS_JOURNAL", "sqlite:///sagas.db")
    verb, *arguments = shlex.split(command.replace("...", "x"), comments=True)
    known = saga_actors.get_command(click.Context(saga_actors), verb)
    assert known is not None, verb
    if arguments and verb not in AS_A_PROGRAM:
        known.make_context(verb, arguments)


def test_there_are_targets_for_all_that_pages_have_one_make() -> None:
    """`make` knows each."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in PAGES if page.suffix == ".md" for target in TARGET.findall(page.read_text())}
    assert {"demo", "docs", "fmt"} <= named <= targets


def test_doctor_looks_at_what_the_page_shows(types: Types, journal_here: SqliteJournal) -> None:
    """In that order."""
    text = (ROOT / "docs" / "command-line.md").read_text()
    shown = re.findall(r"^(?:ok {5}|wrong {2})([a-z]+) ", text, re.MULTILINE)
    looked_at = re.findall(r"^(?:ok {5}|wrong {2})([a-z]+) ", types("doctor", *JOURNAL).out, re.MULTILINE)
    assert shown == looked_at
