"""A coordinator's tie to its node: a client, made at first use and anew in a forked child; and how it is asked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
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

    def __init__(self, spec: Callable[[], NodeSpec], offer: Offer, *, starts: bool) -> None:
        self._spec = spec
        self._offer = offer
        self._starts = starts
        self._lock = threading.Lock()
        self._client: Client | None = None
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

    def ask(self, message: Any, wait: Wait, *, to_status: bool = False) -> Any:
        """The answer; TimeoutError when the wait is over. A refusal is raised, unless it is that of NOT_SERVED."""
        client = self._present()
        try:
            reply = client.ask(message, to_status=to_status).result(wait.left)
        finally:
            client.forget(message.correlation_id)
        if isinstance(reply, Refused) and reply.code != Refusal.NOT_SERVED:
            raise error_of(reply)
        return reply

    def ask_many(self, messages: Sequence[Any]) -> list[Future[Any]]:
        """Ask several things at once; the futures have the answers, refusals too, and `forget` gives them up."""
        return self._present().ask_many(messages)

    def ask_served(self, message: Any, source: Source, plan: SagaPlan, wait: Wait) -> Any:
        """The answer to a message that starts a saga; where the node does not serve it (any more), it is made to."""
        for _ in range(ROUNDS):
            self.have_served(source, plan, wait)
            reply = self.ask(message, wait)
            if not (isinstance(reply, Refused) and reply.code == Refusal.NOT_SERVED):
                return reply
            self._present().forget_served()
        raise NotServedError(reply.message)

    def have_served(self, source: Source, plan: SagaPlan, wait: Wait) -> None:
        """Return once the node serves this saga, by this plan; raises what keeps it from that."""
        client = self._present()
        if client.fingerprint(source.saga) == plan.fingerprint:
            return
        serving: Serving = self.ask(Serve(new_id(), (source,)), wait)
        if source.saga in serving.failures:
            raise _failed(serving, source)
        if serving.fingerprints.get(source.saga) != plan.fingerprint:
            raise DefinitionMismatchError(
                f"the node serves another definition of {source.saga} than this process has "
                f"({serving.fingerprints.get(source.saga)}, not {plan.fingerprint}); restart whichever of the two is "
                "older"
            )

    def have_all_served(self) -> None:
        """Return once the node has been asked to serve all that is offered, and has tried."""
        sources = self._offer.sources()
        if not sources:
            self.located()
            return
        serving: Serving = self.ask(Serve(new_id(), sources), Wait(None))
        for source in sources:
            failure = serving.failures.get(source.saga)
            if failure is not None and (self._offer.is_named or failure.code == NESTED):
                raise _failed(serving, source)

    def located(self) -> tuple[Life, Located]:
        """The node's present life, and where its actors are; attaches first if need be."""
        return self._present().located()

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

    def _present(self) -> Client:
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
