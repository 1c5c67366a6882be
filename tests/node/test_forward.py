"""Every way in which a step can go wrong on its way forward, on a real node."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from faults import Assumed, Async, Brief, Chain, Choosy, Ignored, Once, Patient, Timed, Twice
from premises import Premises
from station import kinds

from saga_actors import (
    Compensated,
    Completed,
    Coordinator,
    FailureKind,
    Outcome,
    Saga,
    SagaState,
    WaitingFor,
)
from saga_actors.events import AttemptFailed, AttemptQuieted, AttemptStarted, AttemptSucceeded, Ending

pytestmark = pytest.mark.node

MINUTE = 60.0


def node(premises: Premises, **options: Any) -> Coordinator:
    """A coordinator whose node goes by a clock that the test turns."""
    spec = premises.turned() | options.pop("spec", {})
    return premises.coordinator(sagas=["faults"], spec=spec, **options)


def calls(premises: Premises, name: str | None = None) -> list[dict[str, Any]]:
    path = premises.folder / "calls"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if name in (None, line["name"])]


def names(premises: Premises) -> list[str]:
    return [call["name"] for call in calls(premises)]


def run(premises: Premises, saga: type[Saga], **does: list[str]) -> Outcome:
    with node(premises) as sagas:
        return sagas.run(saga, premises.context(does=named(does)), saga_id="s1", timeout=40)


def start(premises: Premises, sagas: Coordinator, saga: type[Saga], **does: list[str]) -> None:
    sagas.start(saga, premises.context(does=named(does)), saga_id="s1")


def named(does: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name.replace("_", "-"): todo for name, todo in does.items()}


def until_called(premises: Premises, name: str, times: int = 1) -> None:
    premises.until(lambda: len(calls(premises, name)) >= times)


# A step raises.


def test_a_step_is_retried_until_its_retries_are_used_up_and_then_rolled_back(premises: Premises) -> None:
    """The failure names the step, the last reason and the attempts; what was not done is not undone."""
    outcome = run(premises, Chain, second=["fail", "fail", "fail"])
    assert isinstance(outcome, Compensated)
    assert (outcome.failure.kind, outcome.failure.step, outcome.failure.attempts) == (FailureKind.FAILED, "second", 3)
    assert outcome.failure.reason == "second failed"
    assert names(premises) == ["first", "second", "second", "second", "undo-first"]
    assert len({call["key"] for call in calls(premises, "second")}) == 1


def test_attempts_and_due_times_survive_a_restart_and_show_in_status(premises: Premises) -> None:
    """P12: the count goes on, and the backoff is waited for, whatever node there is."""
    with node(premises) as sagas:
        start(premises, sagas, Patient, call=["fail", "fail"])
        premises.until(lambda: sagas.status("s1").waiting_for is WaitingFor.RETRY)
        first = sagas.status("s1")
        assert (first.current_step, first.attempt) == ("call", 1)
        assert first.next_attempt_at is not None
        assert timedelta(seconds=55) < first.next_attempt_at - first.updated_at <= timedelta(seconds=60)
    with node(premises) as sagas:
        sagas.have_served()
        assert sagas.status("s1").next_attempt_at == first.next_attempt_at
        premises.turned(MINUTE)
        until_called(premises, "call", 2)
        premises.until(lambda: sagas.status("s1").attempt == 2)
        premises.until(lambda: sagas.status("s1").waiting_for is WaitingFor.RETRY)
        second = sagas.status("s1")
        assert second.next_attempt_at is not None
        assert timedelta(seconds=115) < second.next_attempt_at - second.updated_at <= timedelta(seconds=120)
        premises.turned(2 * MINUTE)
        assert isinstance(sagas.result("s1", timeout=20), Completed)
    assert [call["attempt"] for call in calls(premises, "call")] == [1, 2, 3]


def test_an_error_that_is_not_worth_a_retry_gets_none(premises: Premises) -> None:
    """`Retry(on=...)`: the shaky one is tried again, the other ends it."""
    outcome = run(premises, Choosy, call=["shaky", "fail", "work"])
    assert isinstance(outcome, Compensated)
    assert (outcome.failure.attempts, outcome.failure.reason) == (2, "call failed")


# Nobody knows.


@pytest.mark.parametrize("how", ["unknown", "lost"])
def test_an_unknown_step_is_retried_with_its_key_and_undone_with_it(premises: Premises, how: str) -> None:
    """P7: its undo sees outcome "unknown" and the key of the step, and the context as it was before it (P4)."""
    outcome = run(premises, Chain, second=[how] * 3)
    assert isinstance(outcome, Compensated)
    assert (outcome.failure.kind, outcome.failure.attempts) == (FailureKind.UNKNOWN, 3)
    assert names(premises) == ["first", "second", "second", "second", "undo-second", "undo-first"]
    (key,) = {call["key"] for call in calls(premises, "second")}
    (undone,) = calls(premises, "undo-second")
    assert (undone["undoes"], undone["outcome"], undone["done"]) == (key, "unknown", ["did_first"])
    assert undone["key"] != key
    assert calls(premises, "undo-first")[0]["outcome"] == "completed"


@pytest.mark.parametrize("then", ["fail", "abort"])
def test_once_unknown_is_unknown_whatever_comes_later(premises: Premises, then: str) -> None:
    """P7: a clean failure, or an Abort, of a later attempt says nothing about the first."""
    outcome = run(premises, Chain, second=["unknown", then, then])
    assert isinstance(outcome, Compensated)
    assert outcome.failure.kind is FailureKind.UNKNOWN
    assert calls(premises, "undo-second")[0]["outcome"] == "unknown"


def test_an_unknown_step_may_be_assumed_to_have_failed(premises: Premises) -> None:
    """It is not undone, and listed as in doubt."""
    outcome = run(premises, Assumed, second=["unknown"])
    assert isinstance(outcome, Compensated)
    assert outcome.in_doubt == ("second",)
    assert names(premises) == ["first", "second", "undo-first"]


# A step takes too long.


def test_a_timeout_is_known_within_a_tenth_of_a_second(premises: Premises) -> None:
    """By the journal's own times; the first attempt warms everything up."""
    with node(premises) as sagas:
        sagas.run(Brief, premises.context())
        start(premises, sagas, Brief, call=["wait late"])
        premises.until(lambda: kinds(sagas.history("s1"), AttemptFailed))
        history = sagas.history("s1")
        (started,), (failed,) = kinds(history, AttemptStarted), kinds(history, AttemptFailed)
        assert failed.ending is Ending.TIMED_OUT
        assert 0.2 <= failed.at - started.at < 0.3
        premises.outside.open("late")
        assert isinstance(sagas.result("s1", timeout=20), Compensated)


