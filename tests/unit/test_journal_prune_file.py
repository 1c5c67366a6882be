"""What only a journal in a file can show of pruning: damage, full disks, deaths, older versions."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_cases import (
    ENDS,
    FaultyFile,
    birth,
    ended,
    filled,
    made_older,
    on_a_faulty_disk,
    over,
    tamper,
)

from saga_actors.errors import CommitUnknownError, CorruptionError, JournalError, JournalFullError
from saga_actors.events import HoldReason
from saga_actors.journal import Pruned, SqliteJournal, SqliteReader, sqlite_prune
from saga_actors.outcomes import SagaState

COMPENSATED = SagaState.COMPENSATED
HERE = Path(__file__).parent
NOW = 1_000.0

UNREADABLE = {
    "a bad record": "UPDATE event SET checksum = 1 WHERE saga = 2 AND seq = 2",
    "a lost record": "DELETE FROM event WHERE saga = 2 AND seq = 2",
    "no records": "DELETE FROM event WHERE saga = 2",
    "a number that is in the way": "UPDATE event SET seq = 5 WHERE saga = 2 AND seq = 2",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sagas.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    writer = SqliteJournal(path)
    yield writer
    writer.close()


@pytest.fixture
def faulty(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteJournal]:
    with on_a_faulty_disk(path, monkeypatch) as writer:
        yield writer


class TestPruning:
    def test_it_is_the_same_after_reopening(self, journal: SqliteJournal, path: Path) -> None:
        """P10: tombstones are durable, and who opens the journal next knows of them."""
        epoch = over(journal, "a", "b")
        journal.prune(epoch, 10.0, ENDS, at=NOW)
        stone, position = journal.tombstone("a"), journal.append(epoch, []).position
        journal.close()
        again = SqliteJournal(path)
        epoch = again.take_epoch("the next one")
        assert again.tombstone("a") == stone is not None
        assert again.append(epoch, [birth("a")]).conflicts == ("a",)
        assert again.append(epoch, [birth("c")]).position == position + 1
        row = again.find("c")
        assert row is not None
        assert row.number == 3
        again.close()

    def test_a_corrupt_summary_is_passed_over(self, journal: SqliteJournal, path: Path) -> None:
        """P13: what was not written by us is no reason to remove anything; the others are pruned."""
        epoch = over(journal, "a", "b", "c")
        running = filled(journal, "d")
        assert running > epoch
        tamper(path, "UPDATE saga SET digest = 'e' WHERE saga_id = 'b'")
        tamper(path, "UPDATE saga SET state = 'completed' WHERE saga_id = 'd'")
        assert journal.prune(running, 10.0, ENDS, at=NOW) == Pruned(2, None)
        for saga_id in "bd":
            with pytest.raises(CorruptionError, match=f"'{saga_id}'"):
                journal.find(saga_id)
        assert journal._number("SELECT count(*) FROM event") == 7

    @pytest.mark.parametrize(
        "change",
        [
            "saga = 'other'",
            "state = 'fatal'",
            "state = 'gone'",
            "digest = CAST(x'ff' AS TEXT)",
            "created_at = 2.0",
            "ended_at = 8.0",
            "ended_at = 'x'",
            "pruned_at = 5.0",
            "checksum = checksum + 1",
        ],
    )
    def test_a_corrupt_tombstone_is_loud_and_keeps_its_id(
        self, journal: SqliteJournal, path: Path, change: str
    ) -> None:
        """P13, P10: whoever asks is told, nobody takes its id, and it is not dropped; the others are."""
        epoch = over(journal, "a", "b")
        journal.prune(epoch, 10.0, ENDS, at=NOW)
        tamper(path, f"UPDATE tombstone SET {change} WHERE saga_id = 'a'")
        with pytest.raises(CorruptionError, match="tombstone of saga 'a'"):
            journal.tombstone("a")
        assert journal.drop_tombstones(epoch, NOW + 1) == Pruned(1, None)
        assert journal.append(epoch, [birth("a"), birth("b")]).conflicts == ("a",)

    def test_corrupt_tombstones_keep_nobody_going_for_ever(
        self, journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P12: when all that was looked at is corrupt, there is nothing more to do."""
        monkeypatch.setattr(sqlite_prune, "MOST_SUMMARIES", 2)
        epoch = over(journal, "a", "b", "c")
        journal.prune(epoch, 10.0, ENDS, at=NOW)
        tamper(path, "UPDATE tombstone SET digest = 'e'")
        assert journal.drop_tombstones(epoch, NOW + 1) == Pruned(0, None)

    def test_a_tombstone_that_somebody_else_wrote_is_found(self, journal: SqliteJournal, path: Path) -> None:
        """That there are none is not believed of a file that others have changed."""
        epoch = over(journal, "a")
        assert not journal.append(epoch, [birth("b")]).why
        copy = path.with_name("copy.db")
        journal.checkpoint()
        shutil.copy(path, copy)
        other = SqliteJournal(copy)
        other.prune(other.take_epoch("me"), 10.0, ENDS, at=NOW)
        other.close()
        tamper(
            path, f"ATTACH '{copy}' AS copy", "INSERT INTO tombstone SELECT * FROM copy.tombstone", "DELETE FROM saga"
        )
        assert journal.append(epoch, [birth("a")]).conflicts == ("a",)

    def test_a_new_saga_costs_no_look_for_a_tombstone_when_there_are_none(self, journal: SqliteJournal) -> None:
        """It is asked once; after a prune, for each new saga, and after they were dropped, no more."""
        asked: list[str] = []
        epoch = over(journal, "a")

        def noted(_cursor: object, statement: str, _given: object) -> bool:
            if "tombstone" in statement:
                asked.append(statement)
            return True

        journal._db.exec_trace = noted
        for number in range(3):
            journal.append(epoch, [birth(f"{number}x"), birth(f"{number}y")])
        assert len(asked) <= 1
        journal.prune(epoch, 10.0, ENDS, at=NOW)
        asked.clear()
        journal.append(epoch, [birth("t"), birth("u")])
        assert len(asked) == 3
        journal.drop_tombstones(epoch, NOW + 1)
        asked.clear()
        journal.append(epoch, [birth("v"), birth("w")])
        assert len(asked) == 1

    def test_the_pages_of_what_was_pruned_are_used_again(self, journal: SqliteJournal) -> None:
        """The file does not grow as long as as much is pruned as is added."""
        epoch = journal.take_epoch("me")

        def fill(tag: str) -> int:
            saga_ids = [f"{tag}{number}" for number in range(50)]
            journal.append(epoch, [birth(saga_id, context=b"x" * 3_000) for saga_id in saga_ids])
            journal.append(epoch, [ended(saga_id, 2) for saga_id in saga_ids])
            return journal._number("PRAGMA page_count")

        before = fill("a")
        for tag in "bcdef":
            journal.prune(epoch, 10.0, ENDS, at=NOW)
            assert fill(tag) < before * 1.2

    @pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE.keys())
    def test_a_saga_that_nobody_can_read_is_ended(self, journal: SqliteJournal, path: Path, damage: str) -> None:
        """P13: its summary has the end; its records are as unreadable as before, and nobody else's are touched."""
        epoch = filled(journal, "a", "b", "c")
        tamper(path, damage)
        journal.hold(epoch, "b", HoldReason.CORRUPT, "a bad record", 7.0)
        journal.end(epoch, "b", COMPENSATED, "ann", "undone by hand", 8.0)
        row = journal.find("b")
        assert row is not None
        assert (row.state, row.held_reason, row.updated_at) == (COMPENSATED, None, 8.0)
        with pytest.raises(CorruptionError, match="'b'"):
            journal.load("b")
        assert [len(journal.load(saga_id)) for saga_id in "ac"] == [3, 3]
        assert journal.prune(epoch, 9.0, ENDS, at=NOW).sagas == 1
        assert journal.tombstone("b") is not None


