"""The journal in memory, for tests: the same answers as a file gives, and gone with its process."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice

from saga_actors.errors import EpochError, UnknownSagaError
from saga_actors.events import Event, HoldReason, Resolved, SagaHeld
from saga_actors.journal import chain
from saga_actors.journal.port import (
    Appended,
    Counts,
    Entry,
    History,
    Page,
    Pruned,
    SagaRow,
    Tail,
    Tailed,
    Tombstone,
    held_reason,
)
from saga_actors.journal.records import Row, checksum, encode_event
from saga_actors.journal.tombstones import MOST_SUMMARIES, Share, require_some
from saga_actors.outcomes import SagaState
from saga_actors.plan import SagaPlan

UNFINISHED = (SagaState.RUNNING, SagaState.COMPENSATING)


class MemoryJournal:
    """Writer and reader in one; see `Journal` and `JournalReader` for what each method promises."""

    def __init__(self) -> None:
        self._epoch = 0
        self._plans: dict[str, chain.RawPlan] = {}
        self._rows: dict[str, SagaRow] = {}
        self._records: dict[str, list[chain.RawRecord]] = {}
        self._log: list[tuple[str, int] | None] = []
        self._tombstones: dict[str, Tombstone] = {}
        self._born = 0

    def take_epoch(self, owner: str) -> int:
        self._epoch += 1
        return self._epoch

    def append(self, epoch: int, entries: Sequence[Entry]) -> Appended:
        parts, unencodable = chain.encoded(entries, {})
        self._fence(epoch)
        conflicts: dict[str, str] = {}
        for part in parts:
            saga_id = part.entry.saga_id
            why = chain.conflict(self._rows.get(saga_id), part)
            if why is None and saga_id in self._tombstones:
                why = chain.was_pruned(saga_id)
            if why is None:
                self._write(part)
            else:
                conflicts[saga_id] = why
        return Appended(len(self._log), tuple(conflicts), tuple(unencodable), unencodable | conflicts)

    def hold(self, epoch: int, saga_id: str, reason: HoldReason, detail: str, at: float) -> None:
        event = encode_event(SagaHeld(at, reason, detail))
        self._fence(epoch)
        row = self._known(saga_id)
        if not row.state.ended:
            self._park(row, event, SagaState.HELD, chain.storable(held_reason(reason, detail)))

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
        event = chain.resolved(Resolved(at, state, by, reason, request))
        self._fence(epoch)
        row = self._known(saga_id)
        chain.require_held(row)
        self._park(row, event, state, None)

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
        share = Share(states, at, limit)
        self._fence(epoch)
        behind = [row for row in self._rows.values() if row.number > after]
        looked = behind[:MOST_SUMMARIES]
        ended = (row for row in looked if row.state in share.states and row.updated_at < before)
        left_out = next((row for row in ended if not share.takes(row, *self._size(row.saga_id))), None)
        for stone in share.tombstones:
            self._bury(stone)
        if left_out is not None:
            return Pruned(len(share.sagas), left_out.number - 1)
        return Pruned(len(share.sagas), looked[-1].number if len(behind) > len(looked) else None)

    def drop_tombstones(self, epoch: int, before: float, limit: int = 1_000) -> Pruned:
        require_some(limit)
        self._fence(epoch)
        old = [stone for stone in self._tombstones.values() if stone.pruned_at < before]
        for stone in sorted(old, key=lambda stone: stone.pruned_at)[:limit]:
            del self._tombstones[stone.saga_id]
        return Pruned(len(old[:limit]), limit if len(old) > limit else None)

    def find(self, saga_id: str) -> SagaRow | None:
        return self._rows.get(saga_id)

    def load(self, saga_id: str) -> History:
        return chain.verified(self._known(saga_id), self._records[saga_id])

    def tombstone(self, saga_id: str) -> Tombstone | None:
        return self._tombstones.get(saga_id)

    def plan(self, plan_id: str) -> SagaPlan:
        return chain.checked_plan(plan_id, self._plans.get(plan_id))

    def counts(self) -> Counts:
        counts = dict.fromkeys(SagaState, 0)
        for row in self._rows.values():
            counts[row.state] += 1
        return counts

    def unfinished(self, after: int | None = None, limit: int = 500) -> Page:
        rows = [row for row in self._rows.values() if row.state in UNFINISHED and row.number > (after or 0)]
        return _page(rows, limit)

    def count_unfinished(self) -> int:
        return sum(row.state in UNFINISHED for row in self._rows.values())

    @property
    def unmoved(self) -> int:
        return 0

    def checkpoint(self, patience: float = 1.0) -> bool:
        return True

    def close(self) -> None:
        pass

    def list(
        self,
        *,
        state: SagaState | None = None,
        saga: str | None = None,
        since: float | None = None,
        limit: int = 100,
        after: int | None = None,
    ) -> Page:
        rows = [
            row
            for row in reversed(self._rows.values())
            if (state is None or row.state is state)
            and (saga is None or row.saga == saga)
            and (since is None or row.created_at >= since)
            and (after is None or row.number < after)
        ]
        return _page(rows, limit)

    def tail(self, after_position: int, limit: int = 500, skip: Collection[type[Event]] = ()) -> Tail:
        behind = ((at + 1, self._log[at]) for at in range(after_position, len(self._log)))
        found = islice(((position, *each) for position, each in behind if each is not None), limit)
        told = [self._tailed(*each) for each in found]
        return [each for each in told[:-1] if type(each.event) not in skip] + told[-1:]

    def end_position(self) -> int:
        return len(self._log)

    def epoch(self) -> int:
        return self._epoch

    def _known(self, saga_id: str) -> SagaRow:
        row = self._rows.get(saga_id)
        if row is None:
            raise UnknownSagaError(f"the journal memory:// has no saga {saga_id!r}")
        return row

    def _fence(self, epoch: int) -> None:
        if epoch != self._epoch:
            raise EpochError(f"epoch {epoch} is over, {self._epoch} is in force in memory://; append nothing more")

    def _write(self, part: chain.Part) -> None:
        saga_id = part.entry.saga_id
        if part.plan is not None:
            self._plans[part.plan.plan_id] = part.plan
        row = self._rows.get(saga_id)
        self._born += row is None
        self._rows[saga_id] = chain.advanced(row, part, self._born)
        for seq, event, check in part.numbered:
            self._add(saga_id, seq, event, check)

    def _park(self, row: SagaRow, event: Row, state: SagaState, reason: str | None) -> None:
        seq = row.last_seq + 1
        self._add(row.saga_id, seq, event, checksum(row.saga_id, seq, event))
        at = float(event.at)
        self._rows[row.saga_id] = row._replace(state=state, updated_at=at, last_seq=seq, held_reason=reason)

    def _size(self, saga_id: str) -> tuple[int, int]:
        records = self._records[saga_id]
        parts = [part for raw in records for part in (raw.body, raw.context) if isinstance(part, bytes)]
        return len(records), sum(map(len, parts))

    def _bury(self, stone: Tombstone) -> None:
        for raw in self._records.pop(stone.saga_id):
            self._log[raw.position - 1] = None
        del self._rows[stone.saga_id]
        self._tombstones[stone.saga_id] = stone

    def _add(self, saga_id: str, seq: int, row: Row, check: int) -> None:
        self._log.append((saga_id, seq))
        raw = chain.RawRecord(len(self._log), seq, float(row.at), row.kind.encode(), row.body, row.context, check)
        self._records.setdefault(saga_id, []).append(raw)

    def _tailed(self, position: int, saga_id: str, seq: int) -> Tailed:
        event = chain.checked(saga_id, seq, self._records[saga_id][seq - 1])
        return Tailed(position, saga_id, self._rows[saga_id].saga, seq, event)


def _page(rows: Iterable[SagaRow], limit: int) -> Page:
    found = tuple(rows)
    return Page(found[:limit], next=found[limit - 1].number if len(found) > limit else None)
