"""How a saga ends, and how it stands until then."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Generic

import attrs
from typing_extensions import TypeVar

from saga_actors.compact_form import compact

C = TypeVar("C", default=dict[str, Any])


class SagaState(StrEnum):
    """Where a saga stands. `completed`, `compensated` and `fatal` are ends; `held` waits for an operator."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    FATAL = "fatal"
    HELD = "held"
    __hash__ = str.__hash__  # that of an enum is a Python function, and each event looks its transition up

    @property
    def ended(self) -> bool:
        """Whether this is one of the three ends."""
        return self in _ENDS

    @property
    def unfinished(self) -> bool:
        """Whether the saga goes on by itself: it has not ended, and is not held."""
        return self in _UNFINISHED


_ENDS = frozenset({SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.FATAL})
_UNFINISHED = frozenset({SagaState.RUNNING, SagaState.COMPENSATING})


class FailureKind(StrEnum):
    """Why a saga went back, or why an undo did not work."""

    FAILED = "failed"
    UNKNOWN = "unknown"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"


@compact
@attrs.frozen
class Failure:
    """What went wrong: `step` is None when it was no step (a cancel, a deadline).

    `cause` is a step's own failure beside a cancel that came first.
    """

    kind: FailureKind
    step: str | None
    reason: str
    error_type: str | None = None
    attempts: int = 0
    traceback: str | None = attrs.field(default=None, repr=False)
    cause: Failure | None = None


@compact
@attrs.frozen
class Completed(Generic[C]):
    """Every step is done or ignored, and nothing was undone; or an operator, `resolved_by`, says that it is completed.

    Of every outcome: `ignored` names the steps whose failure did not matter, `in_doubt` those of which nobody knows
    whether they happened, `left` those that are still to undo, in the order in which they would be, and `skipped` those
    whose failed undo an operator did by hand.
    """

    context: C
    saga_id: str = attrs.field(kw_only=True)
    ignored: tuple[str, ...] = attrs.field(kw_only=True, default=())
    in_doubt: tuple[str, ...] = attrs.field(kw_only=True, default=())
    resolved_by: str | None = attrs.field(kw_only=True, default=None)
    left: tuple[str, ...] = attrs.field(kw_only=True, default=())
    skipped: tuple[str, ...] = attrs.field(kw_only=True, default=())


@compact
@attrs.frozen
class Compensated(Generic[C]):
    """Every step that was, or may have been, done and has an undo was undone once, in reverse.

    `context` is the context as it stood when the saga turned back.
    """

    failure: Failure
    context: C
    saga_id: str = attrs.field(kw_only=True)
    ignored: tuple[str, ...] = attrs.field(kw_only=True, default=())
    in_doubt: tuple[str, ...] = attrs.field(kw_only=True, default=())
    resolved_by: str | None = attrs.field(kw_only=True, default=None)
    left: tuple[str, ...] = attrs.field(kw_only=True, default=())
    skipped: tuple[str, ...] = attrs.field(kw_only=True, default=())


@compact
@attrs.frozen
class CompensationFailed(Generic[C]):
    """An undo failed for good: `failure` is why the saga went back, `undo` which undo failed and why."""

    failure: Failure
    undo: Failure
    saga_id: str = attrs.field(kw_only=True)
    context: C = attrs.field(kw_only=True)
    left: tuple[str, ...] = attrs.field(kw_only=True, default=())
    ignored: tuple[str, ...] = attrs.field(kw_only=True, default=())
    in_doubt: tuple[str, ...] = attrs.field(kw_only=True, default=())
    resolved_by: str | None = attrs.field(kw_only=True, default=None)
    skipped: tuple[str, ...] = attrs.field(kw_only=True, default=())


Outcome = Completed[C] | Compensated[C] | CompensationFailed[C]
"""How a saga ended; a value to `match`."""


class Action(StrEnum):
    """What an operator may do with a saga that is held or fatal: the name of the coordinator's method."""

    RETRY = "retry"
    SETTLE = "settle"
    SKIP = "skip"
    CANCEL = "cancel"
    ACCEPT = "accept"
    RESOLVE = "resolve"


class Cancellation(StrEnum):
    """What came of cancelling a saga: it goes back now, or went back before, or has ended."""

    ACCEPTED = "accepted"
    ALREADY_GOING_BACK = "already_going_back"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    FATAL = "fatal"


class WaitingFor(StrEnum):
    """What an unfinished saga waits for."""

    SLOT = "slot"
    STEP = "step"
    RETRY = "retry"
    QUIET = "quiet"
    DEFINITION = "definition"
    OPERATOR = "operator"


@attrs.frozen
class SagaStatus:
    """One saga as the journal has it; times are aware UTC.

    `served` is False when no node runs, or the node does not serve this saga. `outcome` is set when the saga has
    ended and its context can be read without importing anything (dict contexts); `result(saga_id, PlaceOrder)` reads
    the rest. `allowed_actions`: what an operator may do with it, if it is held or fatal. `left`: what a rollback still
    has to undo, in its order. `pruned`: only how it ended is still kept.
    """

    saga_id: str
    saga: str
    state: SagaState
    served: bool
    waiting_for: WaitingFor | None
    completed_steps: tuple[str, ...]
    current_step: str | None
    attempt: int | None
    next_attempt_at: datetime | None
    failure: Failure | None
    in_doubt: tuple[str, ...]
    ignored: tuple[str, ...]
    held_reason: str | None
    created_at: datetime
    updated_at: datetime
    outcome: Outcome[Any] | None = attrs.field(default=None, repr=False)
    allowed_actions: tuple[Action, ...] = ()
    left: tuple[str, ...] = ()
    pruned: bool = False
