"""When the log is moved into the file, and what is looked at before a file is written to."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from engine_rig import Rig, run
from journal_cases import birth, filled, further, made_older, tamper
from journal_vfs import disk

from saga_actors.actors.checkpoints import EVERY, PATIENCE, Checkpoints
from saga_actors.errors import CorruptionError, JournalError, JournalFullError
from saga_actors.events import HoldReason
from saga_actors.journal import SqliteJournal, SqliteReader, sqlite_check
from saga_actors.outcomes import SagaState


class Log:
    """A journal, as far as checkpoints go; `answer` is what becomes of the next ones."""

    def __init__(self) -> None:
        self.unmoved = 0
        self.moved_at: list[float] = []
        self.now = 0.0
        self.answer: bool | Exception = True

    def checkpoint(self, patience: float) -> bool:
        assert patience == PATIENCE
        self.moved_at.append(self.now)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer:
            self.unmoved = 0
        return self.answer


def let_pass(log: Log, checkpoints: Checkpoints, seconds: float, commits: int = 0) -> None:
    """A tick every half second, each with some commits before it."""
    for _ in range(int(seconds * 2)):
        log.now += 0.5
        log.unmoved += commits
        checkpoints.tick(log.now)


def test_the_log_is_moved_once_when_nothing_is_committed_any_more() -> None:
    """P13: a flip in it can cost no more than what is a second old; and an idle node writes nothing."""
    log = Log()
    checkpoints = Checkpoints(log)  # type: ignore[arg-type]
    let_pass(log, checkpoints, 100)
    assert log.moved_at == []
    let_pass(log, checkpoints, 1, commits=3)
    let_pass(log, checkpoints, 100)
    assert log.moved_at == [102.0]


def test_the_log_is_moved_every_ten_seconds_while_there_are_commits() -> None:
    """P13: it has no end of work to wait for."""
    log = Log()
    let_pass(log, Checkpoints(log), 60, commits=100)  # type: ignore[arg-type]
    assert [round(later - sooner) for sooner, later in zip(log.moved_at, log.moved_at[1:], strict=False)] == [10] * 4


@pytest.mark.parametrize("answer", [False, JournalFullError("no room")])
def test_a_log_that_cannot_be_moved_now_is_tried_again_and_not_at_once(answer: bool | Exception) -> None:
    """P11, P12: a reader who does not end, and a full disk, cost 20 ms in 10 s."""
    log = Log()
    log.answer = answer
    checkpoints = Checkpoints(log)  # type: ignore[arg-type]
    let_pass(log, checkpoints, 30, commits=1)
    let_pass(log, checkpoints, 30)
    assert all(later - sooner >= EVERY for sooner, later in zip(log.moved_at, log.moved_at[1:], strict=False))
    assert len(log.moved_at) >= 4
    log.answer = True
    let_pass(log, checkpoints, 11)
    assert log.unmoved == 0


def test_a_log_that_fails_otherwise_ends_the_process() -> None:
    """P5: an I/O error is for the next supervisor, which opens the journal alone."""
    log = Log()
    log.answer = JournalError("input/output error")
    with pytest.raises(JournalError, match="input/output"):
        let_pass(log, Checkpoints(log), 15, commits=1)  # type: ignore[arg-type]


def test_an_idle_engine_empties_the_log_and_then_asks_nothing_of_the_disk(tmp_path: Path) -> None:
    """P13: after a second of rest everything is in the file; from then on not a byte is read or written."""
    with disk() as counting:
        rig = Rig(SqliteJournal(tmp_path / "sagas.db", vfs=counting.name))
        rig.worker()
        rig.send(run("s1"))
        rig.settle(3)
        assert (tmp_path / "sagas.db-wal").stat().st_size == 0
        counting.operations.clear()
        rig.settle(60)
        assert counting.operations == []
        rig.journal.close()


def test_a_reader_in_the_middle_of_an_answer_is_not_waited_for(tmp_path: Path) -> None:
    """P11: the supervisor goes on, with the log as it is."""
    path = tmp_path / "sagas.db"
    journal = SqliteJournal(path)
    epoch = filled(journal, "a")
    reader = SqliteReader(path)
    with reader._snapshot() as db:
        db.execute("SELECT count(*) FROM event").fetchall()
        journal.append(epoch, [birth("b")])
        assert not journal.checkpoint(PATIENCE)
        assert journal.unmoved == 3
        assert not journal.append(epoch, [further("b", 2)]).why
    assert journal.checkpoint(PATIENCE)
    assert journal.unmoved == 0
    reader.close()
    journal.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal at rest, with a tombstone."""
    journal = SqliteJournal(tmp_path / "sagas.db")
    epoch = filled(journal, "a", "b", "c")
    journal.hold(epoch, "c", HoldReason.CRASHED, "", 3.0)
    journal.end(epoch, "c", SagaState.FATAL, "ann", "", 4.0)
    journal.prune(epoch, 9.0, [SagaState.FATAL], at=9.0)
    journal.close()
    return tmp_path / "sagas.db"


