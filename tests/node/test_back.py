"""What can go wrong while a saga goes back: its undos fail, hang and die, and so do the processes around them."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterable

import pytest
from flows import Call
from station import Station, kinds
from undoing import Back, Hasty, Mixed

from saga_actors import (
    Compensated,
    CompensationFailed,
    Coordinator,
    FailureKind,
    SagaHeldError,
    SagaState,
    WaitingFor,
)
from saga_actors.events import (
    AttemptFailed,
    AttemptQuieted,
    AttemptStarted,
    AttemptSucceeded,
    Event,
    Phase,
    RetryScheduled,
    RollbackStarted,
    UndoFailed,
)
from saga_actors.node_folder import ProcessId

pytestmark = pytest.mark.node

FORWARD = ["one", "two", "three", "last"]


@pytest.fixture
def sagas(station: Station) -> Coordinator:
    """A coordinator of the sagas that are undone, whose node kills a worker soon after a step was given up."""
    return station.coordinator(sagas=["undoing"], spec={"grace": 0.3})


def back(station: Station, **does: list[str]) -> dict[str, object]:
    """A context in which the last step gives up; `does` is told of undos by their step's name."""
    told = {f"undo-{name}": what for name, what in does.items()}
    return station.context(does={"last": ["abort"], **told})


def of_undo(history: tuple[Event, ...], step: str) -> list[str]:
    """What happened to the undo of a step, in a word each."""
    words: list[str] = []
    for event in kinds(history, AttemptStarted, AttemptFailed, AttemptQuieted, AttemptSucceeded, RetryScheduled):
        if (event.step, event.phase) == (step, Phase.COMPENSATE):
            words.append(str(event.ending) if isinstance(event, AttemptFailed) else type(event).__name__)
    return words


def one_key(calls: Iterable[Call]) -> bool:
    """Whether all these calls had the same key, and each a number of its own, in order."""
    numbers, keys = zip(*((call.attempt, call.key) for call in calls), strict=True)
    return len(set(keys)) == 1 and list(numbers) == sorted(set(numbers))


# A compensation that fails.


@pytest.mark.parametrize("how", ["fail", "doubt"])
def test_an_undo_that_fails_is_retried_by_its_own_policy(station: Station, sagas: Coordinator, how: str) -> None:
    """Its step has no retries, it has two; with one key and one context, and the rest follows (P3, P4, P6)."""
    outcome = sagas.run(Back, back(station, two=[how, how]), saga_id="s")
    assert isinstance(outcome, Compensated)
    assert (outcome.failure.step, outcome.left) == ("last", ())
    undone = ["undo-three", "undo-two", "undo-two", "undo-two", "undo-one"]
    assert station.outside.names("s") == [*FORWARD, *undone]
    calls = station.outside.calls("undo-two")
    assert one_key(calls)
    assert {call.done for call in calls} == {("one", "two")}
    tries = ["AttemptStarted", "failed", "RetryScheduled"]
    assert of_undo(sagas.history("s"), "two") == [*tries, *tries, "AttemptStarted", "AttemptSucceeded"]
    assert not any(retry.rerun for retry in kinds(sagas.history("s"), RetryScheduled))


def test_an_undo_that_fails_for_good_leaves_the_rest_alone(station: Station, sagas: Coordinator) -> None:
    """The outcome names it, why the saga went back, and what is left; nothing earlier is undone (P2, P3)."""
    outcome = sagas.run(Back, back(station, two=["fail"] * 9), saga_id="s")
    assert isinstance(outcome, CompensationFailed)
    assert (outcome.failure.step, outcome.failure.reason) == ("last", "last gave up, as it was told to")
    assert (outcome.undo.step, outcome.undo.kind, outcome.undo.attempts) == ("two", FailureKind.FAILED, 3)
    assert (outcome.undo.reason, outcome.undo.error_type) == ("undo-two failed, as it was told to", "RuntimeError")
    assert outcome.left == ("two", "one")
    assert station.outside.names("s") == [*FORWARD, "undo-three", "undo-two", "undo-two", "undo-two"]
    status = sagas.status("s")
    assert (status.state, status.left, status.completed_steps) == (SagaState.FATAL, ("two", "one"), ("one", "two"))
    assert isinstance(sagas.history("s")[-1], UndoFailed)


