"""What there is to say of a saga in a few lines: how it stands, why it went back, what is left, what is in doubt."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from saga_actors.cli.account import Account
from saga_actors.cli.moments import clock_time, lasting
from saga_actors.cli.status import waits_for
from saga_actors.events import HoldReason, Phase
from saga_actors.execution import Execution
from saga_actors.outcomes import Failure, FailureKind, SagaState, SagaStatus
from saga_actors.status import moment
from saga_actors.step_context import idempotency_key

Fact = tuple[str, str]
"""A label, and what is to be said; neither is safe to print yet."""


def facts_of(account: Account) -> Iterator[Fact]:
    """Of one saga, in the order in which they are asked for at night."""
    status, execution = account.status, account.execution
    if execution is not None:
        yield from _why(execution)
    elif account.gap is not None and not status.pruned and account.gap not in held_words(status):
        yield "unreadable", account.gap
    if status.state is SagaState.HELD:
        yield "held", held_words(status)
    if status.state.unfinished:
        yield "now", "; ".join(_now(status))
    for label, steps in (("left to undo", status.left), ("in doubt", status.in_doubt), ("ignored", status.ignored)):
        if steps:
            yield label, ", ".join(steps)
    yield from _times(status, execution)
    if execution is not None:
        yield from _keys(execution)


def held_words(status: SagaStatus) -> str:
    """Why a held saga is; nothing of another, whose records may yet be unreadable."""
    reason, separator, detail = (status.held_reason or "").partition(":")
    return f"{reason.replace('_', ' ')}{separator}{detail}" if status.state is SagaState.HELD else ""


def failure_words(failure: Failure) -> str:
    """Why a saga went back, or why an undo did not work."""
    if failure.step is None:
        cause = "" if failure.cause is None else f"; and {failure_words(failure.cause)}"
        why = failure.reason if failure.kind is FailureKind.DEADLINE else f"{_did(failure.kind)}: {failure.reason}"
        return f"{why}{cause}"
    attempts = f" after {failure.attempts} attempts" if failure.attempts > 1 else ""
    return f"{failure.step} {_did(failure.kind)}{attempts}: {error_words(failure.error_type, failure.reason)}"


def error_words(error_type: str | None, reason: str) -> str:
    """An error's type, if it says more than that there was one, and its reason."""
    name = (error_type or "").rpartition(".")[2]
    return ": ".join(word for word in (name if name not in ("Abort", "OutcomeUnknown") else "", reason) if word)


_DID = {
    FailureKind.UNKNOWN: "may have happened",
    FailureKind.TIMED_OUT: "timed out",
    FailureKind.INTERRUPTED: "was interrupted",
}


def _did(kind: FailureKind) -> str:
    return _DID.get(kind, str(kind))


def _times(status: SagaStatus, execution: Execution | None) -> Iterator[Fact]:
    yield "accepted", clock_time(status.created_at)
    label = "ended" if status.state.ended else "last changed"
    yield label, f"{clock_time(status.updated_at)}, after {_between(status.created_at, status.updated_at)}"
    if status.pruned:
        yield "pruned", "only how it ended is still kept"
    if execution is not None and execution.expires_at is not None:
        yield "deadline", clock_time(moment(execution.expires_at))


def _between(first: datetime, then: datetime) -> str:
    return lasting(max(0.0, (then - first).total_seconds()))


def _why(execution: Execution) -> Iterator[Fact]:
    e = execution
    if e.failure is not None:
        yield "went back", failure_words(e.failure)
    elif e.cancelled is not None:
        yield "turns back", e.cancelled.reason
    if e.undo_failure is not None:
        label = "but" if e.resolved is not None else "stuck"
        yield label, f"the undo of {failure_words(e.undo_failure)}"
    if e.resolved is not None:
        yield "resolved", f"as {e.resolved.state}, by {e.resolved.by}: {e.resolved.reason}"


def _now(status: SagaStatus) -> Iterator[str]:
    if status.current_step is not None:
        undo = "the undo of " if status.state is SagaState.COMPENSATING else ""
        yield f"at {undo}{status.current_step}" + (f", attempt {status.attempt}" if status.attempt else "")
    if not status.served:
        yield "no node serves it: it goes on when one does"
    elif status.waiting_for is not None:
        yield waits_for(status.waiting_for)
    if status.next_attempt_at is not None:
        yield f"again at {clock_time(status.next_attempt_at)}"


def _keys(execution: Execution) -> Iterator[Fact]:
    """Of steps that nobody is sure of, and of undos that did not work: what to ask the other side for."""
    e = execution
    stuck = _failed_undo(e)
    for step in e.plan.steps:
        if step.name in e.in_doubt or step.name == stuck:
            yield f"key of {step.name}", idempotency_key(e.plan.saga, e.saga_id, step.name, Phase.EXECUTE)
        if step.name == stuck:
            yield "key of its undo", idempotency_key(e.plan.saga, e.saga_id, step.name, Phase.COMPENSATE)


def _failed_undo(e: Execution) -> str | None:
    if e.undo_failure is not None:
        return e.undo_failure.step
    if e.held is not None and e.held.reason is HoldReason.UNDO_INTERRUPTED and e.position is not None:
        return e.plan.steps[e.position[1]].name
    return None
