"""The two lanes of a saga: what each step came to, and its attempts."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest
from stories import ONCE, WORKER, Story, plan

from saga_actors.cli.interventions import interventions
from saga_actors.cli.lanes import Back, End, Forward, StepLanes, lanes_of
from saga_actors.decision import decide
from saga_actors.events import Accepted, Ending, Event, Fault, HoldReason, Phase
from saga_actors.execution import Execution
from saga_actors.inputs import (
    CancelRequested,
    Failed,
    HoldRequested,
    Input,
    Quieted,
    ResolveRequested,
    RetryRequested,
    SettleRequested,
    SkipRequested,
    SlotReserved,
    Succeeded,
    TimePassed,
    WorkerDied,
)
from saga_actors.journal import MemoryJournal
from saga_actors.outcomes import SagaState
from saga_actors.plan import OnFailure, OnUnknown, SagaPlan, StepPlan
from saga_actors.retry import Backoff
from saga_actors.step_context import idempotency_key

STILL_TO_UNDO = (Back.TO_UNDO, Back.RUNNING, Back.WAITING, Back.FAILED)
TWICE = Backoff(times=1)


@pytest.fixture
def journal() -> MemoryJournal:
    made = MemoryJournal()
    made.take_epoch("test")
    return made


def rows(journal: MemoryJournal, story: Story) -> tuple[StepLanes, ...]:
    events = [stored.event for stored in journal.load(story.execution.saga_id)]
    return lanes_of(story.execution, events)


def standings(found: Iterable[StepLanes]) -> list[tuple[Forward, Back | None]]:
    return [(row.forward.standing, row.back.standing) for row in found]


def test_a_saga_that_goes_on_has_nothing_in_its_way_back(journal: MemoryJournal) -> None:
    """Done, running, not begun; and before anything was begun, the first step is next."""
    story = Story(journal, 1)
    assert standings(rows(journal, story)) == [(Forward.NEXT, None), (Forward.NOT_BEGUN, None)]
    story.starts().succeeds().starts()
    reserve, charge = rows(journal, story)
    assert standings([reserve, charge]) == [(Forward.DONE, None), (Forward.RUNNING, None)]
    assert [(each.number, each.began, each.ended, each.end) for each in reserve.forward.tries] == [
        (1, 1_001.0, 1_002.0, End.SUCCEEDED)
    ]
    assert [each.end for each in charge.forward.tries] == [None]


def test_a_rollback_shows_what_was_undone_and_what_is_left(journal: MemoryJournal) -> None:
    """Of the failed step there is nothing to undo."""
    story = Story(journal, 1).starts().succeeds().starts().fails()
    assert standings(rows(journal, story)) == [(Forward.DONE, Back.TO_UNDO), (Forward.FAILED, Back.NOTHING)]
    story.starts()
    assert rows(journal, story)[0].back.standing is Back.RUNNING
    story.succeeds()
    assert rows(journal, story)[0].back.standing is Back.UNDONE


def test_an_undo_that_failed_is_told_from_one_that_was_skipped(journal: MemoryJournal) -> None:
    """The first waits for somebody; the second was done by hand."""
    story = Story(journal, 1).starts().succeeds().starts().fails().starts().fails()
    assert rows(journal, story)[0].back.standing is Back.FAILED
    story.happens(SkipRequested("reserve", "ann", "by hand", "r1"))
    assert rows(journal, story)[0].back.standing is Back.SKIPPED
    assert [(each.by, each.what) for each in interventions(events_of(journal))] == [("ann", "undid reserve by hand")]


def events_of(journal: MemoryJournal) -> list[Event]:
    return [stored.event for stored in journal.load("ord_1")]


@pytest.mark.parametrize(
    ("options", "standing"),
    [
        ({}, (Forward.UNKNOWN, Back.TO_UNDO)),
        ({"on_unknown": OnUnknown.ASSUME_FAILED}, (Forward.UNKNOWN, Back.TAKEN_AS_FAILED)),
        ({"compensable": False}, (Forward.UNKNOWN, Back.NO_UNDO)),
        ({"on_failure": OnFailure.IGNORE}, (Forward.IGNORED, None)),
        ({"on_unknown": OnUnknown.HOLD}, (Forward.UNKNOWN, None)),
    ],
)
def test_a_step_in_doubt_is_in_doubt_whatever_is_done_about_it(
    journal: MemoryJournal, options: dict[str, object], standing: tuple[Forward, Back | None]
) -> None:
    """It is undone, or taken as failed, or has no undo; or it does not matter, or holds its saga."""
    story = Story(journal, 1, plan=plan(**options)).starts().succeeds().starts().fails(Ending.UNKNOWN)
    assert standings(rows(journal, story))[1] == standing


def test_each_attempt_has_its_end_and_its_error(journal: MemoryJournal) -> None:
    """One that timed out goes on until it is quiet; the next one's time is that of its schedule."""
    story = Story(journal, 1, plan=plan(retries=TWICE)).starts().succeeds().starts()
    story.fails(Ending.TIMED_OUT, "took too long", None)
    (first,) = rows(journal, story)[1].forward.tries
    assert (first.end, first.quiet, first.fault and first.fault.reason) == (End.TIMED_OUT, False, "took too long")
    assert first.again_at is not None
    assert rows(journal, story)[1].forward.standing is Forward.WAITING
    story.happens(Quieted(Phase.EXECUTE, "charge", 1, 1)).starts(60).succeeds()
    first, second = rows(journal, story)[1].forward.tries
    assert (first.quiet, second.end) == (True, End.SUCCEEDED)


