"""Timers on a thread of their own, so that nothing that runs elsewhere can hold them up."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import attrs


@attrs.define(eq=False)
class Timer:
    """Something to do when the monotonic clock shows `due`."""

    due: float
    action: Callable[[], None]


class Timers:
    """The timers that are set, and one daemon thread that looks them through whenever the first may be due.

    Most are cancelled, so setting and cancelling are cheap: no order is kept among them. The thread may look in vain,
    for one that was cancelled, and then sleeps until the first of the others; without any, it sleeps on. Actions run on
    that thread, one at a time: they must be short, and must not raise. A clock that may be turned is looked at after
    `longest_wait` seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, longest_wait: float = math.inf) -> None:
        self._clock = clock
        self._longest_wait = longest_wait
        self._set: set[Timer] = set()
        self._look_at = math.inf
        self._lock = threading.Lock()
        self._sooner = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Have `action` called in so many seconds."""
        timer = Timer(self._clock() + seconds, action)
        with self._lock:
            if self._thread is None or timer.due < self._look_at:
                self._look_at = min(timer.due, self._look_at)
                self._wake()
            self._set.add(timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        """Leave it be, if its time has not come."""
        with self._lock:
            self._set.discard(timer)

    def _wake(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="saga_actors-timers", daemon=True)
            thread.start()  # raises if the host has no more threads; the next timer tries again
            self._thread = thread
        else:
            self._sooner.notify()

    def _run(self) -> None:
        while True:
            for timer in self._next():
                timer.action()

    def _next(self) -> list[Timer]:
        """Wait for the first that are due, in their order; they are set no longer."""
        with self._lock:
            while True:
                now = self._clock()
                if now >= self._look_at:
                    due = sorted((timer for timer in self._set if timer.due <= now), key=lambda timer: timer.due)
                    self._set.difference_update(due)
                    self._look_at = min((timer.due for timer in self._set), default=math.inf)
                    if due:
                        return due
                left = self._look_at - self._clock()
                self._sooner.wait(None if left == math.inf else max(0.0, min(left, self._longest_wait)))
