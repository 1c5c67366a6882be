"""One saga at a time, driven by hand: every row of what can happen to a step, on the state machine alone."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest

from saga_actors import inputs
from saga_actors.decision import UNDO_RERUNS, Decision, decide
from saga_actors.errors import CorruptionError
from saga_actors.events import (
    Accepted,
    AttemptFailed,
    AttemptQuieted,
    AttemptStarted,
    AttemptSucceeded,
    Cancelled,
    Ending,
    Event,
    Fault,
    HoldReason,
    Phase,
    PlanAdopted,
    Resolved,
    Retried,
    RetryScheduled,
    RollbackStarted,
    SagaCompensated,
    SagaCompleted,
    SagaHeld,
    Settled,
    Skipped,
    StepFailed,
    UndoFailed,
    Verdict,
    WorkerId,
)
from saga_actors.execution import TRANSITIONS, Execution, fold
from saga_actors.inputs import CancelRequested, HoldRequested, PlanOffered, RetryRequested, SlotReserved, TimePassed
from saga_actors.outcomes import Compensated, CompensationFailed, Completed, FailureKind, SagaState, WaitingFor
from saga_actors.pinning import differences
from saga_actors.plan import OnFailure, OnUnknown, SagaPlan, StepPlan
from saga_actors.retry import Backoff
from saga_actors.status import outcome_of, status_of

RUNNING, COMPENSATING, HELD = SagaState.RUNNING, SagaState.COMPENSATING, SagaState.HELD
COMPLETED, COMPENSATED, FATAL = SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.FATAL
EXECUTE, COMPENSATE = Phase.EXECUTE, Phase.COMPENSATE
FAILED, UNKNOWN, TIMED_OUT, INTERRUPTED = Ending.FAILED, Ending.UNKNOWN, Ending.TIMED_OUT, Ending.INTERRUPTED
ONE, TWO = WorkerId(1, 101, 0.5), WorkerId(2, 102, 0.5)
EPOCH = 3
AT_ONCE = Backoff(times=2, first_delay=0.0)
RETRY = RetryRequested("ann", "mended")


def step(name: str, **options: object) -> StepPlan:
    """A step with an undo that is tried once, each way, but for reruns."""
    defaults: dict[str, object] = {"compensable": True, "compensate_retries": Backoff(0)}
    return StepPlan(name, **(defaults | options))  # type: ignore[arg-type]


class Story:
    """A saga of these steps, at the instant `at`, and what has happened to it."""

    def __init__(self, *steps: StepPlan, deadline: float | None = None) -> None:
        plan = SagaPlan("Story", steps)
        accepted = Accepted(0.0, "s1", "Story", plan.plan_id, "digest", b"{}", deadline)
        self.e = Execution.begin(plan, accepted)
        self.events: list[Event] = [accepted]
        self.plans = {plan.plan_id: plan}
        self.at = 1.0
        self.roll = 0.0

    def give(self, given: inputs.Input) -> list[type[Event]]:
        """The kinds of events that this brings about; it must not be refused."""
        decision = decide(self.e, given, self.at, self.roll)
        assert decision.refused is None
        self.e = decision.execution
        self.events += decision.events
        assert fold(iter(self.events), self.plans.__getitem__) == self.e
        return [type(event) for event in decision.events]

    def refusal(self, given: inputs.Input) -> str:
        """Why this is refused; it changes nothing."""
        decision = decide(self.e, given, self.at, self.roll)
        assert decision.refused is not None
        assert decision == Decision(self.e, (), decision.refused)
        return decision.refused

    def begins(self, worker: WorkerId = ONE) -> tuple[Phase, str, int]:
        """The wanted attempt begins at once."""
        self.give(SlotReserved(worker, EPOCH))
        started = self.events[-1]
        assert isinstance(started, AttemptStarted)
        return started.phase, started.step, started.attempt

    def succeeds(self, name: str, attempt: int = 1, context: bytes | None = None) -> list[type[Event]]:
        return self.give(inputs.Succeeded(EXECUTE, name, attempt, EPOCH, context))

    def undone(self, name: str, attempt: int = 1) -> list[type[Event]]:
        return self.give(inputs.Succeeded(COMPENSATE, name, attempt, EPOCH))

    def fails(
        self, name: str, ending: Ending = FAILED, attempt: int = 1, phase: Phase = EXECUTE, retryable: bool = True
    ) -> list[type[Event]]:
        fault = Fault(f"{name} {ending}", "SomeError", retryable=retryable)
        return self.give(inputs.Failed(phase, name, attempt, EPOCH, ending, fault))

    def quiet(self, name: str, attempt: int = 1, phase: Phase = EXECUTE) -> list[type[Event]]:
        return self.give(inputs.Quieted(phase, name, attempt, EPOCH))

    def does(self, *names: str) -> Story:
        """These steps, one after the other, succeed with a context that says so."""
        for name in names:
            assert self.begins() == (EXECUTE, name, 1)
            self.succeeds(name, context=f"after {name}".encode())
        return self

    def undoes(self, *names: str) -> Story:
        for name in names:
            assert self.begins() == (COMPENSATE, name, 1)
            self.undone(name)
        return self

    def wants(self) -> tuple[Phase, str, int] | None:
        wanted = self.e.wanted
        return (wanted.phase, wanted.step.name, wanted.attempt) if wanted else None


def settle(name: str, happened: bool, context: bytes | None = None) -> inputs.SettleRequested:
    return inputs.SettleRequested(name, happened, "ann", "asked the bank", context)


def skip(name: str) -> inputs.SkipRequested:
    return inputs.SkipRequested(name, "ann", "done by hand")


def resolve(state: SagaState) -> inputs.ResolveRequested:
    return inputs.ResolveRequested(state, "ann", "enough")


def held_unknown(**options: object) -> Story:
    """Step a is done; b is unknown, and holds the saga."""
    story = Story(step("a"), step("b", on_unknown=OnUnknown.HOLD, **options), step("c")).does("a")
    story.begins()
    story.fails("b", UNKNOWN)
    assert story.e.state is HELD
    return story


def fatal() -> Story:
    """Steps a and b are done, c has failed, and the undo of b too."""
    story = Story(step("a"), step("b"), step("c")).does("a", "b")
    story.begins()
    story.fails("c")
    story.begins()
    story.fails("b", phase=COMPENSATE)
    assert story.e.state is FATAL
    return story


def rolling_back() -> Story:
    """Steps a and b are done, c has failed, and the undo of b may begin."""
    story = Story(step("a"), step("b", compensate_retries=AT_ONCE), step("c")).does("a", "b")
    story.begins()
    story.fails("c")
    return story


# Forward.


def test_a_saga_whose_steps_all_succeed_is_completed_with_the_last_context() -> None:
    """P2: every step ok, nothing undone."""
    story = Story(step("a"), step("b")).does("a", "b")
    assert outcome_of(story.e) == Completed(b"after b", saga_id="s1")
    assert story.wants() is None


def test_a_step_that_returns_nothing_leaves_the_context_as_it_was() -> None:
    """A success without a context changes none."""
    story = Story(step("a"), step("b")).does("a")
    story.begins()
    story.succeeds("b")
    assert story.e.context == b"after a"


def test_a_failed_step_is_retried_with_backoff_and_then_rolled_back() -> None:
    """Retry while retries last; attempts and due times are part of the journalled execution."""
    story = Story(step("a"), step("b", retries=Backoff(2, first_delay=2.0, factor=3.0, jitter=0.5))).does("a")
    for attempt, delay in ((1, 2.0), (2, 6.0)):
        assert story.begins() == (EXECUTE, "b", attempt)
        assert story.fails("b", attempt=attempt) == [AttemptFailed, RetryScheduled]
        assert story.e.wakes_at == story.at + delay
        assert status_of(story.e, served=True).waiting_for is WaitingFor.RETRY
        story.at += delay
    assert story.begins() == (EXECUTE, "b", 3)
    assert story.fails("b", attempt=3) == [AttemptFailed, StepFailed, RollbackStarted]
    story.undoes("a")
    outcome = outcome_of(story.e)
    assert isinstance(outcome, Compensated)
    assert (outcome.failure.kind, outcome.failure.step) == (FailureKind.FAILED, "b")
    assert (outcome.failure.reason, outcome.failure.attempts) == ("b failed", 3)


def test_jitter_is_drawn_by_the_roll_alone() -> None:
    """A decision is pure: the same roll gives the same due time."""
    story = Story(step("a", retries=Backoff(1, first_delay=8.0, jitter=0.5)))
    story.begins()
    story.roll = 0.5
    story.fails("a")
    assert story.e.wakes_at == story.at + 6.0


def test_a_slot_before_a_retry_is_due_begins_nothing() -> None:
    """P5: what is not due does not start, whoever reserves a slot for it."""
    story = Story(step("a", retries=Backoff(1, first_delay=5.0)))
    story.begins()
    story.fails("a")
    assert story.give(SlotReserved(ONE, EPOCH)) == []
    story.at += 5.0
    assert story.begins() == (EXECUTE, "a", 2)


def test_an_abort_is_not_retried_and_keeps_its_reason_word_for_word() -> None:
    """Abort, or an error outside Retry(on=…): no retry, rollback."""
    story = Story(step("a"), step("b", retries=AT_ONCE)).does("a")
    story.begins()
    assert story.fails("b", retryable=False) == [AttemptFailed, StepFailed, RollbackStarted]
    assert story.e.failure is not None
    assert story.e.failure.reason == "b failed"
    assert story.undoes("a").e.state is COMPENSATED


def test_an_unknown_step_is_retried_and_if_it_ends_so_undone_with_the_context_before_it() -> None:
    """P4, P7: unknown is undone, with the context as it was before the step."""
    story = Story(step("a"), step("b", retries=Backoff(1, first_delay=0.0))).does("a")
    for attempt in (1, 2):
        story.begins()
        story.fails("b", UNKNOWN, attempt)
    assert story.begins() == (COMPENSATE, "b", 1)
    assert story.e.context_for(COMPENSATE, "b") == b"after a"
    story.undone("b")
    story.undoes("a")
    assert story.e.state is COMPENSATED
    assert story.e.in_doubt == ()


@pytest.mark.parametrize("retryable", [True, False])
def test_unknown_once_and_then_a_clean_failure_or_an_abort_is_still_unknown(retryable: bool) -> None:
    """P7: whatever later attempts said."""
    story = Story(step("a", retries=Backoff(1, first_delay=0.0)))
    story.begins()
    story.fails("a", UNKNOWN)
    story.begins()
    story.fails("a", attempt=2, retryable=retryable)
    assert story.e.steps[0].verdict is Verdict.UNKNOWN
    assert story.e.failure is not None
    assert story.e.failure.kind is FailureKind.UNKNOWN
    assert story.wants() == (COMPENSATE, "a", 1)


def test_a_clean_failure_after_another_is_failed_and_not_undone() -> None:
    """P2: what certainly did not happen is not undone."""
    story = Story(step("a", retries=Backoff(1, first_delay=0.0)))
    story.begins()
    story.fails("a")
    story.begins()
    assert story.fails("a", attempt=2)[-1] is SagaCompensated


def test_an_attempt_that_goes_quiet_without_a_word_is_unknown() -> None:
    """P7: nobody said that it failed."""
    story = Story(step("a"))
    story.begins()
    assert story.quiet("a") == [AttemptFailed, StepFailed, RollbackStarted]
    assert story.e.steps[0].verdict is Verdict.UNKNOWN


def test_an_unknown_step_that_is_assumed_to_have_failed_is_not_undone_and_is_listed_in_doubt() -> None:
    """P7: only `on_unknown` may say so."""
    story = Story(step("a"), step("b", on_unknown=OnUnknown.ASSUME_FAILED)).does("a")
    story.begins()
    story.fails("b", UNKNOWN)
    story.undoes("a")
    outcome = outcome_of(story.e)
    assert isinstance(outcome, Compensated)
    assert outcome.in_doubt == ("b",)


def test_an_unknown_step_without_an_undo_is_listed_in_doubt() -> None:
    """P2: an outcome names what nobody knows."""
    story = Story(step("a", compensable=False))
    story.begins()
    story.fails("a", UNKNOWN)
    outcome = outcome_of(story.e)
    assert isinstance(outcome, Compensated)
    assert outcome.in_doubt == ("a",)


def test_an_unknown_step_holds_the_saga_if_it_says_so_once_it_is_quiet() -> None:
    """P7: `on_unknown="hold"` asks an operator, and not before a late success is out of the question."""
    story = Story(step("a", on_unknown=OnUnknown.HOLD))
    story.begins()
    assert story.fails("a", TIMED_OUT) == [AttemptFailed, StepFailed]
    assert status_of(story.e, served=True).waiting_for is WaitingFor.QUIET
    assert story.quiet("a") == [AttemptQuieted, SagaHeld]
    assert story.e.held is not None
    assert story.e.held.reason is HoldReason.UNKNOWN_OUTCOME


def test_a_late_success_keeps_a_saga_from_being_held() -> None:
    """P7: a success before quiet is the step's result."""
    story = Story(step("a", on_unknown=OnUnknown.HOLD))
    story.begins()
    story.fails("a", TIMED_OUT)
    assert story.succeeds("a", context=b"late") == [AttemptSucceeded, SagaCompleted]


