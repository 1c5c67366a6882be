"""A line of text that is broken where a terminal ends, its rest indented; for no terminal it stays in one piece."""

from __future__ import annotations

import shutil
import sys
import textwrap

import attrs

from saga_actors.cli.terminal import safe, show

NARROWEST = 20
"""Columns that are left for what is indented, at least."""


@attrs.frozen
class Paragraph:
    """One line. `hang`: how far what does not fit on it is indented."""

    text: str
    hang: int = 8

    def broken(self, width: int) -> list[str]:
        """This in so many columns; no word of it is broken, for it may be a name."""
        hang = " " * max(0, min(self.hang, width - NARROWEST))
        return textwrap.wrap(
            safe(self.text), max(width, 1), subsequent_indent=hang, break_long_words=False, break_on_hyphens=False
        ) or [""]

    def show(self) -> None:
        """Print it as data."""
        lines = self.broken(shutil.get_terminal_size().columns) if sys.stdout.isatty() else [safe(self.text)]
        for line in lines:
            show(line)
