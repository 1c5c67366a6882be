"""A class that has at most so many sagas in flight: its definition, its plan, and what the supervisor makes of it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from engine_rig import OTHER, Rig, Worker, fail_at, hang, start, succeed

from saga_actors import DefinitionError, Saga, step
from saga_actors.actors.protocol import Joined, Left
from saga_actors.errors import JournalFullError
from saga_actors.events import AttemptStarted, HoldReason, WorkerId
from saga_actors.journal.records import decode_plan, encode_plan
from saga_actors.outcomes import SagaState
from saga_actors.plan import OnUnknown, SagaPlan, StepPlan

LIMITED = SagaPlan("shop:Reserve", (StepPlan("hold", compensable=True), StepPlan("pay")), max_running=2)


def nothing(context: dict[str, Any]) -> None:
    """Do nothing."""


class Reserve(Saga, max_running=5):
    """Five at a time."""

    hold = step(nothing)


class ReserveMore(Reserve):
    """A class of its own."""


# The definition and the plan.


def test_the_limit_is_part_of_the_definition_and_of_its_plan() -> None:
    """Without one there is none, and a subclass has only its own: each class counts for itself."""
    assert Reserve.definition.max_running == Reserve.definition.plan.max_running == 5
    assert ReserveMore.definition.max_running is ReserveMore.definition.plan.max_running is None


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "5"])
def test_a_limit_that_cannot_be_one_is_refused(wrong: Any) -> None:
    """A limit is a whole number of sagas, at least one; said when the class is made."""
    with pytest.raises(DefinitionError, match=r"Bad\(max_running=…\) is .*; expected a whole number of sagas, 1 or"):

        class Bad(Saga, max_running=wrong):
            hold = step(nothing)


def test_an_abstract_saga_takes_no_limit() -> None:
    """It would mean nothing on a class that is never run."""
    with pytest.raises(DefinitionError, match="an abstract saga is never run, and has no max_running"):

        class Bad(Saga, max_running=3, abstract=True):
            pass


def test_the_limit_is_not_pinned() -> None:
    """P14: a saga goes on whatever becomes of its class's limit, as with timeouts."""
    changed = attrs.evolve(LIMITED, max_running=7)
    assert changed.fingerprint == LIMITED.fingerprint
    assert changed.plan_id != LIMITED.plan_id


def test_a_plan_from_before_there_were_limits_is_read_and_is_the_same_plan() -> None:
    """A journal that was written by an earlier version names plans by ids that stay what they were."""
    body = encode_plan(OTHER)
    old = body.replace(b',"max_running":null', b"")
    assert old != body
    assert decode_plan(old) == OTHER
    assert decode_plan(encode_plan(LIMITED)) == LIMITED
    assert OTHER.plan_id == "41dbb1507fc1a605"


# The supervisor.


def limited(plan: SagaPlan = LIMITED) -> Rig:
    """A supervisor with one worker that hangs in every step until told otherwise."""
    rig = Rig()
    join(rig, 1, plan)
    rig.tick()
    return rig


def join(rig: Rig, number: int, plan: SagaPlan) -> None:
    """Another worker, which serves this plan."""
    plans = {each.saga: each for each in (plan, OTHER)}
    worker = Worker(WorkerId(number, 100 + number, float(number)), f"worker-{number}", hang, plans)
    rig.workers[worker.address] = worker
    rig.send(Joined(worker.worker, worker.address))


def begin(rig: Rig, *names: str, plan: SagaPlan = LIMITED) -> None:
    for name in names:
        rig.send(start(name, plan))


def begun(rig: Rig) -> set[str]:
    """The sagas whose first attempt is in the journal, and which have not ended."""
    rows = rig.journal.unfinished(None, 1_000).rows
    return {
        row.saga_id
        for row in rows
        if any(isinstance(stored.event, AttemptStarted) for stored in rig.journal.load(row.saga_id))
    }


def the_worker(rig: Rig) -> Worker:
    (worker,) = rig.workers.values()
    return worker


def finish(rig: Rig, answer: Any = succeed) -> None:
    """Whatever runs comes to this answer, once."""
    worker = the_worker(rig)
    worker.answer = answer
    said = worker.finish()
    worker.answer = hang
    for message in said:
        rig.send(message, worker.address)