def test_hold_comes_before_ignore() -> None:
    """P7: an unknown step is not ignored as a failed one would be, if it is to be held."""
    story = Story(step("a", on_failure=OnFailure.IGNORE, on_unknown=OnUnknown.HOLD), step("b"))
    story.begins()
    story.fails("a", UNKNOWN)
    assert story.e.state is HELD
    story.give(settle("a", False))
    assert (story.e.ignored, story.wants()) == (("a",), (EXECUTE, "b", 1))


def test_a_success_after_the_timeout_goes_on_while_the_saga_still_waits_for_the_step() -> None:
    """The first success of any attempt is the step's result."""
    story = Story(step("a", retries=Backoff(1, first_delay=60.0)), step("b"))
    story.begins()
    assert story.fails("a", TIMED_OUT) == [AttemptFailed, RetryScheduled]
    assert story.succeeds("a", context=b"late") == [AttemptSucceeded]
    assert story.begins() == (EXECUTE, "b", 1)
    assert story.e.context_for(EXECUTE, "b") == b"late"


def test_a_success_after_the_rollback_began_is_undone_once_with_its_own_context() -> None:
    """P2, P4: never compensated while an effect is on its way."""
    story = Story(step("a"), step("b")).does("a")
    story.begins()
    story.fails("b", TIMED_OUT)
    assert (story.e.state, story.wants()) == (COMPENSATING, None)
    story.succeeds("b", context=b"late")
    assert story.begins() == (COMPENSATE, "b", 1)
    assert story.e.context_for(COMPENSATE, "b") == b"late"
    story.undone("b")
    assert story.undoes("a").e.state is COMPENSATED
    assert story.e.context == b"after a"


