"""The promises, on the real engine, against a ledger of what really happened.

Seeded: a failure names its seed, and `SAGA_ACTORS_SCHEDULES=5000` runs more of them.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from engine_account import Account
from engine_storm import COMPENSATED, COMPLETED, FATAL, Storm

from saga_actors.events import Cancelled, HoldReason, SagaHeld
from saga_actors.execution import fold
from saga_actors.messages import OperationDone, SagaCancelled, SettleStep
from saga_actors.outcomes import Cancellation, FailureKind
from saga_actors.status import outcome_of

SCHEDULES = int(os.environ.get("SAGA_ACTORS_SCHEDULES", "200"))

MET = frozenset(
    {
        "lost",
        "doubled",
        "supervisor killed between turns",
        "supervisor killed before its commit",
        "supervisor killed after its commit",
        "disk full",
        "neighbours cut short",
        "died before its effect",
        "died after its effect",
        "timed out",
        "timed out, then silent",
        "hung",
        "unbegun",
        "unusable",
        "unknown with its effect",
        "unknown without its effect",
        "late success goes on",
        "late success undone with its own context",
        "two successes, one result",
        "unknown undone",
        "unusable undone",
        "undone in reverse",
        "ignored",
        "assumed to have failed",
        "stays in doubt, and is named",
        "held for its doubt",
        "held for its undo",
        "execute retried",
        "execute rerun",
        "execute taken by no worker, run again",
        "compensate retried",
        "compensate rerun",
        "compensate taken by no worker, run again",
        "fatal with more left",
        "given up after all tries",
        "at most once, and cut short",
        "cancelled by the clock",
        "cancel accepted",
        "cancel too late",
        "operator: retry",
        "operator: settle, happened",
        "operator: settle, did not happen",
        "operator: skip",
        "operator: cancel",
        "operator: resolve",
        "operator: asked twice, done once",
        "completed",
        "compensated",
        "fatal",
        "resolved",
    }
)
"""What must have occurred over all schedules: what was not met was not tested."""


def weather(storm: Storm) -> None:
    """The storm, the calm after it, and operators until nothing waits for one any more."""
    storm.add_worker()
    storm.add_worker()
    for _ in range(220):
        storm.step()
    storm.world.calm, storm.world.haste = True, max(storm.world.haste, 0.15)
    assert storm.comes_to_rest(), "something is lost: it neither ends nor is held"
    for round_ in range(30):
        waiting = [saga_id for saga_id in storm.states if storm.waits_for_operator(saga_id)]
        if not waiting and not any(hand.running for hand in storm.workers.values()):
            return
        storm.world.healed, storm.world.haste = round_ > 8, max(storm.world.haste, round_ / 10)
        storm.finish()
        for saga_id in waiting:
            storm.operate(saga_id, directly=True)
        assert storm.comes_to_rest(), "something is lost after an operator was there"
    raise AssertionError("operators cannot finish it")


def call_to_account(storm: Storm, saga_id: str) -> None:
    """Every promise, for one saga."""
    events = [stored.event for stored in storm.journal.load(saga_id)]
    execution = fold(iter(events), storm.journal.plan)
    start = storm.starts[saga_id]
    Account(
        storm.ledger,
        saga_id,
        execution.plan,
        start.context,
        start.deadline,
        events,
        storm.states[saga_id],
        outcome_of(execution),
        storm.seen,
    ).check()
    state = storm.states[saga_id][-1][1]
    assert state in (COMPLETED, COMPENSATED, FATAL)
    assert state is execution.state
    storm.seen["resolved" if execution.resolved else str(state)] += 1
    storm.seen["held for its undo"] += any(
        isinstance(event, SagaHeld) and event.reason is HoldReason.UNDO_INTERRUPTED for event in events
    )
    storm.seen["cancelled by the clock"] += any(
        isinstance(event, Cancelled) and event.kind is FailureKind.DEADLINE for event in events
    )


def ask_operators(storm: Storm) -> None:
    """P9: each has been answered, and what was said to be done is in the journal once."""
    for request, message in storm.requests.items():
        answer = storm.answers[request]
        asked = [s.event for s in storm.journal.load(message.saga_id)]
        done = [event for event in asked if getattr(event, "request", None) == request]
        said = isinstance(answer, OperationDone) or (
            isinstance(answer, SagaCancelled) and answer.answer is Cancellation.ACCEPTED
        )
        assert done or not said, f"{message} was said to be done, and is not (P9)"
        what = type(message).__name__.removesuffix("Saga").removesuffix("Step").removesuffix("Undo").lower()
        if isinstance(message, SettleStep):
            what += ", happened" if message.happened else ", did not happen"
        storm.seen[f"operator: {what}"] += bool(done)
        if isinstance(answer, SagaCancelled):
            storm.seen["cancel accepted" if said else "cancel too late"] += 1


@pytest.mark.slow
def test_whatever_happens_the_ledger_bears_the_promises_out() -> None:
    """P1, P2, P3, P4, P6, P7, P9: told by what really happened, and not by the engine's own word."""
    seen: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        storm = Storm(seed)
        try:
            weather(storm)
            for saga_id in storm.states:
                call_to_account(storm, saga_id)
            ask_operators(storm)
        except Exception as broken:
            broken.add_note(f"seed {seed}")
            raise
        seen += storm.seen
    print(*sorted(seen.items(), key=lambda item: item[1]), sep="\n")  # shown when it fails
    assert not MET - set(+seen), f"no schedule met: {sorted(MET - set(+seen))}"
