"""What may happen to an execution from outside: reports of workers, the clock, and what operators ask for.

A `request` is the id under which somebody asked: what was done under one is not done again.
"""

from __future__ import annotations

import attrs

from saga_actors.compact_form import compact
from saga_actors.events import Ending, Fault, HoldReason, Phase, WorkerId
from saga_actors.outcomes import SagaState
from saga_actors.plan import SagaPlan


@compact
@attrs.frozen
class Succeeded:
    """A worker's report: an attempt succeeded; `context` is the saga's whole context after it, None if unchanged."""

    phase: Phase
    step: str
    attempt: int
    epoch: int
    context: bytes | None = attrs.field(default=None, repr=False)


@compact
@attrs.frozen
class Failed:
    """A worker's report: an attempt ended without success. After a timeout, it is not quiet yet."""

    phase: Phase
    step: str
    attempt: int
    epoch: int
    ending: Ending
    fault: Fault


@compact
@attrs.frozen
class Quieted:
    """A worker's report: nothing of this attempt runs any more, and it had no success."""

    phase: Phase
    step: str
    attempt: int
    epoch: int


@attrs.frozen
class WorkerDied:
    """Whatever this worker still ran of the saga is cut short, and quiet.

    `unbegun` names attempts, by phase, step and number, of which the worker cannot have heard.
    """

    worker: WorkerId
    unbegun: frozenset[tuple[Phase, str, int]] = frozenset()


@attrs.frozen
class SlotReserved:
    """A slot in this worker is kept for the saga's next attempt."""

    worker: WorkerId
    epoch: int


@attrs.frozen
class TimePassed:
    """Nothing but the clock: a retry may be due, a deadline may have passed."""


@attrs.frozen
class CancelRequested:
    """Go back instead of on."""

    reason: str
    by: str | None = None
    request: str | None = None


@attrs.frozen
class HoldRequested:
    """The machinery cannot go on with this saga."""

    reason: HoldReason
    detail: str


@attrs.frozen
class RetryRequested:
    """An operator's: try the failed undo, or the held step, again."""

    by: str
    reason: str
    request: str | None = None


@attrs.frozen
class SettleRequested:
    """An operator's: an unknown step did, or did not, happen."""

    step: str
    happened: bool
    by: str
    reason: str
    context: bytes | None = attrs.field(default=None, repr=False)
    request: str | None = None


@attrs.frozen
class SkipRequested:
    """An operator's: a failed undo was done by hand."""

    step: str
    by: str
    reason: str
    request: str | None = None


@attrs.frozen
class ResolveRequested:
    """An operator's: the saga has ended thus."""

    state: SagaState
    by: str
    reason: str
    request: str | None = None


@attrs.frozen
class PlanOffered:
    """The definition that is served now; `by` is set where an operator accepts it."""

    plan: SagaPlan
    by: str | None = None
    reason: str | None = None
    request: str | None = None


Report = Succeeded | Failed | Quieted
Input = (
    Report
    | WorkerDied
    | SlotReserved
    | TimePassed
    | CancelRequested
    | HoldRequested
    | RetryRequested
    | SettleRequested
    | SkipRequested
    | ResolveRequested
    | PlanOffered
)
