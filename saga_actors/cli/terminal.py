"""What goes to the terminal: data to standard output, all else to the other, and no control character of anybody's."""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 120
"""Columns of what is drawn for no terminal."""

_LEGIBLE = {"\u200c", "\u200d"}  # without these two, some scripts and symbols cannot be written


def safe(text: object) -> str:
    """`text` on one line, with every character escaped that would do something else than be seen."""
    return "".join(each if _is_seen(each) else _escaped(each) for each in str(text))


def _is_seen(character: str) -> bool:
    if character.isprintable() or character in _LEGIBLE:
        return True
    return unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def show(text: str = "") -> None:
    """Print data. Whoever calls this has made it `safe`."""
    click.echo(text.encode("utf-8", "backslashreplace").decode(), color=False)


def say(text: str) -> None:
    """Print what is no data."""
    click.echo(text, err=True)


def is_colourless() -> bool:
    """Whether the user, or the place that this goes to, wants no colour."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()


def console(width: int | None = None) -> Console:
    """Where to draw on standard output; without colour where none is wanted, and of a fixed width for no terminal."""
    from rich.console import Console

    wide = width or (None if sys.stdout.isatty() else PIPE_WIDTH)
    return Console(no_color=is_colourless(), highlight=False, markup=False, emoji=False, soft_wrap=False, width=wide)


def is_interactive() -> bool:
    """Whether somebody is there who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()
