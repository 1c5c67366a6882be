"""What is told of a saga: the eight events, and what is in them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import attrs
import pytest
from stories import CANARY, Story, plan

from saga_actors.errors import JournalError
from saga_actors.events import Ending
from saga_actors.inputs import CancelRequested, ResolveRequested, RetryRequested
from saga_actors.journal import MemoryJournal, SqliteJournal, SqliteReader
from saga_actors.journal.port import History, Tailed
from saga_actors.outcomes import SagaState
from saga_actors.retry import Backoff
from saga_actors.telemetry import EVERYTHING, EventName, TelemetryEvent, Translator, log_event, unneeded


@pytest.fixture
def journal() -> MemoryJournal:
    journal = MemoryJournal()
    journal.take_epoch("the tests")
    return journal


def told(journal: MemoryJournal, after: int = 0, remembered: int = 1_000) -> list[TelemetryEvent]:
    """All events behind a position."""
    translator = Translator(journal, remembered)
    events = [translator.translate(found) for found in journal.tail(after, 1_000)]
    return [event for event in events if event is not None]


def brief(event: TelemetryEvent) -> tuple[Any, ...]:
    """An event without what is the same in all, and without `seq`."""
    return str(event.name), dict(event.measures), {k: v for k, v in event.metadata.items() if k != "seq"}


def attempt(step: str, number: int = 1, phase: str = "execute") -> dict[str, Any]:
    return {"step": step, "phase": phase, "attempt": number}


def failure(ending: str = "failed", error_type: str | None = "Declined", retryable: bool = True) -> dict[str, Any]:
    return {"ending": ending, "error_type": error_type, "retryable": retryable}


def test_a_completed_saga_tells_of_its_start_its_steps_and_its_end(journal: MemoryJournal) -> None:
    """Six events in order, with the seconds that each attempt and the whole took."""
    Story(journal, 1).completes()
    assert [brief(event) for event in told(journal)] == [
        ("started", {}, {}),
        ("step_started", {}, attempt("reserve")),
        ("step_ok", {"duration": 1.0}, attempt("reserve")),
        ("step_started", {}, attempt("charge")),
        ("step_ok", {"duration": 1.0}, attempt("charge")),
        ("completed", {"duration": 4.0}, {"resolved": False}),
    ]


def test_a_compensated_saga_tells_of_its_turn_and_of_each_undo(journal: MemoryJournal) -> None:
    """A retried step, the turn with its reason, and the undo in the other phase."""
    story = Story(journal, 1, plan=plan(retries=Backoff(times=1, first_delay=5.0, jitter=0)))
    story.starts().succeeds().starts().fails().starts(after=5).fails(error_type=None, retryable=False)
    story.starts().succeeds()
    assert [brief(event) for event in told(journal)] == [
        ("started", {}, {}),
        ("step_started", {}, attempt("reserve")),
        ("step_ok", {"duration": 1.0}, attempt("reserve")),
        ("step_started", {}, attempt("charge")),
        ("step_failed", {"duration": 1.0}, {**attempt("charge"), **failure()}),
        ("step_started", {}, attempt("charge", 2)),
        ("step_failed", {"duration": 1.0}, {**attempt("charge", 2), **failure(error_type=None, retryable=False)}),
        ("compensating", {"duration": 10.0}, {"failed_step": "charge", "kind": "failed"}),
        ("step_started", {}, attempt("reserve", phase="compensate")),
        ("step_ok", {"duration": 1.0}, attempt("reserve", phase="compensate")),
        ("compensated", {"duration": 12.0}, {"resolved": False}),
    ]


def test_a_fatal_saga_tells_which_undo_failed(journal: MemoryJournal) -> None:
    """The undo's attempt, and then the end."""
    Story(journal, 1).starts().succeeds().starts().fails().starts().fails()
    assert [brief(event) for event in told(journal)][-3:] == [
        ("step_started", {}, attempt("reserve", phase="compensate")),
        ("step_failed", {"duration": 1.0}, {**attempt("reserve", phase="compensate"), **failure()}),
        ("fatal", {"duration": 6.0}, {"resolved": False, "step": "reserve"}),
    ]


def test_a_saga_that_an_operator_reopens_ends_again(journal: MemoryJournal) -> None:
    """After a retry it is told how the saga ended then, counted from its acceptance."""
    story = Story(journal, 1).starts().succeeds().starts().fails().starts().fails()
    story.happens(RetryRequested("ada", "the gateway is back")).starts().succeeds()
    assert brief(told(journal)[-1]) == ("compensated", {"duration": 9.0}, {"resolved": False})


def test_an_end_by_an_operator_says_so(journal: MemoryJournal) -> None:
    """`resolved` is True for whichever end was chosen."""
    for number, state in enumerate((SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.FATAL)):
        story = Story(journal, 1, f"ord_{number}").starts().succeeds().starts().fails().starts().fails()
        story.happens(ResolveRequested(state, "ada", f"by hand, {CANARY}"))
        last = told(journal)[-1]
        assert (str(last.name), last.metadata["resolved"]) == (str(state), True)


