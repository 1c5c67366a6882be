"""The messages by which code that lives among actors uses saga_actors: what one sends, and what comes back.

Send them to `node.supervisor` (all of them) or `node.status_actor` (`GetStatus`, `ListSagas`, `GetHistory`); the answer
carries the correlation id of its question. Every message is harmless when lost, doubled or late: ids of sagas are made
before the first send, so asking again is safe.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Self, cast

import attrs

from saga_actors.compact_form import compact
from saga_actors.definition import Saga
from saga_actors.errors import SagaActorsError, SagaIdError
from saga_actors.events import Event
from saga_actors.journal.codec import decode_context, digest_of, encode_context
from saga_actors.outcomes import C, Outcome, SagaState, SagaStatus

ID_LENGTH = 200
"""The most characters of a saga id."""


def new_id() -> str:
    """A fresh id for a saga or a question."""
    return uuid.uuid4().hex


def checked_id(saga_id: object) -> str:
    """`saga_id` if it can be one; `SagaIdError` if it is empty, too long or has control characters."""
    if not isinstance(saga_id, str):
        raise SagaIdError(f"saga_id is {saga_id!r}; expected a str of 1 to {ID_LENGTH} characters")
    if not 1 <= len(saga_id) <= ID_LENGTH:
        raise SagaIdError(f"saga_id has {len(saga_id)} characters; expected 1 to {ID_LENGTH}")
    if not saga_id.isprintable():
        raise SagaIdError(f"saga_id is {saga_id!r}; expected no control characters or line breaks")
    return str.__str__(saga_id)  # of a subclass, only the text: nobody else need have its module


def _a(*kinds: type[Any]) -> Callable[[Any, Any, Any], None]:
    """Refuses any other kind of value where the message is made, before it can puzzle whoever it is sent to."""

    def check(message: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, kinds):
            what, expected = f"{type(message).__name__}.{attribute.name}", " or ".join(kind.__name__ for kind in kinds)
            raise SagaActorsError(f"{what} is of type {type(value).__name__}; expected {expected}")

    return check


@attrs.frozen(kw_only=True)
class _Start:
    correlation_id: str = attrs.field(validator=_a(str))
    saga_id: str = attrs.field(validator=_a(str))
    saga: str = attrs.field(validator=_a(str))
    fingerprint: str = attrs.field(validator=_a(str))
    digest: str = attrs.field(validator=_a(str))
    context: bytes = attrs.field(repr=False, validator=_a(bytes))
    deadline: float | None = attrs.field(default=None, validator=_a(float, int, type(None)))

    @classmethod
    def of(
        cls,
        saga: type[Saga[C]],
        context: C,
        *,
        saga_id: str | None = None,
        deadline: datetime | None = None,
        limit: int = 1_000_000,
    ) -> Self:
        """The message for `saga` with `context`, whose encoding has `limit` bytes at most.

        Raises ContextError if the context cannot be stored, SagaIdError if `saga_id` can be none.
        """
        definition = saga.definition
        encoded = encode_context(context, definition.context_type, limit=limit)
        return cls(
            correlation_id=new_id(),
            saga_id=new_id() if saga_id is None else checked_id(saga_id),
            saga=definition.name,
            fingerprint=definition.plan.fingerprint,
            digest=digest_of(encoded),
            context=encoded,
            deadline=None if deadline is None else deadline.timestamp(),
        )


@compact
@attrs.frozen(kw_only=True)
class RunSaga(_Start):
    """Start a saga, and answer when it ends: `SagaEnded`, `SagaIsHeld` or `Refused`."""


@compact
@attrs.frozen(kw_only=True)
class StartSaga(_Start):
    """Start a saga, and answer once it is durably accepted: `SagaStarted` or `Refused`."""


@compact
@attrs.frozen
class NewSaga:
    """One of several sagas to start; `context` is encoded, `digest` over it."""

    saga_id: str = attrs.field(validator=_a(str))
    digest: str = attrs.field(validator=_a(str))
    context: bytes = attrs.field(repr=False, validator=_a(bytes))


def _new_sagas(message: Any, _: Any, sagas: Any) -> None:
    if not isinstance(sagas, tuple) or not sagas or not all(isinstance(one, NewSaga) for one in sagas):
        raise SagaActorsError(f"{type(message).__name__}.sagas is {sagas!r:.100}; expected a tuple of NewSaga")


@compact
@attrs.frozen(kw_only=True)
class StartSagas:
    """Start several sagas of one class in one commit; answered by `SagasStarted`, or `Refused` if none can be."""

    correlation_id: str = attrs.field(validator=_a(str))
    saga: str = attrs.field(validator=_a(str))
    fingerprint: str = attrs.field(validator=_a(str))
    sagas: tuple[NewSaga, ...] = attrs.field(repr=False, validator=_new_sagas)
    deadline: float | None = attrs.field(default=None, validator=_a(float, int, type(None)))

    @classmethod
    def of(cls, saga: type[Saga[C]], sagas: Iterable[NewSaga], *, deadline: datetime | None = None) -> Self:
        """The message for these; keep one under 256 kB and 1,000 sagas, for others wait meanwhile."""
        definition = saga.definition
        return cls(
            correlation_id=new_id(),
            saga=definition.name,
            fingerprint=definition.plan.fingerprint,
            sagas=tuple(sagas),
            deadline=None if deadline is None else deadline.timestamp(),
        )


def new_saga(saga: type[Saga[C]], context: C, saga_id: str | None = None, limit: int = 1_000_000) -> NewSaga:
    """One of several to start, its encoded context of `limit` bytes at most; raises as `StartSaga.of` does."""
    encoded = encode_context(context, saga.definition.context_type, limit=limit)
    return NewSaga(new_id() if saga_id is None else checked_id(saga_id), digest_of(encoded), encoded)


def in_messages(sagas: Sequence[NewSaga], most: int = 1_000, size: int = 256_000) -> Iterator[Sequence[NewSaga]]:
    """These, in order, in parts of `most` sagas and `size` bytes of contexts at most, or a single bigger one."""
    begin = room = 0
    for end, one in enumerate(sagas):
        length = 150 + len(one.context)
        if end > begin and (length > room or end - begin == most):
            yield sagas[begin:end]
            begin = end
        if end == begin:
            room = size
        room -= length
    if sagas:
        yield sagas[begin:]


@compact
@attrs.frozen
class AwaitSaga:
    """Answer when this saga ends: `SagaEnded`, `SagaIsHeld` or `Refused`."""

    correlation_id: str = attrs.field(validator=_a(str))
    saga_id: str = attrs.field(validator=_a(str))


@attrs.frozen
class GetStatus:
    """Answered by `StatusIs`, or `Refused` if there is no such saga."""

    correlation_id: str = attrs.field(validator=_a(str))
    saga_id: str = attrs.field(validator=_a(str))


@attrs.frozen
class GetHistory:
    """Answered by `HistoryIs`, or `Refused` if there is no such saga."""

    correlation_id: str = attrs.field(validator=_a(str))
    saga_id: str = attrs.field(validator=_a(str))


@attrs.frozen
class ListSagas:
    """Answered by `SagasAre`, newest first; `after` is the `next_page` of the page before."""

    correlation_id: str = attrs.field(validator=_a(str))
    state: SagaState | None = attrs.field(default=None, validator=_a(SagaState, type(None)))
    saga: str | None = attrs.field(default=None, validator=_a(str, type(None)))
    limit: int = attrs.field(default=100, validator=_a(int))
    after: int | None = attrs.field(default=None, validator=_a(int, type(None)))


@compact
@attrs.frozen
class SagaStarted:
    """The saga is durably accepted."""

    correlation_id: str
    saga_id: str


@compact
@attrs.frozen
class SagasStarted:
    """All the sagas of a `StartSagas` are durably accepted, but for those in `refused`: code and reason by saga id."""

    correlation_id: str
    refused: dict[str, tuple[str, str]] = attrs.field(factory=dict)


@compact
@attrs.frozen
class SagaEnded:
    """The saga has ended; `encoded` is its outcome, with the context still in bytes."""

    correlation_id: str
    saga_id: str
    saga: str
    encoded: Outcome[bytes] = attrs.field(repr=False)

    def outcome(self, saga: type[Saga[C]]) -> Outcome[C]:
        """The outcome, with its context decoded as that of `saga`."""
        return decoded_outcome(self.encoded, saga.definition.context_type)


@attrs.frozen
class SagaIsHeld:
    """The saga is parked for an operator."""

    correlation_id: str
    saga_id: str
    reason: str


@attrs.frozen
class StatusIs:
    """How a saga stands."""

    correlation_id: str
    status: SagaStatus


@attrs.frozen
class HistoryIs:
    """The events of a saga, in order."""

    correlation_id: str
    saga_id: str
    events: tuple[Event, ...] = attrs.field(repr=False)


@attrs.frozen
class ListedSaga:
    """One line of a list; times are aware UTC."""

    saga_id: str
    saga: str
    state: SagaState
    created_at: datetime
    updated_at: datetime
    held_reason: str | None = None


@attrs.frozen
class SagasAre:
    """One page of a list; `next_page` is None on the last."""

    correlation_id: str
    sagas: tuple[ListedSaga, ...]
    next_page: int | None = None


@attrs.frozen
class Refused:
    """The question was not taken; nothing was changed. `code` is one of those in `Refusal`."""

    correlation_id: str
    code: str
    message: str


class Refusal:
    """The codes of `Refused`."""

    NOT_SERVED = "not_served"
    MISMATCH = "definition_mismatch"
    ID_TAKEN = "id_taken"
    UNKNOWN_SAGA = "unknown_saga"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    CORRUPT = "corrupt"


def decoded_outcome(encoded: Outcome[bytes], context_type: Any) -> Outcome[Any]:
    """The same outcome, with its context decoded."""
    return cast("Outcome[Any]", attrs.evolve(encoded, context=decode_context(encoded.context, context_type)))
