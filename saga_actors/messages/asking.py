"""The messages by which one asks about sagas, and what answers them."""

from __future__ import annotations

from datetime import datetime

import attrs

from saga_actors.events import Event
from saga_actors.messages.common import a
from saga_actors.outcomes import Outcome, SagaState, SagaStatus


@attrs.frozen
class GetStatus:
    """Answered by `StatusIs`, or `Refused` if there is no such saga."""

    correlation_id: str = attrs.field(validator=a(str))
    saga_id: str = attrs.field(validator=a(str))


@attrs.frozen
class GetHistory:
    """Answered by `HistoryIs`, or `Refused` if there is no such saga."""

    correlation_id: str = attrs.field(validator=a(str))
    saga_id: str = attrs.field(validator=a(str))


@attrs.frozen
class ListSagas:
    """Answered by `SagasAre`, newest first; `after` is the `next_page` of the page before, or a saga's `number`.

    `since` bounds when they were accepted, in POSIX seconds.
    """

    correlation_id: str = attrs.field(validator=a(str))
    state: SagaState | None = attrs.field(default=None, validator=a(SagaState, type(None)))
    saga: str | None = attrs.field(default=None, validator=a(str, type(None)))
    limit: int = attrs.field(default=100, validator=a(int))
    after: int | None = attrs.field(default=None, validator=a(int, type(None)))
    since: float | None = attrs.field(default=None, validator=a(float, int, type(None)))


@attrs.frozen
class StatusIs:
    """How a saga stands; `encoded` is its outcome, with the context still in bytes, if it has ended and can be read."""

    correlation_id: str
    status: SagaStatus
    encoded: Outcome[bytes] | None = attrs.field(default=None, repr=False)


@attrs.frozen
class HistoryIs:
    """The events of a saga, in order."""

    correlation_id: str
    saga_id: str
    events: tuple[Event, ...] = attrs.field(repr=False)


@attrs.frozen
class ListedSaga:
    """One line of a list; times are aware UTC. `number` counts sagas in the order in which they were accepted."""

    saga_id: str
    saga: str
    state: SagaState
    created_at: datetime
    updated_at: datetime
    held_reason: str | None = None
    number: int = 0


@attrs.frozen
class SagasAre:
    """One page of a list; `next_page` is None on the last."""

    correlation_id: str
    sagas: tuple[ListedSaga, ...]
    next_page: int | None = None