DAMAGE = {
    "the epoch": ["UPDATE owner SET epoch = epoch + 8"],
    "the epoch's other writing": ["UPDATE owner SET owner = 'tests of epoch 3'"],
    "the owner": ["DELETE FROM owner"],
    "the last position": ["UPDATE sqlite_sequence SET seq = 2"],
    "a last position after which there is none": ["UPDATE sqlite_sequence SET seq = 9223372036854775807"],
    "a table": ["DROP TABLE plan"],
    "an index": ["DROP INDEX saga_unfinished"],
    "another index of that name": ["DROP INDEX saga_by_state", "CREATE INDEX saga_by_state ON saga (number)"],
}


@pytest.mark.parametrize("statements", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_file_that_is_not_sound_is_not_written_to_and_says_what_to_do(path: Path, statements: list[str]) -> None:
    """P13: what has no checksum is compared with what else says so, before there is an epoch."""
    tamper(path, *statements)
    before = path.read_bytes()
    with pytest.raises(CorruptionError, match=rf"{path} is damaged .*restore a backup.*\.recover"):
        SqliteJournal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("key", [b"saga_unfinished", b"c", b"a"])
def test_an_index_that_does_not_say_what_is_there_stops_the_node(path: Path, key: bytes) -> None:
    """P1, P10: a saga that is not found would be forgotten, or begun once more."""
    content = bytearray(path.read_bytes())
    reader = SqliteReader(path)
    roots = dict(reader._db.execute("SELECT name, rootpage FROM sqlite_schema"))
    reader.close()
    if key == b"saga_unfinished":
        page = roots["saga_unfinished"]
        at = content.index(b"\x03\x01\x01\x02\x02", (page - 1) * 4096, page * 4096) + 3  # the second one's number
    else:
        page = roots["tombstone" if key == b"c" else "sqlite_autoindex_saga_1"]
        at = content.index(key, (page - 1) * 4096, page * 4096)
    content[at] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(CorruptionError, match="is damaged"):
        SqliteJournal(path)
    assert path.read_bytes() == content


def test_a_journal_too_big_to_be_looked_through_is_opened_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """P12: looking has an end, and the log says so."""
    monkeypatch.setattr(sqlite_check, "LONGEST", -1.0)
    monkeypatch.setattr(sqlite_check, "STEPS", 1)
    with caplog.at_level(logging.WARNING):
        journal = SqliteJournal(path)
    assert "too big to be looked through" in caplog.text
    assert len(journal.load("a")) == 3
    journal.close()


def test_an_older_journal_is_looked_through_as_what_it_is(tmp_path: Path) -> None:
    """One without tombstones, and one whose owner was given a column later, are sound."""
    path = tmp_path / "sagas.db"
    journal = SqliteJournal(path)
    filled(journal, "a")
    journal.close()
    made_older(path)
    for _ in range(2):
        again = SqliteJournal(path)
        assert len(again.load("a")) == 3
        again.close()
