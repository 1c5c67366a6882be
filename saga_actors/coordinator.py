"""The coordinator: how a program runs sagas, and asks about them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import attrs

from saga_actors import arguments
from saga_actors.blocking import refuse_on_event_loop
from saga_actors.definition import Saga, is_loading_for_node, saga_named
from saga_actors.errors import (
    ContextError,
    CorruptionError,
    NestedCoordinatorError,
    NodeError,
    SagaActorsError,
    SagaHeldError,
    SagaIdError,
    SagaInterruptedError,
    SagaPrunedError,
    SagaTimeoutError,
    StartManyError,
)
from saga_actors.events import Event
from saga_actors.journal import JournalUrl
from saga_actors.messages import (
    AwaitSaga,
    GetHistory,
    GetStatus,
    HistoryIs,
    ListedSaga,
    ListSagas,
    Refused,
    RunSaga,
    SagaEnded,
    SagaIsHeld,
    SagasAre,
    SagasStarted,
    SagaStarted,
    StartSaga,
    StartSagas,
    StatusIs,
    checked_id,
    decoded_outcome,
    in_messages,
    new_id,
    new_saga,
)
from saga_actors.node_spec import NodeSpec
from saga_actors.outcomes import C, Outcome, SagaState, SagaStatus
from saga_actors.retry import seconds
from saga_actors.subscription import Events
from saga_actors.verbs import OperatorVerbs, error_of_refusal, unexpected

if TYPE_CHECKING:
    from saga_actors.actors.attachment import Attachment, Wait
    from saga_actors.actors.protocol import Located, Source
    from saga_actors.node_spec import Life

log = logging.getLogger("saga_actors")

LINGER = 10.0
"""Seconds for which a node that a coordinator started stays when its last client vanished without a word."""

ANSWER = 5.0
"""Seconds for which a node may take to answer a question, before the journal itself is read."""

MOST_WORKERS, MOST_THREADS = 256, 1_000
LARGEST_CONTEXT = 32_000_000
"""A bigger one would not fit into a message, with what is around it; bytes."""


class Coordinator(OperatorVerbs):
    """Runs sagas durably, with a journal in a SQLite file; for threads, not for an event loop.

    `url`: `sqlite:///sagas.db` or, absolute, `sqlite:////var/lib/shop/sagas.db`. `node="auto"` attaches to the node
    of that journal, or starts one that ends with its last coordinator; `"attach"` never starts one, and waits 5 s for
    somebody else to (30 s, if it has lost one) before it raises NodeUnreachableError. `sagas`: the sagas that the node
    is asked to serve, as classes or names of modules; by default all that this process has. `telemetry` names
    functions, as "module:function", that a node started here tells every event. `workers` and `threads` are for a
    node started here: so many processes, each with so many blocking steps at a time.

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
        self._spec = NodeSpec(
            journal_url=str(self._url),
            sys_path=tuple(os.path.abspath(entry) for entry in sys.path),
            cwd=os.getcwd(),
            telemetry=arguments.functions(telemetry),
            workers=arguments.positive(workers, "workers", MOST_WORKERS),
            threads=arguments.positive(threads, "threads", MOST_THREADS),
            linger=LINGER,
            max_unfinished=arguments.positive(max_unfinished, "max_unfinished"),
            context_limit=arguments.positive(context_limit, "context_limit", LARGEST_CONTEXT),
        )
        from saga_actors.actors.archive import Archive
        from saga_actors.actors.attachment import Attachment
        from saga_actors.actors.offer import Offer

        self._archive = Archive(self._url)
        self._offer = Offer(sagas)
        self._attachment: Attachment = Attachment(lambda: self._spec, self._offer, starts=node == "auto")

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
        self._refuse_event_loop()
        wait, source = _wait(timeout), self._offer.use(saga)
        message = RunSaga.of(
            saga, context, saga_id=saga_id, deadline=arguments.moment(deadline), limit=self._spec.context_limit
        )
        return self._outcome(self._begin(message, source, saga, wait), message.saga_id, saga)

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
        self._refuse_event_loop()
        wait, source = _wait(timeout), self._offer.use(saga)
        until, limit = arguments.moment(deadline), self._spec.context_limit
        message = StartSaga.of(saga, context, saga_id=saga_id, deadline=until, limit=limit)
        started = self._begin(message, source, saga, wait)
        if not isinstance(started, SagaStarted):
            raise unexpected(started)
        return started.saga_id

    def start_many(
        self,
        saga: type[Saga[C]],
        contexts: Iterable[C],
        *,
        saga_ids: Iterable[str] | None = None,
        deadline: datetime | timedelta | None = None,
        timeout: float | timedelta | None = None,
    ) -> list[str]:
        """Start a saga for each context; all are durably accepted when this returns their ids, in order (P1).

        They go in one message and one commit (1,000 sagas or 256 kB of contexts at a time, if there are more). Each is
        accepted or refused for itself, and StartManyError says which: if any was refused, or `timeout` is over.
        """
        self._refuse_event_loop()
        wait, source, until = _wait(timeout), self._offer.use(saga), arguments.moment(deadline)
        given = list(contexts)
        ids, limit = arguments.ids_for(len(given), saga_ids), self._spec.context_limit
        new = [new_saga(saga, context, saga_id, limit) for context, saga_id in zip(given, ids, strict=True)]
        refused: dict[str, SagaActorsError] = {}
        accepted: list[str] = []
        failed: SagaActorsError | None = None
        for some in in_messages(new):
            try:
                message = StartSagas.of(saga, some, deadline=until)
                started: SagasStarted = self._attachment.ask_served(message, source, saga.definition.plan, wait)
            except TimeoutError:
                break
            except SagaActorsError as error:
                if not accepted:
                    raise
                failed = error
                break
            refused |= {saga_id: error_of_refusal(Refused("", *why)) for saga_id, why in started.refused.items()}
            accepted += [one.saga_id for one in some if one.saga_id not in refused]
        if len(accepted) < len(new):
            unanswered = [one.saga_id for one in new[len(accepted) + len(refused) :]]
            raise StartManyError(accepted, refused, unanswered, failed) from failed
        return accepted

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
        self._refuse_event_loop()
        wait, message = _wait(timeout), AwaitSaga(new_id(), checked_id(saga_id))
        if not self._attachment.is_node_there() and (ended := self._archive.ended(message.saga_id)) is not None:
            return _decoded(ended, saga)
        with self._told_of(message.saga_id, wait):
            reply = self._attachment.ask(message, wait)
        return self._outcome(reply, message.saga_id, saga)

    # Asking about them.

    def status(self, saga_id: str) -> SagaStatus:
        """How a saga stands, at any time; with no node the journal itself is read, and `served` is False."""
        reply = self._inquire(GetStatus(new_id(), checked_id(saga_id)))
        if not isinstance(reply, StatusIs):
            raise unexpected(reply)
        status = reply.status
        if not status.state.ended or status.pruned:
            return status
        return attrs.evolve(status, outcome=self._outcome_if_legible(status.saga_id))

    def list(
        self,
        *,
        state: SagaState | str | None = None,
        saga: type[Saga[Any]] | str | None = None,
        since: datetime | timedelta | None = None,
        limit: int = 100,
        after: ListedSaga | None = None,
    ) -> Sequence[ListedSaga]:
        """The newest sagas first, at most `limit` of them; only those in this state, or of this class or name.

        `since`: accepted since then, or within so long. For the next page give the last of this one as `after`; sagas
        that come or change meanwhile move none of the others.
        """
        chosen, name = arguments.state_named(state), arguments.saga_name(saga)
        limit, born = arguments.positive(limit, "limit"), None if since is None else arguments.past(since, "since")
        found: list[ListedSaga] = []
        page = None if after is None else after.number
        while len(found) < limit:
            reply = self._inquire(ListSagas(new_id(), chosen, name, min(limit - len(found), 500), page, born))
            if not isinstance(reply, SagasAre):
                raise unexpected(reply)
            found += reply.sagas
            page = reply.next_page
            if page is None:
                break
        return found

    def history(self, saga_id: str) -> tuple[Event, ...]:
        """The events of a saga, in order, as its journal has them; contexts are encoded."""
        reply = self._inquire(GetHistory(new_id(), checked_id(saga_id)))
        if not isinstance(reply, HistoryIs):
            raise unexpected(reply)
        return reply.events

    def events(self, saga_id: str | None = None) -> Events:
        """What happens from now on, as it is journalled: an iterator of `TelemetryEvent`, which waits for the next.

        With a `saga_id`, what has happened to that saga from its first event on, until it has ended; it need not be
        there yet. Read from the journal itself, so that it needs no node and starts none. It holds a few hundred
        events at most; whoever is slow loses none of them, for the others wait in the journal.
        """
        self._refuse_event_loop()
        return Events(self._url, None if saga_id is None else checked_id(saga_id))

    # Its own life.

    def locate(self) -> tuple[Life, Located]:
        """The node's present life, and where its actors are; attaches first if need be. For `connect`."""
        self._refuse_event_loop()
        return self._attachment.located()

    def have_served(self) -> None:
        """Attach, and return once the node has been asked for all sagas that this coordinator offers.

        Raises what keeps it from one that was named with `sagas`; of others it serves those that it can.
        """
        self._refuse_event_loop()
        self._attachment.have_all_served()

    def close(self, drain: float | timedelta = 5.0) -> None:
        """Let go; if this was the last coordinator of a node that one started, that ends, and has when this returns.

        Attempts in flight may take `drain` seconds more to finish and be journalled; unfinished sagas stay in the
        journal (a warning in the log says how many) and go on when a node is started again. Afterwards every method
        raises CoordinatorClosedError, and so does what still waits on other threads. Closing again changes nothing.
        It may be called on a thread with an event loop, which stands still meanwhile.
        """
        self._attachment.close(seconds(drain, "drain"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # How.

    def _begin(self, message: RunSaga | StartSaga, source: Source, saga: type[Saga[Any]], wait: Wait) -> Any:
        with self._told_of(message.saga_id, wait):
            return self._attachment.ask_served(message, source, saga.definition.plan, wait)

    @contextmanager
    def _told_of(self, saga_id: str, wait: Wait) -> Iterator[None]:
        """Whoever does not wait to the end is told of the saga that it waited for."""
        goes_on = f"if it has begun, it goes on: ask for result({saga_id!r}), or start it again under the same id"
        try:
            yield
        except TimeoutError:
            why = f"saga {saga_id!r} gave no answer within {wait.limit:g} s; {goes_on}"
            raise SagaTimeoutError(why, saga_id) from None
        except KeyboardInterrupt:
            raise SagaInterruptedError(f"the wait for saga {saga_id!r} was interrupted; {goes_on}", saga_id) from None

    def _inquire(self, question: GetStatus | GetHistory | ListSagas) -> Any:
        """Ask the status actor, or, where no node is, the journal itself."""
        self._refuse_event_loop()
        if self._attachment.is_node_there():
            try:
                return self._attachment.ask(question, _wait(ANSWER), to_status=True)
            except (NodeError, TimeoutError):
                log.info("the node gave no answer; the journal is read instead")
        reply = self._archive.answer(question)
        if isinstance(reply, Refused):
            raise error_of_refusal(reply)
        return reply

    def _refuse_event_loop(self) -> None:
        """Also refuse whatever is asked after `close`."""
        self._attachment.refuse_closed()
        refuse_on_event_loop()

    def _outcome(self, reply: Any, saga_id: str, saga: type[Saga[Any]] | None) -> Outcome[Any]:
        if isinstance(reply, SagaIsHeld):
            raise SagaHeldError(f"saga {saga_id!r} is held for an operator: {reply.reason}", saga_id, reply.reason)
        if not isinstance(reply, SagaEnded):
            raise unexpected(reply)
        return _decoded(reply, saga)

    def _outcome_if_legible(self, saga_id: str) -> Outcome[Any] | None:
        try:
            ended = self._archive.ended(saga_id)
            return None if ended is None else _decoded(ended, None)
        except (ContextError, CorruptionError, SagaPrunedError):
            return None


def _decoded(ended: SagaEnded, saga: type[Saga[Any]] | None) -> Outcome[Any]:
    if saga is not None and saga.definition.name != ended.saga:
        raise SagaIdError(
            f"saga {ended.saga_id!r} is a {ended.saga}, not a {saga.definition.name}; ask with the class it was "
            "started with"
        )
    chosen = saga if saga is not None else saga_named(ended.saga)
    return decoded_outcome(ended.encoded, dict if chosen is None else chosen.definition.context_type)


def _wait(timeout: float | timedelta | None) -> Wait:
    from saga_actors.actors.attachment import Wait

    return Wait(timeout)
