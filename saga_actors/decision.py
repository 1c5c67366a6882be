"""What an input brings about: which events follow, given an execution. Pure, like `execution`.

What follows by itself from a state (a retry, the turn to rollback, an end) is in `_follows`, and nowhere else; so a
saga folded from any prefix of its journal goes on exactly as one that lived through it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from saga_actors.events import (
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
    RetryScheduled,
    RollbackStarted,
    SagaCompensated,
    SagaCompleted,
    SagaHeld,
    StepFailed,
    UndoFailed,
    Verdict,
)
from saga_actors.execution import CUT_SHORT, Execution
from saga_actors.inputs import (
    Failed,
    HoldRequested,
    Input,
    PlanOffered,
    Quieted,
    Report,
    SlotReserved,
    Succeeded,
    TimePassed,
    WorkerDied,
)
from saga_actors.operation import OPERATIONS, RefusedError, accept
from saga_actors.outcomes import FailureKind
from saga_actors.pinning import appended, differences
from saga_actors.plan import OnFailure, OnUnknown
from saga_actors.progress import Progress
from saga_actors.transitions import COMPENSATING, HELD, RUNNING

UNDO_RERUNS = 10
"""How often an undo cut short by a crash is run again before its saga is held."""

UNBEGUN_RERUNS = 3
"""How often a step that its worker could not take is run again, also where it must not be run twice."""


@attrs.frozen
class Decision:
    """What an input brings about: `events` to append, and the execution once they are applied.

    Neither events nor `refused`: the input was stale, or changes nothing.
    """

    execution: Execution
    events: tuple[Event, ...] = ()
    refused: str | None = None


def decide(execution: Execution, given: Input, at: float, roll: float) -> Decision:
    """What `given` brings about at `at` (POSIX seconds); `roll` in [0, 1) draws a retry's jitter."""
    try:
        caused = _CAUSES[type(given)](execution, given, at)
    except RefusedError as refusal:
        return Decision(execution, refused=str(refusal))
    plan = given.plan if isinstance(given, PlanOffered) else None
    events: list[Event] = []
    for event in caused:
        execution = execution.apply(event, plan)
        events.append(event)
    while (following := _follows(execution, at, roll)) is not None:
        execution = execution.apply(following)
        events.append(following)
    return Decision(execution, tuple(events))


# What follows by itself.


def _follows(e: Execution, at: float, roll: float) -> Event | None:
    if e.state is RUNNING:
        return _follows_forward(e, at, roll)
    if e.state is COMPENSATING:
        return _follows_back(e, at, roll)
    return None


def _follows_forward(e: Execution, at: float, roll: float) -> Event | None:
    if e.deadline is not None and e.deadline <= at and not e.cancelled:
        return Cancelled(at, FailureKind.DEADLINE, "the deadline has passed")
    if e.cursor == len(e.steps):
        return RollbackStarted(at) if e.cancelled else SagaCompleted(at)
    step, plan = e.steps[e.cursor], e.plan.steps[e.cursor]
    if step.verdict is Verdict.UNKNOWN and plan.on_unknown is OnUnknown.HOLD and not e.cancelled:
        return None if step.forward.live else _hold_unknown(at, plan.name)
    if step.verdict is not None:
        return RollbackStarted(at)
    if step.forward.awaited is not None:
        return None
    if e.cancelled:
        return _step_failed(e, at) if step.forward.begun else RollbackStarted(at)
    if step.forward.undecided:
        return _retry_forward(e, at, roll) or _step_failed(e, at)
    return None


def _retry_forward(e: Execution, at: float, roll: float) -> Event | None:
    plan, forward = e.plan.steps[e.cursor], e.steps[e.cursor].forward
    if forward.ending in CUT_SHORT:
        most = plan.reruns if forward.ending is Ending.INTERRUPTED else max(plan.reruns, UNBEGUN_RERUNS)
        rerun = forward.reruns < most
        return RetryScheduled(at, Phase.EXECUTE, plan.name, at, rerun=True) if rerun else None
    if _retryable(forward) and forward.retries < plan.retries.times:
        return RetryScheduled(at, Phase.EXECUTE, plan.name, at + plan.retries.delay(forward.retries + 1, roll))
    return None


def _step_failed(e: Execution, at: float) -> StepFailed:
    plan, forward = e.plan.steps[e.cursor], e.steps[e.cursor].forward
    holds = forward.verdict is Verdict.UNKNOWN and plan.on_unknown is OnUnknown.HOLD
    return StepFailed(at, plan.name, forward.verdict, ignored=plan.on_failure is OnFailure.IGNORE and not holds)


def _hold_unknown(at: float, step: str) -> SagaHeld:
    detail = f"nobody knows whether step {step!r} happened; settle it, or retry it"
    return SagaHeld(at, HoldReason.UNKNOWN_OUTCOME, detail)


def _follows_back(e: Execution, at: float, roll: float) -> Event | None:
    if e.position is None:
        return SagaCompensated(at)
    _, index = e.position
    plan, step = e.plan.steps[index], e.steps[index]
    if step.forward.live or step.back.live or not step.back.undecided:
        return None
    if (retry := _retry_back(e, index, at, roll)) is not None:
        return retry
    return None if e.attempts else UndoFailed(at, plan.name)


