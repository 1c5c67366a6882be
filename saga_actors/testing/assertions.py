"""What a test says of how a saga ended."""

from __future__ import annotations

from typing import Any

from saga_actors.outcomes import Compensated, CompensationFailed, Completed, Outcome
from saga_actors.testing.hand import Call
from saga_actors.testing.rehearsal import Rehearsal


def assert_undone(rehearsal: Rehearsal, outcome: Outcome[Any], *steps: str) -> None:
    """The saga was compensated, and exactly these steps were undone, in this order; AssertionError says what was.

    Of a step whose compensation was called several times, the first call counts for the order.
    """
    match outcome:
        case Completed():
            raise AssertionError(
                f"saga {outcome.saga_id!r} completed, and nothing was undone; called: {_called(rehearsal)}"
            )
        case CompensationFailed(undo=undo):
            left = ", ".join(outcome.left)
            raise AssertionError(f"the undo of {undo.step} failed ({undo.reason}); still to undo: {left}")
        case Compensated():
            undone = rehearsal.undone(outcome.saga_id)
    if undone != list(steps):
        told = ", ".join(undone) or "nothing"
        raise AssertionError(
            f"undone were {told}; expected {', '.join(steps) or 'nothing'}; called: {_called(rehearsal)}"
        )


def _called(rehearsal: Rehearsal) -> str:
    return ", ".join(_told(call) for call in rehearsal.calls) or "nothing"


def _told(call: Call) -> str:
    return f"{call} (attempt {call.attempt})" if call.attempt > 1 else str(call)