def test_a_late_success_is_undone_though_the_unknown_step_would_not_have_been() -> None:
    """P7: what was assumed to have failed, and then did not, has happened."""
    story = Story(step("a", on_unknown=OnUnknown.ASSUME_FAILED))
    story.begins()
    story.fails("a", TIMED_OUT)
    assert story.wants() is None
    story.succeeds("a")
    assert story.wants() == (COMPENSATE, "a", 1)


@pytest.mark.parametrize("compensable", [True, False])
def test_no_rollback_ends_while_an_attempt_is_not_quiet(compensable: bool) -> None:
    """P2: also if there is nothing to undo."""
    story = Story(step("a", compensable=compensable))
    story.begins()
    assert story.fails("a", TIMED_OUT)[-1] is RollbackStarted
    assert story.give(SlotReserved(TWO, EPOCH)) == []
    assert (SagaCompensated in story.quiet("a")) is not compensable


def test_a_failure_after_the_timeout_only_makes_it_quiet() -> None:
    """P7: the step remains unknown."""
    story = Story(step("a"))
    story.begins()
    story.fails("a", TIMED_OUT)
    assert story.fails("a") == [AttemptQuieted]
    assert story.wants() == (COMPENSATE, "a", 1)


def test_two_attempts_that_both_succeed_give_one_result() -> None:
    """Attempt 1 times out, attempt 2 succeeds, then attempt 1 too: they share a key, nothing is undone."""
    story = Story(step("a", retries=AT_ONCE), step("b"))
    story.begins()
    story.fails("a", TIMED_OUT)
    assert story.begins(TWO) == (EXECUTE, "a", 2)
    story.succeeds("a", 2, b"second")
    assert story.succeeds("a", 1, b"first") == [AttemptQuieted]
    assert story.does("b").e.state is COMPLETED
    assert story.e.steps[0].after == b"second"


def test_a_late_success_of_the_first_attempt_wins_over_a_running_second() -> None:
    """The first success is the result; the saga does not wait for the other attempt, but a rollback would."""
    story = Story(step("a", retries=AT_ONCE), step("b"))
    story.begins()
    story.fails("a", TIMED_OUT)
    story.begins(TWO)
    story.succeeds("a", 1, b"first")
    assert story.begins() == (EXECUTE, "b", 1)
    story.fails("b")
    assert (story.e.state, story.wants()) == (COMPENSATING, None)
    assert story.fails("a", attempt=2) == [AttemptQuieted]
    assert story.begins() == (COMPENSATE, "a", 1)
    assert story.e.context_for(COMPENSATE, "a") == b"first"


def test_an_attempt_cut_short_is_rerun_using_up_no_retry() -> None:
    """P6: the next attempt, at once, up to `reruns` times."""
    story = Story(step("a", reruns=2, retries=Backoff(1, first_delay=0.0)))
    for attempt in (1, 2):
        assert story.begins() == (EXECUTE, "a", attempt)
        assert story.give(inputs.WorkerDied(ONE)) == [AttemptFailed, RetryScheduled]
        assert story.e.wanted is not None
        assert story.e.wanted.rerun
    story.begins()
    assert story.fails("a", attempt=3) == [AttemptFailed, RetryScheduled]
    story.begins()
    assert story.give(inputs.WorkerDied(ONE)) == [AttemptFailed, StepFailed, RollbackStarted]
    assert story.e.steps[0].verdict is Verdict.UNKNOWN


def test_a_step_without_reruns_is_unknown_at_once_when_cut_short() -> None:
    """P6, P7: `reruns=0` is at most once, whatever retries there are."""
    story = Story(step("a", reruns=0, retries=AT_ONCE))
    story.begins()
    assert story.give(inputs.WorkerDied(ONE)) == [AttemptFailed, StepFailed, RollbackStarted]
    assert story.wants() == (COMPENSATE, "a", 1)


def test_steps_that_must_not_run_twice_or_saw_two_deaths_run_alone() -> None:
    """P11: what may have killed two workers is kept from the neighbours."""
    story = Story(step("a", reruns=3))
    for _ in range(2):
        assert story.e.wanted is not None
        assert not story.e.wanted.alone
        story.begins()
        story.give(inputs.WorkerDied(ONE))
    assert story.e.wanted is not None
    assert story.e.wanted.alone
    once = Story(step("a", reruns=0)).e.wanted
    assert once is not None
    assert once.alone


def test_the_death_of_another_worker_changes_nothing() -> None:
    """P11: nor does that of an earlier process under the same number."""
    story = Story(step("a"))
    story.begins()
    assert story.give(inputs.WorkerDied(TWO)) == []
    assert story.give(inputs.WorkerDied(attrs.evolve(ONE, started=0.4))) == []


def test_the_death_of_a_worker_makes_what_timed_out_there_quiet() -> None:
    """Its process is dead, so nothing of it runs any more."""
    story = Story(step("a", compensable=False))
    story.begins()
    story.fails("a", TIMED_OUT)
    assert story.give(inputs.WorkerDied(ONE)) == [AttemptQuieted, SagaCompensated]


@pytest.mark.parametrize("ending", [ending for ending in Ending if ending is not Ending.UNBEGUN])
def test_an_ignored_step_lets_the_saga_go_on_and_is_listed(ending: Ending) -> None:
    """P2: completed means every step ok or ignored; fails, times out or kills its worker."""
    story = Story(step("a", on_failure=OnFailure.IGNORE, reruns=0), step("b"))
    story.begins()
    if ending is INTERRUPTED:
        story.give(inputs.WorkerDied(ONE))
    else:
        story.fails("a", ending)
    story.does("b")
    outcome = outcome_of(story.e)
    assert isinstance(outcome, Completed)
    assert outcome.ignored == ("a",)
    assert outcome.in_doubt == (() if ending is FAILED else ("a",))


@pytest.mark.parametrize("ending", [FAILED, UNKNOWN])
def test_an_ignored_step_is_undone_on_a_later_rollback_only_if_it_may_have_happened(ending: Ending) -> None:
    """P2, P7: its failure does not matter, its effect does."""
    story = Story(step("a"), step("b", on_failure=OnFailure.IGNORE), step("c")).does("a")
    story.begins()
    story.fails("b", ending)
    story.begins()
    story.fails("c")
    assert story.wants() == (COMPENSATE, "b" if ending is UNKNOWN else "a", 1)


def test_an_ignored_step_that_succeeds_late_does_not_touch_the_context_but_is_undone_with_its_own() -> None:
    """P4: the saga had gone on without it."""
    story = Story(step("a", on_failure=OnFailure.IGNORE), step("b"), step("c"))
    story.begins()
    story.fails("a", TIMED_OUT)
    story.does("b")
    story.succeeds("a", context=b"late")
    assert story.e.context == b"after b"
    story.begins()
    story.fails("c")
    story.undoes("b")
    assert story.begins() == (COMPENSATE, "a", 1)
    assert story.e.context_for(COMPENSATE, "a") == b"late"