REASONS = {
    "abort": ("undo-two gave up, as it was told to", "saga_actors.errors.Abort"),
    "refuse": ("undo-two found nothing, as it was told to", "LookupError"),
    "answer": (
        "the compensation of step 'two' returned int; a compensation returns None",
        "saga_actors.errors.ContextError",
    ),
}


@pytest.mark.parametrize("how", REASONS)
@pytest.mark.parametrize("before", [[], ["fail"]], ids=["at once", "after a failure"])
def test_an_undo_that_no_retry_helps_is_fatal_at_once(
    station: Station, sagas: Coordinator, before: list[str], how: str
) -> None:
    """`Abort`, an error outside `Retry(on=…)`, an answer: word for word, and what it had left is not tried (P2)."""
    outcome = sagas.run(Back, back(station, two=[*before, how]), saga_id="s")
    assert isinstance(outcome, CompensationFailed)
    assert (outcome.undo.step, outcome.undo.attempts) == ("two", len(before) + 1)
    assert (outcome.undo.reason, outcome.undo.error_type) == REASONS[how]
    assert (outcome.failure.step, outcome.left) == ("last", ("two", "one"))
    assert station.outside.names("s") == [*FORWARD, "undo-three", *["undo-two"] * (len(before) + 1)]


# A compensation that does not end in time.


STEPS = ["first", "thread", "loop", "last"]
TRIED_AGAIN = ["AttemptStarted", "timed_out", "AttemptQuieted", "RetryScheduled", "AttemptStarted", "AttemptSucceeded"]


def test_an_undo_that_is_late_and_fails_is_retried_once_it_is_quiet(station: Station, sagas: Coordinator) -> None:
    """Two never run side by side: the next call is made only when the late one has come back (P3, P7)."""
    sagas = station.coordinator(sagas=["undoing"], spec={"grace": 20.0})
    sagas.start(Hasty, back(station, thread=["wait fail"]), saga_id="s")
    station.until(lambda: sagas.status("s").waiting_for is WaitingFor.QUIET)
    assert station.outside.names("s") == [*STEPS, "undo-loop", "undo-thread"]
    station.outside.open("s-undo-thread")
    assert isinstance(sagas.result("s", Hasty), Compensated)
    assert station.outside.names("s") == [*STEPS, "undo-loop", "undo-thread", "undo-thread", "undo-first"]
    assert of_undo(sagas.history("s"), "thread") == TRIED_AGAIN
    assert one_key(station.outside.calls("undo-thread"))


def test_an_undo_that_is_late_and_ends_well_is_not_called_again(station: Station) -> None:
    """Its success before it is quiet is its result (P2, P7)."""
    sagas = station.coordinator(sagas=["undoing"], spec={"grace": 20.0})
    sagas.start(Hasty, back(station, thread=["wait"]), saga_id="s")
    station.until(lambda: sagas.status("s").waiting_for is WaitingFor.QUIET)
    station.outside.open("s-undo-thread")
    assert isinstance(sagas.result("s", Hasty), Compensated)
    assert station.outside.names("s") == [*STEPS, "undo-loop", "undo-thread", "undo-first"]
    assert of_undo(sagas.history("s"), "thread") == ["AttemptStarted", "timed_out", "AttemptSucceeded"]


def test_an_undo_that_hangs_is_retried_once_its_worker_is_dead(station: Station, sagas: Coordinator) -> None:
    """It is given up when its time is over, and killed with its worker; only then it is called again (P7, P11)."""
    sagas.start(Hasty, back(station, thread=["wait"]), saga_id="s")
    (hung,) = station.until_called("undo-thread")
    worker = ProcessId.of(hung.pid)
    assert worker is not None
    assert isinstance(sagas.result("s", Hasty), Compensated)
    assert not worker.alive
    _, again = station.outside.calls("undo-thread")
    assert again.pid != hung.pid
    assert of_undo(sagas.history("s"), "thread") == TRIED_AGAIN
    assert one_key((hung, again))