def test_an_async_step_is_cancelled_at_its_timeout(premises: Premises) -> None:
    """And its worker lives on, for nothing of it runs any more."""
    with node(premises) as sagas:
        start(premises, sagas, Async, call=["wait"])
        until_called(premises, "call")
        premises.turned(MINUTE)
        outcome = sagas.result("s1", timeout=20)
        assert isinstance(outcome, Compensated)
        assert outcome.failure.kind is FailureKind.TIMED_OUT
        assert (premises.folder / "cancelled").exists()
        assert "is dead" not in premises.log()


def test_a_thread_that_does_not_end_takes_its_worker_with_it_and_neighbours_are_rerun(premises: Premises) -> None:
    """P6, P7: the worker takes nothing more, is killed when the grace ends, and then the step is undone."""
    with node(premises, workers=1) as sagas:
        sagas.start(Chain, premises.context(does={"third": ["wait third"]}), saga_id="neighbour")
        until_called(premises, "third")
        start(premises, sagas, Timed, second=["wait never", "work"], third=["wait third"])
        until_called(premises, "second", 2)
        premises.turned(MINUTE)
        premises.until(lambda: kinds(sagas.history("s1"), AttemptFailed))
        assert not kinds(sagas.history("s1"), AttemptQuieted)
        sagas.start(Brief, premises.context(), saga_id="later")
        assert sagas.status("later").waiting_for is WaitingFor.SLOT
        premises.turned(5.0)
        premises.until(lambda: len({call["pid"] for call in calls(premises, "third")}) == 2)
        premises.outside.open("third")
        assert isinstance(sagas.result("neighbour", timeout=20), Completed)
        assert isinstance(sagas.result("later", timeout=20), Completed)
        first, second = calls(premises, "third")
        assert first["key"] == second["key"]
        premises.turned(10 * MINUTE)
        assert isinstance(sagas.result("s1", timeout=20), Completed)


