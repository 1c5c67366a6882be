"""What a client has asked: asked again until it is answered, small where it can be, in bundles of a bounded size."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from saga_actors.actors.questions import ASK_AGAIN, BUNDLE_BYTES, DRAINING_PAUSE, MOST_AGAIN, Questions
from saga_actors.errors import NodeError
from saga_actors.messages import AwaitSaga, GetStatus, Refusal, Refused, SagaEnded, SagaStarted, StartSaga, new_id
from saga_actors.outcomes import Completed


@attrs.define
class Clock:
    """A clock that is set by hand."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Where time stands still."""
    return Clock()


@pytest.fixture
def questions(clock: Clock) -> Questions:
    """Nothing was asked yet."""
    return Questions(clock)


def start(size: int = 2, saga_id: str = "one") -> StartSaga:
    return StartSaga(
        correlation_id=new_id(), saga_id=saga_id, saga="shop:Order", fingerprint="f", digest="d", context=b"x" * size
    )


def sent(questions: Questions) -> list[tuple[bool, list[Any]]]:
    due = [*questions.due(to_status=False), *questions.due(to_status=True)]
    return [(to_status, list(bundle.items)) for to_status, bundle in questions.bundled(due)]


def test_a_question_is_asked_again_until_it_is_answered(questions: Questions, clock: Clock) -> None:
    """It is due at once, then each two seconds, and never after its answer; a second answer changes nothing."""
    message = AwaitSaga(new_id(), "one")
    future = questions.add(message, to_status=False).future
    assert sent(questions) == [(False, [message])]
    assert sent(questions) == []
    clock.now += ASK_AGAIN
    assert sent(questions) == [(False, [message])]
    ended = SagaEnded(message.correlation_id, "one", "shop:Order", Completed(b"{}", saga_id="one"))
    questions.answer(ended)
    questions.answer(ended)
    clock.now += ASK_AGAIN
    assert future.result(0) is ended
    assert not questions
    assert sent(questions) == []


def test_a_start_is_asked_after_without_its_context(questions: Questions, clock: Clock) -> None:
    """The whole goes out once; it goes again when the node says that it has no such saga (P10: with its digest)."""
    message = start()
    future = questions.add(message, to_status=False).future
    assert sent(questions) == [(False, [message])]
    clock.now += ASK_AGAIN
    assert sent(questions) == [(False, [attrs.evolve(message, context=b"")])]
    questions.answer(Refused(message.correlation_id, Refusal.UNKNOWN_SAGA, "never heard of it"))
    assert sent(questions) == [(False, [message])]
    questions.answer(SagaStarted(message.correlation_id, "one"))
    assert future.result(0).saga_id == "one"


def test_a_node_that_is_ending_is_asked_again_soon(questions: Questions, clock: Clock) -> None:
    """The refusal of a draining node is no answer: the next node gets the whole question."""
    message = start()
    future = questions.add(message, to_status=False).future
    sent(questions)
    questions.answer(Refused(message.correlation_id, Refusal.DRAINING, "the node is ending"))
    assert sent(questions) == []
    clock.now += DRAINING_PAUSE
    assert sent(questions) == [(False, [message])]
    assert not future.done()


@pytest.mark.parametrize("code", [Refusal.NOT_SERVED, Refusal.ID_TAKEN, Refusal.OVERLOADED, Refusal.BAD_REQUEST])
def test_any_other_refusal_is_an_answer(questions: Questions, code: str) -> None:
    """Whoever asked decides what to make of it; so is "unknown" for a question that starts nothing."""
    message, other = start(), GetStatus(new_id(), "one")
    refused = questions.add(message, to_status=False).future
    unknown = questions.add(other, to_status=True).future
    questions.answer(Refused(message.correlation_id, code, "no"))
    questions.answer(Refused(other.correlation_id, Refusal.UNKNOWN_SAGA, "no"))
    assert refused.result(0).code == code
    assert unknown.result(0).code == Refusal.UNKNOWN_SAGA