# The deadline, and cancel.


def test_a_deadline_cancels_by_the_clock() -> None:
    """P12: no attempt starts any more, and the failure says why."""
    story = Story(step("a"), step("b"), deadline=10.0).does("a")
    assert story.e.wakes_at == 10.0
    story.at = 10.0
    assert story.give(TimePassed()) == [Cancelled, RollbackStarted]
    assert story.undoes("a").e.failure is not None
    assert story.e.failure is not None
    assert (story.e.failure.kind, story.e.failure.step) == (FailureKind.DEADLINE, None)


def test_a_slot_at_the_deadline_begins_nothing() -> None:
    """P12: also if it passed while no node ran."""
    story = Story(step("a"), deadline=10.0)
    story.at = 99.0
    assert story.give(SlotReserved(ONE, EPOCH)) == [Cancelled, RollbackStarted, SagaCompensated]


def test_an_attempt_in_flight_at_the_deadline_is_awaited_and_then_undone() -> None:
    """P2: even if it was the last, and succeeds."""
    story = Story(step("a"), deadline=10.0)
    story.begins()
    story.at = 10.0
    assert story.give(TimePassed()) == [Cancelled]
    assert status_of(story.e, served=True).waiting_for is WaitingFor.STEP
    assert story.succeeds("a", context=b"x") == [AttemptSucceeded, RollbackStarted]
    assert story.undoes("a").e.state is COMPENSATED


def test_a_deadline_does_not_disturb_a_rollback() -> None:
    """A saga that goes back is not cancelled."""
    story = Story(step("a"), step("b"), deadline=10.0).does("a")
    story.begins()
    story.fails("b")
    assert story.e.wakes_at is None
    story.at = 11.0
    assert story.give(TimePassed()) == []


def test_cancel_of_a_saga_that_waits_for_a_slot_turns_it_back() -> None:
    """From that commit no attempt starts: what is queued is dropped."""
    story = Story(step("a"), step("b")).does("a")
    assert story.give(CancelRequested("too late", "ann")) == [Cancelled, RollbackStarted]
    assert story.e.failure is not None
    assert (story.e.failure.kind, story.e.failure.reason, story.e.failure.cause) == ("cancelled", "too late", None)
    assert story.undoes("a").e.state is COMPENSATED


def test_cancel_before_the_first_step_ends_at_once() -> None:
    """P2: nothing was done, nothing is undone."""
    assert Story(step("a")).give(CancelRequested("no"))[-1] is SagaCompensated


@pytest.mark.parametrize("ending", [FAILED, UNKNOWN])
def test_cancel_drops_a_waiting_retry_and_attaches_the_failure_of_the_step(ending: Ending) -> None:
    """P7: what was unknown stays so."""
    story = Story(step("a", retries=Backoff(3)))
    story.begins()
    story.fails("a", ending)
    assert story.give(CancelRequested("no"))[:3] == [Cancelled, StepFailed, RollbackStarted]
    assert story.e.failure is not None
    assert story.e.failure.cause is not None
    assert story.e.failure.cause.kind == ending.value
    assert story.wants() == ((COMPENSATE, "a", 1) if ending is UNKNOWN else None)


def test_cancel_awaits_the_attempt_in_flight_and_undoes_it_even_if_it_was_the_last_and_succeeds() -> None:
    """P2: a cancelled saga is never completed."""
    story = Story(step("a"))
    story.begins()
    assert story.give(CancelRequested("no")) == [Cancelled]
    assert story.give(CancelRequested("no, really")) == []
    assert story.give(SlotReserved(TWO, EPOCH)) == []
    assert story.succeeds("a") == [AttemptSucceeded, RollbackStarted]
    assert story.undoes("a").e.state is COMPENSATED


def test_a_cancelled_saga_retries_nothing_forward() -> None:
    """The attempt in flight was the last one."""
    story = Story(step("a", retries=AT_ONCE))
    story.begins()
    story.give(CancelRequested("no"))
    assert story.fails("a") == [AttemptFailed, StepFailed, RollbackStarted, SagaCompensated]


def test_a_cancelled_saga_is_not_held_for_an_unknown_step() -> None:
    """A held saga can be cancelled, and goes back; so does one that was cancelled first."""
    story = Story(step("a", on_unknown=OnUnknown.HOLD))
    story.begins()
    story.give(CancelRequested("no"))
    assert story.fails("a", UNKNOWN) == [AttemptFailed, StepFailed, RollbackStarted]
    assert story.wants() == (COMPENSATE, "a", 1)


def test_a_held_saga_can_be_cancelled_and_goes_back() -> None:
    """P9: an operator's journalled action reopens it."""
    story = held_unknown()
    assert story.give(CancelRequested("no", "ann")) == [Cancelled, RollbackStarted]
    assert story.undoes("b", "a").e.state is COMPENSATED


@pytest.mark.parametrize("story", [fatal, rolling_back, lambda: Story(step("a")).does("a")])
def test_what_goes_back_or_has_ended_cannot_be_cancelled(story: type[Story]) -> None:
    """P9: a rollback cannot be cancelled, an end is an end."""
    assert "cannot be turned back" in story().refusal(CancelRequested("no"))


# Back.


def test_completed_steps_are_undone_in_reverse_with_the_contexts_of_their_moments() -> None:
    """P3, P4: b with the context after b, then a with the one after a."""
    story = rolling_back()
    assert story.e.left == ("b", "a")
    for name in ("b", "a"):
        assert story.begins() == (COMPENSATE, name, 1)
        assert story.e.context_for(COMPENSATE, name) == f"after {name}".encode()
        assert story.give(SlotReserved(TWO, EPOCH)) == []
        story.undone(name)
    assert story.e.state is COMPENSATED
    assert not story.e.left
    assert not story.e.completed_steps


@pytest.mark.parametrize("ending", [FAILED, UNKNOWN])
def test_an_undo_that_fails_is_retried_by_its_own_policy(ending: Ending) -> None:
    """P12: `compensate_retries`, not `retries`."""
    story = rolling_back()
    for attempt in (1, 2):
        assert story.begins() == (COMPENSATE, "b", attempt)
        assert story.fails("b", ending, attempt, COMPENSATE) == [AttemptFailed, RetryScheduled]
    story.begins()
    assert story.fails("b", ending, 3, COMPENSATE) == [AttemptFailed, UndoFailed]


def test_an_undo_that_times_out_is_retried_only_after_quiet() -> None:
    """P3: two undos of a step never stand side by side."""
    story = rolling_back()
    story.begins()
    assert story.fails("b", TIMED_OUT, phase=COMPENSATE) == [AttemptFailed]
    assert story.wants() is None
    assert story.quiet("b", phase=COMPENSATE) == [AttemptQuieted, RetryScheduled]
    assert story.begins() == (COMPENSATE, "b", 2)


def test_an_undo_that_succeeds_after_its_timeout_has_succeeded() -> None:
    """P2: once."""
    story = rolling_back()
    story.begins()
    story.fails("b", TIMED_OUT, phase=COMPENSATE)
    assert story.undone("b") == [AttemptSucceeded]
    assert story.wants() == (COMPENSATE, "a", 1)


