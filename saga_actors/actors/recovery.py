"""After a death: fold what is unfinished, and find out what became of the attempts in flight (P1, P6).

What is folded is marked (`marks`), and whom a predecessor died of comes last, one in a turn (`suspects`).

Messages are hints. An attempt in flight is adopted if its worker holds it, sent again if the worker lives and never had
it, and counts as interrupted only if the worker is dead. Nothing is decided about it before one of the three is known.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from saga_actors.actors.marks import Marks
from saga_actors.actors.protocol import FromWorker, Inventory, Joined, Roster
from saga_actors.actors.saga import Decided, Live
from saga_actors.actors.saga_system import SagaCrashedError
from saga_actors.actors.slots import Waiting
from saga_actors.actors.suspects import Suspects
from saga_actors.errors import CorruptionError
from saga_actors.events import HoldReason, Phase, WorkerId
from saga_actors.inputs import Quieted, TimePassed, WorkerDied
from saga_actors.outcomes import SagaState

if TYPE_CHECKING:
    from saga_actors.actors.engine import Engine
    from saga_actors.execution import Execution
    from saga_actors.journal.port import SagaRow


AT_ONCE = 100
"""Sagas folded between two looks at the mailbox, so that pings are answered (each takes well under a millisecond)."""


class Recovery:
    """What a new supervisor does about its predecessor's sagas, and any about a dead worker's attempts."""

    def __init__(self, engine: Engine, marks: Marks) -> None:
        self._engine = engine
        self._suspects = Suspects(marks)
        self._put_off: list[str] = []
        self._pardoned: str | None = None
        self._after: int | None = None
        self._more = True
        self._unadopted: dict[WorkerId, set[str]] = defaultdict(set)
        self.going_on = True

    def go_on(self) -> None:
        """Fold the next few unfinished sagas."""
        if not self.going_on:
            return
        if self._more:
            self._next_page()
        else:
            self._next_suspect()
        self.going_on = self._more or bool(self._put_off)
        if not self.going_on:
            self._engine.slots.recovered()

    def _next_page(self) -> None:
        page = self._engine.journal.unfinished(self._after, AT_ONCE)
        for corrupt in page.corrupt:
            log().error("saga %r cannot be read: %s", corrupt.saga_id, corrupt.why)
            self._engine.holds.hold(corrupt.saga_id, HoldReason.CORRUPT, corrupt.why)
        for row in page.rows:
            if row.saga_id in self._suspects:
                self._put_off.append(row.saga_id)
            elif self._engine.sagas.get(row.saga_id) is None:
                self._fold(row.saga_id)
        self._after = page.next
        self._more = page.next is not None

    def _next_suspect(self) -> None:
        """One whom a supervisor died of; what was decided about the others is durable by now, and under way."""
        saga_id = self._put_off.pop(0)
        row = self._row(saga_id)
        if self._engine.sagas.get(saga_id) is None and (row is None or row.state.unfinished):
            self._fold(saga_id)

    def restore(self, saga_id: str) -> bool:
        """Fold a saga anew and adopt its attempts; a saga that cannot be is held, and one so held is left alone."""
        pardoned, self._pardoned = self._pardoned == saga_id, None
        if not pardoned and self._is_barred(saga_id):
            self._engine.holds.illegible.add(saga_id)
            return False
        return self._fold(saga_id)

    def read(self, saga_id: str) -> Execution:
        """Fold a saga that has ended, to look at it; CorruptionError if it cannot be, or kills whoever does."""
        if (verdict := self._suspects.verdict(saga_id)) is not None:
            raise CorruptionError(f"saga {saga_id!r}: {verdict}")
        try:
            execution = self._engine.sagas.read(saga_id)
        except SagaCrashedError as crash:
            raise CorruptionError(f"saga {saga_id!r}: its events do not fold ({crash})") from crash
        self._suspects.folded(saga_id)
        return execution

    def pardon(self, saga_id: str) -> None:
        """An operator wants this one to be folded once more, though it is held because that went wrong."""
        self._pardoned = saga_id

    def _is_barred(self, saga_id: str) -> bool:
        row = self._row(saga_id)
        if row is None or row.state is not SagaState.HELD:
            return False
        return (row.held_reason or "").startswith(HoldReason.CRASHED)

    def _row(self, saga_id: str) -> SagaRow | None:
        """Its summary; None if that cannot be read, which is found out when it is folded."""
        with contextlib.suppress(CorruptionError):
            return self._engine.journal.find(saga_id)
        return None

    def _fold(self, saga_id: str) -> bool:
        engine = self._engine
        if (verdict := self._suspects.verdict(saga_id)) is not None:
            return self._condemn(saga_id, verdict)
        try:
            decided = engine.sagas.restore(saga_id).decided
        except CorruptionError as corruption:
            engine.holds.hold(saga_id, HoldReason.CORRUPT, str(corruption))
            return False
        except SagaCrashedError as crash:
            engine.holds.hold(saga_id, HoldReason.CRASHED, str(crash))
            return False
        self._suspects.folded(saga_id)
        engine.watch(saga_id, decided)
        if not decided.state.unfinished:
            engine.slots.end(saga_id)
        elif not decided.new:
            engine.slots.begun(saga_id, decided.plan.saga)
        self.adopt(saga_id, decided)
        if (
            decided.execution.wakes_at is not None
            and decided.execution.wakes_at <= engine.clock()
            and engine.sagas.get(saga_id) is not None
        ):
            engine.happen(saga_id, TimePassed())  # a deadline that passed while nobody looked
        return engine.sagas.get(saga_id) is not None

    def _condemn(self, saga_id: str, verdict: str) -> bool:
        """Hold it without a look at its records; from then on it is the journal that says so."""
        self._engine.holds.hold(saga_id, HoldReason.CRASHED, verdict)
        row = self._row(saga_id)
        if row is not None and not row.state.unfinished:  # else the disk is full, and the next supervisor holds it
            self._suspects.drop(saga_id)
        return False

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
        if not self._engine.team.has(message.worker):
            return
        self._engine.out += self._engine.team.took(message)
        self._engine.slots.serves(message.worker, self._engine.team.loaded(message.loaded))
        for saga_id in {key.saga_id for key in message.running}:  # none gets a slot beside what is not known to run
            if saga_id not in self._suspects:
                self._engine.tracked(saga_id)
        for saga_id in self._unadopted.pop(message.worker, ()):
            if self._engine.sagas.get(saga_id) is not None:
                self.adopt(saga_id, self._engine.sagas.describe(saga_id))
        reports = FromWorker(message.worker, message.epoch, 0, message.reports, message.retiring)
        self._engine.report(reports)

    def left(self, worker: WorkerId) -> None:
        """A worker is dead: what it ran is interrupted."""
        engine = self._engine
        engine.team.leave(worker)
        unsent: dict[str, set[tuple[Phase, str, int]]] = defaultdict(set)
        for order in engine.turn.orders.pop(worker, ()):  # they were to go out with this turn, and now do not
            unsent[order.key.saga_id].add((order.key.phase, order.key.step, order.key.attempt))
        running = {key.saga_id for key in engine.slots.leave(worker)}
        for saga_id in running | self._unadopted.pop(worker, set()) | unsent.keys():
            if engine.tracked(saga_id) is not None:
                engine.happen(saga_id, WorkerDied(worker, frozenset(unsent[saga_id])))

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
