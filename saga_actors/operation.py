"""What an operator may do with a saga, which events that makes, and why it is refused where it makes no sense.

Under one request a thing is done once: asked again, nothing happens, and it is not refused either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from saga_actors.events import Cancelled, Event, HoldReason, Phase, PlanAdopted, Resolved, Retried, Settled, Skipped
from saga_actors.execution import Execution
from saga_actors.inputs import (
    CancelRequested,
    PlanOffered,
    ResolveRequested,
    RetryRequested,
    SettleRequested,
    SkipRequested,
)
from saga_actors.outcomes import Action, FailureKind
from saga_actors.pinning import appended, obstacles
from saga_actors.plan import StepPlan
from saga_actors.progress import Attempt
from saga_actors.transitions import COMPENSATED, COMPLETED, FATAL, HELD, RUNNING


class RefusedError(Exception):
    """An operator's input that makes no sense; its text says why, and what would."""


def _cancel(e: Execution, given: CancelRequested, at: float) -> tuple[Event, ...]:
    if e.state is RUNNING and e.cancelled:
        return ()
    if e.going_back or e.state in (COMPLETED, COMPENSATED):
        raise RefusedError(f"the saga is {e.state}: it cannot be turned back any more")
    return (Cancelled(at, FailureKind.CANCELLED, given.reason, given.by, given.request),)


def _retry(e: Execution, given: RetryRequested, at: float) -> tuple[Event, ...]:
    _refuse_unless_parked(e)
    return (Retried(at, given.by, given.reason, given.request),)


def _refuse_unless_parked(e: Execution) -> None:
    if e.resolved is not None:
        raise RefusedError(f"the saga was resolved as {e.state} by {e.resolved.by}; that is final")
    if e.state not in (FATAL, HELD):
        raise RefusedError(f"the saga is {e.state}; only a fatal or held one waits for an operator")


def _settle(e: Execution, given: SettleRequested, at: float) -> tuple[Event, ...]:
    unknown = e.in_doubt
    if e.state is not HELD or given.step not in unknown:
        raise RefusedError(
            f"step {given.step!r} of a saga that is {e.state} cannot be settled; "
            f"only an unknown step of a held saga can, here: {', '.join(unknown) or 'none'}"
        )
    earlier = e.steps[: e.index(given.step)]
    if given.happened and e.going_back and any(step.back.begun or step.skipped for step in earlier):
        raise RefusedError(f"steps before {given.step!r} are being undone already, so it cannot be; undo it by hand")
    return (Settled(at, given.step, given.happened, given.by, given.reason, given.context, given.request),)


def _skip(e: Execution, given: SkipRequested, at: float) -> tuple[Event, ...]:
    _refuse_unless_parked(e)
    stuck = e.plan.steps[e.position[1]].name if e.going_back and e.position else None
    if given.step != stuck:
        can = stuck or "none"
        raise RefusedError(f"the undo of step {given.step!r} has not failed; the one that can be skipped: {can}")
    _refuse_while_running(attempt for attempt in e.attempts if attempt[1].name == stuck)
    return (Skipped(at, given.step, given.by, given.reason, given.request),)


def _resolve(e: Execution, given: ResolveRequested, at: float) -> tuple[Event, ...]:
    _refuse_unless_parked(e)
    if not given.state.ended:
        raise RefusedError(f"a saga cannot be resolved as {given.state}; expected completed, compensated or fatal")
    _refuse_while_running(e.attempts)
    return (Resolved(at, given.state, given.by, given.reason, given.request),)


def _refuse_while_running(attempts: Iterable[tuple[Phase, StepPlan, Attempt]]) -> None:
    for phase, plan, attempt in attempts:
        raise RefusedError(f"attempt {attempt.number} to {phase} step {plan.name!r} is not quiet yet; try again later")


def _accept(e: Execution, given: PlanOffered, at: float) -> tuple[Event, ...]:
    if e.held is None:
        raise RefusedError(f"the saga is {e.state}; only a held one can be given another definition")
    if given.plan.plan_id == e.plan.plan_id and e.held.reason is not HoldReason.DEFINITION_CHANGED:
        raise RefusedError("the saga has this definition already, and is held for another reason")
    if found := obstacles(e, given.plan):
        raise RefusedError("the served definition cannot take this saga over: " + "; ".join(found))
    added = appended(e.plan, given.plan)
    return (PlanAdopted(at, given.plan.plan_id, given.by, given.reason, given.request, added),)


Operation = Callable[[Execution, Any, float], tuple[Event, ...]]


def _once(operation: Operation) -> Operation:
    def operate(e: Execution, given: Any, at: float) -> tuple[Event, ...]:
        return () if given.request is not None and given.request in e.requests else operation(e, given, at)

    return operate


OPERATIONS: dict[type[Any], Operation] = {
    CancelRequested: _once(_cancel),
    RetryRequested: _once(_retry),
    SettleRequested: _once(_settle),
    SkipRequested: _once(_skip),
    ResolveRequested: _once(_resolve),
}
accept = _once(_accept)
"""Take the definition that is served for a held saga."""


def allowed_actions(execution: Execution) -> tuple[Action, ...]:
    """What an operator may do with the saga as it stands; nothing unless it is held or fatal."""
    e = execution
    if e.state not in (FATAL, HELD):
        return ()
    return tuple(dict.fromkeys(action for action, given in _asked_of(e) if _is_allowed(e, given)))


def _asked_of(e: Execution) -> Iterator[tuple[Action, Any]]:
    stuck = e.plan.steps[e.position[1]].name if e.position else ""
    yield Action.RETRY, RetryRequested("", "")
    for step in e.in_doubt:
        yield Action.SETTLE, SettleRequested(step, happened=False, by="", reason="")
    yield Action.SKIP, SkipRequested(stuck, "", "")
    yield Action.CANCEL, CancelRequested("")
    if e.held is not None and e.held.reason is HoldReason.DEFINITION_CHANGED:
        yield Action.ACCEPT, None
    yield Action.RESOLVE, ResolveRequested(COMPENSATED, "", "")


def _is_allowed(e: Execution, given: Any) -> bool:
    try:
        return given is None or OPERATIONS[type(given)](e, given, e.updated_at) != ()
    except RefusedError:
        return False
