"""What the journal's tests write: one plan, and entries that follow one another."""

from __future__ import annotations

from pathlib import Path

import apsw

from saga_actors.events import Accepted, AttemptStarted, AttemptSucceeded, Event, Phase, SagaCompleted, WorkerId
from saga_actors.journal import Entry, Journal
from saga_actors.outcomes import SagaState
from saga_actors.plan import SagaPlan, StepPlan

PLAN = SagaPlan("shop:PlaceOrder", (StepPlan("reserve", compensable=True), StepPlan("charge")))
WORKER = WorkerId(1, 4711, 1_700_000_000.25)


def started(at: float = 2.0, step: str = "reserve") -> AttemptStarted:
    return AttemptStarted(at, Phase.EXECUTE, step, 1, 1, WORKER)


def succeeded(at: float = 3.0, context: bytes | None = b'{"n":2}') -> AttemptSucceeded:
    return AttemptSucceeded(at, Phase.EXECUTE, "reserve", 1, context)


def birth(saga_id: str, *more: Event, at: float = 1.0, saga: str = PLAN.saga, context: bytes = b'{"n":1}') -> Entry:
    """The first entry of a saga."""
    accepted = Accepted(at, saga_id, saga, PLAN.plan_id, "d" * 16, context)
    return Entry(saga_id, 1, (accepted, *more), SagaState.RUNNING, plan=PLAN)


def further(saga_id: str, first_seq: int, *events: Event, state: SagaState = SagaState.RUNNING) -> Entry:
    """A later entry."""
    return Entry(saga_id, first_seq, events or (started(),), state, "because" if state is SagaState.HELD else None)


def ended(saga_id: str, first_seq: int) -> Entry:
    """An entry that ends its saga."""
    return further(saga_id, first_seq, SagaCompleted(9.0), state=SagaState.COMPLETED)


def filled(journal: Journal, *saga_ids: str) -> int:
    """Take the journal over and put these sagas into it, each with three events; returns the epoch."""
    epoch = journal.take_epoch("tests")
    assert not journal.append(epoch, [birth(saga_id, started(), succeeded()) for saga_id in saga_ids]).why
    return epoch


def tamper(path: Path, *statements: str) -> None:
    """What a bad disk, or somebody with a shell, does to the file."""
    db = apsw.Connection(str(path))
    for statement in statements:
        db.execute(statement).fetchall()
    db.close()
