"""Timers on a thread of their own, so that nothing that runs elsewhere can hold them up."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

import attrs

_SWEEP = 1_000  # cancelled timers in the heap before it is looked through


@attrs.define(eq=False)
class Timer:
    """Something to do later; `action` is None once it is cancelled or done."""

    action: Callable[[], None] | None


class Timers:
    """One heap, and one daemon thread that sleeps until the first of it is due; without timers it sleeps on.

    Actions run on that thread, one at a time: they must be short, and must not raise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._cancelled = 0
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Have `action` called in so many seconds."""
        timer = Timer(action)
        entry = (self._clock() + seconds, next(self._numbers), timer)
        with self._changed:
            heapq.heappush(self._heap, entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="saga_actors-timers", daemon=True)
                self._thread.start()
            elif self._heap[0] is entry:
                self._changed.notify()
        return timer

    def cancel(self, timer: Timer) -> None:
        """Leave it be, if it is not done; its place in the heap is given up later, for waking the thread costs more."""
        with self._changed:
            if timer.action is None:
                return
            timer.action = None
            self._cancelled += 1
            if self._cancelled > _SWEEP and self._cancelled * 2 > len(self._heap):
                self._heap = [entry for entry in self._heap if entry[2].action is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0

    def _run(self) -> None:
        while True:
            self._next()()

    def _next(self) -> Callable[[], None]:
        """Wait for the first action that is due."""
        with self._changed:
            while True:
                left = self._heap[0][0] - self._clock() if self._heap else None
                if left is None or left > 0:
                    self._changed.wait(left)
                    continue
                timer = heapq.heappop(self._heap)[2]
                action, timer.action = timer.action, None
                if action is not None:
                    return action
                self._cancelled -= 1
