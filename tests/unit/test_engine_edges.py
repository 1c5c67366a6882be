"""The engine where things meet that seldom do: a restart and a deadline, a timeout and a raise, an end and a loss."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from engine_rig import ORDER, OTHER, Rig, Worker, fail_at, hang, run, start, succeed, wait

from saga_actors.actors import saga as saga_module
from saga_actors.actors.limits import Limits
from saga_actors.actors.protocol import Drain, Joined, Left, Neighbours, NodeDone, NowServed, Posted, Roster
from saga_actors.events import Ending, Fault, HoldReason, Phase, WorkerId
from saga_actors.inputs import Failed, Quieted, Succeeded
from saga_actors.messages import SagaIsHeld
from saga_actors.outcomes import SagaState
from saga_actors.plan import SagaPlan, StepPlan

ONCE = SagaPlan("shop:Once", (StepPlan("once", reruns=0),))
NEIGHBOURS = Neighbours("root", "status", "telemetry")


def test_an_attempt_that_timed_out_is_not_taken_for_quiet_when_its_saga_is_folded_again() -> None:
    """P7: no undo begins before the worker says that nothing runs any more, whatever becomes of the saga's actor."""
    rig = Rig()
    worker = rig.worker(answer=hang)
    rig.send(start("s1"))
    (order,) = worker.running
    key = order.key
    late = Failed(key.phase, key.step, key.attempt, key.epoch, Ending.TIMED_OUT, Fault("late"))
    rig.send(worker.say((Posted(1, "s1", late),)), worker.address)
    rig.engine.withdraw("s1")
    rig.engine.recovery.restore("s1")
    rig.settle(5.0)
    assert rig.events("s1")[-1] == "RollbackStarted"
    quiet = Quieted(key.phase, key.step, key.attempt, key.epoch)
    rig.send(worker.say((Posted(2, "s1", quiet),)), worker.address)
    assert rig.events("s1")[-2:] == ["AttemptQuieted reserve 1", "AttemptStarted reserve 1"]
    assert worker.ran[-1].phase is Phase.COMPENSATE


def test_a_deadline_that_passed_while_nobody_served_is_heeded_at_once() -> None:
    """P1: also by a saga that waits for nothing but a retry that is due later."""
    rig = Rig()
    rig.worker(answer=fail_at("charge", retryable=True))
    rig.send(attrs.evolve(run("s1"), deadline=rig.now + 5.0))
    assert rig.events("s1")[-1] == "RetryScheduled charge"
    rig.now += 6.0
    rig.begin()
    rig.tick()
    assert "Cancelled" in rig.events("s1")
    assert rig.journal.find("s1").state is SagaState.COMPENSATED


def test_a_worker_kept_free_for_a_saga_that_gave_up_is_used_again() -> None:
    """P11: what waits to run alone, and is cancelled meanwhile, keeps nobody else from the only worker."""
    rig = Rig()
    worker = Worker(WorkerId(1, 101, 1.0), "worker-1", hang, {p.saga: p for p in (ORDER, OTHER, ONCE)})
    rig.workers[worker.address] = worker
    rig.send(Joined(worker.worker, worker.address))
    rig.tick()
    rig.send(run("busy"))
    rig.send(attrs.evolve(run("alone", ONCE), deadline=rig.now + 5.0))
    rig.send(run("waits", OTHER))
    assert [key.saga_id for key in worker.ran] == ["busy"]
    rig.tick(6.0)
    assert rig.journal.find("alone").state is SagaState.COMPENSATED
    assert [key.saga_id for key in worker.ran] == ["busy", "waits"]


def test_what_must_run_alone_is_alone_also_after_a_restart() -> None:
    """P6: an adopted attempt that may not be run again shares its worker with nothing new."""
    rig = Rig()
    worker = Worker(WorkerId(1, 101, 1.0), "worker-1", hang, {p.saga: p for p in (ORDER, OTHER, ONCE)})
    rig.workers[worker.address] = worker
    rig.send(Joined(worker.worker, worker.address))
    rig.send(run("alone", ONCE))
    rig.begin()
    rig.tick()
    rig.send(run("waits", OTHER))
    rig.settle(5.0)
    assert [key.saga_id for key in worker.ran] == ["alone"]


