"""What is undone when a step fails: found out by having the state machine itself go that way, step by step."""

from __future__ import annotations

import attrs

from saga_actors.decision import decide
from saga_actors.events import Accepted, AttemptStarted, Ending, Fault, Phase, WorkerId
from saga_actors.execution import Execution
from saga_actors.inputs import Failed, Input, SlotReserved, Succeeded
from saga_actors.outcomes import SagaState
from saga_actors.plan import SagaPlan

_WORKER = WorkerId(1, 1, 0.0)
_NOT_RETRIED = Fault("it fails for good", retryable=False)


@attrs.frozen
class Unwinding:
    """One step that ends without success, for good: how the saga ends then, and what is undone, in order.

    `kept`: the steps before that are done and that nothing undoes. `in_doubt`: of these nobody knows.
    """

    step: str
    ending: Ending
    state: SagaState
    undone: tuple[str, ...]
    kept: tuple[str, ...]
    in_doubt: tuple[str, ...] = ()


def unwindings(plan: SagaPlan) -> tuple[Unwinding, ...]:
    """For each step what a failure comes to; and what a doubt comes to, where that is something else."""
    found: list[Unwinding] = []
    for step in plan.steps:
        failed, unknown = (_unwound(plan, step.name, ending) for ending in (Ending.FAILED, Ending.UNKNOWN))
        found.append(failed)
        if attrs.evolve(unknown, ending=failed.ending) != failed:
            found.append(unknown)
    return tuple(found)


def _unwound(plan: SagaPlan, step: str, ending: Ending) -> Unwinding:
    accepted = Accepted(0.0, "check", plan.saga, plan.plan_id, "", b"{}")
    execution, undone = Execution.begin(plan, accepted), list[str]()
    while execution.wanted is not None:
        execution, started = _begun(execution)
        if started.phase is Phase.COMPENSATE:
            undone.append(started.step)
        name = (started.phase, started.step, started.attempt, started.epoch)
        ends = started.phase is Phase.EXECUTE and started.step == step
        given: Input = Failed(*name, ending, _NOT_RETRIED) if ends else Succeeded(*name)
        execution = decide(execution, given, 0.0, 0.0).execution
    kept = tuple(each for each in execution.completed_steps if execution.state is SagaState.COMPENSATED)
    return Unwinding(step, ending, execution.state, tuple(undone), kept, execution.in_doubt)


def _begun(execution: Execution) -> tuple[Execution, AttemptStarted]:
    decision = decide(execution, SlotReserved(_WORKER, 1), 0.0, 0.0)
    started = next(event for event in decision.events if isinstance(event, AttemptStarted))
    return decision.execution, started


def warnings(plan: SagaPlan, deadline: float | None = None) -> tuple[str, ...]:
    """What in this definition may surprise, each with what to do; `deadline` is in seconds."""
    return (*_kept_for_good(plan), *_last_that_fails(plan), *_too_short(plan, deadline))


def _kept_for_good(plan: SagaPlan) -> list[str]:
    """Steps that nothing undoes, though one behind them can roll the saga back."""
    found: dict[str, list[str]] = {}
    for unwinding in unwindings(plan):
        for step in unwinding.kept:
            found.setdefault(step, []).append(unwinding.step)
    return [
        f"nothing undoes {step}, and {_named(list(dict.fromkeys(after)))} can still fail: give it a compensate, or "
        "put it behind them"
        for step, after in found.items()
    ]


def _last_that_fails(plan: SagaPlan) -> list[str]:
    """A last step without an undo, whose failure undoes all the others."""
    last = plan.steps[-1]
    if last.compensable or len(plan.steps) == 1:
        return []
    undone = next(each.undone for each in unwindings(plan) if each.step == last.name)
    if not undone:
        return []
    return [
        f"a failure of {last.name}, the last step, undoes all that was done before ({_named(list(undone))}): if that "
        'is not meant, declare it with on_failure="ignore"'
    ]


def _too_short(plan: SagaPlan, deadline: float | None) -> list[str]:
    if deadline is None:
        return []
    longest = sum(step.timeout for step in plan.steps)
    if deadline >= longest:
        return []
    return [
        f"a deadline of {deadline:g} s is shorter than the timeouts of all steps together ({longest:g} s, without "
        "retries): a saga may turn back though every step ended in its time"
    ]


def _named(steps: list[str]) -> str:
    return steps[0] if len(steps) == 1 else f"{', '.join(steps[:-1])} and {steps[-1]}"