def test_a_success_after_the_timeout_is_told_of_the_same_attempt(journal: MemoryJournal) -> None:
    """First that it timed out, then that it was well after all."""
    Story(journal, 1).starts().fails(Ending.TIMED_OUT, error_type=None).succeeds()
    late = [e for e in told(journal) if e.metadata.get("step") == "reserve"]
    assert [(str(e.name), e.metadata["attempt"], e.measures.get("duration")) for e in late] == [
        ("step_started", 1, None),
        ("step_failed", 1, 1.0),
        ("step_ok", 1, 2.0),
    ]


def test_a_cancelled_saga_names_no_failed_step(journal: MemoryJournal) -> None:
    """The kind says that it was cancelled."""
    Story(journal, 1).starts().succeeds().happens(CancelRequested(f"no longer wanted {CANARY}", "ada"))
    turns = [event for event in told(journal) if event.name is EventName.COMPENSATING]
    assert [brief(event)[2] for event in turns] == [{"failed_step": None, "kind": "cancelled"}]


@pytest.mark.parametrize("after", range(12))
def test_what_was_forgotten_is_looked_up(journal: MemoryJournal, after: int) -> None:
    """Events are the same wherever the reading begins, and however little is remembered."""
    stories = [Story(journal, 1, f"ord_{number}") for number in range(2)]
    for step in ("starts", "succeeds", "starts", "fails", "starts", "succeeds"):
        for story in stories:
            getattr(story, step)()
    whole = {(event.saga_id, event.metadata["seq"]): event for event in told(journal)}
    for event in told(journal, after, remembered=1):
        assert event == whole[event.saga_id, event.metadata["seq"]]


def test_an_event_names_itself_and_its_time(journal: MemoryJournal) -> None:
    """`at` is aware UTC; the saga's id and `seq` are one event's for ever."""
    Story(journal, 1).compensates()
    events = told(journal)
    assert events[0].at == datetime(1970, 1, 1, 0, 16, 40, tzinfo=UTC)
    assert {(event.saga_id, event.saga) for event in events} == {("ord_1", "place-order")}
    numbers = [event.metadata["seq"] for event in events]
    assert numbers == sorted(set(numbers))  # type: ignore[type-var]
    assert len({hash(event) for event in events}) > 1


def test_a_measure_is_left_out_when_the_records_cannot_be_read(tmp_path: Path) -> None:
    """One damaged record takes the duration and the reason away, and no event."""
    path = tmp_path / "sagas.db"
    writer = SqliteJournal(path)
    Story(writer, writer.take_epoch("the tests")).compensates()
    writer.close()
    with apsw.Connection(str(path)) as db:
        db.execute("UPDATE event SET body = x'00' WHERE seq = 2")
        db.execute("UPDATE saga SET checksum = 1")
    reader = SqliteReader(path)
    events = [Translator(reader).translate(found) for found in reader.tail(0)]
    durations = {str(e.name): (dict(e.measures), e.metadata) for e in events if e}
    reader.close()
    assert durations["step_ok"][0] == {}
    assert durations["compensating"] == ({}, {"seq": 7, "failed_step": None, "kind": None})
    assert durations["compensated"][0] == {}


def test_a_clock_that_was_set_back_gives_no_negative_duration(journal: MemoryJournal) -> None:
    """It is zero then."""
    story = Story(journal, 1).starts()
    story.at -= 60
    story.succeeds()
    assert [dict(event.measures) for event in told(journal)] == [{}, {}, {"duration": 0.0}]


