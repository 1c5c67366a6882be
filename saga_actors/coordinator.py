"""The coordinator: how a program runs sagas, and asks about them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from datetime import timedelta
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from saga_actors.blocking import refuse_on_event_loop
from saga_actors.coordination import Coordination
from saga_actors.face import Face
from saga_actors.subscription import Events
from saga_actors.waiting import Standing, finished

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    verb: Callable[Concatenate[Coordination, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], T]:
    """The verb as a method that returns when it is done; EventLoopError on a thread with an event loop."""

    @functools.wraps(verb)
    def call(face: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        verbs: Coordination = face._verbs
        verbs.refuse_closed()
        refuse_on_event_loop()
        return finished(verb(verbs, *args, **kwargs))

    return call


class Coordinator(Face):
    """Runs sagas durably, with a journal in a SQLite file; for threads, not for an event loop.

    `url`: `sqlite:///sagas.db` or, absolute, `sqlite:////var/lib/shop/sagas.db`. `node="auto"` attaches to the node
    of that journal, or starts one that ends with its last coordinator; `"attach"` never starts one, and waits 5 s for
    somebody else to (30 s, if it has lost one) before it raises NodeUnreachableError. `sagas`: the sagas that the node
    is asked to serve, as classes or names of modules; by default all that this process has. `telemetry` names
    functions, as "module:function", that a node started here tells every event. Also for a node started here:
    `workers` processes, each with `threads` blocking steps at a time; `max_unfinished` sagas, beyond which it accepts
    none; `context_limit`, the bytes that an encoded context may have.

    Nothing connects before first use. Any thread may use it, and so may a forked child, which connects anew. A verb
    goes on, and asks again, while the node is replaced; it raises NodeUnreachableError if none is there for 30 s, or
    NodeError if one cannot be started. Its `timeout` is in seconds, or a timedelta.
    """

    _waiting = Standing()

    run = _blocking(Coordination.run)
    start = _blocking(Coordination.start)
    start_many = _blocking(Coordination.start_many)
    result = _blocking(Coordination.result)

    status = _blocking(Coordination.status)
    list = _blocking(Coordination.list)
    history = _blocking(Coordination.history)

    cancel = _blocking(Coordination.cancel)
    retry = _blocking(Coordination.retry)
    settle = _blocking(Coordination.settle)
    skip = _blocking(Coordination.skip)
    resolve = _blocking(Coordination.resolve)
    accept = _blocking(Coordination.accept)
    prune = _blocking(Coordination.prune)

    locate = _blocking(Coordination.locate)
    have_served = _blocking(Coordination.have_served)

    def events(self, saga_id: str | None = None) -> Events:
        """What happens from now on, as it is journalled: an iterator of `TelemetryEvent`, which waits for the next.

        With a `saga_id`, what has happened to that saga from its first event on, until it has ended; it need not be
        there yet. Read from the journal itself, so that it needs no node and starts none. It holds a few hundred
        events at most; whoever is slow loses none of them, for the others wait in the journal.
        """
        self._verbs.refuse_closed()
        refuse_on_event_loop()
        return self._verbs.events(saga_id)

    def close(self, drain: float | timedelta = 5.0) -> None:
        """Let go; if this was the last coordinator of a node that one started, that ends, and has when this returns.

        Attempts in flight may take `drain` seconds more to finish and be journalled; unfinished sagas stay in the
        journal (a warning in the log says how many) and go on when a node is started again. Afterwards every method
        raises CoordinatorClosedError, and so does what still waits on other threads. Closing again changes nothing.
        It may be called on a thread with an event loop, which stands still meanwhile.
        """
        self._verbs.close(drain)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
