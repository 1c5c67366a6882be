"""The journal in memory, for tests: the same answers as a file gives, and gone with its process."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from saga_actors.errors import EpochError, UnknownSagaError
from saga_actors.events import Event, HoldReason, SagaHeld
from saga_actors.journal import chain
from saga_actors.journal.port import Appended, Counts, Entry, History, Page, SagaRow, Tail, Tailed, held_reason
from saga_actors.journal.records import Row, checksum, encode_event
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
        self._log: list[tuple[str, int]] = []

    def take_epoch(self, owner: str) -> int:
        self._epoch += 1
        return self._epoch

    def append(self, epoch: int, entries: Sequence[Entry]) -> Appended:
        parts, unencodable = chain.encoded(entries, {})
        self._fence(epoch)
        conflicts: dict[str, str] = {}
        for part in parts:
            why = chain.conflict(self._rows.get(part.entry.saga_id), part)
            if why is None:
                self._write(part)
            else:
                conflicts[part.entry.saga_id] = why
        return Appended(len(self._log), tuple(conflicts), tuple(unencodable), unencodable | conflicts)

    def hold(self, epoch: int, saga_id: str, reason: HoldReason, detail: str, at: float) -> None:
        event = encode_event(SagaHeld(at, reason, detail))
        self._fence(epoch)
        row = self._known(saga_id)
        if row.state.ended:
            return
        self._add(saga_id, row.last_seq + 1, event, checksum(saga_id, row.last_seq + 1, event))
        self._rows[saga_id] = row._replace(
            state=SagaState.HELD,
            updated_at=float(at),
            last_seq=row.last_seq + 1,
            held_reason=chain.storable(held_reason(reason, detail)),
        )

    def find(self, saga_id: str) -> SagaRow | None:
        return self._rows.get(saga_id)

    def load(self, saga_id: str) -> History:
        return chain.verified(self._known(saga_id), self._records[saga_id])

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

    def checkpoint(self) -> bool:
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
        found = enumerate(self._log[after_position : after_position + limit], after_position + 1)
        told = [self._tailed(position, saga_id, seq) for position, (saga_id, seq) in found]
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
        self._rows[saga_id] = chain.advanced(self._rows.get(saga_id), part, len(self._rows) + 1)
        for seq, event, check in part.numbered:
            self._add(saga_id, seq, event, check)

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