def test_an_undo_that_aborts_is_fatal_at_once_and_nothing_earlier_is_undone() -> None:
    """P2, P3: the outcome names the failed undo, the original failure and what is left."""
    story = rolling_back()
    story.begins()
    assert story.fails("b", phase=COMPENSATE, retryable=False) == [AttemptFailed, UndoFailed]
    outcome = outcome_of(story.e)
    assert isinstance(outcome, CompensationFailed)
    assert (outcome.failure.step, outcome.undo.step, outcome.undo.reason) == ("c", "b", "b failed")
    assert outcome.left == ("b", "a")
    assert story.give(SlotReserved(ONE, EPOCH)) == []


def test_a_saga_is_not_fatal_before_everything_is_quiet() -> None:
    """P9: what is left to undo does not change after the end."""
    story = Story(step("a", on_failure=OnFailure.IGNORE), step("b"), step("c"))
    story.begins(TWO)
    story.fails("a", TIMED_OUT)
    story.does("b")
    story.begins()
    story.fails("c")
    story.begins()
    assert story.fails("b", phase=COMPENSATE, retryable=False) == [AttemptFailed]
    assert status_of(story.e, served=True).waiting_for is WaitingFor.QUIET
    assert story.succeeds("a", context=b"late") == [AttemptSucceeded, UndoFailed]
    assert story.e.left == ("b", "a")


def test_an_undo_cut_short_is_rerun_ten_times_and_then_the_saga_is_held() -> None:
    """P6, P12: using up no retry."""
    story = rolling_back()
    for attempt in range(1, UNDO_RERUNS + 1):
        assert story.begins() == (COMPENSATE, "b", attempt)
        assert story.give(inputs.WorkerDied(ONE)) == [AttemptFailed, RetryScheduled]
    story.begins()
    assert story.give(inputs.WorkerDied(ONE)) == [AttemptFailed, SagaHeld]
    assert story.e.held is not None
    assert story.e.held.reason is HoldReason.UNDO_INTERRUPTED
    assert story.e.left == ("b", "a")


def test_the_direction_of_a_held_rollback_is_not_lost() -> None:
    """P9: held while going back, retried, and it goes back."""
    story = rolling_back()
    story.give(HoldRequested(HoldReason.CRASHED, "three times"))
    assert (story.e.going_back, story.e.left) == (True, ("b", "a"))
    assert story.give(RETRY) == [Retried]
    assert story.undoes("b", "a").e.state is COMPENSATED


# Stale reports.


