"""One schedule of the simulation, from its seed: a storm, the calm after it, operators; and then the accounts."""

from __future__ import annotations

from collections import Counter

import attrs
from engine_account import Account
from engine_desk import COMPENSATED, COMPLETED, FATAL
from engine_storm import CRASHES, Storm
from engine_story import story

from saga_actors.events import Cancelled, HoldReason, SagaHeld
from saga_actors.execution import Execution, fold
from saga_actors.outcomes import FailureKind
from saga_actors.status import outcome_of

STEPS = (43, 93)
"""At least and at most so many things happen in a storm, before all is cleared up."""


@attrs.frozen
class Schedule:
    """What became of a seed: how much happened, what was met; and `flaw`, if a promise was broken."""

    seed: int
    storm_events: int
    events: int
    crashes: int
    faults: int
    sagas: int
    met: frozenset[str]
    flaw: str | None = None


def run(seed: int) -> Schedule:
    """Run a schedule; a flaw is told with its history, for which the schedule runs once more."""
    storm = Storm(seed)
    flaw = None
    try:
        play(storm)
    except Exception as broken:
        flaw = story(seed, broken, play)
    counts = (storm.events_until_calm, storm.happened, storm.crashes, storm.mail.faults, len(storm.starts))
    return Schedule(seed, *counts, frozenset(+storm.seen), flaw)


def trace(seed: int) -> list[str]:
    """All that happens in a schedule."""
    storm = Storm(seed)
    storm.diary = []
    play(storm)
    return storm.diary


def play(storm: Storm) -> None:
    """All of it; raises if a promise is broken."""
    weather(storm)
    assert storm.crashes, "nobody crashed"
    assert storm.mail.faults >= 3, "too few messages met with an accident"
    for saga_id in storm.starts:
        storm.witness.suspect = saga_id
        call_to_account(storm, saga_id)
    storm.desk.check()


def weather(storm: Storm) -> None:
    """The storm, with one crash and three faults of the mail at the least; the calm after it; and operators."""
    steps = storm.chance.randint(*STEPS)
    crash_at = storm.chance.randrange(10, steps // 2)
    for number in range(steps):
        storm.mail.due = storm.mail.due or number in (10, 20, 30)
        if number == crash_at:
            storm.befalls(storm.chance.choice(CRASHES))
        storm.step()
    storm.clears_up()
    assert storm.comes_to_rest(), "something is lost: it neither ends nor is held, or nobody is told"
    operators_come(storm)
    operated = sorted({message.saga_id for message in storm.desk.requests.values()})
    for client in storm.clients.values():
        client.asks_again(operated)
    assert storm.comes_to_rest(), "somebody is not told how it ended"


def operators_come(storm: Storm) -> None:
    """Until nothing waits for them any more."""
    for round_ in range(30):
        waiting = [saga_id for saga_id in storm.starts if storm.desk.waits_for_operator(saga_id)]
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
        storm.witness.states[saga_id],
        outcome_of(execution),
        storm.seen,
    ).check()
    is_told_the_truth(storm, execution)
    state = storm.witness.states[saga_id][-1][1]
    assert state in (COMPLETED, COMPENSATED, FATAL)
    assert state is execution.state
    storm.seen["resolved" if execution.resolved else str(state)] += 1
    storm.seen["held for its undo"] += any(
        isinstance(event, SagaHeld) and event.reason is HoldReason.UNDO_INTERRUPTED for event in events
    )
    storm.seen["cancelled by the clock"] += any(
        isinstance(event, Cancelled) and event.kind is FailureKind.DEADLINE for event in events
    )


def is_told_the_truth(storm: Storm, execution: Execution) -> None:
    """P1: whoever started it, and asks again when all is over, hears how it ended."""
    told = [client.told[execution.saga_id] for client in storm.clients.values() if execution.saga_id in client.starts]
    assert [getattr(answer, "encoded", None) for answer in told] == [outcome_of(execution)], f"told otherwise: {told}"


SIX = {
    "adoption": ("adoption",),
    "late success": ("late success goes on", "late success undone with its own context"),
    "unknown undone": ("unknown undone",),
    "epoch refused": ("epoch refused by the journal", "epoch refused by a worker"),
    "unknown commit": ("unknown commit, written", "unknown commit, not written"),
    "hold": ("hold",),
}
"""What is counted first of all, and by what it is met."""

MET = frozenset(
    {
        *(name for names in SIX.values() for name in names),
        "lost",
        "doubled",
        "delayed",
        "reordered",
        "clock jumped",
        "client killed",
        "two supervisors at a time",
        "killed between turns",
        "killed before its commit",
        "killed after its commit",
        "killed while it sent",
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
        "two successes, one result",
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


def count(schedules: list[Schedule]) -> Counter[str]:
    """How many schedules met each."""
    met: Counter[str] = Counter(dict.fromkeys(MET, 0))
    for schedule in schedules:
        met.update(schedule.met)
        met.update(name for name, ways in SIX.items() if name not in ways and schedule.met.intersection(ways))
    return met
