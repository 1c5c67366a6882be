"""After a death: fold what is unfinished, and find out what became of the attempts in flight (P1, P6).

Messages are hints. An attempt in flight is adopted if its worker holds it, sent again if the worker lives and never had
it, and counts as interrupted only if the worker is dead. Nothing is decided about it before one of the three is known.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from saga_actors.actors.protocol import FromWorker, Inventory, Joined, Roster
from saga_actors.actors.saga import Decided, Live
from saga_actors.actors.saga_system import SagaCrashedError
from saga_actors.actors.slots import Waiting, limits
from saga_actors.errors import CorruptionError
from saga_actors.events import HoldReason, Phase, WorkerId
from saga_actors.inputs import Quieted, TimePassed, WorkerDied

if TYPE_CHECKING:
    from saga_actors.actors.engine import Engine


AT_ONCE = 100
"""Sagas folded between two looks at the mailbox, so that pings are answered (each takes well under a millisecond)."""


class Recovery:
    """What a new supervisor does about its predecessor's sagas, and any about a dead worker's attempts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._after: int | None = None
        self._unadopted: dict[WorkerId, set[str]] = defaultdict(set)
        self.going_on = True

    def go_on(self) -> None:
        """Fold the next few unfinished sagas."""
        if not self.going_on:
            return
        page = self._engine.journal.unfinished(self._after, AT_ONCE)
        for corrupt in page.corrupt:
            log().error("saga %r cannot be read: %s", corrupt.saga_id, corrupt.why)
            self._engine.hold(corrupt.saga_id, HoldReason.CORRUPT, corrupt.why)
        for row in page.rows:
            if self._engine.sagas.get(row.saga_id) is None:
                self.restore(row.saga_id)
        self._after = page.next
        self.going_on = page.next is not None
        if not self.going_on:
            self._engine.slots.recovered()

    def restore(self, saga_id: str) -> bool:
        """Fold a saga anew and adopt its attempts; a saga that cannot be is held."""
        engine = self._engine
        try:
            decided = engine.sagas.restore(saga_id).decided
        except CorruptionError as corruption:
            engine.hold(saga_id, HoldReason.CORRUPT, str(corruption))
            return False
        except SagaCrashedError as crash:
            engine.hold(saga_id, HoldReason.CRASHED, str(crash))
            return False
        engine.watch(saga_id, decided)
        if decided.state.unfinished and not decided.new:
            engine.slots.begun(saga_id, decided.plan.saga)
        self.adopt(saga_id, decided)
        if (
            decided.execution.wakes_at is not None
            and decided.execution.wakes_at <= engine.clock()
            and engine.sagas.get(saga_id) is not None
        ):
            engine.happen(saga_id, TimePassed())  # a deadline that passed while nobody looked
        return engine.sagas.get(saga_id) is not None

    def join(self, joined: Joined) -> None:
        """A worker is there: ask it what it holds."""
        self._engine.slots.join(joined.worker)
        self._engine.out += self._engine.team.join(joined.worker, joined.address, self._engine.clock())

    def compare(self, roster: Roster) -> None:
        """Make up for what was not heard of those who came and went."""
        self._engine.neighbourhood.meet(roster.neighbours)
        for joined in roster.workers:
            self.join(joined)
        for worker in self._engine.team.workers - {joined.worker for joined in roster.workers}:
            self.left(worker)

    def adopt(self, saga_id: str, decided: Decided) -> None:
        """Find out about the attempts of a saga that was just folded; one by one, for one may end the others."""
        for live in decided.live:
            if self._engine.sagas.get(saga_id) is not None:
                self._adopt_one(saga_id, decided, live)

    def inventory(self, message: Inventory) -> None:
        """A worker has said what it holds."""
        self._engine.out += self._engine.team.took(message)
        self._engine.team.loaded(message.loaded)
        self._engine.slots.serves(message.worker, limits(message.loaded))
        for saga_id in self._unadopted.pop(message.worker, ()):
            if self._engine.sagas.get(saga_id) is not None:
                self.adopt(saga_id, self._engine.sagas.describe(saga_id))
        reports = FromWorker(message.worker, message.epoch, 0, message.reports, message.retiring)
        self._engine.report(reports)

    def left(self, worker: WorkerId) -> None:
        """A worker is dead: what it ran is interrupted."""
        self._engine.team.leave(worker)
        running = {key.saga_id for key in self._engine.slots.leave(worker)}
        for saga_id in running | self._unadopted.pop(worker, set()):
            if self._engine.tracked(saga_id) is not None:
                self._engine.happen(saga_id, WorkerDied(worker))

    def _adopt_one(self, saga_id: str, decided: Decided, live: Live) -> None:
        engine, key = self._engine, live.order.key
        if not engine.team.has(live.worker):
            engine.happen(saga_id, WorkerDied(live.worker))
            return
        held = engine.team.holdings(live.worker)
        if held is None:
            self._unadopted[live.worker].add(saga_id)
            return
        is_held = key in held or key.epoch == engine.epoch  # what we had it begin, it has yet to report
        if not is_held and not live.awaited:
            engine.happen(saga_id, Quieted(key.phase, key.step, key.attempt, key.epoch))
            return
        if not is_held:
            held.add(key)
            engine.turn.orders[live.worker].append(live.order)
        step = next(step for step in decided.plan.steps if step.name == key.step)
        is_async = step.is_async if key.phase is Phase.EXECUTE else step.compensate_is_async
        engine.slots.occupy(key, live.worker, Waiting(saga_id, decided.plan.saga, is_async, alone=live.alone))


def log() -> logging.Logger:
    """Looked up each time, for a child replaces all loggers when it is born."""
    return logging.getLogger("saga_actors.supervisor")
