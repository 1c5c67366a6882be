"""Sagas that are driven through `decide` into a journal, one second after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import attrs

from saga_actors.decision import decide
from saga_actors.events import Accepted, AttemptStarted, Ending, Fault, WorkerId
from saga_actors.execution import Execution
from saga_actors.inputs import Failed, Input, SlotReserved, Succeeded, TimePassed
from saga_actors.journal.port import Entry, Journal, held_reason
from saga_actors.plan import SagaPlan, StepPlan
from saga_actors.retry import Backoff

CANARY = "canary-4111"
CONTEXT = f'{{"card":"{CANARY}"}}'.encode()
WORKER = WorkerId(1, 100, 5.0)
ONCE = Backoff()

PLAN = SagaPlan(
    "place-order",
    (
        StepPlan("reserve", compensable=True, compensate_retries=ONCE),
        StepPlan("charge", compensable=True, compensate_retries=ONCE),
    ),
)


def plan(**options: Any) -> SagaPlan:
    """The plan of two steps, its second with these options."""
    return attrs.evolve(PLAN, steps=(PLAN.steps[0], attrs.evolve(PLAN.steps[1], **options)))


class Story:
    """One saga; everything that happens to it is a second after what was before."""

    def __init__(
        self,
        journal: Journal,
        epoch: int,
        saga_id: str = "ord_1",
        plan: SagaPlan = PLAN,
        at: float = 1_000.0,
        context: bytes = CONTEXT,
    ) -> None:
        self._journal, self._epoch, self._plan = journal, epoch, plan
        self.at = at
        accepted = Accepted(at, saga_id, plan.saga, plan.plan_id, "digest", context)
        self.execution = Execution.begin(plan, accepted)
        self._append(1, (accepted,), plan)

    def happens(self, given: Input, after: float = 1.0) -> Story:
        """`given` happens, so many seconds later."""
        self.at += after
        applied = self.execution.applied
        decision = decide(self.execution, given, self.at, 0.5)
        assert decision.events, f"{given} changes nothing ({decision.refused})"
        self.execution = decision.execution
        self._append(applied + 1, decision.events)
        return self

    def starts(self, after: float = 1.0) -> Story:
        """The next attempt starts."""
        return self.happens(SlotReserved(WORKER, 1), after)

    def succeeds(self, context: bytes | None = None) -> Story:
        """The last attempt succeeds."""
        return self.happens(Succeeded(*self._last_attempt(), context))

    def fails(
        self,
        ending: Ending = Ending.FAILED,
        reason: str = f"card {CANARY} declined",
        error_type: str | None = "Declined",
        retryable: bool = True,
    ) -> Story:
        """The last attempt ends otherwise."""
        fault = Fault(reason, error_type, f"Traceback: {CANARY}", retryable)
        return self.happens(Failed(*self._last_attempt(), ending, fault))

    def passes(self, seconds: float) -> Story:
        """Nothing happens for so long."""
        return self.happens(TimePassed(), seconds)

    def completes(self) -> Story:
        """Both steps succeed."""
        return self.starts().succeeds().starts().succeeds()

    def compensates(self) -> Story:
        """The second step fails, and the first is undone."""
        return self.starts().succeeds().starts().fails().starts().succeeds()

    def _last_attempt(self) -> tuple[Any, str, int, int]:
        events = [s.event for s in self._journal.load(self.execution.saga_id)]
        last = next(event for event in reversed(events) if isinstance(event, AttemptStarted))
        return last.phase, last.step, last.attempt, last.epoch

    def _append(self, first: int, events: tuple[Any, ...], plan: SagaPlan | None = None) -> None:
        e = self.execution
        reason = held_reason(e.held.reason, e.held.detail) if e.held else None
        entry = Entry(e.saga_id, first, events, e.state, reason, plan)
        assert not self._journal.append(self._epoch, [entry]).why


def within(done: Callable[[], bool], changed: threading.Condition, seconds: float = 10.0) -> None:
    """Wait until it is done, looking whenever something changed; fails when the time is over."""
    with changed:
        assert changed.wait_for(done, seconds), "it did not come true in time"
