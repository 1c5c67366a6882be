"""How telemetry follows the journal: from its cursor on, at least once, never in anybody's way."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stories import Story

from saga_actors.actors.telemetry_actor import FEW, SAVE_EVERY, CursorFile, Place, Tail
from saga_actors.errors import JournalError
from saga_actors.events import HoldReason
from saga_actors.journal import MemoryJournal, SqliteJournal, SqliteReader
from saga_actors.journal.port import JournalReader, Tailed
from saga_actors.listeners import Listener, Listeners
from saga_actors.outcomes import SagaState
from saga_actors.telemetry import EventName, TelemetryEvent, Translator

COMPLETED = ["started", "step_started", "step_ok", "step_started", "step_ok", "completed"]


class Clock:
    """A clock that stands still between two looks, or goes on by `step` seconds with each."""

    def __init__(self) -> None:
        self.now = self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Process:
    """What one telemetry process has of telemetry, from its birth to its death."""

    def __init__(self, open_journal: Callable[[], JournalReader], cursor: Path, only: EventName | None = None) -> None:
        self.clock = Clock()
        self.events: list[TelemetryEvent] = []
        self.may_tell = threading.Event()
        self.may_tell.set()
        wants = (lambda _: True) if only is None else (lambda name: name is only)
        self.listeners = Listeners(Listener("ledger", lambda: self._tell, wants=wants))
        self.tail = Tail(open_journal, CursorFile(cursor), self.listeners, self.clock)

    def _tell(self, event: TelemetryEvent) -> None:
        assert self.may_tell.wait(30)
        self.events.append(event)

    def reads(self) -> Process:
        """It reads all there is, tells it, and stores its place."""
        while self.tail.read():
            pass
        assert self.listeners.close()
        self.clock.now += SAVE_EVERY
        self.tail.save()
        return self

    @property
    def names(self) -> list[str]:
        return [str(event.name) for event in self.events]


@pytest.fixture
def cursor(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.cursor"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sagas.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(path)
    journal.take_epoch("the tests")
    yield journal
    journal.close()


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[], SqliteReader]]:
    readers: list[SqliteReader] = []

    def open_journal() -> SqliteReader:
        readers.append(SqliteReader(path))
        return readers[-1]

    yield open_journal
    for reader in readers:
        reader.close()


Opened = Callable[[], SqliteReader]


def test_a_process_goes_on_where_the_last_one_was(journal: SqliteJournal, opened: Opened, cursor: Path) -> None:
    """What was told before is not told again after an orderly pause."""
    Story(journal, 1).completes()
    first = Process(opened, cursor).reads()
    second = Process(opened, cursor)
    Story(journal, 1, "ord_2").completes()
    second.reads()
    assert first.names == second.names == COMPLETED
    assert {(event.saga_id, event.repeated) for event in second.events} == {("ord_2", False)}


def test_what_may_have_been_told_before_is_marked(journal: SqliteJournal, opened: Opened, cursor: Path) -> None:
    """After a death, all behind the cursor up to the journal's end at the new birth is repeated, and no more."""
    Story(journal, 1).completes()
    Process(opened, cursor).reads()
    Story(journal, 1, "ord_2").completes()
    killed = Process(opened, cursor)
    while killed.tail.read():
        pass
    reborn = Process(opened, cursor)
    Story(journal, 1, "ord_3").completes()
    reborn.reads()
    assert [(event.saga_id, event.repeated) for event in reborn.events] == [("ord_2", True)] * 6 + [
        ("ord_3", False)
    ] * 6
    assert killed.listeners.close()


def test_without_a_cursor_everything_is_told_as_repeated(journal: SqliteJournal, opened: Opened, cursor: Path) -> None:
    """The first process on an old journal begins at its beginning."""
    Story(journal, 1).completes()
    process = Process(opened, cursor).reads()
    assert process.names == COMPLETED
    assert all(event.repeated for event in process.events)


def test_a_cursor_does_not_run_ahead_of_the_listeners(journal: SqliteJournal, opened: Opened, cursor: Path) -> None:
    """What waits in a queue when the process dies is told by the next one."""
    process = Process(opened, cursor)
    process.may_tell.clear()
    Story(journal, 1).completes()
    process.tail.read()
    process.clock.now += SAVE_EVERY
    process.tail.save()
    assert not cursor.exists()
    process.may_tell.set()
    process.reads()
    assert json.loads(cursor.read_text()) == {"position": 6, "saga_id": "ord_1", "seq": 6}
    assert cursor.stat().st_mode & 0o777 == 0o600


