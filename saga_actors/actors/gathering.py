"""Where an actor that has given out orders waits a moment for the reports of the short ones, to send them together."""

from __future__ import annotations

import time
from collections.abc import Iterable
from queue import Empty, SimpleQueue

from saga_actors.actors.protocol import AttemptKey

MOMENT = 0.0003
"""Seconds without any report after which those that are still to come are not waited for."""

LONGEST = 0.002
"""Seconds for which reports are waited for at most: so long the actor hears nothing else."""


class Gathering:
    """A wait that ends when all that were begun together have ended, or none of them has for a moment.

    One thread waits; others tell it, under the runner's lock, as which attempts begin and end is told under it.
    """

    def __init__(self) -> None:
        self._told: SimpleQueue[None] = SimpleQueue()
        self._left: set[AttemptKey] = set()
        self.waits = False
        """Whether somebody waits, and will then take all the news there are."""

    def began(self, keys: Iterable[AttemptKey]) -> None:
        """These were begun together; those before them are not waited for any more."""
        self._left = set(keys)

    def ended(self, key: AttemptKey) -> None:
        """One has ended; the last of those that are waited for ends the wait."""
        self._left.discard(key)
        if self.waits and not self._left:
            self._told.put(None)

    def wait(self) -> None:
        """Wait for those that began last."""
        until = time.monotonic() + LONGEST
        while (left := len(self._left)) and time.monotonic() < until:
            try:
                self._told.get(timeout=MOMENT)
            except Empty:
                if len(self._left) == left:
                    break
        while not self._told.empty():
            self._told.get()
