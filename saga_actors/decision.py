"""What an input brings about: which events follow, given an execution. Pure, like `execution`; section 4 of the design.

What follows by itself from a state (a retry, the turn to rollback, an end) is in `_follows`, and nowhere else; so a
saga folded from any prefix of its journal goes on exactly as one that lived through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
)
from saga_actors.execution import COMPENSATED, COMPENSATING, COMPLETED, FATAL, HELD, RUNNING, Execution
from saga_actors.inputs import (
    CancelRequested,
    Failed,
    HoldRequested,
    Input,
    PlanOffered,
    Quieted,
    Report,
    ResolveRequested,
    RetryRequested,
    SettleRequested,
    SkipRequested,
    SlotReserved,
    Succeeded,
    TimePassed,
    WorkerDied,
)
from saga_actors.outcomes import FailureKind
from saga_actors.pinning import differences, obstacles
from saga_actors.plan import OnFailure, OnUnknown, StepPlan
from saga_actors.progress import Attempt, Progress

UNDO_RERUNS = 10
"""How often an undo cut short by a crash is run again before its saga is held."""


@attrs.frozen
class Decision:
    """What an input brings about: `events` to append, and the execution once they are applied.

    Neither events nor `refused`: the input was stale, or changes nothing.
    """

    execution: Execution
    events: tuple[Event, ...] = ()
    refused: str | None = None


class _RefusedError(Exception):
    """An operator's input that makes no sense; its text says why, and what would."""


def decide(execution: Execution, given: Input, at: float, roll: float) -> Decision:
    """What `given` brings about at `at` (POSIX seconds); `roll` in [0, 1) draws a retry's jitter."""
    try:
        caused = _CAUSES[type(given)](execution, given, at)
    except _RefusedError as refusal:
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
    if forward.ending is Ending.INTERRUPTED:
        rerun = forward.reruns < plan.reruns
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
    if back.ending is Ending.INTERRUPTED:
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
            events.append(AttemptFailed(at, phase, plan.name, attempt.number, Ending.INTERRUPTED, fault))
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


def _on_cancel(e: Execution, given: CancelRequested, at: float) -> tuple[Event, ...]:
    if e.state is RUNNING and e.cancelled:
        return ()
    if e.going_back or e.state in (COMPLETED, COMPENSATED):
        raise _RefusedError(f"the saga is {e.state}: it cannot be turned back any more")
    return (Cancelled(at, FailureKind.CANCELLED, given.reason, given.by),)


def _on_hold(e: Execution, given: HoldRequested, at: float) -> tuple[Event, ...]:
    return (SagaHeld(at, given.reason, given.detail),) if e.state in (RUNNING, COMPENSATING) else ()


def _on_retry(e: Execution, given: RetryRequested, at: float) -> tuple[Event, ...]:
    _refuse_unless_parked(e)
    return (Retried(at, given.by, given.reason),)


def _refuse_unless_parked(e: Execution) -> None:
    if e.resolved is not None:
        raise _RefusedError(f"the saga was resolved as {e.state} by {e.resolved.by}; that is final")
    if e.state not in (FATAL, HELD):
        raise _RefusedError(f"the saga is {e.state}; only a fatal or held one waits for an operator")


def _on_settle(e: Execution, given: SettleRequested, at: float) -> tuple[Event, ...]:
    unknown = e.in_doubt
    if e.state is not HELD or given.step not in unknown:
        raise _RefusedError(
            f"step {given.step!r} of a saga that is {e.state} cannot be settled; "
            f"only an unknown step of a held saga can, here: {', '.join(unknown) or 'none'}"
        )
    earlier = e.steps[: e.index(given.step)]
    if given.happened and e.going_back and any(step.back.begun or step.skipped for step in earlier):
        raise _RefusedError(f"steps before {given.step!r} are being undone already, so it cannot be; undo it by hand")
    return (Settled(at, given.step, given.happened, given.by, given.reason, given.context),)


def _on_skip(e: Execution, given: SkipRequested, at: float) -> tuple[Event, ...]:
    _refuse_unless_parked(e)
    stuck = e.plan.steps[e.position[1]].name if e.going_back and e.position else None
    if given.step != stuck:
        can = stuck or "none"
        raise _RefusedError(f"the undo of step {given.step!r} has not failed; the one that can be skipped: {can}")
    _refuse_while_running(attempt for attempt in e.attempts if attempt[1].name == stuck)
    return (Skipped(at, given.step, given.by, given.reason),)


def _on_resolve(e: Execution, given: ResolveRequested, at: float) -> tuple[Event, ...]:
    _refuse_unless_parked(e)
    if not given.state.ended:
        raise _RefusedError(f"a saga cannot be resolved as {given.state}; expected completed, compensated or fatal")
    _refuse_while_running(e.attempts)
    return (Resolved(at, given.state, given.by, given.reason),)


def _refuse_while_running(attempts: Iterable[tuple[Phase, StepPlan, Attempt]]) -> None:
    for phase, plan, attempt in attempts:
        raise _RefusedError(f"attempt {attempt.number} to {phase} step {plan.name!r} is not quiet yet; try again later")


def _on_plan(e: Execution, given: PlanOffered, at: float) -> tuple[Event, ...]:
    if given.by is not None:
        return _on_accept(e, given, at)
    if given.plan.plan_id == e.plan.plan_id or e.state not in (RUNNING, COMPENSATING, HELD):
        return ()
    if found := differences(e, given.plan):
        return _on_hold(e, HoldRequested(HoldReason.DEFINITION_CHANGED, "; ".join(found)), at)
    return (PlanAdopted(at, given.plan.plan_id),)


def _on_accept(e: Execution, given: PlanOffered, at: float) -> tuple[Event, ...]:
    if e.held is None:
        raise _RefusedError(f"the saga is {e.state}; only a held one can be given another definition")
    if given.plan.plan_id == e.plan.plan_id and e.held.reason is not HoldReason.DEFINITION_CHANGED:
        raise _RefusedError("the saga has this definition already, and is held for another reason")
    if found := obstacles(e, given.plan):
        raise _RefusedError("the served definition cannot take this saga over: " + "; ".join(found))
    return (PlanAdopted(at, given.plan.plan_id, given.by, given.reason),)


_CAUSES: dict[type[Any], Callable[[Execution, Any, float], tuple[Event, ...]]] = {
    Succeeded: _on_success,
    Failed: _on_failure,
    Quieted: _on_quiet,
    WorkerDied: _on_death,
    SlotReserved: _on_slot,
    TimePassed: lambda _e, _given, _at: (),
    CancelRequested: _on_cancel,
    HoldRequested: _on_hold,
    RetryRequested: _on_retry,
    SettleRequested: _on_settle,
    SkipRequested: _on_skip,
    ResolveRequested: _on_resolve,
    PlanOffered: _on_plan,
}