def test_an_undo_that_is_late_each_time_is_fatal(station: Station, sagas: Coordinator) -> None:
    """On the loop it is cancelled each time, and so soon quiet; its retries are used up like after errors (P2, P12)."""
    outcome = sagas.run(Hasty, back(station, loop=["wait"] * 9), saga_id="s")
    assert isinstance(outcome, CompensationFailed)
    assert (outcome.undo.step, outcome.undo.kind, outcome.undo.attempts) == ("loop", FailureKind.TIMED_OUT, 3)
    assert (outcome.undo.reason, outcome.left) == ("timed out after 0.5 s", ("loop", "thread", "first"))
    assert station.outside.names("s") == [*STEPS, *["undo-loop"] * 3]
    one = ["AttemptStarted", "timed_out", "AttemptQuieted"]
    assert of_undo(sagas.history("s"), "loop") == [*one, "RetryScheduled", *one, "RetryScheduled", *one]


# A compensation whose worker dies.


def test_an_undo_that_outlives_ten_deaths_ends_well(station: Station, sagas: Coordinator) -> None:
    """It is run again each time with its key, using up no retry; its node does not give up (P6, P11, P12)."""
    outcome = sagas.run(Back, back(station, two=["die"] * 10), saga_id="s")
    assert isinstance(outcome, Compensated)
    calls = station.outside.calls("undo-two")
    assert [call.attempt for call in calls] == [*range(1, 12)]
    assert len({call.pid for call in calls}) == 11
    assert one_key(calls)
    assert station.outside.names("s") == [*FORWARD, "undo-three", *["undo-two"] * 11, "undo-one"]
    assert all(retry.rerun for retry in kinds(sagas.history("s"), RetryScheduled))
    assert "life 2" not in station.log()


def test_an_undo_that_kills_its_worker_each_time_is_held(station: Station, sagas: Coordinator) -> None:
    """After ten reruns it waits for an operator; nothing earlier is undone, its node serves on (P3, P11, P12)."""
    with pytest.raises(SagaHeldError, match="undo of step 'two' was cut short 11 times"):
        sagas.run(Back, back(station, two=["die"] * 99), saga_id="s")
    calls = station.outside.calls("undo-two")
    assert [call.attempt for call in calls] == [*range(1, 12)]
    assert len({call.pid for call in calls}) == 11
    assert one_key(calls)
    assert station.outside.names("s") == [*FORWARD, "undo-three", *["undo-two"] * 11]
    status = sagas.status("s")
    assert (status.state, status.waiting_for, status.left) == (SagaState.HELD, WaitingFor.OPERATOR, ("two", "one"))
    assert isinstance(sagas.run(Back, back(station), saga_id="beside"), Compensated)
    assert "life 2" not in station.log()


# A crash at any point.


class Points:
    """One saga for each point of a rollback of four steps, all of which stand there at the same time.

    `begun-four`: that undo runs. `ended-four`: it will have ended, with nobody told. `after-four`: its end is durable,
    and the next undo is not begun, for no thread is free. Undos four and two run on the loop, three and one on threads.
    """

    STEPS = ["one", "two", "three", "four"]
    ON_LOOP = [(point, step) for step in ("four", "two") for point in ("begun", "ended", "after")]
    ON_THREADS = [(point, step) for step in ("three", "one") for point in ("begun", "ended")]
    THREADS = 3  # for all; with the one that is kept for rollbacks, just as many as are in `ON_THREADS`

    def __init__(self, station: Station) -> None:
        self.station = station
        self.sagas = station.coordinator(sagas=["undoing"], workers=1, threads=self.THREADS)
        for points in (self.ON_LOOP, self.ON_THREADS):  # the first need a thread before they stand where they shall
            for point, step in points:
                self.sagas.start(Mixed, back(station, **{step: ["wait"]}), saga_id=f"{point}-{step}")
            for point, step in points:
                station.until_called(f"undo-{step}", saga_id=f"{point}-{step}")
        for step in ("four", "two"):
            self.open("after", step)
            station.until(lambda step=step: self.sagas.status(f"after-{step}").waiting_for is WaitingFor.SLOT)

    def open(self, point: str, step: str) -> None:
        self.station.outside.open(f"{point}-{step}-undo-{step}")

    def end_unheard(self) -> None:
        """End those that shall have ended; the supervisor stands still, and hears nothing of it."""
        ending = {f"ended-{step}-undo-{step}" for step in self.STEPS}
        self.station.stop(self.station.pid("SagaSupervisor"))
        for step in self.STEPS:
            self.open("ended", step)
        self.station.until(lambda: ending <= {line["name"] for line in self.station.outside.lines("ended")})

    def go_on(self) -> None:
        """Let the others end, too."""
        for step in self.STEPS:
            self.open("begun", step)

    def crash(self, victim: str) -> None:
        """Kill the supervisor, or the worker under it, or everybody."""
        supervisor, worker = self.station.pid("SagaSupervisor"), self.station.pid("StepWorker")
        if victim == "node":
            family = self.station.family()
            for process in sorted(family, key=lambda process: process.pid):
                process.kill()
            self.station.until(lambda: not any(process.alive for process in family))
        elif victim == "worker":
            self.station.kill(worker)
            os.kill(supervisor, signal.SIGCONT)
        else:
            self.station.kill(supervisor)


