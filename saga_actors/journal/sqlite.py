"""The journal in one SQLite file, in write-ahead mode: one process writes, any number read meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import apsw

from saga_actors.errors import (
    CommitUnknownError,
    CorruptionError,
    EpochError,
    JournalError,
    JournalFullError,
    NotAllowedError,
    UnknownSagaError,
)
from saga_actors.events import Event, HoldReason, Resolved, SagaHeld
from saga_actors.journal import chain, sqlite_prune
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
from saga_actors.journal.records import Row, checksum, encode_event, kind_of
from saga_actors.journal.sqlite_batch import ADD_EVENT, FIND, RAW_SAGA, BatchWriter, event_columns
from saga_actors.journal.sqlite_check import remedy
from saga_actors.journal.sqlite_file import BUSY_MILLISECONDS, damage_of, has_tombstones, open_writer, told
from saga_actors.journal.sqlite_reading import again, open_reader, undisturbed
from saga_actors.journal.tombstones import Share, require_some
from saga_actors.outcomes import SagaState
from saga_actors.plan import SagaPlan

T = TypeVar("T")
Columns = tuple[Any, ...]  # as SQLite has them: `chain` trusts none

RAW_EVENT = """position,
    IIF(typeof(seq) = 'text', NULL, seq), IIF(typeof(at) = 'text', 0, at),
    IIF(typeof(kind) = 'text', CAST(kind AS BLOB), 0), IIF(typeof(body) = 'text', 0, body),
    IIF(typeof(context) = 'text', 0, context), IIF(typeof(event.checksum) = 'text', NULL, event.checksum)"""
RAW_PLAN = "plan_id, IIF(typeof(body) = 'text', 0, body), IIF(typeof(checksum) = 'text', NULL, checksum)"

EPOCH = "SELECT epoch FROM owner"
# The epoch is the one number without a checksum, so it is written twice: `sqlite_check` compares.
TAKE_EPOCH = """UPDATE owner SET epoch = epoch + 1, owner = ? || ' of epoch ' || (epoch + 1) RETURNING epoch"""
# What was pruned counts, too: SQLite remembers the last position that it gave.
END = """SELECT max(coalesce((SELECT max(position) FROM event), 0),
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0))"""
LOAD = f"SELECT {RAW_EVENT} FROM event WHERE saga = ? ORDER BY seq"
PLAN = f"SELECT {RAW_PLAN} FROM plan WHERE plan_id = ?"
COUNTS = "SELECT CAST(state AS BLOB), count(*) FROM saga GROUP BY state"
IS_UNFINISHED = "state NOT IN ('completed', 'compensated', 'fatal', 'held')"
UNFINISHED = f"SELECT {RAW_SAGA} FROM saga WHERE {IS_UNFINISHED} AND number > ? ORDER BY number LIMIT ?"
COUNT_UNFINISHED = f"SELECT count(*) FROM saga WHERE {IS_UNFINISHED}"
TAIL_END = "SELECT max(position) FROM (SELECT position FROM event WHERE position > ? ORDER BY position LIMIT ?)"
TAIL = f"""SELECT {RAW_EVENT}, CAST(saga.saga_id AS BLOB), CAST(saga.saga AS BLOB)
    FROM event LEFT JOIN saga ON saga.number = event.saga
    WHERE position > ? AND position <= ? AND (position = ? OR coalesce(kind, '') NOT IN ({{}})) ORDER BY position"""
HOLD_SAGA = """UPDATE saga SET saga = ?, plan_id = ?, state = ?, digest = ?, created_at = ?, updated_at = ?,
    last_seq = ?, held_reason = ?, checksum = ? WHERE number = ?"""
ALL_SAGAS = f"SELECT {RAW_SAGA} FROM saga NOT INDEXED"
HAS_EVENT = "SELECT count(*) FROM event WHERE saga = ? AND seq = ?"


class _SqliteRecords:
    """What writer and reader answer alike."""

    def __init__(self, path: Path, db: apsw.Connection) -> None:
        self._path = path
        self._db = db
        self._damage: CorruptionError | None = None

    def find(self, saga_id: str) -> SagaRow | None:
        return self._read(lambda db: _find(db, saga_id))

    def load(self, saga_id: str) -> History:
        return self._read(lambda db: _load(db, saga_id, self._path))

    def tombstone(self, saga_id: str) -> Tombstone | None:
        return self._read(lambda db: sqlite_prune.find_tombstone(db, saga_id) if has_tombstones(db) else None)

    def plan(self, plan_id: str) -> SagaPlan:
        found = self._read(lambda db: db.execute(PLAN, (plan_id,)).fetchone())
        return chain.checked_plan(plan_id, None if found is None else chain.RawPlan(*found))

    def counts(self) -> Counts:
        found: list[Columns] = self._read(lambda db: db.execute(COUNTS).fetchall())
        counts = dict.fromkeys(SagaState, 0)
        for state, count in found:
            if chain.legible(state) in counts:
                counts[SagaState(chain.legible(state))] = count
        return counts

    def _read(self, ask: Callable[[apsw.Connection], T]) -> T:
        """What comes of asking, in one snapshot."""
        with self._snapshot() as db:
            return ask(db)

    @contextmanager
    def _snapshot(self) -> Iterator[apsw.Connection]:
        """One read transaction: what is read in it belongs together."""
        with self._told():
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """As `told`, and find out whether the file is damaged, or only a record in it."""
        try:
            with told(self._path):
                yield
        except CorruptionError as error:
            if isinstance(error.__cause__, apsw.CorruptError) and self._damage is None:
                self._damage = damage_of(self._db, self._path)
            raise


class SqliteJournal(_SqliteRecords):
    """The writer; see `Journal` for what each method promises. `vfs` names a virtual file system, for fault tests."""

    def __init__(self, path: Path, vfs: str | None = None) -> None:
        super().__init__(path, open_writer(path, vfs))
        self._batches = BatchWriter(self._db)
        self._plans: chain.Plans = {}
        self._unmoved = 0

    def find(self, saga_id: str) -> SagaRow | None:
        with self._told():  # one statement is a snapshot by itself, and this one is asked for each new saga
            return _find(self._db, saga_id)

    def take_epoch(self, owner: str) -> int:
        return self._commit(None, lambda: self._number(TAKE_EPOCH, owner))

    def append(self, epoch: int, entries: Sequence[Entry]) -> Appended:
        parts, unencodable = chain.encoded(entries, self._plans)

        def write() -> Appended:
            conflicts = self._batches.write(parts)
            return Appended(self._number(END), tuple(conflicts), tuple(unencodable), unencodable | conflicts)

        return self._commit(epoch, write)

    def hold(self, epoch: int, saga_id: str, reason: HoldReason, detail: str, at: float) -> None:
        event = encode_event(SagaHeld(at, reason, detail))
        self._commit(epoch, lambda: self._hold(saga_id, event, chain.storable(held_reason(reason, detail))))

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
        self._commit(epoch, lambda: self._end(saga_id, event, state))

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
        pruned = self._commit(epoch, lambda: sqlite_prune.prune(self._db, share, before, after))
        self._batches.forget_tombstones()
        return pruned

    def drop_tombstones(self, epoch: int, before: float, limit: int = 1_000) -> Pruned:
        require_some(limit)
        pruned = self._commit(epoch, lambda: sqlite_prune.drop_tombstones(self._db, before, limit))
        self._batches.forget_tombstones()
        return pruned

    def unfinished(self, after: int | None = None, limit: int = 500) -> Page:
        with self._snapshot() as db:
            return _page(db.execute(UNFINISHED, (after or 0, limit + 1)), limit)

    def count_unfinished(self) -> int:
        with self._told():
            return self._number(COUNT_UNFINISHED)

    @property
    def unmoved(self) -> int:
        return self._unmoved

    def checkpoint(self, patience: float = 1.0) -> bool:
        with told(self._path):
            self._db.set_busy_timeout(int(patience * 1_000))
            try:
                self._db.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self._unmoved = 0
                return True
            except apsw.BusyError:
                return False
            except apsw.FullError as error:
                raise JournalFullError(f"no room on the disk of {self._path} for what is in its log") from error
            finally:
                self._db.set_busy_timeout(BUSY_MILLISECONDS)

    def close(self) -> None:
        with suppress(JournalError):  # it was closed before, or its disk is ailing: the next writer begins with one
            self.checkpoint()
        with told(self._path):
            self._db.close()

    def _commit(self, epoch: int | None, write: Callable[[], T]) -> T:
        """Run `write` in one transaction under this epoch, and commit it."""
        if self._damage is not None:
            raise JournalError(str(self._damage)) from self._damage
        with told(self._path):
            self._db.execute("BEGIN IMMEDIATE")
        version, kept = None, False
        try:
            version = self._db.data_version()  # changes with each commit, also with one of ours
            self._fence(epoch)
            written = write()
            self._db.execute("COMMIT")
            kept = True
            self._unmoved += 1
            return written
        except (EpochError, UnknownSagaError, NotAllowedError, KeyboardInterrupt, SystemExit):
            self._roll_back()
            raise
        except apsw.FullError as error:
            raise self._full(version) from error
        except Exception as error:
            self._roll_back()
            why = f"a commit to {self._path} broke off ({type(error).__name__}: {error}); fold again before going on"
            if isinstance(error, apsw.CorruptError):
                why += f", and if that comes again, {remedy(self._path)}"
            raise CommitUnknownError(why) from error
        finally:
            if not kept:
                self._batches.forget()

    def _fence(self, epoch: int | None) -> None:
        in_force = self._number(EPOCH)
        if epoch not in (None, in_force):
            raise EpochError(f"epoch {epoch} is over, {in_force} is in force in {self._path}; append nothing more")

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # else SQLite has done it by itself
            with suppress(apsw.Error):  # the commit's outcome is unknown, and its caller is told so
                self._db.execute("ROLLBACK")

    def _full(self, version: int | None) -> JournalError:
        """What a full disk comes to, once it is seen that nothing of the batch is there."""
        self._roll_back()
        with suppress(apsw.Error):
            if not self._db.in_transaction and self._db.data_version() == version:
                return JournalFullError(f"no room on the disk of {self._path}; nothing was written, make room")
        return CommitUnknownError(f"no room on the disk of {self._path}, and it could not be rolled back; fold again")

    def _hold(self, saga_id: str, event: Row, reason: str) -> None:
        row = self._salvaged(saga_id)
        if not row.state.ended:
            self._park(row, event, SagaState.HELD, reason)

    def _end(self, saga_id: str, event: Row, state: SagaState) -> None:
        row = self._salvaged(saga_id)
        chain.require_held(row)
        self._park(row, event, state, None)

    def _salvaged(self, saga_id: str) -> SagaRow:
        found = self._db.execute(FIND, (saga_id,)).fetchone() or self._found_by_sight(saga_id)
        if found is None:
            raise UnknownSagaError(f"the journal {self._path} has no saga {saga_id!r}")
        return chain.salvaged(chain.RawSaga(*found))

    def _found_by_sight(self, saga_id: str) -> Columns | None:
        """The summary whose very id is damaged, and reads like this now: no index has it."""
        with closing(self._db.execute(ALL_SAGAS)) as found:
            return next((columns for columns in found if chain.legible(columns[1]) == saga_id), None)

    def _park(self, row: SagaRow, event: Row, state: SagaState, reason: str | None) -> None:
        """Leave the saga like this, with the event behind its records, and a summary that is legible."""
        self._batches.forget()
        saga_id, seq = row.saga_id, row.last_seq + 1
        if not self._number(HAS_EVENT, row.number, seq):  # else a damaged number sits there: the summary alone says it
            self._db.execute(ADD_EVENT, event_columns(row.number, seq, event, checksum(saga_id, seq, event)))
            row = row._replace(last_seq=seq)
        row = row._replace(state=state, updated_at=float(event.at), held_reason=reason)
        columns = (row.saga, row.plan_id, row.state, row.digest, row.created_at, row.updated_at, row.last_seq)
        self._db.execute(HOLD_SAGA, (*columns, row.held_reason, chain.row_checksum(row), row.number))

    def _number(self, statement: str, *given: str | float | None) -> int:
        return int(self._db.execute(statement, given).get)


class SqliteReader(_SqliteRecords):
    """A reader; see `JournalReader` for what each method promises. It makes no file."""

    def __init__(self, path: Path, vfs: str | None = None) -> None:
        db, self._still = open_reader(path, vfs)
        super().__init__(path, db)
        self._vfs = vfs

    def list(
        self,
        *,
        state: SagaState | None = None,
        saga: str | None = None,
        since: float | None = None,
        limit: int = 100,
        after: int | None = None,
    ) -> Page:
        wanted = {"state = ?": state, "saga = ?": saga, "created_at >= ?": since, "number < ?": after}
        given = {term: value for term, value in wanted.items() if value is not None}
        where = f"WHERE {' AND '.join(given)}" if given else ""
        statement = f"SELECT {RAW_SAGA} FROM saga {where} ORDER BY number DESC LIMIT ?"
        return self._read(lambda db: _page(db.execute(statement, (*given.values(), limit + 1)), limit))

    def tail(self, after_position: int, limit: int = 500, skip: Collection[type[Event]] = ()) -> Tail:
        kinds = [kind_of(cls) for cls in skip]
        return self._read(lambda db: _tail(db, after_position, limit, kinds))

    def end_position(self) -> int:
        return self._read(lambda db: int(db.execute(END).get))

    def epoch(self) -> int:
        return self._read(lambda db: int(db.execute(EPOCH).get))

    def close(self) -> None:
        self._db.close()

    def _read(self, ask: Callable[[apsw.Connection], T]) -> T:
        return again(lambda: self._read_once(ask))

    def _read_once(self, ask: Callable[[apsw.Connection], T]) -> T:
        if self._still is not None and not self._still.holds:
            stale = self._db
            self._db, self._still = open_reader(self._path, self._vfs)
            stale.close()
        with undisturbed(self._still):
            return super()._read(ask)


def _find(db: apsw.Connection, saga_id: str) -> SagaRow | None:
    found = db.execute(FIND, (saga_id,)).fetchone()
    return None if found is None else chain.checked_row(chain.RawSaga(*found))


def _load(db: apsw.Connection, saga_id: str, path: Path) -> History:
    row = _find(db, saga_id)
    if row is None:
        raise UnknownSagaError(f"the journal {path} has no saga {saga_id!r}")
    return chain.verified(row, [chain.RawRecord(*found) for found in db.execute(LOAD, (row.number,))])


def _page(found: apsw.Cursor, limit: int) -> Page:
    return chain.page([chain.RawSaga(*columns) for columns in found], limit)


def _tail(db: apsw.Connection, after: int, limit: int, kinds: Sequence[str]) -> Tail:
    end = db.execute(TAIL_END, (after, limit)).get
    if end is None:
        return []
    statement = TAIL.format(",".join("?" * len(kinds)))
    return [_tailed(found) for found in db.execute(statement, (after, end, end, *kinds))]


def _tailed(columns: Columns) -> Tailed:
    *event, saga_id, saga = columns
    raw = chain.RawRecord(*event)
    seq = raw.seq if isinstance(raw.seq, int) else 0
    try:
        read, flaw = chain.checked(chain.legible(saga_id), seq, raw), None
    except CorruptionError as error:
        read, flaw = None, str(error)
    return Tailed(raw.position, chain.legible(saga_id), chain.legible(saga), seq, read, flaw)