def test_no_more_of_a_class_are_in_flight_than_its_limit() -> None:
    """Sagas that have begun go on, step by step; the next begins when one of them has ended, in order (P12)."""
    rig = limited()
    begin(rig, "a", "b", "c", "d")
    assert begun(rig) == {"a", "b"}
    finish(rig)
    assert [key.step for key in the_worker(rig).ran] == ["hold", "hold", "pay", "pay"]
    assert begun(rig) == {"a", "b"}
    finish(rig)
    assert begun(rig) == {"c", "d"}
    assert rig.journal.find("a").state is SagaState.COMPLETED


def test_a_class_at_its_limit_keeps_no_other_waiting() -> None:
    """P11: the other has its turn, before and after."""
    rig = limited()
    begin(rig, *"abcdefgh")
    begin(rig, "r", plan=OTHER)
    assert begun(rig) == {"a", "b", "r"}


def test_compensations_are_not_held_up_by_the_limit() -> None:
    """A saga that goes back has begun; its undo runs though the class is full, and only its end makes room."""
    rig = limited()
    begin(rig, "a", "b", "c")
    finish(rig)
    finish(rig, fail_at("pay"))
    assert begun(rig) == {"a", "b"}
    assert [key.phase for key in the_worker(rig).ran[-2:]] == ["compensate", "compensate"]
    finish(rig)
    assert begun(rig) == {"c"}


def test_the_limit_holds_across_a_restart() -> None:
    """Those that had begun count before any other begins, however many are folded first (P1, P12)."""
    rig = limited()
    begin(rig, *(f"s{n}" for n in range(250)))
    assert begun(rig) == {"s0", "s1"}
    rig.begin()
    while rig.engine.next_tick == 0.0:
        rig.tick()
        assert begun(rig) == {"s0", "s1"}
    finish(rig)
    finish(rig)
    assert begun(rig) == {"s2", "s3"}


def test_a_held_saga_makes_room() -> None:
    """What waits for an operator, for hours perhaps, is not in flight."""
    plan = SagaPlan("shop:Reserve", (StepPlan("hold", on_unknown=OnUnknown.HOLD, reruns=0),), max_running=1)
    rig = limited(plan)
    begin(rig, "a", "b", plan=plan)
    assert begun(rig) == {"a"}
    rig.kill(the_worker(rig))
    join(rig, 2, plan)
    rig.send(Left(WorkerId(1, 101, 1.0)))
    assert rig.journal.find("a").state is SagaState.HELD
    assert begun(rig) == {"b"}


def test_a_saga_that_cannot_be_read_any_more_makes_room() -> None:
    """P13: it is held, whatever it was doing, and the others go on."""
    rig = limited()
    begin(rig, "a", "b", "c")
    rig.engine.holds.hold("a", HoldReason.CORRUPT, "its checksum does not match")
    rig.tick()
    assert begun(rig) == {"b", "c"}


def test_the_limit_holds_when_a_full_disk_undoes_an_end_and_the_beginning_that_came_of_it() -> None:
    """P12: who was to follow waits again for a place, and nobody takes it before the first is back."""
    rig = limited()
    begin(rig, "a", "b", "c", "d")
    finish(rig)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig.journal, "append", no_room)
        finish(rig)
    assert begun(rig) == {"a", "b"}
    rig.now += 2.0
    begin(rig, "e")
    assert begun(rig) == {"a", "b"}
    rig.tick()
    assert begun(rig) == {"a", "b"}
    worker = the_worker(rig)
    rig.send(worker.say(tuple(worker.reports.values())), worker.address)
    assert len(begun(rig)) == 2
    assert not begun(rig) & {"a", "b"}


def no_room(*_: object) -> None:
    raise JournalFullError("the disk is full")


def test_the_limit_in_force_is_the_one_that_is_served_now() -> None:
    """A lower one lets go on what has begun, and begins nothing until that has ended; no saga is held for it (P14)."""
    rig = limited()
    begin(rig, *"abcde")
    assert begun(rig) == {"a", "b"}
    the_worker(rig).plans |= {"shop:Reserve": attrs.evolve(LIMITED, max_running=1)}
    rig.begin()
    rig.tick()
    finish(rig)
    assert begun(rig) == {"a", "b"}
    finish(rig)
    assert begun(rig) == {"c"}
    assert {row.state for row in rig.journal.unfinished(None, 10).rows} == {SagaState.RUNNING}
