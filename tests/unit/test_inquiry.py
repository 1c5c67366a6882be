"""Answers about sagas from the journal: complete, patient, and also about what is corrupt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import attrs
import pytest
from stories import CANARY, CONTEXT, Story

from saga_actors.actors.inquiry import LARGEST_PAGE, Answer, Inquiry
from saga_actors.errors import JournalError, SagaActorsError
from saga_actors.events import Accepted, HoldReason
from saga_actors.journal import JournalReader, SqliteJournal, SqliteReader
from saga_actors.messages import (
    GetHistory,
    GetStatus,
    HistoryIs,
    ListSagas,
    Refusal,
    Refused,
    SagasAre,
    StatusIs,
)
from saga_actors.outcomes import FailureKind, SagaState, SagaStatus, WaitingFor
from saga_actors.status import moment, outcome_of, status_of

SERVED = frozenset({"place-order"})


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
def reader(journal: SqliteJournal, path: Path) -> Iterator[SqliteReader]:
    reader = SqliteReader(path)
    yield reader
    reader.close()


@pytest.fixture
def inquiry(reader: SqliteReader) -> Inquiry:
    return Inquiry(reader)


@pytest.fixture
def damage(path: Path) -> Callable[[str], None]:
    """Runs a statement on the journal behind everybody's back."""

    def damaged(statement: str) -> None:
        with apsw.Connection(str(path)) as db:
            db.execute(statement)
        db.close()

    return damaged


Damage = Callable[[str], None]


def status(inquiry: Inquiry, saga_id: str = "ord_1", served: frozenset[str] = SERVED) -> SagaStatus:
    answer = inquiry.answer(GetStatus("q1", saga_id), served)
    assert isinstance(answer, StatusIs), answer
    assert answer.correlation_id == "q1"
    return answer.status


def refusal(answer: Answer) -> tuple[str, str]:
    assert isinstance(answer, Refused), answer
    assert answer.correlation_id == "q1"
    return answer.code, answer.message


def page(inquiry: Inquiry, **wanted: Any) -> SagasAre:
    answer = inquiry.answer(ListSagas("q1", **wanted), SERVED)
    assert isinstance(answer, SagasAre), answer
    return answer


def test_a_status_is_what_the_events_make_of_the_saga(journal: SqliteJournal, inquiry: Inquiry) -> None:
    """The same as the living execution has it, at every step of its way, and with no context."""
    story = Story(journal, 1)
    for step in ("starts", "succeeds", "starts", "fails", "starts", "succeeds"):
        getattr(story, step)()
        assert status(inquiry) == status_of(story.execution, served=True)
    ended = status(inquiry)
    assert (ended.state, ended.outcome) == (SagaState.COMPENSATED, None)
    assert ended.failure is not None
    assert (ended.failure.kind, ended.failure.step) == (FailureKind.FAILED, "charge")


def test_with_the_status_of_an_ended_saga_comes_how_it_ended(
    journal: SqliteJournal, inquiry: Inquiry, damage: Damage
) -> None:
    """Its context is still encoded; there is none while it goes on, or if its records cannot be read."""
    story = Story(journal, 1).starts()

    def encoded() -> Any:
        answer = inquiry.answer(GetStatus("q1", "ord_1"), SERVED)
        assert isinstance(answer, StatusIs)
        return answer.encoded

    assert encoded() is None
    story.succeeds(b'{"res":7}').starts().succeeds(b'{"res":7,"charge":8}')
    assert encoded() == outcome_of(story.execution)
    assert encoded().context == b'{"res":7,"charge":8}'
    damage("UPDATE event SET body = '{}' WHERE seq = 3")
    assert encoded() is None


def test_a_saga_that_nobody_serves_waits_for_its_definition(journal: SqliteJournal, inquiry: Inquiry) -> None:
    """With no node, or one without its class, `served` is False."""
    Story(journal, 1)
    unserved = status(inquiry, served=frozenset())
    assert (unserved.served, unserved.waiting_for) == (False, WaitingFor.DEFINITION)
    assert status(inquiry).waiting_for is WaitingFor.SLOT


@pytest.mark.parametrize("question", [GetStatus, GetHistory])
def test_an_unknown_saga_is_refused(journal: SqliteJournal, inquiry: Inquiry, question: Any) -> None:
    """The refusal names the saga."""
    code, message = refusal(inquiry.answer(question("q1", "ord_9"), SERVED))
    assert code == Refusal.UNKNOWN_SAGA
    assert "'ord_9'" in message


@pytest.mark.parametrize("question", [GetStatus, GetHistory])
@pytest.mark.parametrize("saga_id", ["", "x" * 201, "a\nb", "\ud800"])
def test_what_can_be_no_id_is_refused(journal: SqliteJournal, inquiry: Inquiry, question: Any, saga_id: Any) -> None:
    """Without asking the journal."""
    assert refusal(inquiry.answer(question("q1", saga_id), SERVED))[0] == Refusal.BAD_REQUEST


