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
