"""What a turn decided is written in one commit; and what is done about a saga, or a disk, that makes that impossible.

What was not committed has not happened, though the saga actors are ahead of it: they are thrown away, and folded again.
An exception that escapes from here is a commit of which nobody knows; it ends the process.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from saga_actors.actors.checkpoints import Checkpoints
from saga_actors.actors.kill_points import AFTER, BEFORE, passing
from saga_actors.actors.turn import Turn
from saga_actors.errors import JournalFullError
from saga_actors.events import HoldReason
from saga_actors.messages import Refusal

if TYPE_CHECKING:
    from saga_actors.actors.engine import Engine

FULL_RETRY = 1.0
"""Seconds after which a full disk is tried again."""


class Commits:
    """The commits of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._without_room: set[str] = set()
        self._full_until = 0.0
        self._checkpoints = Checkpoints(engine.journal)

    def have_room(self, now: float) -> bool:
        """Whether attempts may be begun: not while the disk is full, nor before those are back that it has put off."""
        return now >= self._full_until and not self._without_room

    def commit(self, turn: Turn) -> None:
        """Write what the sagas decided in this turn; a saga whose share is not written is withdrawn from it."""
        if not turn.shares:
            return
        try:
            self._append(turn)
        except JournalFullError as full:
            self._give_up(turn, full)

    def _append(self, turn: Turn) -> None:
        engine = self._engine
        entries = [share.entry(saga_id) for saga_id, share in turn.shares.items()]
        passing(BEFORE, turn)
        appended = engine.journal.append(engine.epoch, entries)
        passing(AFTER, turn)
        engine.neighbourhood.committed(appended.position)
        for saga_id, why in appended.why.items():
            self._left_out(turn, saga_id, why)
        unfinished = 0
        for share in turn.shares.values():
            tracked = share.tracked
            counts = tracked.decided.state.unfinished
            unfinished += counts - tracked.counted
            tracked.counted = counts
            tracked.durable += len(share.events)
        engine.unfinished = engine.journal.count_unfinished() if appended.why else engine.unfinished + unfinished

    def _left_out(self, turn: Turn, saga_id: str, why: str) -> None:
        """One saga's share was not written: whoever wanted to start it hears so; one that exists is held."""
        log().error("saga %r was left out of a commit: %s", saga_id, why)
        is_new = turn.shares[saga_id].tracked.durable == 0
        self._engine.withdraw(saga_id)
        if is_new:
            self._engine.refuse_start(saga_id, Refusal.BAD_REQUEST, why)
        else:
            self._engine.holds.hold(saga_id, HoldReason.CRASHED, why)

    def _give_up(self, turn: Turn, full: JournalFullError) -> None:
        """Nothing was written for want of room: the sagas of this turn are folded again in a while."""
        log().error("%s: no saga is started, and those that run wait", full)
        self._full_until = self._engine.clock() + FULL_RETRY
        for saga_id, share in list(turn.shares.items()):
            is_new = share.tracked.durable == 0
            self._engine.withdraw(saga_id)
            if is_new:
                why = f"{full}; nothing was accepted, try again later"
                self._engine.refuse_start(saga_id, Refusal.OVERLOADED, why)
            else:
                self._engine.slots.end(saga_id)  # what it was thought to have begun, it has not
                self._without_room.add(saga_id)
                why = f"{full}; nothing was changed, try again later"
                self._engine.disappoint(saga_id, Refusal.OVERLOADED, why)

    def tick(self, now: float) -> None:
        """Move the journal's log if it is time; fold those again that a full disk had put off, if it may have room."""
        self._checkpoints.tick(now)
        if self._without_room and now >= self._full_until:
            again, self._without_room = self._without_room, set()
            for saga_id in again:
                if self._engine.sagas.get(saga_id) is None:
                    self._engine.recovery.restore(saga_id)


def log() -> logging.Logger:
    """Looked up each time, for a child replaces all loggers when it is born."""
    return logging.getLogger("saga_actors.supervisor")
