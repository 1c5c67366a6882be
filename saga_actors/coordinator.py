"""The coordinator: how a program runs sagas, and asks about them."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import attrs

from saga_actors.definition import Saga, importable, is_loading_for_node, registered_sagas, saga_named
from saga_actors.errors import (
    ContextError,
    CoordinatorClosedError,
    DefinitionError,
    DefinitionMismatchError,
    EventLoopError,
    NestedCoordinatorError,
    NodeError,
    NotServedError,
    OverloadedError,
    SagaActorsError,
    SagaHeldError,
    SagaIdError,
    SagaInterruptedError,
    SagaTimeoutError,
    UnknownSagaError,
)
from saga_actors.events import Event
from saga_actors.journal import JournalUrl, open_reader
from saga_actors.messages import (
    AwaitSaga,
    GetHistory,
    GetStatus,
    HistoryIs,
    ListedSaga,
    ListSagas,
    Refusal,
    Refused,
    RunSaga,
    SagaEnded,
    SagaIsHeld,
    SagasAre,
    SagaStarted,
    StartSaga,
    StatusIs,
    checked_id,
    decoded_outcome,
    new_id,
)
from saga_actors.node_spec import NodeSpec
from saga_actors.outcomes import C, Outcome, SagaState, SagaStatus
from saga_actors.retry import seconds

if TYPE_CHECKING:
    from saga_actors.actors.client import Client
    from saga_actors.actors.protocol import Located, Source
    from saga_actors.node_spec import Life

log = logging.getLogger("saga_actors")

LINGER = 10.0
"""Seconds for which a node that a coordinator started stays when its last client vanished without a word."""


class Coordinator:
    """Runs sagas durably, with a journal in a SQLite file; for threads, not for an event loop.

    `url`: `sqlite:///sagas.db` or, absolute, `sqlite:////var/lib/shop/sagas.db`. `node="auto"` attaches to the node
    of that journal, or starts one that ends with its last coordinator; `"attach"` never starts one. `sagas`: the
    sagas that the node is asked to serve, as classes or names of modules; by default all that this process has.
    `telemetry` names functions, as "module:function", that a node started here tells every event. `workers` and
    `threads` are for a node started here: so many processes, each with so many blocking steps at a time.

    Nothing connects before first use. Any thread may use it, and so may a forked child, which connects anew.
    """

    def __init__(
        self,
        url: str,
        *,
        node: Literal["auto", "attach"] = "auto",
        sagas: Iterable[type[Saga[Any]] | str] | None = None,
        telemetry: Iterable[str] = (),
        workers: int = 2,
        threads: int = 32,
        max_unfinished: int = 100_000,
        context_limit: int = 1_000_000,
    ) -> None:
        if is_loading_for_node():
            raise NestedCoordinatorError(
                "a Coordinator was made while a node imports this module; put what uses it under "
                'if __name__ == "__main__":, and leave only definitions at the top of the module'
            )
        if node not in ("auto", "attach"):
            raise SagaActorsError(f'node is {node!r}; expected "auto" or "attach"')
        self._url = JournalUrl.parse(url)
        self._url.path  # noqa: B018 - refuses memory://, which no other process could share
        self._starts = node == "auto"
        self._context_limit = context_limit
        self._chosen = None if sagas is None else _sources_of(sagas)
        self._spec = NodeSpec(
            journal_url=str(self._url),
            sys_path=tuple(os.path.abspath(entry) for entry in sys.path),
            cwd=os.getcwd(),
            telemetry=tuple(telemetry),
            workers=_positive(workers, "workers"),
            threads=_positive(threads, "threads"),
            linger=LINGER,
            max_unfinished=_positive(max_unfinished, "max_unfinished"),
            context_limit=_positive(context_limit, "context_limit"),
        )
        self._used: dict[str, Source] = {}
        self._client_of: tuple[int, Client] | None = None
        self._lock: tuple[int, threading.Lock] = (os.getpid(), threading.Lock())
        self._closed = False

    # Running sagas.

    def run(
        self,
        saga: type[Saga[C]],
        context: C,
        *,
        saga_id: str | None = None,
        deadline: datetime | timedelta | None = None,
        timeout: float | timedelta | None = None,
    ) -> Outcome[C]:
        """Start a saga and wait for its outcome, which is durable when this returns.

        `deadline` turns the saga back when it passes; `timeout` (seconds) bounds only the wait, and raises
        SagaTimeoutError. The same `saga_id` with the same saga and context is the same saga, also after it ended;
        with others, SagaIdError. Raises SagaHeldError if the saga is parked for an operator.
        """
        message = self._message(RunSaga, saga, context, saga_id, deadline)
        ended = self._until_served(saga, message, timeout)
        return self._outcome(ended, message.saga_id, saga)

    def start(
        self,
        saga: type[Saga[C]],
        context: C,
        *,
        saga_id: str | None = None,
        deadline: datetime | timedelta | None = None,
        timeout: float | timedelta | None = None,
    ) -> str:
        """Start a saga; it is durably accepted when this returns its id (P1). All else is as for `run`."""
        message = self._message(StartSaga, saga, context, saga_id, deadline)
        started = self._until_served(saga, message, timeout)
        if not isinstance(started, SagaStarted):
            raise _unexpected(started)
        return started.saga_id

    @overload
    def result(
        self, saga_id: str, saga: None = None, *, timeout: float | timedelta | None = None
    ) -> Outcome[dict[str, Any]]: ...

    @overload
    def result(self, saga_id: str, saga: type[Saga[C]], *, timeout: float | timedelta | None = None) -> Outcome[C]: ...

    def result(
        self, saga_id: str, saga: type[Saga[Any]] | None = None, *, timeout: float | timedelta | None = None
    ) -> Outcome[Any]:
        """Wait for the outcome of a saga that was started before, by anybody.

        `saga` says how to read its context; without it, the class of the saga's name in this process is taken, if it
        has one. `timeout` and errors are those of `run`; UnknownSagaError if the journal has no such saga.
        """
        message = AwaitSaga(new_id(), checked_id(saga_id))
        if not self._node_is_there() and (ended := self._read_result(saga_id)) is not None:
            return self._decoded(ended, saga)
        return self._outcome(self._ask(message, timeout, saga_id), saga_id, saga)

    # Asking about them.

    def status(self, saga_id: str) -> SagaStatus:
        """How a saga stands, at any time; with no node the journal itself is read, and `served` is False."""
        message = GetStatus(new_id(), checked_id(saga_id))
        reply = self._inquire(message)
        if not isinstance(reply, StatusIs):
            raise _unexpected(reply)
        status = reply.status
        if not status.state.ended:
            return status
        return attrs.evolve(status, outcome=self._outcome_if_legible(saga_id))

    def list(
        self, *, state: SagaState | str | None = None, saga: str | None = None, limit: int = 100
    ) -> Sequence[ListedSaga]:
        """The newest sagas first, at most `limit` of them; only those in this state, or of this saga's name."""
        chosen = None if state is None else SagaState(state)
        found: list[ListedSaga] = []
        page: int | None = None
        while len(found) < limit:
            reply = self._inquire(ListSagas(new_id(), chosen, saga, min(limit - len(found), 500), page))
            if not isinstance(reply, SagasAre):
                raise _unexpected(reply)
            found += reply.sagas
            page = reply.next_page
            if page is None:
                break
        return found

    def history(self, saga_id: str) -> tuple[Event, ...]:
        """The events of a saga, in order, as its journal has them; contexts are encoded."""
        reply = self._inquire(GetHistory(new_id(), checked_id(saga_id)))
        if not isinstance(reply, HistoryIs):
            raise _unexpected(reply)
        return reply.events

    # Its own life.

    def locate(self) -> tuple[Life, Located]:
        """The node's present life, and where its actors are; attaches first if need be. For `connect`."""
        self._refuse_event_loop()
        return self._client().located()

    def have_served(self) -> None:
        """Attach, and return once the node serves all sagas that it is asked to; raises what keeps it from one."""
        client, sources = self._client(), tuple(self._sources())
        self._used |= {source.saga: source for source in sources}
        for source in sources:
            self._have_served(client, source.saga)

    def close(self, drain: float = 5.0) -> None:
        """Let go; if this was the last coordinator of a node it started, the node ends.

        Attempts in flight may take `drain` seconds more to finish and be journalled; unfinished sagas stay in the
        journal (a warning in the log says how many) and go on when a node is started again. Afterwards every method
        raises CoordinatorClosedError. Closing again changes nothing.
        """
        drain = seconds(drain, "drain")
        with self._locked():
            if self._closed:
                return
            self._closed = True
            current, self._client_of = self._client_of, None
        if current is None or current[0] != os.getpid():
            return
        client = current[1]
        detached = client.leave(drain)
        client.close()
        if detached is not None and detached.ending:
            client.wait_for_end()
            if detached.unfinished:
                log.warning(
                    "%d unfinished sagas stay in %s; they go on when a node is started on it",
                    detached.unfinished,
                    self._url,
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # How: asking.

    def _message(
        self,
        kind: Any,
        saga: type[Saga[C]],
        context: C,
        saga_id: str | None,
        deadline: datetime | timedelta | None,
    ) -> Any:
        self._refuse_event_loop()
        source = _source_of(saga)
        self._used[source.saga] = source
        return kind.of(saga, context, saga_id=saga_id, deadline=_moment(deadline), limit=self._context_limit)

    def _until_served(self, saga: type[Saga[Any]], message: Any, timeout: float | timedelta | None) -> Any:
        """Ask; where the node does not serve the saga yet (any more), have it served first."""
        definition = saga.definition
        client = self._client()
        for _ in range(3):
            if client.fingerprint(definition.name) is None:
                self._have_served(client, definition.name)
            if client.fingerprint(definition.name) != definition.plan.fingerprint:
                raise DefinitionMismatchError(
                    f"the node serves another definition of {definition.name} than this process has; restart "
                    "whichever of the two is older"
                )
            reply = self._ask(message, timeout, message.saga_id)
            if not (isinstance(reply, Refused) and reply.code == Refusal.NOT_SERVED):
                return reply
            client.forget_served()
        raise NotServedError(reply.message)

    def _have_served(self, client: Client, saga: str) -> None:
        serving = self._wait(client.serve([self._used[saga]]), None, None)
        failure = serving.failures.get(saga)
        if failure is None:
            return
        if failure.code == "nested":
            raise NestedCoordinatorError(failure.message)
        raise NotServedError(failure.message)

    def _ask(self, message: Any, timeout: float | timedelta | None, saga_id: str) -> Any:
        self._refuse_event_loop()
        client = self._client()
        try:
            return self._wait(client.ask(message), timeout, saga_id)
        finally:
            client.forget(message.correlation_id)

    def _wait(self, future: Future[Any], timeout: float | timedelta | None, saga_id: str | None) -> Any:
        limit = None if timeout is None else seconds(timeout, "timeout")
        try:
            reply = future.result(limit)
        except TimeoutError:
            raise SagaTimeoutError(
                f"saga {saga_id!r} had not ended after {limit:g} s; it goes on, ask for result({saga_id!r})",
                saga_id or "",
            ) from None
        except KeyboardInterrupt:
            if saga_id is None:
                raise
            raise SagaInterruptedError(
                f"the wait for saga {saga_id!r} was interrupted; it goes on, ask for result({saga_id!r})", saga_id
            ) from None
        if isinstance(reply, Refused) and reply.code != Refusal.NOT_SERVED:
            raise _error_of(reply)
        return reply

    def _inquire(self, message: Any) -> Any:
        """Ask the status actor, or, where no node is, the journal itself."""
        self._refuse_event_loop()
        if self._node_is_there():
            try:
                return self._wait(self._client().ask(message, to_status=True), None, None)
            except NodeError:
                log.info("the node went while it was asked; the journal is read instead")
        return self._read(message)

    def _read(self, message: Any) -> Any:
        from saga_actors.actors.inquiry import Inquiry

        reader = open_reader(self._url)
        try:
            reply = Inquiry(reader).answer(message, frozenset())
        finally:
            reader.close()
        if isinstance(reply, Refused):
            raise _error_of(reply)
        return reply

    def _node_is_there(self) -> bool:
        from saga_actors.node_folder import NodeFolder

        self._refuse_closed()
        current = self._client_of
        if current is not None and current[0] == os.getpid() and current[1].connected:
            return True
        return NodeFolder.of(self._spec.journal_url).present_life() is not None

    def _client(self) -> Client:
        with self._locked():
            self._refuse_closed()
            current = self._client_of
            if current is None or current[0] != os.getpid():
                from saga_actors.actors.client import Client

                current = self._client_of = (os.getpid(), Client(self._spec, self._sources, starts=self._starts))
            return current[1]

    def _locked(self) -> threading.Lock:
        """The lock; a forked child has one of its own, for nobody would let go of its parent's."""
        if self._lock[0] != os.getpid():
            self._lock = (os.getpid(), threading.Lock())
        return self._lock[1]

    def _sources(self) -> Iterable[Source]:
        """What the node is asked to serve whenever we attach."""
        chosen = self._chosen if self._chosen is not None else _sources_of(registered_sagas(), lenient=True)
        return {**chosen, **self._used}.values()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise CoordinatorClosedError("this coordinator is closed; make a new one")

    def _refuse_event_loop(self) -> None:
        self._refuse_closed()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise EventLoopError(
            "a blocking call on a thread that runs an event loop; use await asyncio.to_thread(sagas.run, …)"
        )

    # How: outcomes.

    def _outcome(self, reply: Any, saga_id: str, saga: type[Saga[Any]] | None) -> Outcome[Any]:
        if isinstance(reply, SagaIsHeld):
            raise SagaHeldError(f"saga {saga_id!r} is held for an operator: {reply.reason}", saga_id, reply.reason)
        if not isinstance(reply, SagaEnded):
            raise _unexpected(reply)
        return self._decoded(reply, saga)

    def _decoded(self, ended: SagaEnded, saga: type[Saga[Any]] | None) -> Outcome[Any]:
        if saga is not None and saga.definition.name != ended.saga:
            raise SagaIdError(f"saga {ended.saga_id!r} is a {ended.saga}, not a {saga.definition.name}")
        chosen = saga if saga is not None else saga_named(ended.saga)
        return decoded_outcome(ended.encoded, dict if chosen is None else chosen.definition.context_type)

    def _read_result(self, saga_id: str) -> SagaEnded | None:
        """The end of a saga as the journal has it; None if it has none."""
        from saga_actors.execution import fold
        from saga_actors.status import outcome_of

        reader = open_reader(self._url)
        try:
            execution = fold((stored.event for stored in reader.load(saga_id)), reader.plan)
        finally:
            reader.close()
        outcome = outcome_of(execution)
        return None if outcome is None else SagaEnded("", saga_id, execution.plan.saga, outcome)

    def _outcome_if_legible(self, saga_id: str) -> Outcome[Any] | None:
        ended = self._read_result(saga_id)
        if ended is None:
            return None
        try:
            return self._decoded(ended, None)
        except ContextError:
            return None


def _positive(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SagaActorsError(f"{what} is {value!r}; expected a whole number of 1 or more")
    return value


def _moment(deadline: datetime | timedelta | None) -> datetime | None:
    if isinstance(deadline, timedelta):
        return datetime.now(UTC) + deadline
    if deadline is not None and (not isinstance(deadline, datetime) or deadline.tzinfo is None):
        raise SagaActorsError(f"deadline is {deadline!r}; expected an aware datetime, or a timedelta from now")
    return deadline


def _source_of(saga: Any) -> Source:
    from saga_actors.actors.protocol import Source

    if not (isinstance(saga, type) and issubclass(saga, Saga)):
        raise DefinitionError(f"{saga!r} is not a saga; expected a class that inherits from Saga")
    found = importable(saga)
    return Source(saga.definition.name, found.module, found.path)


def _sources_of(sagas: Iterable[type[Saga[Any]] | str], *, lenient: bool = False) -> dict[str, Source]:
    classes: list[type[Saga[Any]]] = []
    for each in sagas:
        classes += _sagas_in(importlib.import_module(each)) if isinstance(each, str) else [each]
    sources: dict[str, Source] = {}
    for saga in classes:
        try:
            sources[saga.definition.name] = _source_of(saga)
        except DefinitionError:
            if not lenient:
                raise
    return sources


def _sagas_in(module: ModuleType) -> list[type[Saga[Any]]]:
    return [saga for saga in registered_sagas() if vars(module).get(saga.__name__) is saga]


_ERRORS: dict[str, Callable[[str], SagaActorsError]] = {
    Refusal.NOT_SERVED: NotServedError,
    Refusal.MISMATCH: DefinitionMismatchError,
    Refusal.ID_TAKEN: SagaIdError,
    Refusal.UNKNOWN_SAGA: UnknownSagaError,
    Refusal.OVERLOADED: OverloadedError,
}


def _error_of(refused: Refused) -> SagaActorsError:
    return _ERRORS.get(refused.code, SagaActorsError)(refused.message)


def _unexpected(reply: Any) -> SagaActorsError:
    return SagaActorsError(f"the node answered with a {type(reply).__name__}, which means nothing here")