@pytest.mark.parametrize("question", [GetStatus, GetHistory])
def test_an_id_of_another_type_makes_no_question(question: Any) -> None:
    """It is refused where the message is made, before it can puzzle anybody."""
    with pytest.raises(SagaActorsError, match="saga_id is of type int; expected str"):
        question("q1", 5)


def test_a_saga_with_a_corrupt_record_still_has_a_status(
    journal: SqliteJournal, inquiry: Inquiry, damage: Damage
) -> None:
    """P13: its summary says how it stands, and why no more can be said; its neighbour is not touched."""
    Story(journal, 1).starts()
    Story(journal, 1, "ord_2").completes()
    damage("UPDATE event SET body = x'00' WHERE saga = 1 AND seq = 2")
    corrupt = status(inquiry)
    assert (corrupt.state, corrupt.waiting_for, corrupt.saga) == (
        SagaState.RUNNING,
        WaitingFor.OPERATOR,
        "place-order",
    )
    assert corrupt.held_reason is not None
    assert corrupt.held_reason.startswith("corrupt: saga 'ord_1', record 2")
    assert (corrupt.created_at, corrupt.updated_at) == (moment(1_000), moment(1_001))
    assert status(inquiry, "ord_2").state is SagaState.COMPLETED


def test_a_saga_held_for_corruption_is_held_with_its_reason(
    journal: SqliteJournal, inquiry: Inquiry, damage: Damage
) -> None:
    """P13: what the supervisor wrote when it held the saga is what is answered."""
    Story(journal, 1).starts()
    damage("UPDATE event SET body = x'00' WHERE seq = 2")
    journal.hold(1, "ord_1", HoldReason.CORRUPT, "record 2 is damaged", 1_009.0)
    held = status(inquiry)
    assert (held.state, held.held_reason) == (SagaState.HELD, "corrupt: record 2 is damaged")
    assert (held.waiting_for, held.updated_at) == (WaitingFor.OPERATOR, moment(1_009))


def test_an_ended_saga_with_a_corrupt_record_stays_ended(
    journal: SqliteJournal, inquiry: Inquiry, damage: Damage
) -> None:
    """P9: terminal is final, and nobody is waited for."""
    Story(journal, 1).completes()
    damage("DELETE FROM event WHERE seq = 4")
    ended = status(inquiry)
    assert (ended.state, ended.waiting_for) == (SagaState.COMPLETED, None)
    assert "corrupt" in (ended.held_reason or "")


def test_a_saga_without_its_plan_still_has_a_status(journal: SqliteJournal, inquiry: Inquiry, damage: Damage) -> None:
    """A damaged plan is corruption of all its sagas, each answerable by its summary."""
    Story(journal, 1)
    damage("UPDATE plan SET body = x'00'")
    assert "plan" in (status(inquiry).held_reason or "")


def test_a_corrupt_summary_is_refused_as_corrupt(journal: SqliteJournal, inquiry: Inquiry, damage: Damage) -> None:
    """P13: nothing legible is left to answer with."""
    Story(journal, 1)
    damage("UPDATE saga SET updated_at = 5.0")
    for question in (GetStatus("q1", "ord_1"), GetHistory("q1", "ord_1")):
        assert refusal(inquiry.answer(question, SERVED))[0] == Refusal.CORRUPT