def test_whoever_asks_for_a_held_saga_is_answered_though_its_actor_is_there() -> None:
    """A late report brings back the actor of a held saga; its end is not waited for, because there is none to come."""
    rig = Rig()
    rig.worker(answer=hang)
    rig.send(start("s1"))
    rig.engine.holds.hold("s1", HoldReason.UNKNOWN_OUTCOME, "for a test")
    assert rig.engine.tracked("s1") is not None
    (answer,) = rig.send(wait("s1"))
    assert isinstance(answer, SagaIsHeld)


def test_a_roster_makes_up_for_what_was_lost() -> None:
    """Messages are hints: who came or went unheard is noticed at the root's next ping (P1)."""
    rig = Rig()
    first = rig.worker(answer=hang)
    rig.send(start("s1"))
    rig.kill(first)
    second = Worker(WorkerId(2, 102, 2.0), "worker-2")
    rig.workers[second.address] = second
    roster = Roster((Joined(second.worker, second.address),), NEIGHBOURS)
    rig.send(roster)
    assert rig.events("s1")[1:4] == ["AttemptStarted reserve 1", "AttemptFailed reserve 1", "RetryScheduled reserve"]
    rig.settle(5.0)
    assert rig.events("s1")[-1] == "SagaCompleted"
    before = len(rig.events("s1"))
    told = sum(isinstance(message, NowServed) for message in rig.inbox["status"])
    rig.send(roster)
    assert len(rig.events("s1")) == before
    assert sum(isinstance(message, NowServed) for message in rig.inbox["status"]) == told


def test_the_root_is_told_again_that_the_node_has_drained() -> None:
    """A farewell that was lost does not leave a node that serves nobody and does not end."""
    rig = Rig()
    rig.worker()
    rig.send(Drain(5.0), "root")
    for _ in range(3):
        rig.tick(1.1)
    assert sum(isinstance(message, NodeDone) for message in rig.inbox["root"]) == 4


def test_a_worker_with_another_definition_than_the_others_is_given_none_of_its_steps() -> None:
    """P14: the code changed while the node ran, and one worker was replaced; once it is the only one, its counts."""
    rig = Rig()
    first = rig.worker(1, hang)
    other = attrs.evolve(ORDER, steps=(StepPlan("other"), *ORDER.steps))
    second = Worker(WorkerId(2, 102, 2.0), "worker-2", hang, {other.saga: other, OTHER.saga: OTHER})
    rig.workers[second.address] = second
    rig.send(Joined(second.worker, second.address))
    for number in range(10):
        rig.send(start(f"s{number}"))
    assert (len(first.ran), len(second.ran)) == (10, 0)
    rig.send(start("refund", OTHER))
    assert [key.saga_id for key in second.ran] == ["refund"]
    rig.kill(first)
    rig.send(Left(first.worker))
    rig.settle(15.0)
    assert {rig.journal.find(f"s{number}").state for number in range(10)} == {SagaState.HELD}
    assert rig.send(attrs.evolve(start("new", other), fingerprint=other.fingerprint))
    assert second.ran[-1].step == "other"


def test_a_saga_held_for_its_crashes_gives_its_slot_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """P11: its worker keeps what it has to say, but the attempt is over, and its slot is free for others."""
    rig = Rig(limits=Limits(threads=1))
    worker = rig.worker(answer=hang)
    rig.send(start("bad"))
    decide = saga_module.decide

    def raising(execution: Any, given: Any, at: float, roll: float) -> Any:
        if execution.saga_id == "bad" and isinstance(given, Succeeded):
            raise RuntimeError("no")
        return decide(execution, given, at, roll)

    monkeypatch.setattr(saga_module, "decide", raising)
    worker.answer = succeed
    for said in worker.finish():
        for _ in range(4):
            rig.send(said, worker.address)
    assert rig.journal.find("bad").state is SagaState.HELD
    assert rig.engine.slots.busy == 0
    for number in range(3):
        rig.send(run(f"good-{number}"))
        assert rig.journal.find(f"good-{number}").state is SagaState.COMPLETED