@pytest.mark.parametrize("victim", ["supervisor", "worker", "node"])
def test_a_rollback_goes_on_from_wherever_it_was_cut_short(station: Station, victim: str) -> None:
    """No undo has its effect twice; all are made in reverse, with their contexts; no step is made again (P1 to P6)."""
    there = Points(station)
    there.end_unheard()
    before = {call.pid for call in station.outside.calls()}
    there.crash(victim)
    there.go_on()
    for point, step in [*Points.ON_LOOP, *Points.ON_THREADS]:
        saga_id = f"{point}-{step}"
        outcome = there.sagas.result(saga_id, Mixed)
        assert isinstance(outcome, Compensated), saga_id
        assert (outcome.failure.step, outcome.left, outcome.in_doubt) == ("last", (), ())
        check_calls(station.outside.calls(saga_id=saga_id))
        again = [name for name, calls in by_name(station.outside.calls(saga_id=saga_id)) if len(calls) > 1]
        assert again in ALLOWED[victim, point](f"undo-{step}"), saga_id
        (turned,) = kinds(there.sagas.history(saga_id), RollbackStarted)
        begun = [e for e in kinds(there.sagas.history(saga_id), AttemptStarted) if e.phase is Phase.EXECUTE]
        assert all(each.at <= turned.at for each in begun)
    assert {call.pid for call in station.outside.calls()} - before or victim == "supervisor"


ALLOWED = {
    ("supervisor", "begun"): lambda undo: [[]],
    ("supervisor", "ended"): lambda undo: [[]],
    ("supervisor", "after"): lambda undo: [[]],
    ("worker", "begun"): lambda undo: [[undo]],
    ("worker", "ended"): lambda undo: [[], [undo]],  # its last words may have been on their way
    ("worker", "after"): lambda undo: [[]],
    ("node", "begun"): lambda undo: [[undo]],
    ("node", "ended"): lambda undo: [[undo]],
    ("node", "after"): lambda undo: [[]],
}
"""Which undos are called a second time."""


def by_name(calls: list[Call]) -> list[tuple[str, list[Call]]]:
    """The calls in order, with those of one name together that follow each other."""
    return [(name, list(each)) for name, each in itertools.groupby(calls, key=lambda call: call.name)]


def check_calls(calls: list[Call]) -> None:
    """Forward once, and back in reverse; a call that is made again has its key and its context."""
    told = by_name(calls)
    steps = Points.STEPS
    assert [name for name, _ in told] == [*steps, "last", *[f"undo-{step}" for step in reversed(steps)]]
    for name, each in told:
        assert one_key(each), name
        upto = steps if name == "last" else steps[: steps.index(name.removeprefix("undo-")) + name.startswith("undo-")]
        assert {call.done for call in each} == {tuple(sorted(upto))}, name
    assert len({each[0].key for _, each in told}) == len(told)
