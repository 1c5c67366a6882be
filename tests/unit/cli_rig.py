"""The command line, called in this process: what it prints, and what it exits with."""

from __future__ import annotations

from collections.abc import Callable

import attrs

JOURNAL = ("-j", "sqlite:///sagas.db")


@attrs.frozen
class Said:
    """What came of a command."""

    code: int
    out: str
    err: str


Types = Callable[..., Said]
"""Types a command in an empty folder, with no settings of whoever runs the tests."""
