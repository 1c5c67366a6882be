"""The facts of a saga: what its journal holds, in the past tense and in order. `at` is POSIX seconds.

A context is bytes made by the codec; here they are opaque. Everything else is plain values, so that a history reads
well with nothing but `sqlite3 -readonly`. What somebody asked for has the id of the `request`, so that asking again
changes nothing.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from saga_actors.compact_form import compact
from saga_actors.outcomes import FailureKind, SagaState


class Phase(StrEnum):
    """Which way an attempt goes."""

    EXECUTE = "execute"
    COMPENSATE = "compensate"
    __hash__ = str.__hash__  # that of an enum is a Python function, and names of attempts are hashed all the time


class Ending(StrEnum):
    """How an attempt ended that did not succeed.

    `unusable`: its code came to its end, and what it returned cannot be used; so it is a failure, and very likely had
    its effect. `unbegun`: its worker could not take it, and no code of it ran.
    """

    FAILED = "failed"
    UNKNOWN = "unknown"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    UNUSABLE = "unusable"
    UNBEGUN = "unbegun"

    @property
    def failure_kind(self) -> FailureKind:
        """What a saga says that went back for it."""
        return FailureKind.FAILED if self in (Ending.UNUSABLE, Ending.UNBEGUN) else FailureKind(self)

    @property
    def certain(self) -> bool:
        """Whether it says that nothing has happened (P7)."""
        return self in (Ending.FAILED, Ending.UNBEGUN)


class Verdict(StrEnum):
    """What a step came to, once nothing more is tried."""

    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"


class HoldReason(StrEnum):
    """Why a saga is parked for an operator."""

    UNKNOWN_OUTCOME = "unknown_outcome"
    UNDO_INTERRUPTED = "undo_interrupted"
    DEFINITION_CHANGED = "definition_changed"
    CORRUPT = "corrupt"
    CRASHED = "crashed"


@compact
@attrs.frozen
class WorkerId:
    """A worker process: a dead one is never mistaken for its successor, for a pid comes with its start time."""

    number: int
    pid: int
    started: float


@compact
@attrs.frozen
class Fault:
    """What an attempt said when it did not succeed; `retryable` is False after `Abort` or outside `Retry(on=…)`."""

    reason: str
    error_type: str | None = None
    traceback: str | None = attrs.field(default=None, repr=False)
    retryable: bool = True


@attrs.frozen
class Accepted:
    """The saga is ours: it will end, or be held."""

    at: float
    saga_id: str
    saga: str
    plan_id: str
    digest: str
    context: bytes = attrs.field(repr=False)
    deadline: float | None = None


@attrs.frozen
class AttemptStarted:
    """An attempt is about to run in a slot reserved for it (write ahead, P5)."""

    at: float
    phase: Phase
    step: str
    attempt: int
    epoch: int
    worker: WorkerId


@attrs.frozen
class AttemptSucceeded:
    """An attempt succeeded; `context` is the saga's whole context after it, None if unchanged (or an undo)."""

    at: float
    phase: Phase
    step: str
    attempt: int
    context: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen
class AttemptFailed:
    """An attempt ended without success. One that timed out is not quiet: its code may still be running."""

    at: float
    phase: Phase
    step: str
    attempt: int
    ending: Ending
    fault: Fault


@attrs.frozen
class AttemptQuieted:
    """An attempt that had timed out, or was no longer waited for, has come to rest: nothing of it runs any more."""

    at: float
    phase: Phase
    step: str
    attempt: int


@attrs.frozen
class RetryScheduled:
    """The step will be tried again at `due` (POSIX seconds); a rerun after a crash uses up no retry."""

    at: float
    phase: Phase
    step: str
    due: float
    rerun: bool = False


@attrs.frozen
class StepFailed:
    """Nothing more is tried: the step failed, or nobody knows whether it happened."""

    at: float
    step: str
    verdict: Verdict
    ignored: bool = False


@attrs.frozen
class Cancelled:
    """Somebody (or the deadline) asked the saga to go back; from here no attempt starts forward."""

    at: float
    kind: FailureKind
    reason: str
    by: str | None = None
    request: str | None = None


@attrs.frozen
class RollbackStarted:
    """The saga goes back; the direction is never lost."""

    at: float


@attrs.frozen
class SagaCompleted:
    """Every step is completed or ignored."""

    at: float


@attrs.frozen
class SagaCompensated:
    """Everything that was to undo is undone, and everything is quiet."""

    at: float


@attrs.frozen
class UndoFailed:
    """The undo of `step` failed for good; the saga is fatal."""

    at: float
    step: str


@attrs.frozen
class SagaHeld:
    """The saga is parked until an operator decides."""

    at: float
    reason: HoldReason
    detail: str


@attrs.frozen
class Retried:
    """An operator had the failed undo, or the held step, tried again with fresh retries."""

    at: float
    by: str
    reason: str
    request: str | None = None


@attrs.frozen
class Settled:
    """An operator said whether an unknown step happened; `context` is the saga's context after it, if it did."""

    at: float
    step: str
    happened: bool
    by: str
    reason: str
    context: bytes | None = attrs.field(default=None, repr=False)
    request: str | None = None


@attrs.frozen
class Skipped:
    """An operator has done a failed undo by hand; the rollback goes on."""

    at: float
    step: str
    by: str
    reason: str
    request: str | None = None


@attrs.frozen
class Resolved:
    """An operator ended the saga by hand."""

    at: float
    state: SagaState
    by: str
    reason: str
    request: str | None = None


@attrs.frozen
class PlanAdopted:
    """The saga goes on with another plan: it differs in nothing that matters, or an operator accepted the change.

    `appended` names the steps that were appended behind those that there were, with commas between.
    """

    at: float
    plan_id: str
    by: str | None = None
    reason: str | None = None
    request: str | None = None
    appended: str | None = None


Event = (
    Accepted
    | AttemptStarted
    | AttemptSucceeded
    | AttemptFailed
    | AttemptQuieted
    | RetryScheduled
    | StepFailed
    | Cancelled
    | RollbackStarted
    | SagaCompleted
    | SagaCompensated
    | UndoFailed
    | SagaHeld
    | Retried
    | Settled
    | Skipped
    | Resolved
    | PlanAdopted
)