class TestVersions:
    def test_a_journal_of_version_2_is_made_one_of_today_by_its_writer(self, path: Path) -> None:
        """Everything in it is there, it has the same schema as a new one, and it can be pruned."""
        writer = SqliteJournal(path)
        over(writer, "a")
        schema = schema_of(writer)
        writer.close()
        made_older(path)
        upgraded = SqliteJournal(path)
        epoch = upgraded.take_epoch("the next one")
        assert epoch == 2
        assert schema_of(upgraded) == schema
        assert len(upgraded.load("a")) == 4
        assert upgraded.prune(epoch, 10.0, ENDS, at=NOW) == Pruned(1, None)
        assert upgraded.append(epoch, [birth("a")]).conflicts == ("a",)
        upgraded.close()

    def test_a_reader_answers_from_a_journal_of_version_2_and_sees_it_upgraded(self, path: Path) -> None:
        """It writes nothing; there are no tombstones, until the writer has come and pruned."""
        writer = SqliteJournal(path)
        over(writer, "a")
        writer.close()
        made_older(path)
        reader = SqliteReader(path)
        assert (len(reader.load("a")), reader.end_position(), reader.epoch()) == (4, 4, 1)
        assert reader.tombstone("a") is None
        assert reader._db.execute("PRAGMA user_version").get == 2
        upgraded = SqliteJournal(path)
        upgraded.prune(upgraded.take_epoch("the next one"), 10.0, ENDS, at=NOW)
        assert reader.tombstone("a") is not None
        reader.close()
        upgraded.close()

    def test_an_upgrade_that_breaks_off_leaves_the_journal_as_it_was(self, path: Path) -> None:
        """All of it is one transaction: what is in the way of its last part undoes the first."""
        writer = SqliteJournal(path)
        over(writer, "a")
        writer.close()
        made_older(path)
        tamper(path, "CREATE TABLE tombstone_by_age (x)")
        with pytest.raises(JournalError, match="tombstone_by_age"):
            SqliteJournal(path)
        tamper(path, "DROP TABLE tombstone_by_age")
        reader = SqliteReader(path)
        assert reader._db.execute("PRAGMA user_version").get == 2
        assert not reader._db.execute("SELECT * FROM sqlite_schema WHERE name = 'tombstone'").fetchall()
        reader.close()
        SqliteJournal(path).close()


