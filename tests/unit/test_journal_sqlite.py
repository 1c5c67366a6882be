"""What only a journal in a file can show: damage, other processes, full disks, foreign files."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import apsw
import pytest
from journal_cases import PLAN, FaultyFile, birth, filled, further, on_a_faulty_disk, tamper

from saga_actors.errors import (
    CommitUnknownError,
    CorruptionError,
    JournalError,
    JournalFullError,
)
from saga_actors.events import Event, HoldReason
from saga_actors.journal import SqliteJournal, SqliteReader
from saga_actors.outcomes import SagaState

HERE = Path(__file__).parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sagas.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    writer = SqliteJournal(path)
    yield writer
    writer.close()


EVENT_OF_B = "UPDATE event SET {} WHERE saga = (SELECT number FROM saga WHERE saga_id = 'b') AND seq = {}"
DAMAGE = {
    "a bit of the body": (EVENT_OF_B.format("body = CAST(replace(CAST(body AS TEXT), 'e', 'd') AS BLOB)", 2), 2),
    "a bit of the context": (EVENT_OF_B.format("context = x'7b226e223a337d'", 3), 3),
    "a lost context": (EVENT_OF_B.format("context = NULL", 3), 3),
    "a context from nowhere": (EVENT_OF_B.format("context = x'7b7d'", 2), 2),
    "the number": (EVENT_OF_B.format("seq = 6", 2), 2),
    "a number that skips the last": (EVENT_OF_B.format("seq = 4", 3), 3),
    "a number that is none": (EVENT_OF_B.format("seq = CAST(x'ff' AS TEXT)", 2), 2),
    "the kind": (EVENT_OF_B.format("kind = 'saga_completed'", 2), 2),
    "a kind that is no text": (EVENT_OF_B.format("kind = CAST(x'fffe' AS TEXT)", 2), 2),
    "the time": (EVENT_OF_B.format("at = at + 1", 1), 1),
    "a time that is none": (EVENT_OF_B.format("at = CAST(x'fffe' AS TEXT)", 1), 1),
    "a body of the wrong type": (EVENT_OF_B.format("body = 12", 1), 1),
    "a body that is a broken text": (EVENT_OF_B.format("body = CAST(x'fffe' AS TEXT)", 1), 1),
    "a context of the wrong type": (EVENT_OF_B.format("context = 1.5", 1), 1),
    "the checksum": (EVENT_OF_B.format("checksum = checksum + 1", 2), 2),
    "another saga's record": (EVENT_OF_B.format("saga = 99", 2), 2),
    "a lost record": ("DELETE FROM event WHERE position = 5", 2),
    "a lost last record": ("DELETE FROM event WHERE position = 6", 3),
}
SUMMARY_OF_B = "UPDATE saga SET {} WHERE saga_id = 'b'"
SUMMARY_DAMAGE = [
    "state = 'rvnning'",
    "state = CAST(x'ff' AS TEXT)",
    "digest = 'e'",
    "plan_id = 5",
    "saga = CAST(x'ff' AS TEXT)",
    "created_at = CAST(x'ff' AS TEXT)",
    "updated_at = updated_at + 1",
    "last_seq = 2",
    "last_seq = CAST(x'ff' AS TEXT)",
    "held_reason = CAST(x'ff' AS TEXT)",
    "checksum = checksum + 1",
]


class TestDamage:
    @pytest.mark.parametrize(("statement", "seq"), DAMAGE.values(), ids=DAMAGE.keys())
    def test_a_bad_record_stops_its_own_saga_and_no_other(
        self, journal: SqliteJournal, path: Path, statement: str, seq: int
    ) -> None:
        """It is named with saga and number, nothing is read from it, and everything else goes on (P13, P11)."""
        epoch = filled(journal, "a", "b", "c")
        tamper(path, statement)
        with pytest.raises(CorruptionError, match=rf"'b', record {seq}|'b' has 2 records.*record {seq}"):
            journal.load("b")
        assert [row.saga_id for row in journal.unfinished().rows] == ["a", "b", "c"]
        assert all(len(journal.load(other)) == 3 for other in "ac")
        journal.append(epoch, [further("a", 4), further("b", 4), birth("d"), further("c", 4)])
        assert [len(journal.load(other)) for other in "acd"] == [4, 4, 1]
        journal.hold(epoch, "b", HoldReason.CORRUPT, "a bad record", 9.0)
        held = journal.find("b")
        assert held is not None
        assert (held.state, held.held_reason) == (SagaState.HELD, "corrupt: a bad record")
        assert "b" not in {row.saga_id for row in journal.unfinished().rows}

    @pytest.mark.parametrize("statement", [statement for statement, _ in DAMAGE.values()], ids=DAMAGE.keys())
    def test_a_bad_record_does_not_stop_the_tail(self, journal: SqliteJournal, path: Path, statement: str) -> None:
        """Telemetry reads past it, and every other event of every saga is told (P13)."""
        filled(journal, "a", "b", "c")
        tamper(path, statement)
        reader = SqliteReader(path)
        told = reader.tail(0)
        reader.close()
        assert {t.position for t in told} >= {1, 2, 3, 4, 7, 8, 9}
        assert all((t.event is None) == (t.flaw is not None) for t in told)
        assert all(t.event is not None for t in told if t.saga_id in ("a", "c"))

    @pytest.mark.parametrize("kind", ["CAST(x'fffe' AS TEXT)", "'attempt_startee'", "x'00'", "1"])
    def test_a_record_of_which_the_kind_cannot_be_told_is_never_left_out(
        self, journal: SqliteJournal, path: Path, kind: str
    ) -> None:
        """Whoever skips all kinds still hears of its flaw (P13)."""
        filled(journal, "a", "b", "c")
        tamper(path, EVENT_OF_B.format(f"kind = {kind}", 2))
        reader = SqliteReader(path)
        told = reader.tail(0, 500, get_args(Event))
        reader.close()
        assert [(t.position, t.flaw is None) for t in told] == [(5, False), (9, True)]

    @pytest.mark.parametrize("change", SUMMARY_DAMAGE)
    def test_a_bad_summary_is_told_and_can_be_held(self, journal: SqliteJournal, path: Path, change: str) -> None:
        """It is on the page as corrupt, nothing is appended on it, and a hold makes it legible (P13)."""
        epoch = filled(journal, "a", "b", "c")
        tamper(path, SUMMARY_OF_B.format(change))
        page = journal.unfinished()
        assert [row.saga_id for row in page.rows] == ["a", "c"]
        assert [(row.saga_id, "'b'" in row.why) for row in page.corrupt] == [("b", True)]
        for read in (journal.find, journal.load):
            with pytest.raises(CorruptionError, match="'b'"):
                read("b")
        assert journal.append(epoch, [further("b", 4), further("c", 4)]).conflicts == ("b",)
        journal.hold(epoch, "b", HoldReason.CORRUPT, "its summary", 9.0)
        held = journal.find("b")
        assert held is not None
        assert held.held_reason == "corrupt: its summary"
        assert not journal.unfinished().corrupt

    def test_a_summary_that_was_set_to_an_end_is_not_taken_for_one(self, journal: SqliteJournal, path: Path) -> None:
        """A state that was not written by us is found by whoever looks (P13)."""
        filled(journal, "a", "b")
        tamper(path, SUMMARY_OF_B.format("state = 'completed'"))
        reader = SqliteReader(path)
        assert [row.saga_id for row in reader.list().corrupt] == ["b"]
        reader.close()

    def test_a_bad_plan_is_told_and_healed_by_the_next_saga_with_it(self, journal: SqliteJournal, path: Path) -> None:
        """A plan's id is its digest, so that whoever brings it repairs it (P13, P14)."""
        epoch = filled(journal, "a")
        tamper(path, "UPDATE plan SET body = x'7b7d'")
        with pytest.raises(CorruptionError, match=PLAN.plan_id):
            journal.plan(PLAN.plan_id)
        journal.append(epoch, [birth("b")])
        assert journal.plan(PLAN.plan_id) == PLAN

    def test_a_stray_record_of_a_saga_to_come_stops_nobody(self, journal: SqliteJournal, path: Path) -> None:
        """The next saga takes a number that no record claims (P11)."""
        epoch = filled(journal, "a")
        tamper(path, "UPDATE event SET saga = 2 WHERE seq = 1")
        assert not journal.append(epoch, [birth("b"), birth("c")]).why
        assert len(journal.load("b")) == len(journal.load("c")) == 1


