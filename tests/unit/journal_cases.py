"""What the journal's tests write: one plan, and entries that follow one another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from saga_actors.events import (
    Accepted,
    AttemptStarted,
    AttemptSucceeded,
    Event,
    Phase,
    SagaCompensated,
    SagaCompleted,
    UndoFailed,
    WorkerId,
)
from saga_actors.journal import Entry, Journal, JournalReader, MemoryJournal, SqliteJournal, SqliteReader
from saga_actors.outcomes import SagaState
from saga_actors.plan import SagaPlan, StepPlan

PLAN = SagaPlan("shop:PlaceOrder", (StepPlan("reserve", compensable=True), StepPlan("charge")))
WORKER = WorkerId(1, 4711, 1_700_000_000.25)


Both = tuple[Journal, JournalReader]
KINDS = ["sqlite", "memory"]
ENDS = (SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.FATAL)


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Both]:
    """A journal of this kind, and a reader of it."""
    if kind == "memory":
        memory = MemoryJournal()
        yield memory, memory
        return
    path = folder / "sagas.db"
    writer = SqliteJournal(path)
    reader = SqliteReader(path)
    yield writer, reader
    reader.close()
    writer.close()


def started(at: float = 2.0, step: str = "reserve") -> AttemptStarted:
    return AttemptStarted(at, Phase.EXECUTE, step, 1, 1, WORKER)


def succeeded(at: float = 3.0, context: bytes | None = b'{"n":2}') -> AttemptSucceeded:
    return AttemptSucceeded(at, Phase.EXECUTE, "reserve", 1, context)


def birth(saga_id: str, *more: Event, at: float = 1.0, saga: str = PLAN.saga, context: bytes = b'{"n":1}') -> Entry:
    """The first entry of a saga."""
    accepted = Accepted(at, saga_id, saga, PLAN.plan_id, "d" * 16, context)
    return Entry(saga_id, 1, (accepted, *more), SagaState.RUNNING, plan=PLAN)


def further(saga_id: str, first_seq: int, *events: Event, state: SagaState = SagaState.RUNNING) -> Entry:
    """A later entry."""
    return Entry(saga_id, first_seq, events or (started(),), state, "because" if state is SagaState.HELD else None)


def ended(saga_id: str, first_seq: int, at: float = 9.0, state: SagaState = SagaState.COMPLETED) -> Entry:
    """An entry that ends its saga."""
    event: Event = SagaCompleted(at)
    if state is SagaState.COMPENSATED:
        event = SagaCompensated(at)
    elif state is SagaState.FATAL:
        event = UndoFailed(at, "reserve")
    return further(saga_id, first_seq, event, state=state)


def filled(journal: Journal, *saga_ids: str) -> int:
    """Take the journal over and put these sagas into it, each with three events; returns the epoch."""
    epoch = journal.take_epoch("tests")
    assert not journal.append(epoch, [birth(saga_id, started(), succeeded()) for saga_id in saga_ids]).why
    return epoch


def over(journal: Journal, *saga_ids: str, at: float = 9.0) -> int:
    """Take the journal over and put sagas of four events into it that have completed; returns the epoch."""
    epoch = filled(journal, *saga_ids)
    assert not journal.append(epoch, [ended(saga_id, 4, at) for saga_id in saga_ids]).why
    return epoch


def made_older(path: Path) -> None:
    """Make a journal of version 2 of one of today that is closed, and has no tombstones."""
    tamper(path, "DROP TABLE tombstone", "ALTER TABLE owner DROP COLUMN last_number", "PRAGMA user_version = 2")


def tamper(path: Path, *statements: str) -> None:
    """What a bad disk, or somebody with a shell, does to the file."""
    db = apsw.Connection(str(path))
    for statement in statements:
        db.execute(statement).fetchall()
    db.close()


class FaultyFile(apsw.VFSFile):
    """A file whose log cannot be written or synchronised while `fault` says so."""

    fault: str | None = None

    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._is_log = str(name.filename() if isinstance(name, apsw.URIFilename) else name).endswith("-wal")
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._is_log and FaultyFile.fault == "full":
            raise apsw.FullError("no space left")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        if self._is_log and FaultyFile.fault == "sync":
            raise apsw.IOError("input/output error")
        super().xSync(flags)


class FaultyDisk(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("faulty", "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return FaultyFile(name, flags)


@contextmanager
def on_a_faulty_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteJournal]:
    """A journal of which the log lies on a disk that fails while `FaultyFile.fault` says so."""
    disk = FaultyDisk()
    monkeypatch.setattr(FaultyFile, "fault", None)
    writer = SqliteJournal(path, vfs="faulty")
    yield writer
    FaultyFile.fault = None
    writer.close()
    disk.unregister()