def test_a_worker_that_answers_no_ping_is_killed(premises: Premises) -> None:
    """A step that never lets go of the interpreter: its worker is replaced, and the step run again."""
    with node(premises, spec={"silence": 3.0, "ping_every": 0.5}) as sagas:
        start(premises, sagas, Chain, second=["gil"])
        assert isinstance(sagas.result("s1", timeout=60), Completed)
        assert len({call["pid"] for call in calls(premises, "second")}) == 2
        assert "is silent, and is killed" in premises.log()


# Its worker dies.


@pytest.mark.parametrize("how", ["kill", "segv", "exit", "memory"])
def test_a_step_whose_worker_dies_is_run_again(premises: Premises, how: str) -> None:
    """P6: as the next attempt, with the same key, using up no retry."""
    with node(premises) as sagas:
        outcome = sagas.run(Chain, premises.context(does={"second": [how]}), saga_id="s1", timeout=40)
        assert [event.ending for event in kinds(sagas.history("s1"), AttemptFailed)] == [Ending.INTERRUPTED]
    assert outcome == Completed(
        {**premises.context(does={"second": [how]}), "did_first": 1, "did_second": 2, "did_third": 1}, saga_id="s1"
    )
    first, second = calls(premises, "second")
    assert (first["key"], first["attempt"], second["attempt"]) == (second["key"], 1, 2)
    assert first["pid"] != second["pid"]


def test_reruns_are_counted_over_restarts(premises: Premises) -> None:
    """P6, P12: one by a worker's death, the next by the whole node's; then it is unknown, and undone."""
    with node(premises) as sagas:
        start(premises, sagas, Twice, call=["kill", "wait never"])
        until_called(premises, "call", 2)
        sagas.close(0)
    with node(premises) as sagas:
        outcome = sagas.result("s1", timeout=20)
    assert isinstance(outcome, Compensated)
    assert (outcome.failure.kind, outcome.failure.attempts) == (FailureKind.INTERRUPTED, 2)
    assert names(premises) == ["call", "call", "undo-call"]
    assert calls(premises, "undo-call")[0]["outcome"] == "unknown"


def test_a_step_that_may_run_once_is_unknown_when_its_worker_dies(premises: Premises) -> None:
    """P6: and so undone, for it may have happened."""
    outcome = run(premises, Once, second=["exit"])
    assert isinstance(outcome, Compensated)
    assert outcome.failure.kind is FailureKind.INTERRUPTED
    assert names(premises) == ["first", "second", "undo-second", "undo-first"]


# A success comes late.


def test_a_late_success_is_the_result_while_the_saga_still_waits(premises: Premises) -> None:
    """The retry that was due in ten minutes is not made."""
    with node(premises, spec={"grace": 600.0}) as sagas:
        start(premises, sagas, Timed, second=["wait late"])
        until_called(premises, "second")
        premises.turned(MINUTE)
        premises.until(lambda: sagas.status("s1").waiting_for is WaitingFor.RETRY)
        premises.outside.open("late")
        assert isinstance(sagas.result("s1", timeout=20), Completed)
        assert names(premises) == ["first", "second", "third"]


def test_a_late_success_is_undone_with_its_own_context_once_the_saga_goes_back(premises: Premises) -> None:
    """P4, P7: and nothing is undone before it is quiet."""
    with node(premises, spec={"grace": 6_000.0}) as sagas:
        start(premises, sagas, Timed, second=["wait late", "fail"])
        until_called(premises, "second")
        premises.turned(MINUTE)
        premises.until(lambda: sagas.status("s1").waiting_for is WaitingFor.RETRY)
        premises.turned(10 * MINUTE)
        premises.until(lambda: sagas.status("s1").state is SagaState.COMPENSATING)
        assert "undo-second" not in names(premises)
        premises.outside.open("late")
        assert isinstance(sagas.result("s1", timeout=20), Compensated)
        assert names(premises)[-2:] == ["undo-second", "undo-first"]
        (undone,) = calls(premises, "undo-second")
        assert (undone["outcome"], undone["done"]) == ("completed", ["did_first", "did_second"])


