"""A supervisor's process, as far as the engine knows of one; and the journal, in whose commits it may meet its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from engine_mail import Letter

from saga_actors.actors.engine import Engine
from saga_actors.actors.inquiry import Inquiry
from saga_actors.actors.limits import Limits
from saga_actors.actors.protocol import Joined, Neighbours
from saga_actors.actors.tenure import Tenure
from saga_actors.errors import EpochError, JournalError, JournalFullError
from saga_actors.events import AttemptStarted
from saga_actors.journal import MemoryJournal
from saga_actors.journal.port import Appended
from saga_actors.plan import SagaPlan

FULL = "disk full"
UNKNOWN = ("unknown commit, written", "unknown commit, not written")
KILLED = ("killed before its commit", "killed after its commit")
FATES = (FULL, *UNKNOWN, *KILLED)


_READ: dict[str, SagaPlan] = {}


class KilledError(BaseException):
    """The supervisor's process is gone in the middle of a turn."""


class MortalJournal(MemoryJournal):
    """A journal whose next commit may meet one of `FATES`. It keeps by name which attempts it durably says began."""

    fate = ""

    def __init__(self, seen: Counter[str]) -> None:
        super().__init__()
        self._seen = seen
        self.begun: set[tuple[str, Any, str, int]] = set()

    def append(self, epoch: int, entries: Any) -> Appended:
        if epoch != self.epoch():
            self._seen["epoch refused by the journal"] += 1
        elif entries and self.fate:
            return self._meets_its_fate(epoch, entries)
        return self._append(epoch, entries)

    def _meets_its_fate(self, epoch: int, entries: Any) -> Appended:
        fate, self.fate = self.fate, ""
        self._seen[fate] += 1
        if fate == FULL:
            raise JournalFullError("no room")
        if fate in (UNKNOWN[0], KILLED[1]):
            self._append(epoch, entries)
        if fate in KILLED:
            raise KilledError
        raise JournalError("the disk did not say whether this was written")

    def _append(self, epoch: int, entries: Any) -> Appended:
        appended = super().append(epoch, entries)
        for entry in entries:
            if entry.saga_id not in appended.why:
                for event in entry.events:
                    if isinstance(event, AttemptStarted):
                        self.begun.add((entry.saga_id, event.phase, event.step, event.attempt))
        return appended

    def plan(self, plan_id: str) -> SagaPlan:
        """Read once: its id is a digest of it."""
        if plan_id not in _READ:
            _READ[plan_id] = super().plan(plan_id)
        return _READ[plan_id]


class Supervisor:
    """The process of one epoch. `alive` until it is killed, or ends for an error that its engine lets escape."""

    def __init__(self, journal: MortalJournal, workers: list[Joined], now: Callable[[], float], limits: Limits) -> None:
        self.epoch = journal.take_epoch("somebody")
        self.address = f"engine-{self.epoch}"
        self.alive = True
        self._tenure = Tenure(journal, self.epoch, 0.0)
        self.engine = Engine(
            journal,
            Inquiry(journal),
            epoch=self.epoch,
            limits=limits,
            clock=now,
            roll=lambda: 0.5,
            took_over=self.epoch > 1,
        )
        self.first: list[tuple[Any, Any]] = self.engine.handle(Neighbours("root", "status", "telemetry"), "root")
        for joined in workers:
            self.first += self.engine.handle(joined, "root")

    def turn(self, letters: list[Letter]) -> list[tuple[Any, Any]]:
        """Take these in one turn, or let time pass if there are none; nothing, if that was the end of it."""
        try:
            for letter in letters:
                self.engine.take(letter.message, letter.sender)
            return self.engine.finish_turn() if letters else self.engine.tick()
        except JournalFullError:
            raise AssertionError("a full disk is the end of nobody (P12)") from None
        except (KilledError, JournalError):
            self.alive = False
            return []

    def looks_after_its_tenure(self) -> None:
        """What it does now and then, for it may have slept: end, if another has taken over (P8)."""
        try:
            self._tenure.confirm(now=True)
        except EpochError:
            self.alive = False
