"""How a face waits: a thread by standing still, a coroutine by letting others go on meanwhile.

What both faces do is written once, as coroutines. Under a `Coordinator` these never give up control: they come to
their end in the call that begins them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Waiting(Protocol):
    """Waits for answers, and for calls that may take a moment."""

    async def answer(self, future: Future[T], timeout: float | None) -> T:
        """What the future has in the end; TimeoutError after so many seconds."""

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What this function returns, which reads a file, say."""


class Standing:
    """Waits on this thread, which stands still."""

    async def answer(self, future: Future[T], timeout: float | None) -> T:
        return future.result(timeout)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


class OnEventLoop:
    """Waits on the event loop that runs; calls are made on another thread."""

    async def answer(self, future: Future[T], timeout: float | None) -> T:
        import asyncio  # here: it takes a quarter of what importing this package does, and most do without it

        async with asyncio.timeout(timeout):
            return await asyncio.wrap_future(future)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        import asyncio

        return await asyncio.to_thread(function, *args, **kwargs)


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits by standing still."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("a coroutine gave up control where nobody is to go on")
