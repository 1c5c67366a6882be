"""Live events: what `coordinator.events` tells, in which order, and when it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from stories import Story

from saga_actors import Coordinator, Events, SagaIdError
from saga_actors.errors import JournalError
from saga_actors.inputs import RetryRequested
from saga_actors.journal import JournalUrl, SqliteJournal
from saga_actors.outcomes import SagaState
from saga_actors.subscription import BATCH

SOON = 10.0
COMPLETED = ["started", "step_started", "step_ok", "step_started", "step_ok", "completed"]


@pytest.fixture
def url(tmp_path: Path) -> JournalUrl:
    return JournalUrl.parse(f"sqlite:///{tmp_path}/sagas.db")


@pytest.fixture
def journal(url: JournalUrl) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(url.path)
    journal.take_epoch("test")
    yield journal
    journal.close()


def completed(journal: SqliteJournal, saga_id: str) -> Story:
    return Story(journal, 1, saga_id).starts().succeeds().starts().succeeds()


def names(events: Events) -> list[str]:
    """All that is told now."""
    told = []
    while (event := events.next(0.0)) is not None:
        told.append(str(event.name))
    return told


def test_what_happens_from_now_on_is_told(url: JournalUrl, journal: SqliteJournal) -> None:
    """Without an id, events are those of all sagas, and none that was there before."""
    completed(journal, "before")
    with Events(url) as events:
        assert names(events) == []
        completed(journal, "after")
        assert names(events) == COMPLETED
        assert not events.ended


def test_a_saga_is_told_from_its_first_event_to_its_end(url: JournalUrl, journal: SqliteJournal) -> None:
    """With an id, also what was before, nothing of others, and then the iteration ends."""
    completed(journal, "mine")
    completed(journal, "other")
    with Events(url, "mine") as events:
        told = list(events)
        assert [str(event.name) for event in told] == COMPLETED
        assert {event.saga_id for event in told} == {"mine"}
        assert events.ended


def test_a_saga_need_not_be_there_yet(url: JournalUrl, journal: SqliteJournal) -> None:
    """It is told once it is."""
    with Events(url, "mine") as events:
        assert events.next(0.0) is None
        completed(journal, "mine")
        assert [str(event.name) for event in events] == COMPLETED


def test_the_journal_need_not_be_there_yet(url: JournalUrl) -> None:
    """All that it will have is told, also if it is made and written before the first look."""
    with Events(url) as events, Events(url, "mine") as mine:
        assert events.next(0.0) is None
        journal = SqliteJournal(url.path)
        journal.take_epoch("test")
        completed(journal, "mine")
        assert names(events) == COMPLETED
        assert [str(event.name) for event in mine] == COMPLETED
        journal.close()


def test_a_saga_that_was_fatal_and_was_reopened_is_told_to_its_last_end(
    url: JournalUrl, journal: SqliteJournal
) -> None:
    """An end that was not the last does not end the iteration."""
    story = Story(journal, 1, "mine").starts().succeeds().starts().fails().starts().fails()
    story.happens(RetryRequested("ann", "the bank is back")).starts().succeeds()
    with Events(url, "mine") as events:
        told = [str(event.name) for event in events]
    assert told.count("fatal") == 1
    assert told[-1] == "compensated"


def test_a_saga_that_was_pruned_has_nothing_to_tell(url: JournalUrl, journal: SqliteJournal) -> None:
    """Nobody waits for events of one of which only a tombstone is left."""
    completed(journal, "mine")
    with Events(url, "mine") as early:
        assert early.next(0.0) is not None
        journal.prune(1, 1e12, [SagaState.COMPLETED], at=1e12)
        assert [str(event.name) for event in early] == COMPLETED[1:]
        with Events(url, "mine") as late:
            assert list(late) == []


def test_whoever_waits_is_woken_by_a_new_event(url: JournalUrl, journal: SqliteJournal) -> None:
    """And by nothing else."""
    told: list[str] = []
    with Events(url) as events:
        waiting = threading.Thread(target=lambda: told.append(str(next(events).name)))
        waiting.start()
        Story(journal, 1, "mine")
        waiting.join(SOON)
    assert told == ["started"]


def test_closing_wakes_whoever_waits(url: JournalUrl, journal: SqliteJournal) -> None:
    """The iteration of another thread ends."""
    events, told = Events(url), []
    waiting = threading.Thread(target=lambda: told.append(list(events)))
    waiting.start()
    events.close()
    waiting.join(SOON)
    assert told == [[]]


def test_a_slow_reader_loses_nothing_and_holds_little(url: JournalUrl, journal: SqliteJournal) -> None:
    """The journal is the queue: of 600 sagas, a batch waits in memory at most."""
    with Events(url) as events:
        for number in range(600):
            Story(journal, 1, f"s{number}")
        told = []
        while (event := events.next(0.0)) is not None:
            told.append(event.saga_id)
            assert len(events._waiting) < BATCH
    assert told == [f"s{number}" for number in range(600)]


def test_a_journal_that_vanished_is_an_error(url: JournalUrl, tmp_path: Path) -> None:
    """What is no journal is said to be none, after a while of trying."""
    url.path.write_text("this is no journal, and will not be one")
    with Events(url) as events, pytest.raises(JournalError, match="journal"):
        events.next(60.0)


def test_a_coordinator_gives_events_and_starts_no_node(url: JournalUrl, journal: SqliteJournal, tmp_path: Path) -> None:
    """Nor does it make a file."""
    completed(journal, "mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    with Coordinator(str(url)) as sagas, sagas.events("mine") as events:
        assert [str(event.name) for event in events] == COMPLETED
        with pytest.raises(SagaIdError, match="saga_id"):
            sagas.events("")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