def test_bundles_are_bounded_and_go_to_whom_they_are_for(questions: Questions) -> None:
    """A bundle ends at 256 kB of contexts, a bigger one travels alone, and the status actor has bundles of its own."""
    for size in (BUNDLE_BYTES, 10, BUNDLE_BYTES * 3, 10, 10):
        questions.add(start(size), to_status=False)
    questions.add(GetStatus(new_id(), "one"), to_status=True)
    bundles = sent(questions)
    assert [to_status for to_status, _ in bundles] == [False] * 4 + [True]
    assert [[len(item.context) for item in items] for to_status, items in bundles if not to_status] == [
        [BUNDLE_BYTES],
        [10],
        [BUNDLE_BYTES * 3],
        [10, 10],
    ]


def test_whoever_waits_is_told_of_a_failure(questions: Questions) -> None:
    """Each gets an exception of its own; what was dropped, cancelled or answered meanwhile harms nobody."""
    futures = [questions.add(start(), to_status=False).future for _ in range(3)]
    dropped = questions.add(message := start(), to_status=False).future
    questions.drop(message.correlation_id)
    futures[0].cancel()
    questions.fail(NodeError("no node"))
    errors = [future.exception(0) for future in futures[1:]]
    assert [str(error) for error in errors] == ["no node"] * 2
    assert errors[0] is not errors[1]
    assert not dropped.done()
    assert not questions


def test_an_answer_to_nobody_is_dropped(questions: Questions) -> None:
    """A late answer, one to a cancelled question, and what is no answer at all mean nothing."""
    question = questions.add(message := start(), to_status=False)
    question.future.cancel()
    questions.answer(SagaStarted(message.correlation_id, "one"))
    questions.answer(SagaStarted(new_id(), "one"))
    questions.answer(object())
    assert not questions


def test_looking_for_what_is_due_does_not_go_through_all_that_is_open(questions: Questions, clock: Clock) -> None:
    """Each answer that comes is followed by such a look; 10,000 open questions shall not make it slow."""
    messages = [AwaitSaga(new_id(), f"saga-{number}") for number in range(10_000)]
    for message in messages:
        questions.add(message, to_status=False)
    assert sum(len(items) for _, items in sent(questions)) == 10_000
    looks = LookedAt()
    questions._open = looks  # type: ignore[assignment]
    assert questions.due(to_status=False) == []
    assert looks.count == 0


class LookedAt(dict[str, Any]):
    """Counts what is looked up in it."""

    count = 0

    def get(self, *args: Any) -> Any:
        self.count += 1
        return super().get(*args)

    def values(self) -> Any:
        self.count += 1
        return super().values()


def test_what_was_answered_is_not_remembered(questions: Questions, clock: Clock) -> None:
    """However long a client lives, it holds no more than what it has asked of late."""
    for number in range(100):
        message = AwaitSaga(new_id(), f"saga-{number}")
        questions.add(message, to_status=False)
        sent(questions)
        questions.answer(SagaEnded(message.correlation_id, "one", "shop:Order", Completed(b"{}", saga_id="one")))
    clock.now += ASK_AGAIN
    assert sent(questions) == []
    assert questions._times == {False: [], True: []}


def test_of_very_many_questions_only_some_are_asked_again_at_a_time_and_each_has_its_turn(
    questions: Questions, clock: Clock
) -> None:
    """P12: 100,000 that wait do not drown the supervisor in reminders; new ones go out at once, whatever waits."""
    for n in range(3 * MOST_AGAIN):
        questions.add(AwaitSaga(f"q{n}", f"s{n}"), to_status=False)
    assert len(posted(questions)) == 3 * MOST_AGAIN
    seen: set[str] = set()
    for _ in range(3):
        clock.now += ASK_AGAIN
        again = posted(questions)
        assert len(again) == MOST_AGAIN
        assert posted(questions) == []
        seen |= set(again)
        questions.add(AwaitSaga(f"new{clock.now}", "new"), to_status=False)
        assert posted(questions) == [f"new{clock.now}"]
    assert len(seen & {f"q{n}" for n in range(3 * MOST_AGAIN)}) >= 3 * MOST_AGAIN - 3


def posted(questions: Questions) -> list[str]:
    """Send what is due; the ids of it."""
    bundles = questions.bundled(questions.due(False))
    return [item.correlation_id for _, bundle in bundles for item in bundle.items]
