"""`backup`: a copy that is whole, private, and never in the place of something else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import apsw
import pytest
from cli_rig import JOURNAL, Types
from journal_cases import tamper
from stories import Story

from saga_actors.execution import fold
from saga_actors.journal import SqliteJournal, SqliteReader, sqlite_backup
from saga_actors.outcomes import SagaState


def folded(path: Path) -> dict[str, SagaState]:
    """Every saga of a journal, by what its events say."""
    reader = SqliteReader(path)
    rows = reader.list(limit=1_000).rows
    states = {
        row.saga_id: fold((stored.event for stored in reader.load(row.saga_id)), reader.plan).state for row in rows
    }
    reader.close()
    return states


def test_a_copy_has_all_that_the_journal_has(types: Types, journal_here: SqliteJournal) -> None:
    """Also what is in its log only; the writer is there, and goes on."""
    Story(journal_here, 1, "ord_1").completes()
    Story(journal_here, 1, "ord_2").starts()
    assert os.stat("sagas.db-wal").st_size
    said = types("backup", "copy.db", *JOURNAL)
    assert (said.code, said.out) == (0, "")
    assert said.err == f"copied 2 sagas, {os.stat('copy.db').st_size:,} bytes, to copy.db\n"
    Story(journal_here, 1, "ord_3")
    assert folded(Path("copy.db")) == {"ord_1": SagaState.COMPLETED, "ord_2": SagaState.RUNNING}


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_a_copy_is_private_and_alone(types: Types, journal_here: SqliteJournal, umask: int) -> None:
    """Of mode 0600 whatever the umask is, and no other file is left."""
    Story(journal_here, 1)
    journal_here.close()
    before = set(os.listdir())
    previous = os.umask(umask)
    try:
        assert types("backup", "copy.db", *JOURNAL).code == 0
    finally:
        os.umask(previous)
    assert set(os.listdir()) == before | {"copy.db"}
    assert stat.S_IMODE(os.stat("copy.db").st_mode) == 0o600


def test_a_copy_is_of_one_moment(types: Types, journal_here: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that in which the copying begins; the writer is not held up by it, and what it writes then is not in it."""
    Story(journal_here, 1, "ord_1").completes()
    copy_pages = sqlite_backup._copy_pages

    def copy_while_somebody_writes(source: apsw.Connection, draft: Path) -> None:
        Story(journal_here, 1, "ord_2").completes()
        journal_here.checkpoint(0.0)
        copy_pages(source, draft)

    monkeypatch.setattr(sqlite_backup, "_copy_pages", copy_while_somebody_writes)
    assert types("backup", "copy.db", *JOURNAL).code == 0
    assert folded(Path("copy.db")) == {"ord_1": SagaState.COMPLETED}
    assert folded(Path("sagas.db")).keys() == {"ord_1", "ord_2"}


