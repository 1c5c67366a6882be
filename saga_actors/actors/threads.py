"""Where user code runs: daemon threads for what blocks, and one event loop for what is async."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")


class Threads(Generic[Job]):
    """Daemon threads, made when they are needed and kept; a job that hangs holds its own, and nothing waits for it.

    Waking a thread costs more than a short job, so they are woken one after the other: one that has come takes a job,
    and wakes the next if there are more. A thread that has done its job takes another itself. Many short jobs are thus
    done by the first one, while the second waits for the interpreter, and a job that blocks holds up none behind it:
    the one that was woken before it began takes over then. Of those who sleep, the last to fall asleep is woken first.

    A ThreadPoolExecutor would be joined when the interpreter ends. `run` must not raise.
    """

    def __init__(self, limit: int, run: Callable[[Job], None]) -> None:
        self._limit = limit
        self._run = run
        self._lock = threading.Lock()  # over all that follows
        self._jobs: deque[Job] = deque()
        self._asleep: list[threading.Lock] = []
        self._made = 0
        self._coming = False

    def submit(self, jobs: Iterable[Job]) -> None:
        """Run these on threads; those beyond the limit wait for one."""
        with self._lock:
            self._jobs.extend(jobs)
            call = self._call()
        if call is not None:
            call()

    def _call(self) -> Callable[[], None] | None:
        """Under the lock: how to have another thread come, if there are jobs and none is on its way."""
        if not self._jobs or self._coming or not (self._asleep or self._made < self._limit):
            return None
        self._coming = True
        return self._asleep.pop().release if self._asleep else self._make_one

    def _make_one(self) -> None:
        self._made += 1  # nobody else makes one: they come one at a time
        try:
            threading.Thread(target=self._work, name=f"saga_actors-step-{self._made}", daemon=True).start()
        except RuntimeError:  # the host has no more threads for us: those there are will do it
            with self._lock:
                self._made -= 1
                self._coming = False
            if not self._made:
                raise

    def _work(self) -> None:
        bed = threading.Lock()
        bed.acquire()
        comes = True
        while True:
            with self._lock:
                if comes:
                    self._coming = False
                job = self._jobs.popleft() if self._jobs else None
                if job is None:
                    self._asleep.append(bed)
                call = self._call()
            if call is not None:
                call()
            comes = job is None
            if job is None:
                bed.acquire()
            else:
                self._run(job)
                del job  # a context is not kept until the next one comes


class LoopThread:
    """One event loop on a daemon thread, made when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_served = False

    def call(self, job: Callable[[], None]) -> None:
        """Run this on the loop, after all that were given before; from any thread."""
        self._started().call_soon_threadsafe(job)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop.set_exception_handler(_tell_of_a_task)
            if not self._is_served:  # raises if the host has no more threads; the next call tries again
                target = self._run
                threading.Thread(target=target, args=(self._loop,), name="saga_actors-loop", daemon=True).start()
                self._is_served = True
            return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while True:
            try:
                loop.run_forever()
            except BaseException as error:  # a SystemExit in a task that a step has left behind, say
                log().error("the event loop was left with %s, and goes on", type(error).__name__)


def _tell_of_a_task(_: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
    """A step has left a task behind, which failed; asyncio's own line would have the words of its exception in it."""
    error = told.get("exception")
    where = "".join(traceback.format_tb(error.__traceback__)) if isinstance(error, BaseException) else ""
    log().error("what a step left behind on the event loop failed with %s\n%s", type(error).__name__, where)


def log() -> logging.Logger:
    """The worker's logger, looked up each time: a child replaces all loggers when it is born."""
    return logging.getLogger("saga_actors.worker")
