"""Reading a journal makes no file, and is right also when somebody begins to write in the middle of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from journal_cases import PLAN, birth, filled

from saga_actors.errors import CorruptionError, JournalError, UnknownSagaError
from saga_actors.journal import JournalReader, SqliteJournal, SqliteReader, sqlite
from saga_actors.journal.sqlite_reading import LOOKS

READING: dict[str, Callable[[JournalReader], Any]] = {
    "find": lambda reader: reader.find("a"),
    "load": lambda reader: reader.load("a"),
    "tombstone": lambda reader: reader.tombstone("a"),
    "plan": lambda reader: reader.plan(PLAN.plan_id),
    "counts": lambda reader: reader.counts(),
    "list": lambda reader: reader.list(),
    "tail": lambda reader: reader.tail(0),
    "end_position": lambda reader: reader.end_position(),
    "epoch": lambda reader: reader.epoch(),
}
LEFT = {
    "closed by its node": ("-wal", "-shm"),
    "a copy of the file alone": (),
    "a copy without the index": ("-wal",),
    "a copy without the log": ("-shm",),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with one saga, that is closed; of what is beside it nothing is left."""
    path = tmp_path / "sagas.db"
    writer = SqliteJournal(path)
    filled(writer, "a")
    writer.close()
    keep(path)
    return path


def keep(path: Path, *ends: str) -> None:
    """Of what is beside the file, keep these; they are empty."""
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
        if end in ends:
            Path(f"{path}{end}").touch(0o600)


def looks(path: Path) -> dict[str, tuple[int, int]]:
    """Every file of the folder, and when it was written."""
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in path.parent.iterdir()}


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("method", READING)
def test_reading_a_journal_that_nobody_writes_makes_no_file(path: Path, method: str, left: str) -> None:
    """And writes none, whatever was left beside it; an index that is there may be used."""
    keep(path, *LEFT[left])
    before = looks(path)
    reader = SqliteReader(path)
    for _ in range(2):
        READING[method](reader)
    reader.close()
    after = looks(path)
    assert after.keys() == before.keys()
    assert {name: after[name] for name in after if name != "sagas.db-shm"} == {
        name: before[name] for name in before if name != "sagas.db-shm"
    }


class Intruder:
    """Does something in the middle of the next answers of every reader, once for each thing it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.deeds: list[Callable[[], None]] = []
        self.asked = 0
        find = sqlite._find

        def disturbed(*given: Any) -> Any:
            self.asked += 1
            found = find(*given)
            if self.deeds:
                self.deeds.pop(0)()
            return found

        monkeypatch.setattr(sqlite, "_find", disturbed)


@pytest.fixture
def intruder(monkeypatch: pytest.MonkeyPatch) -> Intruder:
    return Intruder(monkeypatch)


@pytest.fixture
def reader(path: Path) -> Iterator[SqliteReader]:
    reader = SqliteReader(path)
    yield reader
    reader.close()


@pytest.fixture
def writers() -> Iterator[list[SqliteJournal]]:
    writers: list[SqliteJournal] = []
    yield writers
    for writer in writers:
        writer.close()


@pytest.fixture
def begins(path: Path, writers: list[SqliteJournal]) -> Callable[[], None]:
    """Somebody begins to write: there is a saga more, and it is in the file and not in its log."""

    def begin() -> None:
        writers.append(SqliteJournal(path))
        writers[-1].append(writers[-1].take_epoch("tests"), [birth("b")])
        assert writers[-1].checkpoint()

    return begin


def test_an_answer_is_taken_again_when_somebody_begins_to_write(
    intruder: Intruder, reader: SqliteReader, begins: Callable[[], None]
) -> None:
    """What was read before that does not count."""
    intruder.deeds = [begins]
    assert reader.find("b") is not None
    assert intruder.asked == 2


def test_neither_does_an_error_count(intruder: Intruder, reader: SqliteReader, begins: Callable[[], None]) -> None:
    """That there is no such saga, or that it is damaged."""
    intruder.deeds = [begins]
    assert len(reader.load("b")) == 1
    with pytest.raises(UnknownSagaError):
        reader.load("c")


def test_what_looked_corrupt_beside_a_writer_is_read_again(
    intruder: Intruder, reader: SqliteReader, begins: Callable[[], None]
) -> None:
    """A page of before and one of after make no sense, and nothing is wrong with either."""

    def begin_and_look_corrupt() -> None:
        begins()
        raise CorruptionError("a page of before, and one of after")

    intruder.deeds = [begin_and_look_corrupt]
    assert len(reader.load("a")) == 3


def test_damage_is_told_where_nobody_writes(intruder: Intruder, reader: SqliteReader) -> None:
    """It is no excuse that somebody might."""

    def look_corrupt() -> None:
        raise CorruptionError("a bad page")

    intruder.deeds = [look_corrupt]
    with pytest.raises(CorruptionError, match="a bad page"):
        reader.load("a")
    assert intruder.asked == 1


def test_a_journal_that_changes_again_and_again_is_given_up(
    intruder: Intruder, reader: SqliteReader, path: Path
) -> None:
    """After a few looks, with an error that says to ask again, and not that anything is damaged (P12)."""
    times = iter(range(1, 100))
    intruder.deeds = [lambda: os.utime(path, (next(times),) * 2)] * 10
    with pytest.raises(JournalError, match="was written while it was read; ask again") as gave_up:
        reader.load("a")
    assert not isinstance(gave_up.value, CorruptionError)
    assert intruder.asked == LOOKS
    intruder.deeds = []
    assert len(reader.load("a")) == 3


def test_a_reader_goes_along_with_whoever_begins_to_write(
    reader: SqliteReader, path: Path, begins: Callable[[], None], writers: list[SqliteJournal]
) -> None:
    """It was opened before there was a log, and sees what is in that as soon as it is there."""
    assert [row.saga_id for row in reader.list().rows] == ["a"]
    begins()
    assert [row.saga_id for row in reader.list().rows] == ["b", "a"]
    writers[0].append(2, [birth("c")])
    assert Path(f"{path}-wal").stat().st_size
    assert [row.saga_id for row in reader.list().rows] == ["c", "b", "a"]


def test_a_journal_that_went_away_is_said_to_be_gone(reader: SqliteReader, path: Path) -> None:
    """And when it is there again it is read again."""
    path.rename(f"{path}.moved")
    with pytest.raises(JournalError, match="there is no journal at"):
        reader.load("a")
    Path(f"{path}.moved").rename(path)
    assert len(reader.load("a")) == 3
