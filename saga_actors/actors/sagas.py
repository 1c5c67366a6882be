"""The sagas of one supervisor: the actor of each, restored from the journal when it is needed and not there."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from saga_actors.actors.marks import Marks
from saga_actors.actors.protocol import Address
from saga_actors.actors.saga import Begin, Decided, Describe, Happened, Restore, SagaActor
from saga_actors.actors.saga_system import SagaCrashedError, SagaSystem
from saga_actors.actors.slots import KeptSlot
from saga_actors.errors import CorruptionError, UnknownSagaError
from saga_actors.events import Accepted
from saga_actors.execution import Execution
from saga_actors.inputs import Input
from saga_actors.journal.port import Journal
from saga_actors.plan import SagaPlan

CRASHES, CRASH_PERIOD = 3, 5.0
"""A saga actor that raises so often in so many seconds has its saga held (OTP's intensity and period)."""

MOST_PLANS = 1_000
"""So many plans are kept in memory once they were read."""


@attrs.define
class Tracked:
    """A saga with an actor. `durable` counts the events in the journal; `decided` is how it stands after this turn.

    `counted`: it is one of the unfinished sagas, as far as that is durable.
    """

    actor: Address
    durable: int
    decided: Decided
    counted: bool


class Sagas:
    """The saga actors, by saga id. Each is marked while it folds or decides: should that be the death of us."""

    def __init__(self, journal: Journal, clock: Callable[[], float], roll: Callable[[], float], marks: Marks) -> None:
        self._journal = journal
        self._marks = marks
        self._clock = clock
        self._roll = roll
        self._system = SagaSystem(SagaActor)
        self._tracked: dict[str, Tracked] = {}
        self._plans: dict[str, SagaPlan] = {}
        self._crashes: dict[str, list[float]] = {}

    def get(self, saga_id: str) -> Tracked | None:
        """The saga, if it has an actor."""
        return self._tracked.get(saga_id)

    def begin(self, plan: SagaPlan, event: Accepted) -> Tracked:
        """A new actor for a saga that has just been accepted."""
        begun = self._tracked[event.saga_id] = self._create(Begin(plan, event), 0)
        return begun

    def restore(self, saga_id: str) -> Tracked:
        """A new actor for a saga that the journal has; raises CorruptionError, UnknownSagaError, SagaCrashedError."""
        self.end(saga_id)
        tracked = self._tracked[saga_id] = self._folded(saga_id)
        return tracked

    def read(self, saga_id: str) -> Execution:
        """A saga that the journal has, to be looked at only; raises as `restore` does."""
        folded = self._folded(saga_id)
        self._system.end(folded.actor)
        return folded.decided.execution

    def _folded(self, saga_id: str) -> Tracked:
        self._marks.set(saga_id)
        try:
            events = [stored.event for stored in self._journal.load(saga_id)]
            folded = self._create(Restore(events, self._plan), len(events))
        except (CorruptionError, UnknownSagaError, SagaCrashedError):  # any other is the end of this process
            self._marks.clear()
            raise
        self._marks.clear()
        return folded

    def _plan(self, plan_id: str) -> SagaPlan:
        """The plan of this id, one for all sagas that run on it; an id is a digest, so it stands for no other."""
        plan = self._plans.get(plan_id)
        if plan is None:
            plan = self._journal.plan(plan_id)
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[plan_id] = plan
        return plan

    def happen(self, tracked: Tracked, given: Input, kept: KeptSlot | None = None) -> Decided:
        """Tell a tracked saga that this happened, and where it may go on; raises SagaCrashedError."""
        execution = tracked.decided.execution
        self._marks.set(execution.saga_id, execution.applied)
        try:
            decided: Decided = self._system.ask(tracked.actor, Happened(given, self._clock(), self._roll(), kept))
        except SagaCrashedError:
            self._marks.clear()
            raise
        self._marks.clear()
        tracked.decided = decided
        return decided

    def describe(self, saga_id: str) -> Decided:
        """How a tracked saga stands, with its live attempts."""
        described: Decided = self._system.ask(self._tracked[saga_id].actor, Describe())
        return described

    def end(self, saga_id: str) -> None:
        """Let the actor go; a saga that is asked about again is restored."""
        tracked = self._tracked.pop(saga_id, None)
        if tracked is not None:
            self._system.end(tracked.actor)

    def crashed(self, saga_id: str) -> bool:
        """Note that the saga's actor raised; whether that is once too often."""
        now = self._clock()
        recent = [at for at in self._crashes.get(saga_id, ()) if now - at < CRASH_PERIOD]
        self._crashes[saga_id] = [*recent, now]
        return len(recent) + 1 >= CRASHES

    def _create(self, message: Begin | Restore, durable: int) -> Tracked:
        actor = self._system.create()
        try:
            decided: Decided = self._system.ask(actor, message)
        except SagaCrashedError:
            self._system.end(actor)
            raise
        return Tracked(actor, durable, decided, counted=durable > 0 and decided.state.unfinished)
