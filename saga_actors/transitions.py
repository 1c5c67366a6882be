"""The table of a saga's states: which event may follow in which, and what the state is then."""

from __future__ import annotations

from typing import Any

from saga_actors.events import (
    AttemptFailed,
    AttemptQuieted,
    AttemptStarted,
    AttemptSucceeded,
    Cancelled,
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
)
from saga_actors.outcomes import SagaState

RUNNING, COMPENSATING = SagaState.RUNNING, SagaState.COMPENSATING
COMPLETED, COMPENSATED, FATAL, HELD = SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.FATAL, SagaState.HELD
SAME, BACK, NAMED = "as it was", "as before it was held", "as the operator says"
ACCEPTED = "as before it was held, if that was for its definition and an operator accepts the new one"

TRANSITIONS: dict[type[Any], dict[SagaState, SagaState | str]] = {
    AttemptStarted: {RUNNING: SAME, COMPENSATING: SAME},
    AttemptSucceeded: {RUNNING: SAME, COMPENSATING: SAME, HELD: SAME},
    AttemptFailed: {RUNNING: SAME, COMPENSATING: SAME, HELD: SAME},
    AttemptQuieted: {RUNNING: SAME, COMPENSATING: SAME, HELD: SAME},
    RetryScheduled: {RUNNING: SAME, COMPENSATING: SAME},
    StepFailed: {RUNNING: SAME},
    Cancelled: {RUNNING: SAME, HELD: BACK},
    RollbackStarted: {RUNNING: COMPENSATING},
    SagaCompleted: {RUNNING: COMPLETED},
    SagaCompensated: {COMPENSATING: COMPENSATED},
    UndoFailed: {COMPENSATING: FATAL},
    SagaHeld: {RUNNING: HELD, COMPENSATING: HELD, HELD: HELD},
    Retried: {FATAL: COMPENSATING, HELD: BACK},
    Settled: {HELD: BACK},
    Skipped: {FATAL: COMPENSATING, HELD: BACK},
    Resolved: {FATAL: NAMED, HELD: NAMED},
    PlanAdopted: {RUNNING: SAME, COMPENSATING: SAME, HELD: ACCEPTED},
}
"""Which event may follow in which state, and what the state is then. `Accepted` begins a saga; nothing else does."""


def state_diagram() -> str:
    """The table as a Mermaid diagram; events that leave the state as it is are left out."""
    edges: dict[tuple[str, str], list[str]] = {("[*]", RUNNING): ["Accepted"]}
    for event, table in TRANSITIONS.items():
        for before, after in table.items():
            for target in _TARGETS.get(after, (after,)):
                if target not in (SAME, before):
                    edges.setdefault((before, target), []).append(event.__name__)
    edges |= {(end, "[*]"): [] for end in (COMPLETED, COMPENSATED, FATAL)}
    lines = [f"    {a} --> {b}" + (f": {', '.join(events)}" if events else "") for (a, b), events in edges.items()]
    return "\n".join(["stateDiagram-v2", *lines])


_TARGETS: dict[str, tuple[str, ...]] = {
    BACK: (RUNNING, COMPENSATING),
    ACCEPTED: (RUNNING, COMPENSATING),
    NAMED: (COMPLETED, COMPENSATED, FATAL),
}