@pytest.fixture
def faulty(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteJournal]:
    with on_a_faulty_disk(path, monkeypatch) as writer:
        yield writer


class TestDisks:
    def test_a_full_disk_writes_nothing_and_says_so(self, faulty: SqliteJournal) -> None:
        """The batch is rolled back, and can be tried again when there is room."""
        epoch = filled(faulty, "a")
        FaultyFile.fault = "full"
        with pytest.raises(JournalFullError, match="nothing was written"):
            faulty.append(epoch, [birth("b"), further("a", 4)])
        FaultyFile.fault = None
        assert faulty.find("b") is None
        assert len(faulty.load("a")) == 3
        assert not faulty.append(epoch, [birth("b"), further("a", 4)]).why

    def test_a_failed_sync_leaves_the_commit_unknown(self, faulty: SqliteJournal) -> None:
        """Nobody can say whether it is durable; the journal can be asked."""
        epoch = filled(faulty, "a")
        FaultyFile.fault = "sync"
        with pytest.raises(CommitUnknownError, match="fold again"):
            faulty.append(epoch, [birth("b")])
        FaultyFile.fault = None
        assert faulty.load("a")

    def test_a_writer_that_cannot_begin_has_written_nothing(self, journal: SqliteJournal, path: Path) -> None:
        """Somebody else's lock on the file is an error before the transaction, not an unknown commit."""
        epoch = filled(journal, "a")
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        journal._db.set_busy_timeout(10)
        with pytest.raises(JournalError, match="Busy") as refused:
            journal.append(epoch, [birth("b")])
        other.close(True)
        assert not isinstance(refused.value, CommitUnknownError | JournalFullError)