def _retry_back(e: Execution, index: int, at: float, roll: float) -> Event | None:
    plan, back = e.plan.steps[index], e.steps[index].back
    if back.ending in CUT_SHORT:
        if back.reruns < UNDO_RERUNS:
            return RetryScheduled(at, Phase.COMPENSATE, plan.name, at, rerun=True)
        detail = f"the undo of step {plan.name!r} was cut short {back.reruns + 1} times; find out why, then retry it"
        return SagaHeld(at, HoldReason.UNDO_INTERRUPTED, detail)
    if _retryable(back) and back.retries < plan.compensate_retries.times:
        delay = plan.compensate_retries.delay(back.retries + 1, roll)
        return RetryScheduled(at, Phase.COMPENSATE, plan.name, at + delay)
    return None


def _retryable(progress: Progress) -> bool:
    return progress.fault is None or progress.fault.retryable


# What an input says, as events.


def _known(e: Execution, report: Report) -> Progress | None:
    """The progress that a report is about, or None if it is stale: of an attempt that is not ours, or long quiet."""
    index = e.plan.places.get(report.step)
    if index is None:
        return None
    progress = e.progress(report.phase, index)
    attempt = progress.attempt(report.attempt)
    return progress if attempt is not None and attempt.epoch == report.epoch and e.state in _LISTENING else None


_LISTENING = (RUNNING, COMPENSATING, HELD)


def _on_success(e: Execution, report: Succeeded, at: float) -> tuple[Event, ...]:
    if _known(e, report) is None:
        return ()
    step = e.steps[e.index(report.step)]
    first = step.verdict is not Verdict.COMPLETED if report.phase is Phase.EXECUTE else not step.undone
    if not first:
        return (AttemptQuieted(at, report.phase, report.step, report.attempt),)
    return (AttemptSucceeded(at, report.phase, report.step, report.attempt, report.context),)


def _on_failure(e: Execution, report: Failed, at: float) -> tuple[Event, ...]:
    progress = _known(e, report)
    if progress is None:
        return ()
    if progress.awaited == report.attempt:
        return (AttemptFailed(at, report.phase, report.step, report.attempt, report.ending, report.fault),)
    if report.ending is Ending.TIMED_OUT:
        return ()
    return (AttemptQuieted(at, report.phase, report.step, report.attempt),)


def _on_quiet(e: Execution, report: Quieted, at: float) -> tuple[Event, ...]:
    progress = _known(e, report)
    if progress is None:
        return ()
    if progress.awaited == report.attempt:
        fault = Fault("the attempt ended without a word", retryable=True)
        return (AttemptFailed(at, report.phase, report.step, report.attempt, Ending.UNKNOWN, fault),)
    return (AttemptQuieted(at, report.phase, report.step, report.attempt),)


def _on_death(e: Execution, given: WorkerDied, at: float) -> tuple[Event, ...]:
    if e.state not in _LISTENING:
        return ()
    events: list[Event] = []
    for phase, plan, attempt in e.attempts:
        if attempt.worker != given.worker:
            continue
        if e.progress(phase, e.index(plan.name)).awaited == attempt.number:
            fault = Fault(f"worker {given.worker.number} (pid {given.worker.pid}) died")
            unbegun = (phase, plan.name, attempt.number) in given.unbegun
            ending = Ending.UNBEGUN if unbegun else Ending.INTERRUPTED
            events.append(AttemptFailed(at, phase, plan.name, attempt.number, ending, fault))
        else:
            events.append(AttemptQuieted(at, phase, plan.name, attempt.number))
    return tuple(events)


def _on_slot(e: Execution, given: SlotReserved, at: float) -> tuple[Event, ...]:
    wanted = e.wanted
    if wanted is None or (wanted.due is not None and wanted.due > at):
        return ()
    if e.deadline is not None and e.deadline <= at and e.state is RUNNING:
        return ()
    return (AttemptStarted(at, wanted.phase, wanted.step.name, wanted.attempt, given.epoch, given.worker),)


def _on_hold(e: Execution, given: HoldRequested, at: float) -> tuple[Event, ...]:
    return (SagaHeld(at, given.reason, given.detail),) if e.state in (RUNNING, COMPENSATING) else ()


def _on_plan(e: Execution, given: PlanOffered, at: float) -> tuple[Event, ...]:
    if given.by is not None:
        return accept(e, given, at)
    if given.plan.plan_id == e.plan.plan_id or e.state not in (RUNNING, COMPENSATING, HELD):
        return ()
    if found := differences(e, given.plan):
        return _on_hold(e, HoldRequested(HoldReason.DEFINITION_CHANGED, "; ".join(found)), at)
    return (PlanAdopted(at, given.plan.plan_id, appended=appended(e.plan, given.plan)),)


_CAUSES: dict[type[Any], Callable[[Execution, Any, float], tuple[Event, ...]]] = {
    Succeeded: _on_success,
    Failed: _on_failure,
    Quieted: _on_quiet,
    WorkerDied: _on_death,
    SlotReserved: _on_slot,
    TimePassed: lambda _e, _given, _at: (),
    HoldRequested: _on_hold,
    PlanOffered: _on_plan,
    **OPERATIONS,
}
