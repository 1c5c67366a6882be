"""The coordinator for an event loop: the same verbs, awaited."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from saga_actors.coordination import Coordination
from saga_actors.face import Face
from saga_actors.subscription import POLL, Events
from saga_actors.telemetry import TelemetryEvent
from saga_actors.waiting import OnEventLoop

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    verb: Callable[Concatenate[Coordination, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """The verb as a coroutine method."""

    @functools.wraps(verb)
    async def call(face: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        verbs: Coordination = face._verbs
        verbs.refuse_closed()
        return await verb(verbs, *args, **kwargs)

    return call


class AsyncCoordinator(Face):
    """Runs sagas durably, from coroutines; its arguments are those of `Coordinator`, and so is what they mean.

    Any number of coroutines may await at a time: they cost no threads. To cancel one that awaits gives up the answer
    and not the saga, which goes on (`cancel(saga_id, reason)` turns one back). It may be made before there is an event
    loop, and used on several, one after the other or on several threads. A process that is forked connects anew.
    """

    _waiting = OnEventLoop()

    run = _awaited(Coordination.run)
    start = _awaited(Coordination.start)
    start_many = _awaited(Coordination.start_many)
    result = _awaited(Coordination.result)

    status = _awaited(Coordination.status)
    list = _awaited(Coordination.list)
    history = _awaited(Coordination.history)

    cancel = _awaited(Coordination.cancel)
    retry = _awaited(Coordination.retry)
    settle = _awaited(Coordination.settle)
    skip = _awaited(Coordination.skip)
    resolve = _awaited(Coordination.resolve)
    accept = _awaited(Coordination.accept)
    prune = _awaited(Coordination.prune)

    have_served = _awaited(Coordination.have_served)

    def events(self, saga_id: str | None = None) -> AsyncEvents:
        """What happens from now on, as it is journalled, for `async for`; all else is as for `Coordinator.events`."""
        self._verbs.refuse_closed()
        return AsyncEvents(self._verbs.events(saga_id))

    async def close(self, drain: float | timedelta = 5.0) -> None:
        """Let go, as `Coordinator.close` does; the loop goes on meanwhile."""
        await self._waiting.call(self._verbs.close, drain)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class AsyncEvents(AsyncIterator[TelemetryEvent]):
    """A subscription, for `async for`; the journal is read on another thread."""

    def __init__(self, events: Events) -> None:
        self._events = events

    async def __anext__(self) -> TelemetryEvent:
        import asyncio

        while not self._events.ended:
            event = await asyncio.to_thread(self._events.next, 0.0)
            if event is not None:
                return event
            await asyncio.sleep(POLL)  # no event tells of another process's commit
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End it, also for whoever waits."""
        self._events.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
