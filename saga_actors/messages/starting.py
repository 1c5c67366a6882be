"""The messages that start sagas, and what answers them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Self

import attrs

from saga_actors.compact_form import compact
from saga_actors.definition import Saga
from saga_actors.errors import SagaActorsError
from saga_actors.journal.codec import digest_of, encode_context
from saga_actors.messages.common import a, checked_id, new_id
from saga_actors.outcomes import C


@attrs.frozen(kw_only=True)
class _Start:
    correlation_id: str = attrs.field(validator=a(str))
    saga_id: str = attrs.field(validator=a(str))
    saga: str = attrs.field(validator=a(str))
    fingerprint: str = attrs.field(validator=a(str))
    digest: str = attrs.field(validator=a(str))
    context: bytes = attrs.field(repr=False, validator=a(bytes))
    deadline: float | None = attrs.field(default=None, validator=a(float, int, type(None)))

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

    saga_id: str = attrs.field(validator=a(str))
    digest: str = attrs.field(validator=a(str))
    context: bytes = attrs.field(repr=False, validator=a(bytes))


def _new_sagas(message: Any, _: Any, sagas: Any) -> None:
    if not isinstance(sagas, tuple) or not sagas or not all(isinstance(one, NewSaga) for one in sagas):
        raise SagaActorsError(f"{type(message).__name__}.sagas is {sagas!r:.100}; expected a tuple of NewSaga")
    if len({one.saga_id for one in sagas}) < len(sagas):
        raise SagaActorsError(f"{type(message).__name__}.sagas has an id more than once; one id stands for one saga")


@compact
@attrs.frozen(kw_only=True)
class StartSagas:
    """Start several sagas of one class in one commit; answered by `SagasStarted`, or `Refused` if none can be."""

    correlation_id: str = attrs.field(validator=a(str))
    saga: str = attrs.field(validator=a(str))
    fingerprint: str = attrs.field(validator=a(str))
    sagas: tuple[NewSaga, ...] = attrs.field(repr=False, validator=_new_sagas)
    deadline: float | None = attrs.field(default=None, validator=a(float, int, type(None)))

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
