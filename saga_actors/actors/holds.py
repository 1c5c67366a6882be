"""The sagas that are parked without their own doing: their records cannot be read, or their actor raises.

Nothing is asked of such a saga any more. What its worker has to say of it the worker keeps, until an operator has made
something of it: had it read again, or ended it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from saga_actors.actors.commits import log
from saga_actors.actors.sagas import Tracked
from saga_actors.errors import CorruptionError, JournalFullError, UnknownSagaError
from saga_actors.events import HoldReason
from saga_actors.journal.port import held_reason
from saga_actors.messages import SagaIsHeld

if TYPE_CHECKING:
    from saga_actors.actors.engine import Engine


class Holds:
    """The sagas of one engine that are held so; `illegible` are those of which nothing is asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.illegible: set[str] = set()
        self._owed: dict[str, tuple[HoldReason, str]] = {}

    def hold(self, saga_id: str, reason: HoldReason, detail: str) -> None:
        """Park a saga that cannot decide for itself any more, and tell whoever waits for it."""
        engine = self._engine
        log().error("saga %r is held (%s): %s", saga_id, reason, detail)
        engine.withdraw(saga_id)
        engine.slots.end(saga_id)
        if reason in (HoldReason.CRASHED, HoldReason.CORRUPT):
            self.illegible.add(saga_id)
        self._write(saga_id, reason, detail)

    def tick(self) -> None:
        """Write what a full disk had no room for."""
        if self._owed:
            owed, self._owed = self._owed, {}
            for saga_id, (reason, detail) in owed.items():
                if saga_id in self.illegible:
                    self._write(saga_id, reason, detail)

    def _write(self, saga_id: str, reason: HoldReason, detail: str) -> None:
        engine = self._engine
        try:
            engine.journal.hold(engine.epoch, saga_id, reason, detail, engine.clock())
        except JournalFullError as full:
            log().error("%s: saga %r is left alone, and held when there is room", full, saga_id)
            self._owed[saga_id] = (reason, detail)
            return
        except UnknownSagaError:
            log().error("saga %r is in no journal under this name; its summary is damaged", saga_id)
            return
        engine.unfinished = engine.journal.count_unfinished()
        for waiter in engine.clients.waiting_for(saga_id):
            answer = SagaIsHeld(waiter.correlation_id, saga_id, held_reason(reason, detail))
            engine.clients.answer(waiter.peer, answer)

    def read_again(self, saga_id: str) -> Tracked | None:
        """An illegible saga, if it can be read by now."""
        self.illegible.discard(saga_id)
        self._engine.recovery.pardon(saga_id)
        return self._engine.tracked(saga_id)

    def concerns(self, saga_id: str) -> bool:
        """Whether a report about this saga is to be kept by its worker: it is illegible, and has not ended."""
        if saga_id not in self.illegible:
            return False
        try:
            row = self._engine.journal.find(saga_id)
        except CorruptionError:
            return True
        return row is not None and not row.state.ended
