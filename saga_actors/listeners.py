"""Those who are told of telemetry, each on a thread of its own: who raises, hangs or is slow harms nobody else."""

from __future__ import annotations

import importlib
import inspect
import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any

from saga_actors.errors import SagaActorsError
from saga_actors.source import loading_for_node
from saga_actors.telemetry import EventName, TelemetryEvent, is_logged, log_event

CAPACITY = 10_000
"""The most events that wait for one listener; what comes then is dropped for it, and counted."""

LOG_EVERY = 60.0
"""Seconds between two log lines that say the same."""

LOGGER = "saga_actors.telemetry"

Handler = Callable[[TelemetryEvent], object]


class ListenerError(SagaActorsError):
    """A telemetry listener cannot be used; name a function of one argument as `module:function`."""


class Throttle:
    """Says whether a line may be logged again, once in `every` seconds; and no more than `most` lines in them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, every: float = LOG_EVERY, most: int = 20) -> None:
        self._clock = clock
        self._every = every
        self._most = most
        self._said: dict[Hashable, float] = {}

    def allows(self, line: Hashable) -> bool:
        """Whether this line is due; then it is not again, for a while."""
        now = self._clock()
        self._said = {said: at for said, at in self._said.items() if now - at < self._every}
        if line in self._said or len(self._said) >= self._most:
            return False
        self._said[line] = now
        return True


def resolved(name: str) -> Handler:
    """The function that `module:function` names, imported; raises ListenerError, or whatever its module raises."""
    module, separator, path = name.partition(":")
    if not (module and separator and path):
        raise ListenerError(f"{name!r} names no listener; expected module:function")
    with loading_for_node():
        found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ListenerError(f"{name!r} is {type(found).__name__}; expected a function that takes a TelemetryEvent")
    if inspect.iscoroutinefunction(found):
        raise ListenerError(f"{name!r} is async; expected a plain function, which is called on a thread of its own")
    handler: Handler = found
    return handler


class Listener:
    """One who is told. `load` finds the function, which may mean importing it, and is called on the thread as well.

    `dropped` counts the events that did not fit its queue, and those that waited for a function that was not found.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Handler],
        *,
        wants: Callable[[EventName], bool] = lambda _: True,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.dropped = 0
        self._load = load
        self._wants = wants
        self._queue: queue.SimpleQueue[tuple[int, TelemetryEvent] | None] = queue.SimpleQueue()
        self._capacity = capacity
        self._put = self._taken = 0  # each is counted by one thread only
        self._offered = self._finished = self._last_dropped = 0
        self._is_broken = False
        self._throttle = Throttle(clock)
        self._thread = threading.Thread(target=self._run, name=f"saga_actors-telemetry-{name}", daemon=True)
        self._thread.start()

    def wants(self, name: EventName) -> bool:
        """Whether it is to be told of events of this name."""
        return not self._is_broken and self._wants(name)

    def offer(self, number: int, event: TelemetryEvent) -> None:
        """Have it told, without waiting; `number` counts the events of all listeners up from 1."""
        if self._put - self._taken < self._capacity:
            self._put += 1
            self._offered = number
            self._queue.put((number, event))
            return
        self.dropped += 1
        self._last_dropped = number
        if self._throttle.allows("dropped"):
            _log().warning("telemetry listener %s is slow or hangs: %d events dropped", self.name, self.dropped)

    @property
    def is_behind(self) -> bool:
        """Whether its queue is half full."""
        return self._put - self._taken > self._capacity // 2

    def settled(self, emitted: int) -> int:
        """The number up to which it was told of everything; one that has lost events since keeps nobody waiting."""
        finished = self._finished
        is_waited_for = not self._is_broken and self._last_dropped <= finished < self._offered
        return finished if is_waited_for else emitted

    def close(self, seconds: float) -> bool:
        """Tell what waits and end, for so long at most; whether it has ended."""
        self._queue.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        handler = self._loaded()
        while (item := self._queue.get()) is not None:
            number, event = item
            self._taken += 1
            if handler is None:
                self.dropped += 1
            else:
                self._tell(handler, event)
            self._finished = number

    def _loaded(self) -> Handler | None:
        try:
            return self._load()
        except BaseException as error:  # user code: it may even exit
            self._is_broken = True
            trace = None if isinstance(error, ListenerError) else error
            _log().error("telemetry listener %s cannot be used (%r); others are told", self.name, error, exc_info=trace)
            return None

    def _tell(self, handler: Handler, event: TelemetryEvent) -> None:
        """Call it, with maps of its own: what it does to them is not seen by others."""
        try:
            measures, metadata = dict(event.measures), dict(event.metadata)
            handler(TelemetryEvent(event.name, event.at, event.saga_id, event.saga, measures, metadata, event.repeated))
        except BaseException as error:
            if self._throttle.allows(type(error).__qualname__):
                _log().exception("telemetry listener %s raised; it is told of what follows all the same", self.name)


class Listeners:
    """All who are told."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self.emitted = 0

    @classmethod
    def named(cls, names: Iterable[str]) -> Listeners:
        """The log, and the functions named `module:function`; one that cannot be imported is logged, and not told."""
        logs = Listener("log", lambda: log_event, wants=is_logged)
        return cls(logs, *(Listener(name, partial(resolved, name)) for name in dict.fromkeys(names)))

    @property
    def wanted(self) -> frozenset[EventName]:
        """What anybody wants to be told of."""
        return frozenset(name for name in EventName if any(listener.wants(name) for listener in self._listeners))

    @property
    def dropped(self) -> dict[str, int]:
        """How many events each listener has lost, by its name."""
        return {listener.name: listener.dropped for listener in self._listeners}

    @property
    def are_behind(self) -> bool:
        """Whether somebody's queue is half full: whoever emits should let them come to their turn."""
        return any(listener.is_behind for listener in self._listeners)

    @property
    def settled(self) -> int:
        """How many of the emitted events, from the first on, everybody who is not behind for good was told of."""
        return min((listener.settled(self.emitted) for listener in self._listeners), default=self.emitted)

    def emit(self, event: TelemetryEvent) -> None:
        """Have everybody told who wants to be, without waiting for anybody."""
        self.emitted += 1
        for listener in self._listeners:
            if listener.wants(event.name):
                listener.offer(self.emitted, event)

    def close(self, seconds: float = 5.0) -> bool:
        """Tell what waits and end, for so long at most each; whether all have ended."""
        ended = [listener.close(seconds) for listener in self._listeners]
        return all(ended)


def _log() -> logging.Logger:
    """Looked up each time: an actor system replaces all loggers."""
    return logging.getLogger(LOGGER)