@pytest.mark.parametrize(
    "stale",
    [
        {"attempt": 2},
        {"epoch": EPOCH - 1},
        {"epoch": EPOCH + 1},
        {"phase": COMPENSATE},
        {"step": "b"},
        {"step": "nowhere"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["success", "failure", "quiet"])
def test_a_stale_report_changes_nothing(kind: str, stale: dict[str, object]) -> None:
    """P8: of another attempt, epoch, phase or step."""
    story = Story(step("a"), step("b"))
    story.begins()
    reports: dict[str, inputs.Report] = {
        "success": inputs.Succeeded(EXECUTE, "a", 1, EPOCH, b"x"),
        "failure": inputs.Failed(EXECUTE, "a", 1, EPOCH, FAILED, Fault("no")),
        "quiet": inputs.Quieted(EXECUTE, "a", 1, EPOCH),
    }
    assert story.give(attrs.evolve(reports[kind], **stale)) == []  # type: ignore[arg-type]


def test_a_report_that_comes_twice_counts_once() -> None:
    """P6: duplicates by attempt are dropped."""
    story = Story(step("a", retries=AT_ONCE), step("b"))
    story.begins()
    assert story.fails("a") == [AttemptFailed, RetryScheduled]
    assert story.fails("a") == []
    story.begins()
    assert story.fails("a", TIMED_OUT, 2) == [AttemptFailed, RetryScheduled]
    assert story.fails("a", TIMED_OUT, 2) == []
    story.begins()
    assert story.succeeds("a", 3) == [AttemptSucceeded]
    assert story.succeeds("a", 3) == []
    assert story.quiet("a", 2) == [AttemptQuieted]
    assert story.quiet("a", 2) == []


def test_a_success_after_quiet_is_too_late() -> None:
    """It was said that nothing of the attempt runs any more."""
    story = Story(step("a", retries=AT_ONCE))
    story.begins()
    story.fails("a")
    assert story.succeeds("a") == []


def test_a_failure_of_an_old_attempt_does_not_fail_the_present_one() -> None:
    """P6: only the awaited attempt decides."""
    story = Story(step("a", retries=AT_ONCE))
    story.begins()
    story.fails("a", TIMED_OUT)
    story.begins(TWO)
    assert story.fails("a", attempt=1) == [AttemptQuieted]
    assert story.succeeds("a", 2)[-1] is SagaCompleted


@pytest.mark.parametrize("state", [COMPLETED, COMPENSATED, FATAL])
def test_nothing_that_is_reported_after_the_end_changes_it(state: SagaState) -> None:
    """P9: terminal is final."""
    story = Story(step("a", on_failure=OnFailure.IGNORE), step("b"))
    story.begins()
    story.fails("a")
    story.give(HoldRequested(HoldReason.CRASHED, ""))
    story.give(resolve(state))
    late: list[inputs.Input] = [
        inputs.Succeeded(EXECUTE, "a", 1, EPOCH),
        inputs.WorkerDied(ONE),
        SlotReserved(ONE, EPOCH),
        TimePassed(),
    ]
    late += [HoldRequested(HoldReason.CRASHED, ""), PlanOffered(SagaPlan("Story", (step("z"),)))]
    for given in late:
        assert story.give(given) == []


def test_a_slot_for_a_saga_that_wants_none_begins_nothing() -> None:
    """P6: one awaited attempt at a time."""
    story = Story(step("a"))
    story.begins()
    assert story.give(SlotReserved(TWO, EPOCH)) == []


# Held, and what an operator may do.


def test_a_held_saga_begins_nothing_but_hears_what_its_attempts_say() -> None:
    """P9, P11: parked until an operator decides; no report is lost."""
    story = Story(step("a"), step("b"), deadline=5.0)
    story.begins()
    assert story.give(HoldRequested(HoldReason.CRASHED, "three times")) == [SagaHeld]
    assert story.give(HoldRequested(HoldReason.CORRUPT, "again")) == []
    assert story.succeeds("a", context=b"done") == [AttemptSucceeded]
    assert story.give(SlotReserved(ONE, EPOCH)) == []
    assert (story.e.state, story.e.wakes_at, story.e.completed_steps) == (HELD, None, ("a",))
    assert story.give(RETRY) == [Retried]
    assert story.begins() == (EXECUTE, "b", 1)
    assert story.e.context_for(EXECUTE, "b") == b"done"


def test_a_saga_may_be_held_again_while_it_is_held() -> None:
    """P13: a journal that cannot fold it says so whatever state it is in; the way back is not lost."""
    story = rolling_back()
    story.give(HoldRequested(HoldReason.CRASHED, "three times"))
    again = story.e.apply(SagaHeld(2.0, HoldReason.CORRUPT, "a bad record"))
    assert (again.state, again.held_from) == (HELD, COMPENSATING)
    assert again.apply(Retried(3.0, "ann", "mended")).state is COMPENSATING


def test_retry_of_a_step_held_as_unknown_tries_it_again_with_fresh_retries_and_the_old_doubt() -> None:
    """P7: a clean failure then does not make it failed."""
    story = held_unknown()
    assert story.give(RETRY) == [Retried]
    assert story.begins() == (EXECUTE, "b", 2)
    assert story.fails("b", attempt=2) == [AttemptFailed, StepFailed, SagaHeld]
    story.give(RETRY)
    assert story.begins() == (EXECUTE, "b", 3)
    story.succeeds("b", 3)
    assert story.does("c").e.state is COMPLETED


def test_retry_of_a_fatal_saga_tries_the_undo_again_with_fresh_retries() -> None:
    """P9: and then goes on to what is left."""
    story = fatal()
    assert story.give(RETRY) == [Retried]
    assert (story.e.state, story.e.undo_failure) == (COMPENSATING, None)
    assert story.begins() == (COMPENSATE, "b", 2)
    story.undone("b", 2)
    assert story.undoes("a").e.state is COMPENSATED


def test_retry_of_an_undo_cut_short_too_often_grants_ten_more_reruns() -> None:
    """P12: an operator's action begins the count anew."""
    story = rolling_back()
    for _ in range(UNDO_RERUNS + 1):
        story.begins()
        story.give(inputs.WorkerDied(ONE))
    assert story.give(RETRY) == [Retried]
    for _ in range(UNDO_RERUNS + 1):
        assert story.e.state is COMPENSATING
        story.begins()
        story.give(inputs.WorkerDied(ONE))
    assert story.e.state is HELD


@pytest.mark.parametrize("ending", [FAILED, INTERRUPTED])
def test_retry_of_a_saga_held_by_the_machinery_still_hears_what_a_step_said_meanwhile(ending: Ending) -> None:
    """P6, P7: an Abort stays an Abort, and what may run once does not run twice because its saga was parked."""
    story = Story(step("a"), step("b", reruns=0)).does("a")
    story.begins()
    story.give(HoldRequested(HoldReason.CRASHED, "three times"))
    if ending is FAILED:
        story.fails("b", retryable=False)
    else:
        story.give(inputs.WorkerDied(ONE))
    assert story.give(RETRY) == [Retried, StepFailed, RollbackStarted]


def test_retry_makes_a_waiting_retry_due_at_once() -> None:
    """An operator does not wait for a backoff."""
    story = Story(step("a", retries=Backoff(1, first_delay=60.0, max_delay=60.0)))
    story.begins()
    story.fails("a")
    story.give(HoldRequested(HoldReason.CRASHED, "three times"))
    story.give(RETRY)
    assert story.begins() == (EXECUTE, "a", 2)


@pytest.mark.parametrize("context", [b"charged", None])
def test_settling_a_step_as_done_goes_on_with_the_result(context: bytes | None) -> None:
    """P7: an operator knows."""
    story = held_unknown()
    assert story.give(settle("b", True, context)) == [Settled]
    assert story.begins() == (EXECUTE, "c", 1)
    assert story.e.context_for(EXECUTE, "c") == (context or b"after a")


def test_a_step_settled_as_done_is_undone_with_that_context() -> None:
    """P4: on a later rollback."""
    story = held_unknown()
    story.give(settle("b", True, b"charged"))
    story.begins()
    story.fails("c")
    assert story.begins() == (COMPENSATE, "b", 1)
    assert story.e.context_for(COMPENSATE, "b") == b"charged"


def test_settling_a_step_as_not_done_goes_back_without_undoing_it() -> None:
    """P2: what certainly did not happen is not undone."""
    story = held_unknown()
    assert story.give(settle("b", False)) == [Settled, RollbackStarted]
    assert story.e.failure is not None
    assert story.e.failure.step == "b"
    assert story.undoes("a").e.in_doubt == ()


def test_settling_an_unknown_step_of_a_rollback_undoes_it_with_that_context_in_its_turn() -> None:
    """P3, P4: its turn has not come yet."""
    story = Story(step("a", on_unknown=OnUnknown.COMPENSATE, on_failure=OnFailure.IGNORE), step("b"), step("c"))
    story.begins()
    story.fails("a", UNKNOWN)
    story.does("b")
    story.begins()
    story.fails("c")
    story.give(HoldRequested(HoldReason.CRASHED, "three times"))
    story.give(settle("a", True, b"charged"))
    story.undoes("b")
    assert story.begins() == (COMPENSATE, "a", 1)
    assert story.e.context_for(COMPENSATE, "a") == b"charged"


def test_a_step_whose_turn_to_be_undone_is_over_cannot_be_settled_as_done() -> None:
    """P3: nothing is undone out of order, not even by an operator; not done is fine."""
    story = Story(step("a"), step("b", on_unknown=OnUnknown.ASSUME_FAILED)).does("a")
    story.begins()
    story.fails("b", UNKNOWN)
    story.begins()
    story.give(HoldRequested(HoldReason.CRASHED, "three times"))
    assert "undo it by hand" in story.refusal(settle("b", True))
    assert story.give(settle("b", False)) == [Settled]
    assert story.e.in_doubt == ()


@pytest.mark.parametrize("name", ["a", "c", "nowhere"])
def test_only_an_unknown_step_of_a_held_saga_can_be_settled(name: str) -> None:
    """A refusal names those that can."""
    assert "here: b" in held_unknown().refusal(settle(name, True))
    assert "here: none" in fatal().refusal(settle(name, True))


@pytest.mark.parametrize("held", [True, False])
def test_skipping_a_failed_undo_goes_on_with_the_rollback(held: bool) -> None:
    """P2: it was done by hand; fatal or held."""
    story = rolling_back() if held else fatal()
    if held:
        story.give(HoldRequested(HoldReason.DEFINITION_CHANGED, "b has lost its undo"))
    assert story.give(skip("b")) == [Skipped]
    assert (story.e.left, story.e.completed_steps, story.e.undo_failure) == (("a",), ("a",), None)
    assert story.undoes("a").e.state is COMPENSATED


def test_only_the_undo_that_is_stuck_can_be_skipped() -> None:
    """P3: in its turn."""
    assert "can be skipped: b" in fatal().refusal(skip("a"))
    assert "can be skipped: none" in held_unknown().refusal(skip("b"))


def test_an_undo_that_still_runs_cannot_be_skipped() -> None:
    """P2: by hand and by us would be twice."""
    story = rolling_back()
    story.begins()
    story.give(HoldRequested(HoldReason.CRASHED, "three times"))
    assert "not quiet yet" in story.refusal(skip("b"))
    story.fails("b", phase=COMPENSATE)
    assert story.give(skip("b")) == [Skipped]


def test_resolving_names_who_did_it_and_what_was_left() -> None:
    """P2: what an operator resolved by hand says so."""
    story = fatal()
    assert story.give(resolve(COMPENSATED)) == [Resolved]
    outcome = outcome_of(story.e)
    assert isinstance(outcome, Compensated)
    assert (outcome.resolved_by, outcome.left) == ("ann", ("b", "a"))


def test_resolving_leaves_a_step_in_doubt_that_was_never_decided() -> None:
    """P7: it was cut short while the saga was held, and may have happened."""
    story = Story(step("a"), step("b")).does("a")
    story.begins()
    story.give(HoldRequested(HoldReason.CRASHED, "three times"))
    assert "not quiet yet" in story.refusal(resolve(COMPLETED))
    story.give(inputs.WorkerDied(ONE))
    story.give(resolve(COMPENSATED))
    outcome = outcome_of(story.e)
    assert isinstance(outcome, Compensated)
    assert (outcome.in_doubt, outcome.left) == (("b",), ("b", "a"))


@pytest.mark.parametrize(
    "given", [RETRY, skip("b"), resolve(COMPLETED), CancelRequested("no")], ids=lambda g: str(type(g))
)
def test_what_was_resolved_stays_resolved(given: inputs.Input) -> None:
    """P9: terminal is final."""
    story = fatal()
    story.give(resolve(FATAL))
    assert story.refusal(given)


@pytest.mark.parametrize("state", [RUNNING, COMPENSATING, HELD])
def test_a_saga_cannot_be_resolved_into_something_that_is_no_end(state: SagaState) -> None:
    """P9: an operator ends a saga by hand, or leaves it."""
    assert "expected completed, compensated or fatal" in fatal().refusal(resolve(state))


@pytest.mark.parametrize("given", [RETRY, skip("a"), resolve(COMPLETED), settle("a", True)], ids=lambda g: str(type(g)))
@pytest.mark.parametrize("state", [RUNNING, COMPENSATING, COMPLETED, COMPENSATED])
def test_an_operator_is_refused_where_nothing_waits_for_one(given: inputs.Input, state: SagaState) -> None:
    """P9: each verb where it makes sense."""
    story = rolling_back() if state in (COMPENSATING, COMPENSATED) else Story(step("a"))
    if state is COMPLETED:
        story.does("a")
    if state is COMPENSATED:
        story.undoes("b", "a")
    assert story.e.state is state
    assert str(state) in story.refusal(given)


# The definition.


def served(story: Story, *steps: StepPlan, context: str = "dict") -> SagaPlan:
    plan = SagaPlan("Story", steps, context)
    story.plans[plan.plan_id] = plan
    return plan


def test_changed_timeouts_retries_and_appended_steps_are_taken_over() -> None:
    """P14: with an event that says so."""
    story = Story(step("a"), step("b")).does("a")
    plan = served(story, step("a"), step("b", timeout=1.0, retries=AT_ONCE), step("c"))
    assert story.give(PlanOffered(plan)) == [PlanAdopted]
    assert story.give(PlanOffered(plan)) == []
    assert story.does("b", "c").e.state is COMPLETED


def test_a_saga_at_its_last_step_goes_on_with_the_appended_ones() -> None:
    """P14: after the cursor, also if an attempt is in flight."""
    story = Story(step("a"))
    story.begins()
    story.give(PlanOffered(served(story, step("a"), step("b"))))
    assert story.succeeds("a") == [AttemptSucceeded]
    assert story.wants() == (EXECUTE, "b", 1)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((step("b"),), "step 1 was 'a', and is 'b' now"),
        ((step("b"), step("a")), "step 1 was 'a', and is 'b' now"),
        ((step("a"),), "step 2 was 'b', and is 'missing' now"),
        ((step("a"), step("x"), step("b")), "step 2 was 'b', and is 'x' now"),
        ((step("a", compensable=False), step("b")), "step 'a' has started and has lost its undo"),
        ((step("a", on_unknown=OnUnknown.HOLD), step("b")), "step 'a' has started, and its on_unknown"),
        ((step("a", on_failure=OnFailure.IGNORE), step("b")), "step 'a' has started, and its on_unknown"),
    ],
    ids=str,
)
def test_a_definition_that_does_not_fit_holds_the_saga_with_the_differences(
    steps: Sequence[StepPlan], why: str
) -> None:
    """P14: or is held and says why."""
    story = Story(step("a"), step("b")).does("a")
    assert story.give(PlanOffered(served(story, *steps))) == [SagaHeld]
    assert story.e.held is not None
    assert story.e.held.reason is HoldReason.DEFINITION_CHANGED
    assert why in story.e.held.detail