def test_an_attempt_that_another_one_came_before_is_superseded(journal: MemoryJournal) -> None:
    """Both were under way; the first success is the step's."""
    story = Story(journal, 1, plan=plan(retries=TWICE)).starts().succeeds().starts()
    story.fails(Ending.TIMED_OUT, "took too long", None).starts(60)
    story.happens(Succeeded(Phase.EXECUTE, "charge", 1, 1, None))
    assert story.execution.state is SagaState.COMPLETED
    assert [each.end for each in rows(journal, story)[1].forward.tries] == [End.SUCCEEDED, End.SUPERSEDED]


def test_a_superseded_attempt_comes_to_rest(journal: MemoryJournal) -> None:
    """Where its saga goes on, the journal says so."""
    two = plan(retries=TWICE)
    three = SagaPlan("three", (*two.steps, StepPlan("ship")))
    story = Story(journal, 1, plan=three).starts().succeeds().starts()
    story.fails(Ending.TIMED_OUT, "took too long", None).starts(60)
    story.happens(Succeeded(Phase.EXECUTE, "charge", 1, 1, None))
    assert [each.end for each in rows(journal, story)[1].forward.tries] == [End.SUCCEEDED, None]
    story.happens(Succeeded(Phase.EXECUTE, "charge", 2, 1, None))
    assert [(each.end, each.quiet) for each in rows(journal, story)[1].forward.tries] == [
        (End.SUCCEEDED, True),
        (End.SUPERSEDED, True),
    ]


def test_a_row_has_the_keys_of_both_effects(journal: MemoryJournal) -> None:
    """They are what the steps were given."""
    (reserve, _) = rows(journal, Story(journal, 1))
    assert reserve.forward.key == idempotency_key("place-order", "ord_1", "reserve", Phase.EXECUTE)
    assert reserve.back.key == idempotency_key("place-order", "ord_1", "reserve", Phase.COMPENSATE)


def test_what_operators_say_is_told_with_who_and_why(journal: MemoryJournal) -> None:
    """All verbs but those that change nothing of the saga; a deadline is nobody's."""
    held = Story(journal, 1, plan=plan(on_unknown=OnUnknown.HOLD)).starts().succeeds().starts()
    held.fails(Ending.UNKNOWN).happens(RetryRequested("ann", "the bank is back", "r1")).starts().fails(Ending.UNKNOWN)
    held.happens(SettleRequested("charge", False, "bob", "the bank says so", None, "r2")).starts().fails()
    held.happens(ResolveRequested(SagaState.COMPENSATED, "cem", "by hand", "r3"))
    told = [(each.by, each.what, each.reason) for each in interventions(events_of(journal))]
    assert told == [
        ("ann", "had it tried again", "the bank is back"),
        ("bob", "said that charge did not happen", "the bank says so"),
        ("cem", "ended it by hand as compensated", "by hand"),
    ]
    assert rows(journal, held)[1].forward.settled_by == "bob"


