"""What a journal is: one writer that appends facts under its epoch, and any number of readers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

import attrs

from saga_actors.events import Accepted, Event, HoldReason
from saga_actors.outcomes import SagaState
from saga_actors.plan import SagaPlan


@attrs.frozen
class Entry:
    """One saga's share of a batch: what happened to it, and how it stands afterwards.

    `first_seq` is the sequence number of the first event; a saga's own first is `Accepted`, with number 1. `plan` comes
    with every event that names one (`Accepted`, `PlanAdopted`). `held_reason` is set exactly while the saga is held.
    """

    saga_id: str
    first_seq: int
    events: tuple[Event, ...] = attrs.field(validator=attrs.validators.min_len(1))
    state: SagaState
    held_reason: str | None = None
    plan: SagaPlan | None = None

    @property
    def accepted(self) -> Accepted | None:
        """The event that makes the saga ours, if the entry begins with it."""
        first = self.events[0]
        return first if isinstance(first, Accepted) else None


@attrs.frozen
class Appended:
    """What became of a batch; durable, but for the sagas named here, of which nothing was written.

    `conflicts`: the entry did not follow what the journal holds. `unencodable`: it cannot be stored. `why` has a
    sentence for each of them. `position` is the end of the journal after the commit.
    """

    position: int
    conflicts: tuple[str, ...] = ()
    unencodable: tuple[str, ...] = ()
    why: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Stored:
    """One event where it lies: `seq` counts within its saga from 1, `position` grows over the whole journal."""

    seq: int
    position: int
    event: Event


class SagaRow(NamedTuple):
    """One saga as the journal sums it up, without folding; times are POSIX seconds, `number` is the order of birth."""

    number: int
    saga_id: str
    saga: str
    plan_id: str
    state: SagaState
    digest: str
    created_at: float
    updated_at: float
    last_seq: int
    held_reason: str | None = None


@attrs.frozen
class CorruptRow:
    """A summary that does not match its checksum (P13); `saga_id` is as legible as it still is."""

    number: int
    saga_id: str
    why: str


@attrs.frozen
class Page:
    """Some sagas in a stable order; `next` is the cursor of the page after this one, None if this is the last."""

    rows: tuple[SagaRow, ...]
    corrupt: tuple[CorruptRow, ...] = ()
    next: int | None = None


class Tombstone(NamedTuple):
    """What is left of a saga whose records were pruned, so that its id goes on to stand for it; POSIX seconds."""

    saga_id: str
    saga: str
    state: SagaState
    digest: str
    created_at: float
    ended_at: float
    pruned_at: float


class Pruned(NamedTuple):
    """How many were removed, and the cursor from which there may be more: None if this went through to the end."""

    sagas: int
    next: int | None


@attrs.frozen
class Tailed:
    """One event in commit order; `event` is None when it cannot be read, and `flaw` says why."""

    position: int
    saga_id: str
    saga: str
    seq: int
    event: Event | None
    flaw: str | None = None


History = list[Stored]
Tail = list[Tailed]
Counts = dict[SagaState, int]


def held_reason(reason: HoldReason, detail: str) -> str:
    """What a held saga's summary says; `hold` writes it, and so should whoever appends a `SagaHeld`."""
    return f"{reason}: {detail}" if detail else str(reason)


class Records(Protocol):
    """What writer and readers have in common; every answer is one consistent snapshot."""

    def find(self, saga_id: str) -> SagaRow | None:
        """The summary of this saga, None if there is none; CorruptionError if it does not match its checksum."""

    def load(self, saga_id: str) -> History:
        """Every event of this saga, verified: checksums, decodable, no gap, none missing at the end.

        Raises CorruptionError naming the saga and the sequence number, UnknownSagaError if there is no such saga.
        """

    def tombstone(self, saga_id: str) -> Tombstone | None:
        """What is left of this saga, None if it was not pruned; CorruptionError if it does not match its checksum."""

    def plan(self, plan_id: str) -> SagaPlan:
        """The plan stored under this id; CorruptionError if it is missing or does not match its checksum."""

    def counts(self) -> Counts:
        """How many sagas are in each state; every state is there. Corrupt states are in none."""

    def close(self) -> None:
        """Give everything back; closing again changes nothing."""