def schema_of(journal: SqliteJournal) -> list[tuple[object, ...]]:
    """Tables with their columns, and indexes."""
    return journal._db.execute(
        'SELECT s.type, s.name, c.name, c.type, c."notnull", c.dflt_value, c.pk FROM sqlite_schema s '
        "LEFT JOIN pragma_table_info(s.name) c ORDER BY s.type, s.name, c.cid"
    ).fetchall()


class TestBreakingOff:
    @pytest.mark.parametrize(("fault", "error"), [("full", JournalFullError), ("sync", CommitUnknownError)])
    def test_what_could_not_be_committed_is_all_there(
        self, faulty: SqliteJournal, fault: str, error: type[JournalError]
    ) -> None:
        """P5: no summary, event or tombstone is gone, nor made; and it can be done again."""
        epoch = over(faulty, "a", "b")
        FaultyFile.fault = fault
        with pytest.raises(error):
            faulty.prune(epoch, 10.0, ENDS, at=NOW)
        FaultyFile.fault = None
        assert [len(faulty.load(saga_id)) for saga_id in "ab"] == [4, 4]
        assert [faulty.tombstone(saga_id) for saga_id in "ab"] == [None, None]
        assert faulty.append(epoch, [birth("c")]).position == 9
        assert faulty.prune(epoch, 10.0, ENDS, at=NOW) == Pruned(2, None)

    def test_tombstones_that_could_not_be_dropped_are_there(self, faulty: SqliteJournal) -> None:
        """P10: and their ids are taken."""
        epoch = over(faulty, "a")
        faulty.prune(epoch, 10.0, ENDS, at=NOW)
        FaultyFile.fault = "full"
        with pytest.raises(JournalFullError, match="nothing was written"):
            faulty.drop_tombstones(epoch, NOW + 1)
        FaultyFile.fault = None
        assert faulty.append(epoch, [birth("a")]).conflicts == ("a",)

    @pytest.mark.slow
    @pytest.mark.parametrize("before", ["DELETE FROM event", "DELETE FROM saga", "UPDATE owner", "COMMIT"])
    def test_a_writer_that_dies_in_the_middle_has_removed_nothing(self, path: Path, before: str) -> None:
        """P1: wherever it is killed, the next one finds everything."""
        code = (
            "import os, signal, sys; from pathlib import Path; from journal_cases import ENDS, over;"
            "from saga_actors.journal import SqliteJournal;"
            "journal = SqliteJournal(Path(sys.argv[1])); epoch = over(journal, 'a', 'b');"
            "journal._db.exec_trace = lambda _, statement, __:"
            " not statement.startswith(sys.argv[2]) or os.kill(os.getpid(), signal.SIGKILL);"
            "journal.prune(epoch, 10.0, ENDS, at=20.0)"
        )
        run = [sys.executable, "-c", code, str(path), before]
        assert subprocess.run(run, cwd=HERE, timeout=60, check=False).returncode == -signal.SIGKILL
        successor = SqliteJournal(path)
        assert [len(successor.load(saga_id)) for saga_id in "ab"] == [4, 4]
        assert successor.prune(successor.take_epoch("the next one"), 10.0, ENDS, at=NOW) == Pruned(2, None)
        successor.close()
