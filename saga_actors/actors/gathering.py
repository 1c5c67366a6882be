"""Where an actor that has given out orders waits a moment for the reports of the short ones, to send them together."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

MOMENT = 0.0003
"""Seconds without any report after which those that are still to come are not waited for."""

LONGEST = 0.002
"""Seconds for which reports are waited for at most: so long the actor hears nothing else."""


class Gathering:
    """A wait that ends with the last report, or when nothing comes for a moment; one thread waits, others tell it."""

    def __init__(self) -> None:
        self._told: SimpleQueue[None] = SimpleQueue()
        self.waits = False
        """Whether somebody waits: who has the first or the last news then tells it here."""

    def tell(self) -> None:
        """There is something, or nothing more is to come."""
        self._told.put(None)

    def wait(self, left: Callable[[], int]) -> None:
        """Wait; `left` says how many are still to come."""
        until = time.monotonic() + LONGEST
        before = left()
        while before and time.monotonic() < until:
            try:
                self._told.get(timeout=MOMENT)
            except Empty:
                if left() == before:
                    break
            before = left()
        while not self._told.empty():
            self._told.get()