class Journal(Records, Protocol):
    """The writing side; exactly one process has it, and its epoch says so (P8)."""

    def take_epoch(self, owner: str) -> int:
        """Take the journal over: durably counts the epoch up, and from here older ones are refused."""

    def append(self, epoch: int, entries: Sequence[Entry]) -> Appended:
        """Write the whole batch in one commit; durable when it returns, but for the sagas that it names.

        A saga that begins under the id of another, or of a tombstone, does not follow what the journal holds.
        Raises EpochError if another epoch is in force and JournalFullError if there is no room (nothing is written,
        both times); CommitUnknownError if anything else went wrong after the transaction had begun.
        """

    def unfinished(self, after: int | None = None, limit: int = 500) -> Page:
        """Sagas that are running or compensating, oldest first, and rows of which nobody can say; not held ones."""

    def count_unfinished(self) -> int:
        """How many rows `unfinished` has on all its pages."""

    def hold(self, epoch: int, saga_id: str, reason: HoldReason, detail: str, at: float) -> None:
        """Park the saga without folding it, also when its records are corrupt; raises like `append`.

        Its summary is legible afterwards, and a `SagaHeld` is appended if there is room for it behind the records.
        A saga that has ended stays as it is (P9). Raises UnknownSagaError if there is no such saga.
        """

    def end(
        self,
        epoch: int,
        saga_id: str,
        state: SagaState,
        by: str,
        reason: str,
        at: float,
        request: str | None = None,
    ) -> None:
        """End a held saga by hand without folding it, as `hold` parks one; a `Resolved` is appended if there is room.

        Raises ValueError if `state` is no end, NotAllowedError if the saga is not held, and else what `hold` raises.
        """

    def prune(
        self,
        epoch: int,
        before: float,
        states: Collection[SagaState],
        *,
        at: float,
        after: int = 0,
        limit: int = 200,
    ) -> Pruned:
        """Remove sagas that ended so, and were last changed before that time; a tombstone of each stays.

        Oldest first from the cursor `after`, and a bounded share in one commit: no more than `limit` sagas, some
        5,000 events and 10,000 summaries. `at` is now. A summary that is corrupt is passed over. Raises like `append`,
        and ValueError for a state that is no end. Its positions and numbers are never used again.
        """

    def drop_tombstones(self, epoch: int, before: float, limit: int = 1_000) -> Pruned:
        """Remove tombstones of sagas pruned before that time, in one commit; their ids are free then.

        `next` says whether there are more; there is no cursor to give back. Corrupt ones are passed over. Raises like
        `append`.
        """

    @property
    def unmoved(self) -> int:
        """How many commits there were since the last checkpoint; 0 if there is nothing that one would move."""

    def checkpoint(self, patience: float = 1.0) -> bool:
        """Move the write-ahead log into the file, and empty it; False if readers kept that up for `patience` seconds.

        Raises JournalFullError if there is no room, and JournalError; nothing is lost by either.
        """


class JournalReader(Records, Protocol):
    """The reading side; any process may have it, with or without a writer alive, and it creates no journal."""

    def list(
        self,
        *,
        state: SagaState | None = None,
        saga: str | None = None,
        since: float | None = None,
        limit: int = 100,
        after: int | None = None,
    ) -> Page:
        """Sagas, newest first; `since` bounds their birth (POSIX seconds). A filter may read past many rows."""

    def tail(self, after_position: int, limit: int = 500, skip: Collection[type[Event]] = ()) -> Tail:
        """The `limit` events behind that position, in commit order; a position is never used twice.

        Those of a saga that was pruned are gone.
        Of those, the ones of the classes in `skip` are left out unread, but for the last, which says how far this got:
        a flaw in them is not noticed. One whose class cannot be told is never left out.
        """

    def end_position(self) -> int:
        """The position of the last event there ever was, pruned or not; 0 if there was none."""

    def epoch(self) -> int:
        """The epoch in force, 0 if nobody ever took one."""