def test_a_journal_that_is_busy_is_said_to_be_so(journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to be looked up is not left out because it cannot be read just now."""
    Story(journal, 1).starts().succeeds()

    def busy(_: str) -> None:
        raise JournalError("busy")

    monkeypatch.setattr(journal, "load", busy)
    found = next(f for f in journal.tail(0) if f.seq == 3)
    with pytest.raises(JournalError, match="busy"):
        Translator(journal).translate(found)


def test_what_is_not_wanted_or_cannot_be_read_is_not_told(journal: MemoryJournal) -> None:
    """Only the wanted names come through, and a record with a flaw does not."""
    Story(journal, 1).completes()
    translator = Translator(journal)
    wanted = frozenset({EventName.COMPLETED})
    names = [event.name for f in journal.tail(0) if (event := translator.translate(f, wanted))]
    assert names == [EventName.COMPLETED]
    assert translator.translate(Tailed(1, "ord_1", "place-order", 1, None, "its checksum does not match")) is None


def many_stories(journal: MemoryJournal) -> None:
    """Sagas that turn back, end and are cancelled in many ways."""
    retried = plan(retries=Backoff(times=1, first_delay=5.0, jitter=0))
    Story(journal, 1, "completes").completes()
    Story(journal, 1, "compensates").compensates()
    Story(journal, 1, "fatal").starts().succeeds().starts().fails().starts().fails()
    Story(journal, 1, "cancelled").starts().succeeds().happens(CancelRequested("", "ada")).starts().succeeds()
    Story(journal, 1, "retried", retried).starts().succeeds().starts().fails().starts(after=5).fails().starts()
    Story(journal, 1, "unknown").starts().succeeds().starts().fails(Ending.UNKNOWN).starts()
    doubtful = Story(journal, 1, "in doubt", retried).starts().succeeds().starts().fails(Ending.UNKNOWN)
    doubtful.starts(after=5).fails().starts()
    cancelled = Story(journal, 1, "cancelled while it runs").starts().happens(CancelRequested("", "ada"))
    cancelled.fails()


def test_what_is_unneeded_changes_nothing_that_is_told(journal: MemoryJournal) -> None:
    """For each name alone, and for all of them: the same events, whether or not the rest was seen."""
    many_stories(journal)
    for wanted in [EVERYTHING, *(frozenset({name}) for name in EventName)]:
        all_seen, few_seen = Translator(journal), Translator(journal)
        of_all = [all_seen.translate(found, wanted) for found in journal.tail(0, 1_000)]
        of_few = [few_seen.translate(found, wanted) for found in journal.tail(0, 1_000, unneeded(wanted))]
        events = [event for event in of_few if event]
        assert events
        assert events == [event for event in of_all if event]


def test_why_a_saga_turned_back_is_told_from_memory_as_from_its_history(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is looked up for one whose step has just failed; and it is what the folded history says."""
    many_stories(journal)
    looked_up = told(journal, remembered=0)
    loaded: list[str] = []
    load = journal.load

    def noted(saga_id: str) -> History:
        loaded.append(saga_id)
        return load(saga_id)

    monkeypatch.setattr(journal, "load", noted)
    assert told(journal) == looked_up
    assert {event.metadata["kind"] for event in looked_up if event.name is EventName.COMPENSATING} == {
        "failed",
        "unknown",
        "cancelled",
    }
    assert {saga_id for saga_id in loaded if not saga_id.startswith("cancelled")} == set()


def test_no_context_and_no_reason_is_in_any_event_or_log_line(
    journal: MemoryJournal, caplog: pytest.LogCaptureFixture
) -> None:
    """A canary in contexts, reasons, tracebacks and operators' words appears nowhere."""
    caplog.set_level(logging.DEBUG)
    Story(journal, 1, "ord_1").starts().succeeds(f'{{"a":"{CANARY}"}}'.encode()).starts().fails().starts().succeeds()
    Story(journal, 1, "ord_2").starts().succeeds().happens(CancelRequested(CANARY, "ada")).starts().fails()
    for event in told(journal):
        log_event(event)
        assert CANARY not in str(attrs.asdict(event))
    assert len(caplog.records) == len(told(journal))
    assert CANARY not in caplog.text


def test_the_log_has_one_line_for_each_event_at_its_level(
    journal: MemoryJournal, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps are DEBUG, the saga's own events INFO, fatal is ERROR."""
    caplog.set_level(logging.DEBUG, "saga_actors.saga")
    Story(journal, 1).starts().succeeds().starts().fails().starts().fails()
    for event in told(journal):
        log_event(attrs.evolve(event, repeated=event.name is EventName.FATAL))
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines[0] == ("INFO", "place-order ord_1: started seq=1")
    assert lines[1] == ("DEBUG", "place-order ord_1: step_started seq=2 step=reserve phase=execute attempt=1")
    assert lines[5][1] == "place-order ord_1: compensating seq=7 failed_step=charge kind=failed duration=4.000"
    assert lines[-1] == (
        "ERROR",
        "place-order ord_1: fatal seq=10 resolved=False step=reserve duration=6.000 repeated",
    )


def test_a_name_cannot_break_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """What is not one printable word is quoted."""
    caplog.set_level(logging.INFO, "saga_actors.saga")
    log_event(TelemetryEvent(EventName.STARTED, datetime.now(UTC), "ord 1\nERROR", "", {}, {"error_type": "a b"}))
    assert caplog.messages == [r"'' 'ord 1\nERROR': started error_type='a b'"]


def test_of_a_saga_whose_beginning_was_not_seen_the_history_says_why_it_turned_back(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new process cannot know whether it had been cancelled before."""
    Story(journal, 1).compensates()
    loaded: list[str] = []
    load = journal.load

    def noted(saga_id: str) -> History:
        loaded.append(saga_id)
        return load(saga_id)

    translator = Translator(journal)
    monkeypatch.setattr(journal, "load", noted)
    for found in journal.tail(1, 1_000, unneeded(frozenset({EventName.COMPENSATING}))):
        translator.translate(found, {EventName.COMPENSATING})
    assert loaded == ["ord_1"]