def test_another_context_holds_the_saga() -> None:
    """P14: the context's fields and types are pinned."""
    story = Story(step("a"))
    assert story.give(PlanOffered(served(story, step("a"), context="Order(id: str)"))) == [SagaHeld]


def test_what_has_not_begun_may_lose_its_undo() -> None:
    """P14: only a started step must stand as it stood."""
    story = Story(step("a"), step("b")).does("a")
    assert differences(story.e, SagaPlan("Story", (step("a"), step("b", compensable=False)))) == ()


@pytest.mark.parametrize("turned", [CancelRequested("no"), None])
def test_a_saga_that_goes_back_compares_only_the_steps_it_started(turned: inputs.Input | None) -> None:
    """P14: also one that was cancelled and waits for its last attempt."""
    story = Story(step("a"), step("b"), step("c")).does("a")
    story.begins()
    if turned:
        story.give(turned)
    else:
        story.fails("b")
    assert story.give(PlanOffered(served(story, step("a"), step("b")))) == [PlanAdopted]
    assert len(differences(story.e, SagaPlan("Story", (step("a"),)))) == 1


def test_an_undo_that_a_step_gets_during_a_rollback_holds_the_saga() -> None:
    """P3: its turn may be over."""
    story = Story(step("a"), step("b", compensable=False), step("c")).does("a", "b")
    story.begins()
    story.fails("c")
    assert story.give(PlanOffered(served(story, step("a"), step("b"), step("c")))) == [SagaHeld]


def test_a_step_gets_an_undo_in_time() -> None:
    """P14: a saga that goes forward will undo it."""
    story = Story(step("a", compensable=False), step("b")).does("a")
    assert story.give(PlanOffered(served(story, step("a"), step("b")))) == [PlanAdopted]
    story.begins()
    story.fails("b")
    assert story.undoes("a").e.state is COMPENSATED


def test_an_operator_accepts_what_differs_in_steps_that_have_not_begun_and_the_saga_goes_on() -> None:
    """P14: held for its definition, and only for that."""
    story = Story(step("a"), step("b")).does("a")
    plan = served(story, step("a"), step("x"))
    story.give(PlanOffered(plan))
    assert story.give(PlanOffered(plan, "ann", "x is better")) == [PlanAdopted]
    assert story.begins() == (EXECUTE, "x", 1)
    assert isinstance(story.events[-2], PlanAdopted)
    assert (story.events[-2].by, story.events[-2].reason) == ("ann", "x is better")


def test_an_operator_accepts_the_old_definition_when_it_is_served_again() -> None:
    """P14: nothing has changed after all."""
    story = Story(step("a"), step("b")).does("a")
    story.give(PlanOffered(served(story, step("a"), step("x"))))
    assert story.give(PlanOffered(story.e.plan)) == []
    assert story.give(PlanOffered(story.e.plan, "ann", "rolled back")) == [PlanAdopted]
    assert story.begins() == (EXECUTE, "b", 1)


def test_what_is_to_undo_cannot_be_changed_by_accepting_a_definition_during_a_rollback() -> None:
    """P3, P14: but before it, an operator may say otherwise what is done about the unknown."""
    story = Story(step("a"), step("b", on_unknown=OnUnknown.ASSUME_FAILED)).does("a")
    plan = served(story, step("a"), step("b"))
    story.begins()
    story.give(PlanOffered(plan))
    forward = story.e
    story.fails("b", UNKNOWN)
    story.give(RETRY)
    assert story.give(PlanOffered(plan)) == [SagaHeld]
    assert "on_unknown" in story.refusal(PlanOffered(plan, "ann", "please"))
    assert decide(forward, PlanOffered(plan, "ann", "please"), 1.0, 0.0).events == (
        PlanAdopted(1.0, plan.plan_id, "ann", "please"),
    )


