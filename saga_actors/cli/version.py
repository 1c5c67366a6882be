"""`version`: of this, and of what it stands on."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed

import click

from saga_actors.cli import json_form, options
from saga_actors.cli.terminal import show


@click.command()
@options.output("text", "json")
def version(form: str) -> None:
    """Print versions: of saga-actors, of what it stands on, and of the journals that it writes."""
    found = _versions()
    if form == "json":
        json_form.print_one(found, form)
        return
    for name, each in found.items():
        show(f"{name.replace('_', '-'):<13}{each}")


def _versions() -> json_form.Fields:
    from saga_actors.journal.sqlite_file import VERSION
    from saga_actors.journal.sqlite_survey import sqlite_version

    return {
        "saga_actors": installed("saga-actors"),
        "python": platform.python_version(),
        "sqlite": sqlite_version(),
        "apsw": installed("apsw"),
        "thespian": installed("thespian"),
        "journal": VERSION,
    }
