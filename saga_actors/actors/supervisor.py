"""The saga supervisor: the actor around the engine. It only carries."""

from __future__ import annotations

import gc
import logging
import math
import os
import random
import time
from typing import Any

from saga_actors.actors.child import Child
from saga_actors.actors.clock import Clock
from saga_actors.actors.engine import Engine
from saga_actors.actors.inquiry import Inquiry
from saga_actors.actors.kill_points import AFTER, BEFORE, passing
from saga_actors.actors.limits import Limits
from saga_actors.actors.marks import FileMarks, Marks, MemoryMarks
from saga_actors.actors.protocol import Address, Birth, Bundle, CannotServe, Neighbours, Source
from saga_actors.actors.replies import Replies
from saga_actors.actors.tenure import Tenure
from saga_actors.errors import EpochError, JournalError
from saga_actors.journal import open_journal, open_reader
from saga_actors.node_folder import NodeFolder
from saga_actors.node_spec import NodeSpec

LONGEST_TURN = 0.02
"""Seconds after which a turn takes no further message, though more have come."""


class SagaSupervisor(Child):
    """Writes the journal, keeps the timers, gives out the work; inside it live the saga actors."""

    def __init__(self) -> None:
        super().__init__()
        self._engine: Engine | None = None
        self._tenure: Tenure | None = None
        self._replies = Replies(self.send_noticed)
        self._begun_at = 0.0
        self._life = ""
        self._longest_wait = math.inf

    def take(self, message: Any, sender: Address) -> None:
        """A message for the engine."""
        if isinstance(message, Birth):
            self._be_born(message, sender)
        elif isinstance(message, Bundle) and message.life not in ("", self._life):
            log().warning("a client's message for another life came here, and is not answered")
        elif self._engine is not None:
            self._begun_at = self._begun_at or time.monotonic()
            self._engine.take(message, sender)
            if time.monotonic() - self._begun_at > LONGEST_TURN:
                self.settle()

    def settle(self) -> None:
        """Everything that had come is taken: one commit for all of it."""
        if self._engine is not None and self._begun_at:
            self._begun_at = 0.0
            self._carry(self._engine.finish_turn())

    def woken(self) -> None:
        """Let the engine's time pass; that finishes a turn, too."""
        if self._engine is not None:
            self._begun_at = 0.0
            self._carry(_tick(self._engine))

    def _carry(self, outgoing: list[tuple[Address, Any]]) -> None:
        assert self._engine is not None
        if self._tenure is not None:
            self._tenure.confirm(now=self._engine.done)
        if self._engine.done:
            passing(BEFORE, "checkpoint")
            self._engine.journal.close()
            passing(AFTER, "checkpoint")
        self.wake_in(min(self._engine.next_tick, self._longest_wait))
        for address, message in outgoing:
            passing(BEFORE, message)
            if isinstance(message, Bundle) or hasattr(message, "correlation_id"):
                self._replies.post(address, message)
            else:
                self.send(address, message)
            passing(AFTER, message)

    def _be_born(self, birth: Birth, root: Address) -> None:
        """Begin, once; told again, only say so again."""
        if self._engine is None:
            self._open(birth, root)
        if self._engine is not None:
            self.send(root, self.born(birth.role, birth.number))
            self.wake_in(0)

    def _open(self, birth: Birth, root: Address) -> None:
        self._life = birth.life
        spec: NodeSpec = birth.spec
        try:
            journal = open_journal(spec.journal_url)
            passing(BEFORE, "epoch")
            epoch = journal.take_epoch(f"pid {os.getpid()}")
            passing(AFTER, "epoch")
            reader = open_reader(spec.journal_url)
        except EpochError:
            raise
        except JournalError as error:
            self.send(root, CannotServe(str(error)))
            return
        log().info("epoch %d begins, with %d unfinished sagas", epoch, journal.count_unfinished())
        clock = Clock.of(spec.clock)
        self._longest_wait = min(clock.longest_wait, spec.silence)
        self._tenure = Tenure(journal, epoch, spec.silence)
        self._engine = Engine(
            journal,
            Inquiry(reader),
            epoch=epoch,
            limits=Limits(spec.max_unfinished, spec.context_limit, spec.threads, spec.linger),
            clock=clock.now,
            roll=random.random,
            position=reader.end_position(),
            took_over=birth.number > 1,
            marks=_marks(spec),
        )
        _rest_the_collector()
        self._engine.team.serve([Source(*source) for source in spec.sources])
        self._engine.handle(birth.neighbours or Neighbours(root=root), root)
        for worker in birth.workers:
            self._carry(self._engine.handle(worker, root))


def _tick(engine: Engine) -> list[tuple[Address, Any]]:
    if not engine.recovery.going_on:
        return engine.tick()
    passing(BEFORE, "recovery")
    outgoing = engine.tick()
    passing(AFTER, "recovery")
    return outgoing


def _marks(spec: NodeSpec) -> Marks:
    try:
        return FileMarks(NodeFolder.of(spec.journal_url).path)
    except OSError as error:
        log().error("no mark can be set (%s): a saga that kills the supervisor would not be found", error)
        return MemoryMarks()


def _rest_the_collector() -> None:
    """Look for cycles seldom, and not among what is here for good: a saga makes none, and looking took a tenth."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def log() -> logging.Logger:
    """Looked up each time, for a child replaces all loggers when it is born."""
    return logging.getLogger("saga_actors.supervisor")
