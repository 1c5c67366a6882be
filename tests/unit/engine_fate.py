"""A journal with a fate: what becomes of its next commit, and of the supervisor that makes it."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from saga_actors.errors import JournalFullError
from saga_actors.events import AttemptStarted, AttemptSucceeded
from saga_actors.execution import Execution, fold
from saga_actors.journal import MemoryJournal
from saga_actors.journal.port import Appended


class KilledError(BaseException):
    """The supervisor's process is gone in the middle of a turn."""


class FatefulJournal(MemoryJournal):
    """A journal whose next commit may come to something else, and which counts who is in flight."""

    fate = ""

    def __init__(self, chance: random.Random, seen: Counter[str]) -> None:
        super().__init__()
        self.chance, self.seen = chance, seen
        self.folded: dict[str, tuple[int, Execution]] = {}

    def append(self, epoch: int, entries: Any) -> Appended:
        fate, self.fate = self.fate, ""
        self.seen[f"a commit: {fate}"] += 1
        if fate == "disk full":
            raise JournalFullError("no room")
        if fate == "killed before":
            raise KilledError
        out = self.chance.choice(entries).saga_id if fate == "one left out" else None
        appended = super().append(epoch, [entry for entry in entries if entry.saga_id != out])
        if fate == "killed after":
            raise KilledError
        for entry in entries:
            begun = [event.worker for event in entry.events if isinstance(event, AttemptStarted)]
            went_on = isinstance(entry.events[0], AttemptSucceeded) and begun
            self.seen["went on at once"] += bool(went_on)
        return appended if out is None else Appended(appended.position, (out,), (), {out: "no reason"})

    def execution(self, saga_id: str) -> Execution | None:
        """How the saga stands, by what is durable."""
        row = self.find(saga_id)
        if row is None:
            return None
        known = self.folded.get(saga_id)
        if known is None or known[0] != row.last_seq:
            events = [stored.event for stored in self.load(saga_id)]
            self.folded[saga_id] = known = (row.last_seq, fold(iter(events), self.plan))
        return known[1]
