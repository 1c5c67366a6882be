"""Whether a supervisor still is the supervisor. One that was taken for dead may wake beside its successor (P8)."""

from __future__ import annotations

import time

from saga_actors.errors import EpochError, JournalError
from saga_actors.journal import Journal


class Tenure:
    """One epoch, and when it was last known to be in force; `every` is in seconds.

    Whoever commits is told by that. One that wakes with nothing to commit would send its old orders again for ever,
    and its workers would refuse them for ever; and as it hears of no client, it would have the node end at last.
    """

    def __init__(self, journal: Journal, epoch: int, every: float) -> None:
        self._journal = journal
        self._epoch = epoch
        self._every = every
        self._confirmed = time.monotonic()

    def confirm(self, now: bool = False) -> None:
        """Ask the journal, if it is time to or it must be sure `now`; raises EpochError when another has taken over."""
        at = time.monotonic()
        if at - self._confirmed < self._every and not now:
            return
        self._confirmed = at
        try:
            self._journal.append(self._epoch, ())  # which writes nothing
        except EpochError:
            raise
        except JournalError:  # it says nothing of the epoch, and whoever has something to commit will see to it
            return
