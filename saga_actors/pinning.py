"""Whether a saga may go on with the definition that is served now (P14)."""

from __future__ import annotations

from collections.abc import Iterator

from saga_actors.events import Verdict
from saga_actors.execution import Execution
from saga_actors.plan import SagaPlan, StepPlan
from saga_actors.progress import StepRun


def differences(execution: Execution, served: SagaPlan) -> tuple[str, ...]:
    """What keeps `execution` from going on with `served`, each said in words; empty if nothing does.

    Code, timeouts and retries may change, and steps may be appended after the cursor. A step that has started must
    stand where it stood, with its undo; a saga that goes back compares only the steps it started.
    """
    return tuple(text for text, _ in _compared(execution, served))


def obstacles(execution: Execution, served: SagaPlan) -> tuple[str, ...]:
    """Those of the differences that not even an operator can accept.

    They concern steps that have started: one that does not stand where it stood or has lost its undo, and, once the
    saga goes back, whatever would change what is still to undo, or the order of it.
    """
    return tuple(text for text, acceptable in _compared(execution, served) if not acceptable)


def appended(before: SagaPlan, now: SagaPlan) -> str | None:
    """The names of the steps behind those that there were; None if there are none, or others were there."""
    count = len(before.steps)
    names = [step.name for step in now.steps]
    is_longer = len(names) > count and names[:count] == [step.name for step in before.steps]
    return ", ".join(names[count:]) if is_longer else None


def _compared(execution: Execution, served: SagaPlan) -> Iterator[tuple[str, bool]]:
    if served.context != execution.plan.context:
        yield f"the context was {execution.plan.context}, and is {served.context} now", True
    turned = execution.going_back or execution.cancelled is not None
    for index, (old, step) in enumerate(zip(execution.plan.steps, execution.steps, strict=True)):
        started = bool(step.forward.begun)
        if not started and turned:
            continue
        new = served.steps[index] if index < len(served.steps) else None
        if new is None or new.name != old.name:
            yield f"step {index + 1} was {old.name!r}, and is {new.name if new else 'missing'!r} now", not started
        elif started:
            yield from _compared_started(execution, step, old, new)


def _compared_started(e: Execution, step: StepRun, old: StepPlan, new: StepPlan) -> Iterator[tuple[str, bool]]:
    by_us = not (step.undone or step.skipped) and (step.verdict is not Verdict.FAILED or bool(step.forward.live))
    if by_us and old.compensable and not new.compensable:
        yield f"step {old.name!r} has started and has lost its undo", False
    if by_us and e.going_back and new.compensable and not old.compensable:
        yield f"step {old.name!r} has got an undo, and its turn to be undone may be over", False
    if (old.on_unknown, old.on_failure) != (new.on_unknown, new.on_failure):
        yield f"step {old.name!r} has started, and its on_unknown or on_failure has changed", not e.going_back
