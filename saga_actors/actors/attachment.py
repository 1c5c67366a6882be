"""A coordinator's tie to its node: a client, made at first use and anew in a forked child; and how it is asked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from saga_actors.actors import process
from saga_actors.actors.offer import Offer
from saga_actors.actors.protocol import Located, Serve, Serving, Source
from saga_actors.errors import (
    ContextError,
    CoordinatorClosedError,
    CorruptionError,
    DefinitionMismatchError,
    NestedCoordinatorError,
    NotAllowedError,
    NotServedError,
    OverloadedError,
    SagaActorsError,
    SagaIdError,
    SagaPrunedError,
    UnknownSagaError,
)
from saga_actors.messages import Refusal, Refused, new_id
from saga_actors.node_folder import NodeFolder
from saga_actors.node_spec import Life, NodeSpec
from saga_actors.plan import SagaPlan
from saga_actors.retry import seconds
from saga_actors.waiting import Waiting

if TYPE_CHECKING:
    from saga_actors.actors.client import Client

log = logging.getLogger("saga_actors")

NESTED = "nested"

ROUNDS = 10
"""How often a saga that was just said to be served may turn out not to be: its workers may die one after the other."""


class Wait:
    """How long a call may take: `timeout` seconds from now, or as long as it takes."""

    def __init__(self, timeout: float | timedelta | None) -> None:
        self.limit = None if timeout is None else seconds(timeout, "timeout")
        self._until = None if self.limit is None else time.monotonic() + self.limit

    @property
    def left(self) -> float | None:
        """Seconds; None without a limit."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())


class Attachment:
    """The client of this process, as long as the coordinator is not closed."""

    def __init__(
        self,
        spec: Callable[[], NodeSpec],
        offer: Offer,
        waiting: Waiting,
        *,
        starts: bool,
        client: Client | None = None,
    ) -> None:
        self._spec = spec
        self._offer = offer
        self._waiting = waiting
        self._starts = starts
        self._lock = threading.Lock()
        self._client = client
        self._closed = False
        process.abandon_after_fork(self)

    def abandon(self) -> None:
        """Forget the parent's client, in a forked child, and its lock: nobody here would let go of it."""
        self._lock = threading.Lock()
        self._client = None

    def refuse_closed(self) -> None:
        """Raise CoordinatorClosedError after `close`."""
        if self._closed:
            raise CoordinatorClosedError("this coordinator is closed; make a new one")

    # Asking.

    def is_node_there(self) -> bool:
        """Whether there is a node to ask; looks, and starts none."""
        client = self._client
        if client is not None and client.connected:
            return True
        return NodeFolder.of(self._spec().journal_url).present_life() is not None

    async def ask(self, message: Any, wait: Wait, *, to_status: bool = False) -> Any:
        """The answer; TimeoutError when the wait is over. A refusal is raised, unless it is that of NOT_SERVED."""
        client = await self._present()
        try:
            reply = await self._waiting.answer(client.ask(message, to_status=to_status), wait.left)
        finally:
            client.forget(message.correlation_id)
        if isinstance(reply, Refused) and reply.code != Refusal.NOT_SERVED:
            raise error_of(reply)
        return reply

    async def ask_many(self, messages: Sequence[Any]) -> list[Any]:
        """Ask several things at once; the answers in their order, refusals too."""
        client = await self._present()
        try:
            return [await self._waiting.answer(future, None) for future in client.ask_many(messages)]
        finally:
            for message in messages:
                client.forget(message.correlation_id)

    async def ask_served(self, message: Any, source: Source, plan: SagaPlan, wait: Wait) -> Any:
        """The answer to a message that starts a saga; where the node does not serve it (any more), it is made to."""
        for _ in range(ROUNDS):
            await self.have_served(source, plan, wait)
            reply = await self.ask(message, wait)
            if not (isinstance(reply, Refused) and reply.code == Refusal.NOT_SERVED):
                return reply
            (await self._present()).forget_served()
        raise NotServedError(reply.message)

    async def have_served(self, source: Source, plan: SagaPlan, wait: Wait) -> None:
        """Return once the node serves this saga, by this plan; raises what keeps it from that."""
        client = await self._present()
        if client.fingerprint(source.saga) == plan.fingerprint:
            return
        serving: Serving = await self.ask(Serve(new_id(), (source,)), wait)
        if source.saga in serving.failures:
            raise _failed(serving, source)
        if serving.fingerprints.get(source.saga) != plan.fingerprint:
            raise DefinitionMismatchError(
                f"the node serves another definition of {source.saga} than this process has "
                f"({serving.fingerprints.get(source.saga)}, not {plan.fingerprint}); restart whichever of the two is "
                "older"
            )

    async def have_all_served(self) -> None:
        """Return once the node has been asked to serve all that is offered, and has tried."""
        sources = self._offer.sources()
        if not sources:
            await self.located()
            return
        serving: Serving = await self.ask(Serve(new_id(), sources), Wait(None))
        for source in sources:
            failure = serving.failures.get(source.saga)
            if failure is not None and (self._offer.is_named or failure.code == NESTED):
                raise _failed(serving, source)

    async def located(self) -> tuple[Life, Located]:
        """The node's present life, and where its actors are; attaches first if need be."""
        client = await self._present()
        return await self._waiting.call(client.located)

    # Going.

    def close(self, drain: float) -> None:
        """Let go of the node, and wait for its end if nobody else has it; idempotent."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is None or not client.alive:
            return
        try:
            detached = client.leave(drain)
        finally:
            client.close()
        if detached is None or not detached.ending:
            return
        client.wait_for_end()
        if detached.unfinished:
            log.warning(
                "%d unfinished sagas stay in %s; they go on when a node is started on it",
                detached.unfinished,
                self._spec().journal_url,
            )

    async def _present(self) -> Client:
        client = self._client
        if client is not None and client.alive and not self._closed:
            return client
        return await self._waiting.call(self.client)

    def client(self) -> Client:
        """The client of this process; made if there is none, which takes a moment."""
        with self._lock:
            self.refuse_closed()
            from saga_actors.actors.client import Client

            if self._client is None or not self._client.alive:
                self._client = Client(self._spec(), self._offer.sources, starts=self._starts)
            return self._client


def _failed(serving: Serving, source: Source) -> SagaActorsError:
    failure = serving.failures[source.saga]
    if failure.code == NESTED:
        return NestedCoordinatorError(failure.message)
    return NotServedError(f"the node does not serve {source.saga}: {failure.message}")


_ERRORS: dict[str, Callable[[str], SagaActorsError]] = {
    Refusal.NOT_SERVED: NotServedError,
    Refusal.MISMATCH: DefinitionMismatchError,
    Refusal.ID_TAKEN: SagaIdError,
    Refusal.UNKNOWN_SAGA: UnknownSagaError,
    Refusal.OVERLOADED: OverloadedError,
    Refusal.CORRUPT: CorruptionError,
    Refusal.TOO_LARGE: ContextError,
    Refusal.NOT_ALLOWED: NotAllowedError,
    Refusal.PRUNED: SagaPrunedError,
}


def error_of(refused: Refused) -> SagaActorsError:
    """What a refusal is to a caller."""
    return _ERRORS.get(refused.code, SagaActorsError)(refused.message)