# Any saga.


Seen = tuple[Execution, tuple[StepLanes, ...]]


def _walk(seed: int) -> Iterator[Seen]:
    """A saga that is drawn from the seed, after each thing that happens to it."""
    chance = random.Random(seed)
    saga = SagaPlan("any", tuple(_any_step(chance, f"s{number}") for number in range(4)))
    accepted = Accepted(0.0, "any_1", "any", saga.plan_id, "digest", b"{}")
    execution = Execution.begin(saga, accepted)
    events: list[Event] = [accepted]
    for at in range(1, 40):
        decision = decide(execution, _any_input(chance, execution), at * 100.0, 0.5)
        execution = decision.execution
        events += decision.events
        if decision.events:
            yield execution, lanes_of(execution, events)


def test_the_lanes_say_what_the_execution_says() -> None:
    """Of any saga, at any time: what is done, ignored, left to undo, and which attempts still run."""
    seen: set[Forward | Back | None] = set()
    for seed in range(100):
        for execution, found in _walk(seed):
            _agrees(execution, found)
            seen |= {row.forward.standing for row in found} | {row.back.standing for row in found}
    assert seen == {*Forward, *Back, None}, "the sagas that are drawn do not come to everything"


def _any_step(chance: random.Random, name: str) -> StepPlan:
    return StepPlan(
        name,
        compensable=chance.random() < 0.8,
        retries=chance.choice([ONCE, TWICE]),
        compensate_retries=chance.choice([ONCE, TWICE]),
        on_failure=chance.choice([OnFailure.ROLLBACK, OnFailure.ROLLBACK, OnFailure.IGNORE]),
        on_unknown=chance.choice(list(OnUnknown)),
    )


def _any_input(chance: random.Random, e: Execution) -> Input:
    if e.wanted is not None and chance.random() < 0.7:
        return SlotReserved(WORKER, 1)
    if e.attempts and chance.random() < 0.8:
        phase, step, attempt = chance.choice(e.attempts)
        which = (phase, step.name, attempt.number, attempt.epoch)
        endings = [Ending.FAILED, Ending.UNKNOWN, Ending.TIMED_OUT]
        failed = Failed(*which, chance.choice(endings), Fault("why", "E", None, chance.random() < 0.7))
        succeeded = Succeeded(*which, None)
        return chance.choice([succeeded, succeeded, succeeded, failed, failed, Quieted(*which), WorkerDied(WORKER)])
    step = chance.choice(e.plan.steps).name
    return chance.choice(
        [
            TimePassed(),
            CancelRequested("why"),
            HoldRequested(HoldReason.CRASHED, "why"),
            RetryRequested("ann", "why"),
            SettleRequested(step, chance.random() < 0.5, "ann", "why"),
            SkipRequested(step, "ann", "why"),
            ResolveRequested(chance.choice([SagaState.COMPENSATED, SagaState.FATAL]), "ann", "why"),
        ]
    )


def _agrees(e: Execution, found: tuple[StepLanes, ...]) -> None:
    undone = (Back.UNDONE, Back.SKIPPED)
    forward = {row.name: row.forward.standing for row in found}
    back = {row.name: row.back.standing for row in found}
    done = tuple(name for name in forward if forward[name] is Forward.DONE and back[name] not in undone)
    assert done == e.completed_steps
    assert tuple(name for name in forward if forward[name] is Forward.IGNORED) == e.ignored
    assert tuple(name for name in reversed(back) if back[name] in STILL_TO_UNDO) == e.left
    assert tuple(name for name in back if back[name] is Back.SKIPPED) == e.skipped
    assert all(forward[name] in (Forward.UNKNOWN, Forward.IGNORED) for name in e.in_doubt)
    running = {
        (phase, row.name, each.number)
        for row in found
        for phase, lane in ((Phase.EXECUTE, row.forward), (Phase.COMPENSATE, row.back))
        for each in lane.tries
        if not each.quiet
    }
    assert running == {(phase, step.name, attempt.number) for phase, step, attempt in e.attempts}