def test_a_saga_that_crashes_the_folding_harms_no_other(
    journal: SqliteJournal, inquiry: Inquiry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """P11: the crash is logged and the saga answered by its summary."""
    Story(journal, 1)
    monkeypatch.setattr("saga_actors.actors.inquiry.fold", lambda *_: 1 / 0)
    assert status(inquiry).held_reason == "corrupt: its events do not fold (ZeroDivisionError)"
    assert "saga 'ord_1' could not be folded" in caplog.text


def test_a_history_has_all_events_in_order(journal: SqliteJournal, inquiry: Inquiry) -> None:
    """As they were appended; contexts stay bytes, and are not shown."""
    Story(journal, 1).completes()
    answer = inquiry.answer(GetHistory("q1", "ord_1"), SERVED)
    assert isinstance(answer, HistoryIs)
    assert [type(event).__name__ for event in answer.events] == [
        "Accepted",
        "AttemptStarted",
        "AttemptSucceeded",
        "AttemptStarted",
        "AttemptSucceeded",
        "SagaCompleted",
    ]
    assert isinstance(answer.events[0], Accepted)
    assert answer.events[0].context == CONTEXT
    assert CANARY not in repr(answer)


def test_a_corrupt_history_is_refused(journal: SqliteJournal, inquiry: Inquiry, damage: Damage) -> None:
    """P13: it is not told in part."""
    Story(journal, 1).completes()
    damage("UPDATE event SET body = x'00' WHERE seq = 2")
    code, message = refusal(inquiry.answer(GetHistory("q1", "ord_1"), SERVED))
    assert code == Refusal.CORRUPT
    assert "record 2" in message


def test_a_history_too_big_for_a_message_is_refused(journal: SqliteJournal, reader: SqliteReader) -> None:
    """P12: with its size and what to do; who sends it to nobody sets no bound."""
    Story(journal, 1, context=b'{"a":"%s"}' % (b"x" * 2_000)).completes()
    question = GetHistory("q1", "ord_1")
    code, message = refusal(Inquiry(reader, largest_history=2_000).answer(question, SERVED))
    assert (code, "2,008 bytes" in message) == (Refusal.BAD_REQUEST, True)
    assert isinstance(Inquiry(reader, largest_history=None).answer(question, SERVED), HistoryIs)


def test_a_list_comes_in_pages_newest_first(journal: SqliteJournal, inquiry: Inquiry) -> None:
    """`next_page` leads to the rest, and is None on the last page."""
    for number in range(5):
        Story(journal, 1, f"ord_{number}", at=1_000.0 + number)
    first = page(inquiry, limit=3)
    second = page(inquiry, limit=3, after=first.next_page)
    assert [saga.saga_id for saga in first.sagas + second.sagas] == ["ord_4", "ord_3", "ord_2", "ord_1", "ord_0"]
    assert (second.next_page, first.sagas[0].created_at) == (None, moment(1_004))


def test_a_list_is_by_state_and_by_saga(journal: SqliteJournal, inquiry: Inquiry) -> None:
    """Either, or both."""
    Story(journal, 1).completes()
    Story(journal, 1, "ord_2")
    assert [s.saga_id for s in page(inquiry, state=SagaState.COMPLETED).sagas] == ["ord_1"]
    assert [s.saga_id for s in page(inquiry, saga="place-order").sagas] == ["ord_2", "ord_1"]
    assert page(inquiry, saga="another").sagas == ()


def test_a_page_has_a_sensible_size(journal: SqliteJournal, inquiry: Inquiry) -> None:
    """P12: none of less than one, and none of more than the limit."""
    Story(journal, 1)
    assert refusal(inquiry.answer(ListSagas("q1", limit=0), SERVED))[0] == Refusal.BAD_REQUEST
    asked: list[int] = []
    spy = attrs.evolve(inquiry, reader=Spy(inquiry.reader, asked.append))
    assert len(page(spy, limit=10**9).sagas) == 1
    assert asked == [LARGEST_PAGE]


def test_a_corrupt_summary_is_in_the_list_at_its_place(
    journal: SqliteJournal, inquiry: Inquiry, damage: Damage
) -> None:
    """P13: it is shown as held, and says why."""
    for number in range(3):
        Story(journal, 1, f"ord_{number}")
    damage("UPDATE saga SET digest = 'x' WHERE number = 2")
    sagas = page(inquiry).sagas
    assert [(saga.saga_id, saga.state) for saga in sagas] == [
        ("ord_2", SagaState.RUNNING),
        ("ord_1", SagaState.HELD),
        ("ord_0", SagaState.RUNNING),
    ]
    assert (sagas[1].held_reason or "").startswith("corrupt: the summary of saga 'ord_1'")


class Spy:
    """A reader that tells the limits it was asked for."""

    def __init__(self, reader: JournalReader, asked: Callable[[int], None]) -> None:
        self._reader, self._asked = reader, asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def list(self, **options: Any) -> Any:
        self._asked(options["limit"])
        return self._reader.list(**options)


class Busy:
    """A reader whose every answer comes only when it was asked often enough."""

    def __init__(self, reader: JournalReader, failures: int) -> None:
        self._reader, self._failures = reader, failures

    def __getattr__(self, name: str) -> Any:
        def ask(*given: Any, **options: Any) -> Any:
            self._failures -= 1
            if self._failures >= 0:
                raise JournalError("the journal is busy")
            return getattr(self._reader, name)(*given, **options)

        return ask


@pytest.mark.parametrize("question", [GetStatus("q1", "ord_1"), GetHistory("q1", "ord_1"), ListSagas("q1")])
def test_a_busy_journal_is_asked_again_until_patience_ends(
    journal: SqliteJournal, reader: SqliteReader, question: Any
) -> None:
    """A busy writer fails no question; one that stays busy does, with a word to ask again."""
    Story(journal, 1)
    now = [0.0]

    def patient(failures: int) -> Inquiry:
        return Inquiry(Busy(reader, failures), 4.0, clock=lambda: now[0], pause=lambda: now.__setitem__(0, now[0] + 1))

    assert not isinstance(patient(4).answer(question, SERVED), Refused)
    code, message = refusal(patient(5).answer(question, SERVED))
    assert (code, message) == (Refusal.OVERLOADED, "the journal is busy; ask again")


def test_a_status_is_answered_while_the_writer_is_in_the_middle_of_a_transaction(
    journal: SqliteJournal, inquiry: Inquiry, path: Path
) -> None:
    """Readers see the last commit, and do not wait."""
    Story(journal, 1)
    with apsw.Connection(str(path)) as writer:
        writer.execute("UPDATE saga SET state = 'completed'")
        assert status(attrs.evolve(inquiry, patience=0)).state is SagaState.RUNNING