def test_a_definition_that_misplaces_a_started_step_cannot_be_accepted() -> None:
    """P14: not even by an operator."""
    story = Story(step("a"), step("b")).does("a")
    story.give(HoldRequested(HoldReason.DEFINITION_CHANGED, "a is missing"))
    assert "step 1 was 'a'" in story.refusal(PlanOffered(SagaPlan("Story", (step("b"),)), "ann", "please"))


def test_a_definition_accepted_while_held_for_something_else_does_not_release_the_saga() -> None:
    """P9: it waits for the operator's answer to what it is held for."""
    story = held_unknown()
    plan = served(story, step("a"), step("b", on_unknown=OnUnknown.HOLD), step("x"))
    assert story.give(PlanOffered(plan, "ann", "x is better")) == [PlanAdopted]
    assert story.e.state is HELD
    assert "held for another reason" in story.refusal(PlanOffered(plan, "ann", "again"))


def test_a_definition_is_accepted_for_held_sagas_only() -> None:
    """P14: the others take it over by themselves, or are held."""
    story = Story(step("a"))
    assert "only a held one" in story.refusal(PlanOffered(SagaPlan("Story", (step("b"),)), "ann", "please"))


# The table.


def an_execution(state: SagaState) -> Execution:
    """One in this state, in which as many events as possible can follow."""
    if state is RUNNING:
        story = Story(step("a"), step("b")).does("a")
        story.begins()
    elif state is HELD:
        story = held_unknown()
    elif state is FATAL:
        story = fatal()
    else:
        story = Story(step("a")).does("a") if state is COMPLETED else rolling_back()
        if state is COMPENSATED:
            story.undoes("b", "a")
    assert story.e.state is state
    return story.e


EVENTS: list[Event] = [
    Accepted(9.0, "s1", "Story", "p", "digest", b"{}"),
    AttemptStarted(9.0, EXECUTE, "a", 1, EPOCH, ONE),
    AttemptStarted(9.0, COMPENSATE, "b", 1, EPOCH, ONE),
    AttemptSucceeded(9.0, EXECUTE, "b", 1),
    AttemptFailed(9.0, EXECUTE, "b", 1, FAILED, Fault("no")),
    AttemptQuieted(9.0, EXECUTE, "b", 1),
    RetryScheduled(9.0, EXECUTE, "b", 9.0),
    RetryScheduled(9.0, COMPENSATE, "b", 9.0),
    StepFailed(9.0, "b", Verdict.FAILED),
    Cancelled(9.0, FailureKind.CANCELLED, "no"),
    RollbackStarted(9.0),
    SagaCompleted(9.0),
    SagaCompensated(9.0),
    UndoFailed(9.0, "b"),
    SagaHeld(9.0, HoldReason.CRASHED, ""),
    Retried(9.0, "ann", ""),
    Settled(9.0, "b", True, "ann", ""),
    Skipped(9.0, "b", "ann", ""),
    Resolved(9.0, FATAL, "ann", ""),
    PlanAdopted(9.0, "p"),
]


def test_every_kind_of_event_is_in_the_table_but_the_one_that_begins_a_saga() -> None:
    """P13: nothing that is journalled is without a rule."""
    assert {type(event) for event in EVENTS} == {*TRANSITIONS, Accepted}
    assert set(Event.__args__) == {*TRANSITIONS, Accepted}


@pytest.mark.parametrize("state", list(SagaState))
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_follows_where_the_table_says_so_or_is_corruption(event: Event, state: SagaState) -> None:
    """P13: and what it does not follow stays as it was."""
    execution = an_execution(state)
    before = attrs.asdict(execution, recurse=True)
    allowed = TRANSITIONS.get(type(event), {}).get(state)
    try:
        after = execution.apply(event)
    except CorruptionError:
        after = None
    assert attrs.asdict(execution, recurse=True) == before
    if allowed is None:
        assert after is None
    elif after is not None:
        assert after.applied == execution.applied + 1
        assert after.updated_at == 9.0
        assert after.state is (allowed if isinstance(allowed, SagaState) else after.state)
        assert (after.held is None) == (after.state is not HELD)


@pytest.mark.parametrize("state", [COMPLETED, COMPENSATED])
def test_nothing_follows_an_end_that_is_final(state: SagaState) -> None:
    """P9: there is no row for it in the table."""
    assert not any(state in row for row in TRANSITIONS.values())


def test_only_an_operator_leads_out_of_fatal_or_held() -> None:
    """P9: only a journalled action of theirs reopens a saga."""
    leaving = {kind for kind, row in TRANSITIONS.items() for at in (FATAL, HELD) if row.get(at, at) not in (at, HELD)}
    assert leaving - {AttemptSucceeded, AttemptFailed, AttemptQuieted} == {
        Cancelled,
        PlanAdopted,
        Resolved,
        Retried,
        Settled,
        Skipped,
    }


@pytest.mark.parametrize(
    "event",
    [
        AttemptStarted(9.0, EXECUTE, "b", 1, EPOCH, ONE),
        AttemptStarted(9.0, EXECUTE, "a", 2, EPOCH, ONE),
        AttemptStarted(9.0, COMPENSATE, "a", 1, EPOCH, ONE),
        AttemptSucceeded(9.0, EXECUTE, "a", 2),
        AttemptSucceeded(9.0, EXECUTE, "b", 1),
        AttemptSucceeded(9.0, EXECUTE, "nowhere", 1),
        AttemptFailed(9.0, EXECUTE, "a", 2, FAILED, Fault("no")),
        AttemptQuieted(9.0, EXECUTE, "a", 2),
        RetryScheduled(9.0, EXECUTE, "b", 9.0),
        RetryScheduled(9.0, COMPENSATE, "a", 9.0),
        StepFailed(9.0, "b", Verdict.FAILED),
        RollbackStarted(9.0),
        SagaCompleted(9.0),
        PlanAdopted(9.0, "nowhere"),
    ],
    ids=repr,
)
def test_an_event_that_contradicts_those_before_it_is_corruption(event: Event) -> None:
    """P13: nothing is executed on it, though its kind could follow."""
    story = Story(step("a"), step("b"))
    story.begins()
    with pytest.raises(CorruptionError, match="s1"):
        story.e.apply(event)


def test_a_failure_of_an_attempt_that_is_no_longer_awaited_is_corruption() -> None:
    """P13: such a one only comes to rest."""
    story = Story(step("a", retries=AT_ONCE))
    story.begins()
    story.fails("a", TIMED_OUT)
    with pytest.raises(CorruptionError):
        story.e.apply(AttemptFailed(9.0, EXECUTE, "a", 1, FAILED, Fault("no")))


def test_a_rollback_is_not_over_while_something_is_left() -> None:
    """P2, P13: a journal that says so is damaged."""
    with pytest.raises(CorruptionError):
        rolling_back().e.apply(SagaCompensated(9.0))


@pytest.mark.parametrize("events", [[], [SagaCompleted(0.0)]], ids=["nothing", "an end"])
def test_a_journal_begins_with_the_acceptance(events: list[Event]) -> None:
    """P13: or it is damaged."""
    with pytest.raises(CorruptionError, match="expected Accepted"):
        fold(iter(events), lambda _: SagaPlan("Story", ()))
