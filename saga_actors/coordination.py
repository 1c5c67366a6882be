"""What coordinators do, written once, as coroutines: running sagas, and asking about them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, overload

import attrs

from saga_actors import arguments
from saga_actors.definition import Saga, saga_named
from saga_actors.errors import (
    ContextError,
    NodeError,
    SagaActorsError,
    SagaHeldError,
    SagaIdError,
    SagaInterruptedError,
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
    from saga_actors.actors.archive import Archive
    from saga_actors.actors.attachment import Wait
    from saga_actors.actors.client import Client
    from saga_actors.actors.offer import Offer
    from saga_actors.actors.protocol import Located, Source
    from saga_actors.node_spec import Life
    from saga_actors.waiting import Waiting

log = logging.getLogger("saga_actors")

ANSWER = 5.0
"""Seconds for which a node may take to answer a question, before the journal itself is read."""


class Coordination(OperatorVerbs):
    """What a coordinator does at its journal. `waiting` says how its callers wait.

    A `client` and an `archive` are given where the node, and its journal, are none that could be found: in rehearsals.
    """

    def __init__(
        self,
        spec: NodeSpec,
        offer: Offer,
        waiting: Waiting,
        *,
        starts: bool = False,
        client: Client | None = None,
        archive: Archive | None = None,
    ) -> None:
        from saga_actors.actors.archive import Archive
        from saga_actors.actors.attachment import Attachment

        self._spec = spec
        self._offer = offer
        self._waiting = waiting
        self._archive = archive or Archive(JournalUrl.parse(spec.journal_url))
        self._attachment = Attachment(lambda: self._spec, offer, waiting, starts=starts, client=client)

    # Running sagas.

    async def run(
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
        with others, SagaIdError. Raises SagaHeldError if the saga is parked for an operator. Nothing was accepted if
        it raises ContextError (it cannot be stored), NotServedError or DefinitionMismatchError (the node cannot import
        the saga, or has another version of it), or OverloadedError (it is full, or its disk).
        """
        wait, source = _wait(timeout), self._offer.use(saga)
        message = RunSaga.of(
            saga, context, saga_id=saga_id, deadline=arguments.moment(deadline), limit=self._spec.context_limit
        )
        return self._outcome(await self._begin(message, source, saga, wait), message.saga_id, saga)

    async def start(
        self,
        saga: type[Saga[C]],
        context: C,
        *,
        saga_id: str | None = None,
        deadline: datetime | timedelta | None = None,
        timeout: float | timedelta | None = None,
    ) -> str:
        """Start a saga; it is durably accepted when this returns its id (P1). All else is as for `run`."""
        wait, source = _wait(timeout), self._offer.use(saga)
        until, limit = arguments.moment(deadline), self._spec.context_limit
        message = StartSaga.of(saga, context, saga_id=saga_id, deadline=until, limit=limit)
        started = await self._begin(message, source, saga, wait)
        if not isinstance(started, SagaStarted):
            raise unexpected(started)
        return started.saga_id

    async def start_many(
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
        accepted or refused for itself, and StartManyError says which: if any was refused, or `timeout` is over. All
        else is as for `run`, and raised if nothing was accepted.
        """
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
                started: SagasStarted = await self._attachment.ask_served(message, source, saga.definition.plan, wait)
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
    async def result(
        self, saga_id: str, saga: None = None, *, timeout: float | timedelta | None = None
    ) -> Outcome[dict[str, Any]]: ...

    @overload
    async def result(
        self, saga_id: str, saga: type[Saga[C]], *, timeout: float | timedelta | None = None
    ) -> Outcome[C]: ...

    async def result(
        self, saga_id: str, saga: type[Saga[Any]] | None = None, *, timeout: float | timedelta | None = None
    ) -> Outcome[Any]:
        """Wait for the outcome of a saga that was started before, by anybody.

        `saga` says how to read its context; without it, the class of the saga's name in this process is taken, if it
        has one. `timeout` and errors are those of `run`; UnknownSagaError if the journal has no such saga.
        """
        wait, message = _wait(timeout), AwaitSaga(new_id(), checked_id(saga_id))
        if not self._attachment.is_node_there():
            ended = await self._waiting.call(self._archive.ended, message.saga_id)
            if ended is not None:
                return _decoded(ended, saga)
        with self._told_of(message.saga_id, wait):
            reply = await self._attachment.ask(message, wait)
        return self._outcome(reply, message.saga_id, saga)

    # Asking about them.

    async def status(self, saga_id: str) -> SagaStatus:
        """How a saga stands, at any time; with no node the journal itself is read, and `served` is False.

        Raises UnknownSagaError if the journal has no such saga.
        """
        reply = await self._inquire(GetStatus(new_id(), checked_id(saga_id)))
        if not isinstance(reply, StatusIs):
            raise unexpected(reply)
        return attrs.evolve(reply.status, outcome=_outcome_if_legible(reply))

    async def list(
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
            reply = await self._inquire(ListSagas(new_id(), chosen, name, min(limit - len(found), 500), page, born))
            if not isinstance(reply, SagasAre):
                raise unexpected(reply)
            found += reply.sagas
            page = reply.next_page
            if page is None:
                break
        return found

    async def history(self, saga_id: str) -> tuple[Event, ...]:
        """The events of a saga, in order, as its journal has them; contexts are encoded.

        Raises UnknownSagaError if the journal has no such saga, SagaPrunedError if its records were removed,
        CorruptionError if one cannot be read.
        """
        reply = await self._inquire(GetHistory(new_id(), checked_id(saga_id)))
        if not isinstance(reply, HistoryIs):
            raise unexpected(reply)
        return reply.events

    def events(self, saga_id: str | None = None) -> Events:
        """What happens, as it is journalled; see the faces."""
        return Events(self._archive.url, None if saga_id is None else checked_id(saga_id), self._archive.opened)

    # Its own life.

    async def locate(self) -> tuple[Life, Located]:
        """The node's present life, and where its actors are; attaches first if need be. For `connect`."""
        return await self._attachment.located()

    async def have_served(self) -> None:
        """Attach, and return once the node has been asked for all sagas that this coordinator offers.

        Raises what keeps it from one that was named with `sagas`; of others it serves those that it can.
        """
        await self._attachment.have_all_served()

    def close(self, drain: float | timedelta = 5.0) -> None:
        """Let go; see the faces."""
        self._attachment.close(seconds(drain, "drain"))

    def client(self) -> Client:
        """The client of this process; made if there is none, which takes a moment."""
        return self._attachment.client()

    def refuse_closed(self) -> None:
        """Raise CoordinatorClosedError after `close`."""
        self._attachment.refuse_closed()

    # How.

    async def _begin(self, message: RunSaga | StartSaga, source: Source, saga: type[Saga[Any]], wait: Wait) -> Any:
        with self._told_of(message.saga_id, wait):
            return await self._attachment.ask_served(message, source, saga.definition.plan, wait)

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

    async def _inquire(self, question: GetStatus | GetHistory | ListSagas) -> Any:
        """Ask the status actor, or, where no node is, the journal itself."""
        if self._attachment.is_node_there():
            try:
                return await self._attachment.ask(question, _wait(ANSWER), to_status=True)
            except (NodeError, TimeoutError):
                log.info("the node gave no answer; the journal is read instead")
        reply = await self._waiting.call(self._archive.answer, question)
        if isinstance(reply, Refused):
            raise error_of_refusal(reply)
        return reply

    def _outcome(self, reply: Any, saga_id: str, saga: type[Saga[Any]] | None) -> Outcome[Any]:
        if isinstance(reply, SagaIsHeld):
            raise SagaHeldError(f"saga {saga_id!r} is held for an operator: {reply.reason}", saga_id, reply.reason)
        if not isinstance(reply, SagaEnded):
            raise unexpected(reply)
        return _decoded(reply, saga)


def _outcome_if_legible(reply: StatusIs) -> Outcome[Any] | None:
    status = reply.status
    try:
        return reply.encoded and _decoded(SagaEnded("", status.saga_id, status.saga, reply.encoded), None)
    except ContextError:
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
