"""The status actor without a system around it: what it is sent, and what it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from stories import Story

from saga_actors.actors import status_actor
from saga_actors.actors.lifecycle import Ping, Pong
from saga_actors.actors.protocol import Birth, Born, Bundle, NowServed
from saga_actors.actors.status_actor import StatusActor
from saga_actors.journal import SqliteJournal
from saga_actors.messages import GetHistory, GetStatus, HistoryIs, ListSagas, Refusal, Refused, SagasAre, StatusIs
from saga_actors.node_spec import NodeSpec


class Overheard(StatusActor):
    """A status actor whose messages stay here; it is woken by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[Any, Any]] = []
        self.wakes: list[float] = []

    def send(self, target: Any, message: Any) -> None:
        self.sent.append((target, message))

    def send_noticed(self, target: Any, message: Any, patience: float, on_done: Callable[[bool], None]) -> None:
        self.send(target, message)
        on_done(True)

    def wake_in(self, seconds: float) -> None:
        self.wakes.append(seconds)

    def hears(self, message: Any, sender: str = "client") -> list[Any]:
        """What it sends on this message."""
        before = len(self.sent)
        self.receiveMessage(message, sender)
        return [sent for _, sent in self.sent[before:]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sagas.db"


@pytest.fixture
def actor(path: Path) -> Iterator[Overheard]:
    actor = Overheard()
    actor.hears(Birth("status", 1, NodeSpec(f"sqlite:///{path}")), "root")
    yield actor
    if actor._inquiry is not None:
        actor._inquiry.reader.close()


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(path)
    journal.take_epoch("the tests")
    yield journal
    journal.close()


def test_it_is_born_before_there_is_a_journal(actor: Overheard, path: Path) -> None:
    """The supervisor makes the journal and comes to life later; until then questions are refused."""
    [(root, born)] = actor.sent
    assert (root, born.role, type(born)) == ("root", "status", Born)
    [refused] = actor.hears(GetStatus("q1", "ord_1"))
    assert (refused.code, refused.correlation_id) == (Refusal.OVERLOADED, "q1")
    journal = SqliteJournal(path)
    Story(journal, journal.take_epoch("the tests"))
    journal.close()
    assert isinstance(actor.hears(GetStatus("q2", "ord_1"))[0], StatusIs)


def test_it_answers_each_question_to_whoever_asked(actor: Overheard, journal: SqliteJournal) -> None:
    """One message for one question; pings too."""
    Story(journal, 1)
    assert actor.hears(Ping(7)) == [Pong(7)]
    assert [type(a) for a in actor.hears(GetStatus("q1", "ord_1"))] == [StatusIs]
    assert [type(a) for a in actor.hears(GetHistory("q2", "ord_1"))] == [HistoryIs]
    assert [type(a) for a in actor.hears(ListSagas("q3"), "other")] == [SagasAre]
    assert actor.sent[-1][0] == "other"


def test_it_says_whether_a_saga_is_served(actor: Overheard, journal: SqliteJournal) -> None:
    """By what the supervisor has told last."""
    Story(journal, 1)
    assert actor.hears(GetStatus("q1", "ord_1"))[0].status.served is False
    actor.hears(NowServed(frozenset({"place-order"})), "supervisor")
    assert actor.hears(GetStatus("q1", "ord_1"))[0].status.served is True


def test_a_bundle_is_answered_by_a_bundle(actor: Overheard, journal: SqliteJournal) -> None:
    """In its order, with a refusal for what is asked of the wrong actor."""
    Story(journal, 1)
    questions = (GetStatus("q1", "ord_1"), ListSagas("q2"), attrs.evolve(GetStatus("q3", "ord_9")), Ping(1))
    [bundle] = actor.hears(Bundle(questions))
    assert [type(answer) for answer in bundle.items] == [StatusIs, SagasAre, Refused, Refused]
    assert [answer.code for answer in bundle.items[2:]] == [Refusal.UNKNOWN_SAGA, Refusal.BAD_REQUEST]
    assert actor.hears(Bundle(())) == []


def test_a_long_bundle_leaves_room_for_pings(
    actor: Overheard, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered in slices; in between the actor looks at its mailbox."""
    monkeypatch.setattr(status_actor, "SLICE", -1.0)
    Story(journal, 1)
    assert actor.hears(Bundle((GetStatus("q1", "ord_1"), GetStatus("q2", "ord_1")))) == []
    assert actor.wakes == [status_actor.BREATH]
    assert actor.hears(Ping(1)) == [Pong(1)]
    monkeypatch.setattr(status_actor, "SLICE", 10.0)
    before = len(actor.sent)
    actor.woken()
    [(_, bundle)] = actor.sent[before:]
    assert [answer.correlation_id for answer in bundle.items] == ["q1", "q2"]


def test_big_answers_do_not_share_a_message(actor: Overheard, journal: SqliteJournal) -> None:
    """A bundle is ended at its bytes; nothing is left out."""
    Story(journal, 1, context=b'{"a":"%s"}' % (b"x" * 200_000))
    bundles = actor.hears(Bundle(tuple(GetHistory(f"q{number}", "ord_1") for number in range(3))))
    assert [len(bundle.items) for bundle in bundles] == [1, 1, 1]


def test_it_keeps_no_more_questions_than_it_may(
    actor: Overheard, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P12: what is beyond is refused, and may be asked again."""
    monkeypatch.setattr(status_actor, "MOST_WAITING", 2)
    Story(journal, 1)
    [bundle] = actor.hears(Bundle(tuple(GetStatus(f"q{number}", "ord_1") for number in range(4))))
    assert [type(answer) for answer in bundle.items] == [Refused, Refused, StatusIs, StatusIs]


def test_what_it_does_not_know_is_logged(actor: Overheard, caplog: pytest.LogCaptureFixture) -> None:
    """And answered by nothing."""
    assert actor.hears("hello") == []
    assert "was sent a str, which it does not know" in caplog.text