def test_a_cursor_is_written_now_and_then_and_not_without_need(
    journal: SqliteJournal, opened: Opened, cursor: Path
) -> None:
    """Not twice within its time, and not when nothing has happened."""
    Story(journal, 1).completes()
    process = Process(opened, cursor).reads()
    cursor.unlink()
    process.clock.now += SAVE_EVERY
    process.tail.read()
    process.tail.save()
    assert not cursor.exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", "x", '{"position": "x", "saga_id": "", "seq": 1}'])
def test_a_broken_cursor_counts_as_none(
    journal: SqliteJournal, opened: Opened, cursor: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything is told again, and the log says why."""
    Story(journal, 1).completes()
    cursor.write_text(content)
    assert Process(opened, cursor).reads().names == COMPLETED
    assert "all events are told again" in caplog.text


@pytest.mark.parametrize("place", [Place(400, "ord_9", 3), Place(3, "ord_9", 3)])
def test_a_cursor_of_another_journal_counts_as_none(
    journal: SqliteJournal, opened: Opened, cursor: Path, place: Place
) -> None:
    """A journal that was made anew under the same name is read from its beginning."""
    Story(journal, 1).completes()
    CursorFile(cursor).write(place)
    assert Process(opened, cursor).reads().names == COMPLETED


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_cursor_at_an_event_that_was_pruned_is_of_this_journal(
    journal: SqliteJournal, opened: Opened, cursor: Path, goes_on: bool
) -> None:
    """What was told is not told again, whether anything came behind it or not."""
    Story(journal, 1).starts()
    Story(journal, 1, "ord_2").completes()
    Process(opened, cursor).reads()
    assert journal.prune(1, 1e9, (SagaState.COMPLETED,), at=1e9).sagas == 1
    if goes_on:
        Story(journal, 1, "ord_3").completes()
    assert Process(opened, cursor).reads().names == (COMPLETED if goes_on else [])


def test_who_waits_for_events_that_were_pruned_does_not_wait_for_ever(
    journal: SqliteJournal, opened: Opened, cursor: Path
) -> None:
    """Nothing lies between here and there: that is as good as having told it, and what follows is told."""
    process = Process(opened, cursor)
    Story(journal, 1).completes()
    journal.prune(1, 1e9, (SagaState.COMPLETED,), at=1e9)
    assert not process.tail.caught_up(6)
    process.reads()
    assert process.tail.caught_up(6)
    assert CursorFile(cursor).read() == Place(6)
    Story(journal, 1, "ord_2").completes()
    assert Process(opened, cursor).reads().names == COMPLETED


def test_a_journal_may_come_later(opened: Opened, cursor: Path, path: Path) -> None:
    """Telemetry lives before the supervisor makes the journal; what happens then is not repeated."""
    process = Process(opened, cursor)
    assert process.tail.read() is False
    journal = SqliteJournal(path)
    Story(journal, journal.take_epoch("the tests")).completes()
    process.reads()
    journal.close()
    assert process.names == COMPLETED
    assert not any(event.repeated for event in process.events)


def test_a_journal_that_cannot_be_read_now_is_read_later(cursor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, doubled or raised, wherever the reading broke off."""
    journal = MemoryJournal()
    Story(journal, journal.take_epoch("the tests")).completes()
    process = Process(lambda: journal, cursor)
    translate, failures = Translator.translate, iter([False, False, True, False, True])

    def sometimes(*given: object, **options: object) -> TelemetryEvent | None:
        if next(failures, False):
            raise JournalError("busy")
        return translate(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Translator, "translate", sometimes)
    assert [process.tail.read() for _ in range(3)] == [False] * 3
    assert process.reads().names == COMPLETED


def test_one_event_that_nobody_can_make_sense_of_silences_no_other(
    cursor: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and left out."""
    journal = MemoryJournal()
    Story(journal, journal.take_epoch("the tests")).compensates()
    monkeypatch.setattr(Translator, "_why_back", lambda *_: 1 / 0)
    names = Process(lambda: journal, cursor).reads().names
    assert "compensating" not in names
    assert names[-1] == "compensated"
    assert "event 7 of saga 'ord_1' is told to nobody" in caplog.text


def test_reading_is_done_in_slices(cursor: Path) -> None:
    """When its time is over it stops, and says that there is more."""
    journal = MemoryJournal()
    epoch = journal.take_epoch("the tests")
    for number in range(20):
        Story(journal, epoch, f"ord_{number}").completes()
    process = Process(lambda: journal, cursor)
    process.clock.step = 0.03
    positions = []
    while process.tail.read():
        positions.append(process.tail.position)
    assert len(positions) > 3
    assert positions == sorted(set(positions))
    assert process.reads().names == COMPLETED * 20


def test_what_nobody_wants_is_not_decoded(
    journal: SqliteJournal, opened: Opened, cursor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no listener the cursor goes to the end at once."""
    Story(journal, 1).completes()
    read: list[int] = []
    tail = SqliteReader.tail

    def counted(self: SqliteReader, after_position: int, limit: int) -> list[Tailed]:
        read.append(limit)
        return tail(self, after_position, limit)

    monkeypatch.setattr(SqliteReader, "tail", counted)
    quiet = Tail(opened, CursorFile(cursor), Listeners())
    assert quiet.read() is False
    quiet.save()
    assert (quiet.position, read) == (6, [1])
    assert CursorFile(cursor).read() == Place(6, "ord_1", 6)


def test_of_what_nobody_wants_to_know_nothing_is_fetched(
    journal: SqliteJournal, opened: Opened, cursor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who wants ends only has beginnings and ends read, and the last event, by which the cursor goes on."""
    Story(journal, 1).completes()
    Story(journal, 1, "ord_2").starts()
    fetched: list[int] = []
    tail = SqliteReader.tail

    def noted(self: SqliteReader, *given: Any) -> list[Tailed]:
        found = tail(self, *given)
        fetched.extend(each.position for each in found)
        return found

    process = Process(opened, cursor, only=EventName.COMPLETED)
    monkeypatch.setattr(SqliteReader, "tail", noted)
    assert process.reads().names == ["completed"]
    assert fetched == [1, 6, 7, 8]
    assert CursorFile(cursor).read() == Place(8, "ord_2", 2)


def test_reading_makes_way_for_a_listener_that_is_behind(cursor: Path) -> None:
    """What it could take a moment later is not dropped for it: the slice ends after each batch."""
    journal = MemoryJournal()
    epoch = journal.take_epoch("the tests")
    for number in range(40):
        Story(journal, epoch, f"ord_{number}").completes()
    may_tell = threading.Event()
    slow = Listener("slow", lambda: lambda _: may_tell.wait(30), capacity=20)
    tail = Tail(lambda: journal, CursorFile(cursor), Listeners(slow), Clock())
    assert tail.read()
    assert tail.position == FEW
    may_tell.set()
    assert slow.close(30)
    assert slow.dropped == 0


def test_a_listener_of_ends_only_is_told_of_ends(journal: SqliteJournal, opened: Opened, cursor: Path) -> None:
    """The rest is not made into events; the end still knows how long the saga took."""
    Story(journal, 1).completes()
    process = Process(opened, cursor, only=EventName.COMPLETED).reads()
    assert [(event.name, dict(event.measures)) for event in process.events] == [("completed", {"duration": 4.0})]


def test_a_held_saga_is_passed_over(journal: SqliteJournal, opened: Opened, cursor: Path) -> None:
    """To hold a saga is none of the eight, and does not stop the reading."""
    Story(journal, 1)
    journal.hold(1, "ord_1", HoldReason.CRASHED, "", 1_000.0)
    Story(journal, 1, "ord_2")
    assert Process(opened, cursor).reads().names == ["started", "started"]


def test_a_cursor_that_cannot_be_written_is_logged_and_harms_nobody(
    journal: SqliteJournal, opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Events are told all the same."""
    Story(journal, 1).completes()
    process = Process(opened, tmp_path / "no folder" / "telemetry.cursor").reads()
    assert process.names == COMPLETED
    assert "cannot be written" in caplog.text
