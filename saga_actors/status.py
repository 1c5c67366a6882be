"""What an execution looks like from outside: its outcome, once it has one, and its status at any time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from saga_actors.execution import Execution
from saga_actors.operation import allowed_actions
from saga_actors.outcomes import (
    Compensated,
    CompensationFailed,
    Completed,
    Failure,
    FailureKind,
    Outcome,
    SagaStatus,
    WaitingFor,
)
from saga_actors.transitions import COMPENSATED, COMPENSATING, COMPLETED, FATAL, HELD, RUNNING


def moment(seconds: float) -> datetime:
    """POSIX seconds as an aware UTC time."""
    return datetime.fromtimestamp(seconds, UTC)


def outcome_of(execution: Execution) -> Outcome[bytes] | None:
    """How the execution ended, its context still encoded; None if it has not ended."""
    e = execution
    by = e.resolved.by if e.resolved else None
    left = e.left if by or e.state is FATAL else ()
    common: dict[str, Any] = {
        "saga_id": e.saga_id,
        "ignored": e.ignored,
        "in_doubt": e.in_doubt,
        "resolved_by": by,
        "left": left,
        "skipped": e.skipped,
    }
    by_hand = Failure(FailureKind.FAILED, None, e.resolved.reason if e.resolved else "")
    failure = e.failure or by_hand
    if e.state is COMPLETED:
        return Completed(e.context, **common)
    if e.state is COMPENSATED:
        return Compensated(failure, e.context, **common)
    if e.state is FATAL:
        return CompensationFailed(failure, e.undo_failure or by_hand, context=e.context, **common)
    return None


def status_of(execution: Execution, *, served: bool) -> SagaStatus:
    """How the execution stands; `outcome` is left to whoever can decode a context."""
    e = execution
    step, attempt, due = _at(e)
    return SagaStatus(
        saga_id=e.saga_id,
        saga=e.plan.saga,
        state=e.state,
        served=served,
        waiting_for=_waiting_for(e, served),
        completed_steps=e.completed_steps,
        current_step=step,
        attempt=attempt,
        next_attempt_at=moment(due) if due is not None else None,
        failure=e.undo_failure or e.failure,
        in_doubt=e.in_doubt,
        ignored=e.ignored,
        held_reason=f"{e.held.reason}: {e.held.detail}" if e.held else None,
        allowed_actions=allowed_actions(e),
        left=e.left,
        created_at=moment(e.created_at),
        updated_at=moment(e.updated_at),
    )


def _at(e: Execution) -> tuple[str | None, int | None, float | None]:
    if e.position is None or e.state.ended:
        return None, None, None
    phase, index = e.position
    progress = e.progress(phase, index)
    return e.plan.steps[index].name, progress.begun or None, progress.due


def _waiting_for(e: Execution, served: bool) -> WaitingFor | None:
    if e.state.ended:
        return None
    if e.state is HELD:
        return WaitingFor.OPERATOR
    assert e.state in (RUNNING, COMPENSATING)
    if e.position is None:
        return None
    phase, index = e.position
    if e.progress(phase, index).awaited is not None:
        return WaitingFor.STEP
    wanted = e.wanted
    if wanted is None:
        return WaitingFor.QUIET
    if not served:
        return WaitingFor.DEFINITION
    return WaitingFor.RETRY if wanted.due is not None and wanted.due > e.updated_at else WaitingFor.SLOT
