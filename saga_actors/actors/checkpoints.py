"""When the journal's log is moved into its file: a bit that flips in the log would cost all that is behind it."""

from __future__ import annotations

import logging

from saga_actors.actors.kill_points import AFTER, BEFORE, passing
from saga_actors.errors import JournalFullError
from saga_actors.journal.port import Journal

IDLE = 1.0
"""Seconds without a commit after which the log is moved."""

EVERY = 10.0
"""Seconds after which it is moved though there are commits; and after which that is tried again if it was not to be."""

PATIENCE = 0.02
"""Seconds for which readers are waited for, and with them everybody."""


class Checkpoints:
    """The checkpoints of one supervisor. While nothing is committed there are none, so that an idle node stays idle.

    A checkpoint that fails for another reason than want of room escapes, and ends the process, as a failed commit does.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._unmoved = 0
        self._changed_at = 0.0
        self._not_before = 0.0
        self._due = 0.0

    def tick(self, now: float) -> None:
        """Move the log if it is time."""
        unmoved = self._journal.unmoved
        if not unmoved:
            self._unmoved = 0
            return
        if not self._unmoved:
            self._due = now + EVERY
        if unmoved != self._unmoved:
            self._unmoved, self._changed_at = unmoved, now
        if now >= self._not_before and (now >= self._due or now - self._changed_at >= IDLE):
            self._move(now)

    def _move(self, now: float) -> None:
        try:
            passing(BEFORE, "checkpoint")
            moved = self._journal.checkpoint(PATIENCE)
            passing(AFTER, "checkpoint")
        except JournalFullError as full:
            log().error("%s; what was committed stays in the log", full)
            moved = False
        if moved:
            self._unmoved = 0
        else:
            self._not_before = now + EVERY


def log() -> logging.Logger:
    """Looked up each time, for a child replaces all loggers when it is born."""
    return logging.getLogger("saga_actors.supervisor")
