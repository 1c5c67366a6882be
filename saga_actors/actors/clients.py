"""Who waits for which saga, who is there at all, and what goes out to whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from saga_actors.actors.ends import Ends
from saga_actors.actors.protocol import Address, Bundle
from saga_actors.evolve import derived
from saga_actors.messages import HistoryIs, SagaEnded, SagaIsHeld, SagasAre, StatusIs

GONE = 10.0
"""Seconds without a heartbeat after which a client is taken for gone."""


BUNDLE_BYTES = 256_000
"""A bundle of answers is ended at so many bytes, roughly; a bigger answer travels alone."""


@attrs.frozen(slots=False)
class Peer:
    """Whoever asked. Who asks in bundles is answered in bundles; a lone actor gets its messages one by one."""

    address: Address
    bundled: bool = False

    @derived
    def key(self) -> str:
        """The address, as something that can be hashed."""
        return str(self.address)


@attrs.frozen
class Waiter:
    """Somebody who waits for the end of a saga."""

    peer: Peer
    correlation_id: str


class Refusing(Exception):
    """What somebody asked for is not done; its text says why, and what would be."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Clients:
    """All who talk to one supervisor from outside."""

    def __init__(self, now: float) -> None:
        self.ends = Ends()
        self._waiters: dict[str, dict[tuple[str, str], Waiter]] = {}
        self._seen: dict[str, float] = {}
        self._out: dict[tuple[str, bool], tuple[Peer, list[Any]]] = {}
        self._alone_since = now

    def wait(self, saga_id: str, waiter: Waiter) -> None:
        """Remember who waits; asking again changes nothing."""
        self._waiters.setdefault(saga_id, {})[waiter.peer.key, waiter.correlation_id] = waiter

    def waiting_for(self, saga_id: str) -> list[Waiter]:
        """Everybody who waits for this saga; they wait no more."""
        return list(self._waiters.pop(saga_id, {}).values())

    def tell_end(self, saga_id: str, ending: SagaEnded | SagaIsHeld) -> None:
        """Answer everybody who waits for this saga, and be ready for those who ask later."""
        for waiter in self.waiting_for(saga_id):
            self.answer(waiter.peer, attrs.evolve(ending, correlation_id=waiter.correlation_id))
        if isinstance(ending, SagaEnded):
            self.ends.keep(ending)

    def answer(self, peer: Peer, message: Any) -> None:
        """Put an answer out, to go with the rest."""
        self._out.setdefault((peer.key, peer.bundled), (peer, []))[1].append(message)

    def outgoing(self) -> list[tuple[Address, Any]]:
        """What is to be sent."""
        sent: list[tuple[Address, Any]] = []
        for peer, messages in self._out.values():
            if peer.bundled:
                sent.extend((peer.address, bundle) for bundle in _bundles(messages))
            else:
                sent.extend((peer.address, message) for message in messages)
        self._out.clear()
        return sent

    # Who is there.

    def heard(self, client: str, now: float) -> None:
        """A client has given a sign of life; a nameless one is a step of this node, which does not live for it."""
        if client:
            self._seen[client] = now

    def gone(self, client: str, now: float) -> None:
        """A client has said that it goes."""
        if self._seen.pop(client, None) is not None and not self._seen:
            self._alone_since = now

    def alone_for(self, now: float) -> float:
        """Seconds for which no client has been there."""
        return now - self._alone_since if self.nobody_left(now) else 0.0

    def nobody_left(self, now: float) -> bool:
        """Whether no client is there any more."""
        for client in [c for c, seen in self._seen.items() if now - seen > GONE]:
            self.gone(client, now)
        return not self._seen


def _bundles(messages: Iterable[Any]) -> Iterator[Bundle]:
    bundle: list[Any] = []
    room = BUNDLE_BYTES
    for message in messages:
        size = size_of(message)
        if bundle and size > room:
            yield Bundle(tuple(bundle))
            bundle, room = [], BUNDLE_BYTES
        bundle.append(message)
        room -= size
    yield Bundle(tuple(bundle))


def size_of(answer: Any) -> int:
    """Roughly the bytes of an answer on its way."""
    match answer:
        case SagaEnded():
            return 1_000 + len(answer.encoded.context)
        case StatusIs(encoded=outcome) if outcome is not None:
            return 1_000 + len(outcome.context)
        case HistoryIs():
            return sum(500 + len(getattr(event, "context", None) or b"") for event in answer.events)
        case SagasAre():
            return 300 * len(answer.sagas)
        case _:
            return 1_000
