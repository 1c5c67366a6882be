"""For tests of your sagas: run them in one process, have any attempt do what you say, and crash everywhere."""

from __future__ import annotations

from saga_actors.testing.assertions import assert_undone
from saga_actors.testing.crashes import Crash, Crashes, crash_everywhere
from saga_actors.testing.hand import Call
from saga_actors.testing.rehearsal import Rehearsal
from saga_actors.testing.scripts import Act, aborts, dies, fails, hangs, late, returns, times_out, unknown
from saga_actors.testing.undoing import UndoReport, undo_check

__all__ = [
    "Act",
    "Call",
    "Crash",
    "Crashes",
    "Rehearsal",
    "UndoReport",
    "aborts",
    "assert_undone",
    "crash_everywhere",
    "dies",
    "fails",
    "hangs",
    "late",
    "returns",
    "times_out",
    "undo_check",
    "unknown",
]
