"""How the writer puts a batch of entries into the SQLite file: few statements, each run over many rows at once.

The summary that a saga has is read, and checked, once; after that the writer knows it, for nobody else writes. That is
not believed: whenever SQLite says that another connection has changed the file, and whenever a commit was not to be,
all of it is forgotten and read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from saga_actors.errors import CorruptionError
from saga_actors.journal import chain
from saga_actors.journal.port import SagaRow
from saga_actors.journal.records import Row

Columns = tuple[Any, ...]

# Texts are read as bytes, and a text where none belongs as a number: a damaged one would break off the whole cursor.
RAW_SAGA = """number,
    IIF(typeof(saga_id) = 'text', CAST(saga_id AS BLOB), 0), IIF(typeof(saga) = 'text', CAST(saga AS BLOB), 0),
    IIF(typeof(plan_id) = 'text', CAST(plan_id AS BLOB), 0), IIF(typeof(state) = 'text', CAST(state AS BLOB), 0),
    IIF(typeof(digest) = 'text', CAST(digest AS BLOB), 0), IIF(typeof(created_at) = 'text', 0, created_at),
    IIF(typeof(updated_at) = 'text', 0, updated_at), IIF(typeof(last_seq) = 'text', NULL, last_seq),
    IIF(typeof(held_reason) = 'text', CAST(held_reason AS BLOB), held_reason),
    IIF(typeof(saga.checksum) = 'text', NULL, saga.checksum)"""
FIND = f"SELECT {RAW_SAGA} FROM saga WHERE saga_id = ?"
FIND_TO_EXTEND = f"""SELECT {RAW_SAGA}, (SELECT max(seq) FROM event WHERE saga = number) IS last_seq
    FROM saga WHERE saga_id = ?"""
# A number that a stray event claims is passed over: it would take every new saga out of its batch, for ever.
# Nor is one given again that a pruned saga had.
NEXT_NUMBER = """SELECT 1 + max(coalesce((SELECT max(number) FROM saga), 0),
    coalesce((SELECT max(saga) FROM event WHERE saga < 4611686018427387904), 0),
    coalesce((SELECT last_number FROM owner WHERE typeof(last_number) = 'integer'
        AND last_number < 4611686018427387904), 0))"""
ARE_TOMBSTONES = "SELECT EXISTS (SELECT 1 FROM tombstone)"
IS_PRUNED = "SELECT EXISTS (SELECT 1 FROM tombstone WHERE saga_id = ?)"
VERSION = "PRAGMA data_version"
# A plan's id is its digest: writing it again heals a damaged one, and costs nothing otherwise.
KEEP_PLAN = """INSERT INTO plan (plan_id, body, checksum) VALUES (?, ?, ?) ON CONFLICT (plan_id)
    DO UPDATE SET body = excluded.body, checksum = excluded.checksum
    WHERE body IS NOT excluded.body OR checksum IS NOT excluded.checksum"""
ADD_SAGA = """INSERT INTO saga (number, saga_id, saga, plan_id, state, digest, created_at, updated_at, last_seq,
    held_reason, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
ADVANCE_SAGA = """UPDATE saga SET plan_id = ?, updated_at = ?, last_seq = ?, held_reason = ?, checksum = ?
    WHERE number = ?"""
TURN_SAGA = """UPDATE saga SET state = ?, plan_id = ?, updated_at = ?, last_seq = ?, held_reason = ?, checksum = ?
    WHERE number = ?"""
ADD_EVENT = "INSERT INTO event (saga, seq, at, kind, body, context, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)"


class BatchWriter:
    """Writes batches on one connection, inside transactions that its owner begins and ends."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._known: dict[str, SagaRow] = {}
        self._next_number: int | None = None
        self._version: int | None = None
        self._are_tombstones: bool | None = None

    def forget(self) -> None:
        """What is known may not be so: the last transaction did not end well, or a summary was written elsewhere."""
        self._known.clear()
        self._next_number = None
        self.forget_tombstones()

    def forget_tombstones(self) -> None:
        """There may be others than there were; what else is known is only of sagas that are not pruned."""
        self._are_tombstones = None

    def write(self, parts: Sequence[chain.Part]) -> dict[str, str]:
        """Write what follows; the rest, and why it does not, by saga id. Raises CorruptionError if a row is gone."""
        version = self._db.execute(VERSION).get
        if version != self._version:
            self.forget()
            self._version = version
        batch = _Batch()
        conflicts: dict[str, str] = {}
        for part in parts:
            if part.entry.saga_id in batch.sagas:  # the second of one saga: it goes behind the first
                batch.run(self._db)
                batch = _Batch()
            why = self._add(part, batch)
            if why is not None:
                conflicts[part.entry.saga_id] = why
        batch.run(self._db)
        return conflicts

    def _add(self, part: chain.Part, batch: _Batch) -> str | None:
        saga_id = part.entry.saga_id
        try:
            row = self._known.get(saga_id) or self._extendable(saga_id)
        except CorruptionError as error:
            return str(error)
        why = chain.conflict(row, part)
        if why is None and row is None and self._is_pruned(saga_id):
            why = chain.was_pruned(saga_id)
        if why is not None:
            return why
        advanced = chain.advanced(row, part, self._number() if row is None else row.number)
        batch.add(row, advanced, part)
        if advanced.state.unfinished:
            self._known[saga_id] = advanced
        else:
            self._known.pop(saga_id, None)
        return None

    def _is_pruned(self, saga_id: str) -> bool:
        """Whether the saga has a tombstone; costs nothing as long as there are none at all."""
        if self._are_tombstones is None:
            self._are_tombstones = bool(self._db.execute(ARE_TOMBSTONES).get)
        return self._are_tombstones and bool(self._db.execute(IS_PRUNED, (saga_id,)).get)

    def _number(self) -> int:
        """The number of a new saga."""
        number = int(self._db.execute(NEXT_NUMBER).get) if self._next_number is None else self._next_number
        self._next_number = number + 1
        return number

    def _extendable(self, saga_id: str) -> SagaRow | None:
        found = self._db.execute(FIND_TO_EXTEND, (saga_id,)).fetchone()
        if found is None:
            return None
        *raw, complete = found
        row = chain.checked_row(chain.RawSaga(*raw))
        if not complete:
            raise CorruptionError(f"saga {saga_id!r}: its records do not end with number {row.last_seq}")
        return row


class _Batch:
    """The rows of one batch, by statement."""

    def __init__(self) -> None:
        self.sagas: set[str] = set()
        self.plans: dict[str, chain.RawPlan] = {}
        self.births: list[Columns] = []
        self.advances: list[Columns] = []
        self.turns: list[Columns] = []
        self.events: list[Columns] = []

    def add(self, before: SagaRow | None, row: SagaRow, part: chain.Part) -> None:
        self.sagas.add(row.saga_id)
        if part.plan is not None:
            self.plans[part.plan.plan_id] = part.plan
        common = (row.updated_at, row.last_seq, row.held_reason, chain.row_checksum(row))
        if before is None:
            born = (row.number, row.saga_id, row.saga, row.plan_id, row.state, row.digest, row.created_at)
            self.births.append((*born, *common))
        elif row.state is before.state:
            self.advances.append((row.plan_id, *common, row.number))
        else:
            self.turns.append((row.state, row.plan_id, *common, row.number))
        number, seq = row.number, part.entry.first_seq
        for (kind, at, body, context), check in zip(part.rows, part.checksums, strict=True):
            self.events.append((number, seq, at, kind, body, context, check))
            seq += 1

    def run(self, db: apsw.Connection) -> None:
        if self.plans:
            db.executemany(KEEP_PLAN, [(plan.plan_id, plan.body, plan.checksum) for plan in self.plans.values()])
        if self.births:
            db.executemany(ADD_SAGA, self.births)
        before = db.total_changes()
        for statement, columns in ((ADVANCE_SAGA, self.advances), (TURN_SAGA, self.turns)):
            if columns:
                db.executemany(statement, columns)
        if db.total_changes() - before != len(self.advances) + len(self.turns):
            raise CorruptionError("the summary of a saga that goes on is gone")
        db.executemany(ADD_EVENT, self.events)


def event_columns(number: int, seq: int, row: Row, check: int) -> Columns:
    """An event as `ADD_EVENT` takes it."""
    return number, seq, row.at, row.kind, row.body, row.context, check