def test_a_copy_is_begun_again_if_somebody_begins_to_write(
    types: Types, journal_here: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal had no log, and was read as one that nobody writes; pages of two moments are no journal."""
    Story(journal_here, 1, "ord_1").completes()
    journal_here.close()
    for end in ("-wal", "-shm"):
        os.unlink(f"sagas.db{end}")
    copy_pages = sqlite_backup._copy_pages
    writers: list[SqliteJournal] = []

    def copy_while_somebody_begins(source: apsw.Connection, draft: Path) -> None:
        copy_pages(source, draft)
        if not writers:
            writers.append(SqliteJournal(Path("sagas.db").absolute()))
            Story(writers[0], writers[0].take_epoch("tests"), "ord_2").completes()

    monkeypatch.setattr(sqlite_backup, "_copy_pages", copy_while_somebody_begins)
    assert types("backup", "copy.db", *JOURNAL).code == 0
    assert folded(Path("copy.db")).keys() == {"ord_1", "ord_2"}
    writers[0].close()


def test_what_is_there_is_not_replaced_unless_that_is_said(types: Types, journal_here: SqliteJournal) -> None:
    """And then an earlier copy is."""
    Story(journal_here, 1, "ord_1")
    assert types("backup", "copy.db", *JOURNAL).code == 0
    Story(journal_here, 1, "ord_2")
    said = types("backup", "copy.db", *JOURNAL)
    assert said.code == 1
    assert "copy.db is there already; name another file, or replace it with --force" in said.err
    assert folded(Path("copy.db")).keys() == {"ord_1"}
    assert types("backup", "copy.db", "--force", *JOURNAL).code == 0
    assert folded(Path("copy.db")).keys() == {"ord_1", "ord_2"}


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("sagas.db", "is the journal itself"),
        ("link.db", "is the journal itself"),
        ("sagas.db-wal", "would be taken for a part of another file"),
        ("sagas.db.node/lock", "is no journal"),
        ("notes.txt", "is no journal"),
        ("pipe", "is no journal"),
        ("used.db", "in use as a journal: "),
        ("sagas.db.node", "is a folder"),
        ("nowhere/copy.db", "there is no folder"),
    ],
)
def test_nothing_else_is_ever_replaced(types: Types, journal_here: SqliteJournal, file: str, why: str) -> None:
    """Not the journal, nor its log, nor another one that is in use, nor what is no journal: with --force neither."""
    Story(journal_here, 1)
    os.symlink("sagas.db", "link.db")
    os.mkdir("sagas.db.node")
    for name in ("sagas.db.node/lock", "notes.txt", "used.db", "used.db-wal"):
        Path(name).write_text("mine")
    os.mkfifo("pipe")
    before = {name: os.lstat(name).st_mtime_ns for name in os.listdir()}
    said = types("backup", file, "--force", *JOURNAL)
    assert (said.code, said.out) == (1, "")
    assert why in said.err
    assert {name: os.lstat(name).st_mtime_ns for name in os.listdir()} == before


def test_of_a_damaged_journal_no_copy_is_made(types: Types, journal_here: SqliteJournal, tmp_path: Path) -> None:
    """It would take the place of a good one."""
    Story(journal_here, 1)
    tamper(tmp_path / "sagas.db", "DROP INDEX saga_by_state")
    said = types("backup", "copy.db", *JOURNAL)
    assert said.code == 1
    assert "the copy is damaged" in said.err
    assert not [name for name in os.listdir() if "copy" in name]


def test_without_a_journal_there_is_no_copy(types: Types) -> None:
    """Exit 3, and nothing is made."""
    said = types("backup", "copy.db", *JOURNAL)
    assert said.code == 3
    assert "there is no journal at" in said.err
    assert os.listdir() == []


def test_a_disk_without_room_is_said_to_be_full(
    types: Types, journal_here: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written so far is gone again."""
    Story(journal_here, 1)

    def be_full(*_: object) -> None:
        raise apsw.FullError("no space left")

    monkeypatch.setattr(sqlite_backup, "_copy_pages", be_full)
    said = types("backup", "copy.db", *JOURNAL)
    assert said.code == 1
    assert "no room" in said.err
    assert not [name for name in os.listdir() if "copy" in name]


def test_a_copy_takes_the_place_of_its_journal(types: Types, journal_here: SqliteJournal) -> None:
    """As its help says: the file, with nothing beside it, is a journal that can be read, and written."""
    Story(journal_here, 1, "ord_1").completes()
    assert types("backup", "copy.db", *JOURNAL).code == 0
    Story(journal_here, 1, "ord_2")
    journal_here.close()
    os.replace("copy.db", "sagas.db")
    for end in ("-wal", "-shm"):
        os.unlink(f"sagas.db{end}")
    assert types("status", "ord_1", *JOURNAL).out.startswith("ord_1 place-order: completed")
    restored = SqliteJournal(Path("sagas.db").absolute())
    Story(restored, restored.take_epoch("tests"), "ord_3")
    restored.close()
    assert folded(Path("sagas.db")).keys() == {"ord_1", "ord_3"}
