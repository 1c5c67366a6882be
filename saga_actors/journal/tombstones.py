"""Tombstones, and how much of a journal is pruned at once: what every adapter asks of both."""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite
from typing import NamedTuple

from saga_actors.errors import CorruptionError
from saga_actors.journal.chain import as_real, as_text, legible
from saga_actors.journal.port import SagaRow, Tombstone
from saga_actors.journal.records import Row, checksum
from saga_actors.outcomes import SagaState

MOST_EVENTS = 5_000
MOST_BYTES = 16 * 1024 * 1024
"""Of bodies and contexts: a big one lies on many pages, and each of them has to be given back."""

MOST_SUMMARIES = 10_000
"""What is looked at in one call, whether anything of it is to be removed or not."""


class RawTombstone(NamedTuple):
    """One tombstone as it lies there; texts are bytes, for they may be no texts any more."""

    saga_id: object
    saga: object
    state: object
    digest: object
    created_at: object
    ended_at: object
    pruned_at: object
    checksum: object


class Share:
    """What one call removes: it never takes more than a moment, for sagas run beside it.

    Raises ValueError for a state that is no end, and for a time or a limit that means nothing.
    """

    def __init__(self, states: Collection[SagaState], at: float, limit: int) -> None:
        self.states = tuple(dict.fromkeys(SagaState(state) for state in states))
        if not self.states or not all(state.ended for state in self.states):
            raise ValueError(f"got {states!r}; only what is completed, compensated or fatal can be pruned")
        if not isfinite(at):
            raise ValueError(f"pruned at {at!r}; expected POSIX seconds")
        require_some(limit)
        self.sagas: list[SagaRow] = []
        self._at = float(at)
        self._limit = limit
        self._events = self._bytes = 0

    def takes(self, row: SagaRow, events: int, size: int) -> bool:
        """Take this saga along if there is room; the first always has some, however big it is."""
        self._events += events
        self._bytes += size
        is_too_much = self._events > MOST_EVENTS or self._bytes > MOST_BYTES
        if len(self.sagas) >= self._limit or (self.sagas and is_too_much):
            return False
        self.sagas.append(row)
        return True

    @property
    def tombstones(self) -> list[Tombstone]:
        """What stays of those that were taken."""
        return [
            Tombstone(row.saga_id, row.saga, row.state, row.digest, row.created_at, row.updated_at, self._at)
            for row in self.sagas
        ]


def require_some(limit: int) -> None:
    """Raise ValueError for a limit with which nothing would ever come to its end."""
    if limit < 1:
        raise ValueError(f"the limit is {limit}; expected 1 or more")


def tombstone_checksum(stone: Tombstone) -> int:
    """Over all of it (P13)."""
    body = f"{stone.saga}\0{stone.state}\0{stone.digest}\0{stone.created_at!r}\0{stone.ended_at!r}"
    return checksum(stone.saga_id, 0, Row("tombstone", stone.pruned_at, body.encode(), None))


def checked_tombstone(raw: RawTombstone) -> Tombstone:
    """The tombstone, if it is what was written; raises CorruptionError."""
    try:
        texts = (as_text(raw.saga_id), as_text(raw.saga), SagaState(as_text(raw.state)), as_text(raw.digest))
        stone = Tombstone(*texts, as_real(raw.created_at), as_real(raw.ended_at), as_real(raw.pruned_at))
        sound = tombstone_checksum(stone) == raw.checksum
    except (TypeError, ValueError) as error:
        raise CorruptionError(_flaw(raw, str(error))) from None
    if not sound:
        raise CorruptionError(_flaw(raw, "its checksum does not match"))
    return stone


def _flaw(raw: RawTombstone, why: str) -> str:
    return f"the tombstone of saga {legible(raw.saga_id)!r} is corrupt: {why}"
