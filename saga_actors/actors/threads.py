"""Where user code runs: daemon threads for what blocks, and one event loop for what is async."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

Job = Callable[[], None]


class Threads:
    """Daemon threads, made when they are needed and kept; a job that hangs holds its own, and nothing waits for it.

    A ThreadPoolExecutor would be joined when the interpreter ends. Jobs must not raise.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._made = 0
        self._unfinished = 0

    def submit(self, job: Job) -> None:
        """Run this on a thread; beyond the limit it waits for one."""
        with self._lock:
            self._unfinished += 1
            if self._unfinished > self._made and self._made < self._limit:
                self._make_one()
        self._jobs.put(job)

    def _make_one(self) -> None:
        thread = threading.Thread(target=self._run, name=f"saga_actors-step-{self._made + 1}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the host has no more threads for us: those there are will do it
            if not self._made:
                raise
        else:
            self._made += 1

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            job()
            del job  # a context is not kept until the next one comes
            with self._lock:
                self._unfinished -= 1


class LoopThread:
    """One event loop on a daemon thread, made when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def call(self, job: Job) -> None:
        """Run this on the loop, after all that were given before; from any thread."""
        self._started().call_soon_threadsafe(job)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                target = self._run
                threading.Thread(target=target, args=(self._loop,), name="saga_actors-loop", daemon=True).start()
            return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while True:
            try:
                loop.run_forever()
            except BaseException as error:  # a SystemExit in a task that a step has left behind, say
                log().error("the event loop was left with %s, and goes on", type(error).__name__)


def log() -> logging.Logger:
    """The worker's logger, looked up each time: a child replaces all loggers when it is born."""
    return logging.getLogger("saga_actors.worker")