@pytest.mark.slow
class TestProcesses:
    def test_what_was_appended_outlives_a_writer_that_is_killed(self, path: Path) -> None:
        """A process that dies right after `append` has returned leaves everything behind, for readers and writers."""
        code = (
            "import os, signal, sys; from pathlib import Path; from journal_cases import filled;"
            "from saga_actors.journal import SqliteJournal;"
            "filled(SqliteJournal(Path(sys.argv[1])), 'a', 'b'); os.kill(os.getpid(), signal.SIGKILL)"
        )
        killed = subprocess.run([sys.executable, "-c", code, str(path)], cwd=HERE, timeout=60, check=False)
        assert killed.returncode == -signal.SIGKILL
        reader = SqliteReader(path)
        assert [row.saga_id for row in reader.list().rows] == ["b", "a"]
        assert len(reader.load("a")) == 3
        successor = SqliteJournal(path)
        assert successor.checkpoint()
        assert successor.take_epoch("the next one") == reader.epoch() == 2
        assert successor.count_unfinished() == 2
        successor.close()
        reader.close()

    def test_readers_see_whole_sagas_while_the_writer_writes(self, journal: SqliteJournal, path: Path) -> None:
        """A snapshot never has a summary without its records, and no reader holds the writer up."""
        epoch = filled(journal, "a")
        done = threading.Event()
        read: list[int] = []
        failed: list[BaseException] = []

        def watch() -> None:
            reader = SqliteReader(path)
            try:
                while not done.is_set() or not read:
                    read.append(len(reader.load("a")))
            except BaseException as error:
                failed.append(error)
            reader.close()

        watcher = threading.Thread(target=watch)
        watcher.start()
        for seq in range(4, 204):
            assert not journal.append(epoch, [further("a", seq)]).why
        done.set()
        watcher.join(30)
        assert not failed
        assert read == sorted(read)

    def test_a_reader_in_the_middle_of_an_answer_puts_a_checkpoint_off(
        self, journal: SqliteJournal, path: Path
    ) -> None:
        """The log is kept while somebody reads from it, and the writer is told within a bounded time (P12)."""
        epoch = filled(journal, "a")
        reader = SqliteReader(path)
        with reader._snapshot() as db:
            db.execute("SELECT count(*) FROM event").fetchall()
            journal.append(epoch, [birth("b")])
            assert not journal.checkpoint()
        assert journal.checkpoint()
        reader.close()

    def test_a_reader_creates_nothing_beside_a_closed_journal(self, path: Path) -> None:
        """A cleanly closed journal is one file, an empty log and its index; reading leaves them as they are."""
        writer = SqliteJournal(path)
        filled(writer, "a")
        writer.close()
        before = {file: file.stat().st_mtime_ns for file in path.parent.iterdir() if not file.name.endswith("-shm")}
        assert (path.parent / "sagas.db-wal").stat().st_size == 0
        reader = SqliteReader(path)
        assert len(reader.load("a")) == 3
        with pytest.raises(apsw.ReadOnlyError):
            reader._db.execute("UPDATE owner SET epoch = 9")
        reader.close()
        after = {file: file.stat().st_mtime_ns for file in path.parent.iterdir() if not file.name.endswith("-shm")}
        assert after == before

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may not write here")
    def test_a_copy_in_a_folder_one_may_not_write_can_be_read(self, path: Path) -> None:
        """Without the log's files, and no right to make them, the file alone is read."""
        writer = SqliteJournal(path)
        filled(writer, "a")
        writer.close()
        code = (
            "import os, sys; from pathlib import Path; from saga_actors.journal import SqliteReader; os.setuid(65534);"
            "reader = SqliteReader(Path(sys.argv[1])); print(len(reader.load('a')), len(reader.list().rows))"
        )
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            copy = Path(shutil.copy(path, folder))
            copy.chmod(0o644)
            child = subprocess.run([sys.executable, "-c", code, copy], capture_output=True, timeout=60, check=False)
            assert (child.stdout, child.stderr) == (b"3 1\n", b"")
            assert os.listdir(folder) == ["sagas.db"]

    def test_a_history_reads_well_with_nothing_but_sqlite(self, journal: SqliteJournal, path: Path) -> None:
        """The view `history` shows JSON bodies and contexts as text, also to an older SQLite."""
        filled(journal, "a")
        plain = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        rows = plain.execute("SELECT saga_id, seq, kind, body, context, at FROM history ORDER BY position").fetchall()
        plain.close()
        assert [row[:2] for row in rows] == [("a", 1), ("a", 2), ("a", 3)]
        assert rows[1][3].startswith('{"')
        assert rows[2][4:] == ('{"n":2}', "1970-01-01 00:00:03.000")