def test_two_successes_of_one_step_are_one_result(premises: Premises) -> None:
    """The second attempt's counts, and the first, which comes after it, changes nothing."""
    with node(premises, spec={"grace": 6_000.0}) as sagas:
        start(premises, sagas, Timed, second=["wait late", "work"], third=["wait third"])
        until_called(premises, "second")
        premises.turned(MINUTE)
        premises.until(lambda: sagas.status("s1").waiting_for is WaitingFor.RETRY)
        premises.turned(10 * MINUTE)
        until_called(premises, "third")
        premises.outside.open("late")
        premises.until(lambda: kinds(sagas.history("s1"), AttemptQuieted))
        premises.outside.open("third")
        outcome = sagas.result("s1", timeout=20)
        assert isinstance(outcome, Completed)
        assert outcome.context["did_second"] == 2
        assert [event.step for event in kinds(sagas.history("s1"), AttemptSucceeded)] == ["first", "second", "third"]
        assert names(premises) == ["first", "second", "second", "third"]


# Its failure does not matter.


@pytest.mark.parametrize(
    ("how", "undone"),
    [(["fail"], False), (["kill", "kill"], True), (["wait never"], True)],
    ids=["fails", "kills", "late"],
)
def test_an_ignored_step_is_undone_later_only_if_it_may_have_happened(
    premises: Premises, how: list[str], undone: bool
) -> None:
    """P2: the saga goes on and lists it; when the third step fails, it is undone in its turn, or not."""
    with node(premises, spec={"grace": 1.0}) as sagas:
        start(premises, sagas, Ignored, second=how, third=["wait third", "wait third", "abort"])
        until_called(premises, "second")
        if how == ["wait never"]:
            premises.turned(MINUTE)
        until_called(premises, "third")
        assert sagas.status("s1").ignored == ("second",)
        premises.outside.open("third")
        outcome = sagas.result("s1", timeout=30)
        assert isinstance(outcome, Completed)
        assert outcome.ignored == ("second",)
    premises.write("calls", "")
    with node(premises, spec={"grace": 1.0}) as sagas:
        sagas.start(Ignored, premises.context(does={"second": how, "third": ["abort"]}), saga_id="s2")
        until_called(premises, "second")
        if how == ["wait never"]:
            premises.turned(MINUTE)
            premises.turned(1.0)
        outcome = sagas.result("s2", timeout=30)
    assert isinstance(outcome, Compensated)
    assert names(premises)[-2:] == (["undo-second", "undo-first"] if undone else ["third", "undo-first"])


# What it returns cannot be used.


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("int", "step 'second' returned int"),
        ("in-place", "return the changes"),
        ("object", "result of step 'second': deep.at is object"),
    ],
)
def test_nonsense_is_not_retried_and_undone(premises: Premises, how: str, says: str) -> None:
    """The reason names the step and the path. Its code has run, so it is undone as a step that may have happened."""
    outcome = run(premises, Chain, second=[how])
    assert isinstance(outcome, Compensated)
    assert (outcome.failure.kind, outcome.failure.attempts) == (FailureKind.FAILED, 1)
    assert says in outcome.failure.reason
    assert names(premises) == ["first", "second", "undo-second", "undo-first"]


# A deadline.


def test_a_deadline_passes_while_no_node_runs(premises: Premises) -> None:
    """The next node turns the saga back at once; the attempt that was due is not made."""
    with node(premises) as sagas:
        until = datetime.now(UTC) + timedelta(seconds=50)
        sagas.start(Patient, premises.context(does={"call": ["fail"]}), saga_id="s1", deadline=until)
        premises.until(lambda: sagas.status("s1").waiting_for is WaitingFor.RETRY)
    premises.turned(2 * MINUTE)
    with node(premises) as sagas:
        outcome = sagas.result("s1", timeout=20)
    assert isinstance(outcome, Compensated)
    assert outcome.failure.kind is FailureKind.DEADLINE
    assert outcome.failure.cause is not None
    assert names(premises) == ["call"]


def test_an_attempt_in_flight_at_the_deadline_is_awaited_and_undone(premises: Premises) -> None:
    """P2: nothing is cut off; what it did is undone."""
    with node(premises) as sagas:
        until = datetime.now(UTC) + timedelta(seconds=50)
        does = {"second": ["wait second"]}
        sagas.start(Timed, premises.context(does=does), saga_id="s1", deadline=until)
        until_called(premises, "second")
        premises.turned(55.0)
        premises.until(lambda: "Cancelled" in [type(event).__name__ for event in sagas.history("s1")])
        assert sagas.status("s1").state is SagaState.RUNNING
        premises.outside.open("second")
        outcome = sagas.result("s1", timeout=20)
    assert isinstance(outcome, Compensated)
    assert outcome.failure.kind is FailureKind.DEADLINE
    assert names(premises) == ["first", "second", "undo-second", "undo-first"]
