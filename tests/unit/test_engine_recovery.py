"""The engine after a death: of itself, of a worker, of a saga actor; and with messages lost, doubled and late."""

from __future__ import annotations

from typing import Any

import pytest
from engine_rig import Rig, fail_at, hang, run, start, wait

from saga_actors.actors import saga as saga_module
from saga_actors.actors.limits import Limits
from saga_actors.actors.protocol import Detach, FromWorker, Heartbeat, Joined, Left, NodeDone, Posted, ToWorker
from saga_actors.decision import Decision, decide
from saga_actors.errors import CorruptionError
from saga_actors.execution import Execution
from saga_actors.inputs import Succeeded
from saga_actors.journal import MemoryJournal
from saga_actors.messages import RetrySaga, SagaEnded, SagaIsHeld
from saga_actors.outcomes import Completed, SagaState


def lose(kind: type) -> Any:
    """Lose every message of this kind."""
    return lambda _to, message: isinstance(message, kind)


def test_a_running_attempt_is_adopted_by_the_next_supervisor() -> None:
    """P6, P8: what a living worker holds is not begun again; its report ends the step under the next epoch."""
    rig = Rig()
    worker = rig.worker(answer=hang)
    rig.send(start("s1"))
    rig.begin()
    rig.settle(2.0)
    assert rig.events("s1") == ["Accepted", "AttemptStarted reserve 1"]
    worker.answer = fail_at()
    for said in worker.finish():
        rig.send(said, worker.address)
    assert rig.events("s1")[-1] == "SagaCompleted"
    assert [key.step for key in worker.ran] == ["reserve", "charge", "ship", "notify"]
    assert [key.epoch for key in worker.ran] == [1, 2, 2, 2]


def test_a_finished_but_unstored_result_is_adopted() -> None:
    """P6: a report that the old supervisor never stored is in the inventory, and the step is not run again."""
    rig = Rig()
    worker = rig.worker(answer=hang)
    rig.send(start("s1"))
    worker.answer = fail_at()
    worker.finish()
    rig.begin()
    rig.settle(2.0)
    assert rig.events("s1")[-1] == "SagaCompleted"
    assert [key.step for key in worker.ran].count("reserve") == 1
    assert worker.reports == {}


def test_an_order_that_never_came_is_sent_again_as_the_same_attempt() -> None:
    """P6: begun in the journal, but not held by its living worker: no rerun, no new attempt."""
    rig = Rig()
    worker = rig.worker()
    rig.lost = lose(ToWorker)
    rig.send(start("s1"))
    assert worker.ran == []
    rig.lost = lambda _to, _message: False
    rig.begin()
    rig.settle(2.0)
    assert rig.events("s1")[-1] == "SagaCompleted"
    assert rig.events("s1").count("AttemptStarted reserve 1") == 1
    assert [key.attempt for key in worker.ran if key.step == "reserve"] == [1]


def test_an_attempt_of_a_dead_worker_is_run_again_by_another() -> None:
    """P6: interrupted, so the next attempt with the same key; the root says so, or a new supervisor finds out."""
    for supervisor_dies in (False, True):
        rig = Rig()
        dead = rig.worker(1, answer=hang)
        rig.send(start("s1"))
        rig.kill(dead)
        if supervisor_dies:
            rig.begin()
        else:
            rig.send(Left(dead.worker), "root")
        other = rig.worker(2)
        rig.settle(2.0)
        assert rig.events("s1")[-1] == "SagaCompleted"
        assert [key.attempt for key in other.ran if key.step == "reserve"] == [2]


def test_nothing_is_decided_about_an_attempt_before_its_worker_has_answered() -> None:
    """P6: a worker that has not said what it holds is neither given the order again nor taken for dead."""
    rig = Rig()
    worker = rig.worker(answer=hang)
    rig.send(start("s1"))
    silent = rig.workers.pop(worker.address)
    rig.begin()
    rig.send(Joined(worker.worker, worker.address))
    rig.settle(5.0)
    assert rig.events("s1") == ["Accepted", "AttemptStarted reserve 1"]
    rig.workers[worker.address] = silent
    rig.settle(2.0)
    silent.answer = fail_at()
    for said in silent.finish():
        rig.send(said, silent.address)
    assert rig.events("s1")[-1] == "SagaCompleted"


def test_a_lost_order_is_sent_again_after_a_second() -> None:
    """Messages are hints: what a worker does not confirm goes out again, and it drops what it has had."""
    rig = Rig()
    worker = rig.worker()
    rig.lost = lose(ToWorker)
    rig.send(run("s1"))
    rig.lost = lambda _to, _message: False
    rig.settle(2.0)
    assert isinstance(rig.inbox["client"][-1].encoded, Completed)
    assert len(worker.ran) == 4


def test_a_doubled_report_changes_nothing_and_is_receipted_again() -> None:
    """A late or doubled report of an attempt that is done is stale; the worker hears that it may forget it."""
    rig = Rig()
    worker = rig.worker()
    rig.send(run("s1"))
    before = rig.events("s1")
    key = worker.ran[0]
    posted = Posted(99, "s1", Succeeded(key.phase, key.step, key.attempt, key.epoch, b"{}"))
    rig.send(FromWorker(worker.worker, 1, worker.received, (posted,)), worker.address)
    assert rig.events("s1") == before
    assert rig.inbox[worker.address][-1].stored == (99,)


def test_a_rollback_goes_on_after_a_restart() -> None:
    """P2, P3: the direction is never lost, and no undo is done twice."""
    rig = Rig()
    worker = rig.worker(answer=fail_at("ship"))
    undo = [ToWorker]

    def lose_undos(_to: str, message: Any) -> bool:
        return isinstance(message, undo[0]) and any(order.key.phase == "compensate" for order in message.orders)

    rig.lost = lose_undos
    rig.send(start("s1"))
    assert rig.events("s1")[-1] == "AttemptStarted charge 1"
    rig.lost = lambda _to, _message: False
    rig.begin()
    rig.settle(2.0)
    assert rig.events("s1")[-1] == "SagaCompensated"
    assert [key.step for key in worker.ran if key.phase == "compensate"] == ["charge", "reserve"]


def test_whoever_waited_asks_the_next_supervisor_and_is_answered() -> None:
    """P1: the waiting is lost with the supervisor, the saga is not."""
    rig = Rig()
    worker = rig.worker(answer=hang)
    rig.send(run("s1"))
    rig.begin()
    assert rig.send(run("s1")) == []
    worker.answer = fail_at()
    for said in worker.finish():
        rig.send(said, worker.address)
    assert isinstance(rig.inbox["client"][-1], SagaEnded)


@pytest.mark.slow
def test_a_thousand_unfinished_sagas_are_recovered_in_slices() -> None:
    """P1, P11: each look at the mailbox comes after a bounded number of sagas, and all of them end."""
    rig = Rig()
    worker = rig.worker(answer=hang)
    for n in range(1000):
        rig.send(start(f"s{n}"))
    worker.answer = fail_at()
    rig.begin()
    slices = 0
    while rig.engine.next_tick == 0.0:
        rig.tick()
        slices += 1
    assert slices == 10
    rig.settle(5.0)
    for said in worker.finish():
        rig.send(said, worker.address)
    rig.settle(5.0)
    assert rig.journal.counts()[SagaState.COMPLETED] == 1000


# A saga actor that raises.


def break_saga(monkeypatch: pytest.MonkeyPatch, saga_id: str, times: int) -> list[Any]:
    """Have the decisions of one saga raise, so often."""
    raised: list[Any] = []

    def broken(execution: Execution, given: Any, at: float, roll: float) -> Decision:
        if execution.saga_id == saga_id and isinstance(given, Succeeded) and len(raised) < times:
            raised.append(given)
            raise RuntimeError("broken")
        return decide(execution, given, at, roll)

    monkeypatch.setattr(saga_module, "decide", broken)
    return raised


def test_a_saga_actor_that_raises_is_restarted_and_its_neighbour_unharmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """P11: the actor is made anew from the journal, and the report comes again."""
    rig = Rig()
    worker = rig.worker(answer=hang)
    rig.send(run("bad"))
    rig.send(run("good"))
    raised = break_saga(monkeypatch, "bad", 1)
    worker.answer = fail_at()
    before = rig.engine.sagas.get("bad")
    for said in worker.finish():
        rig.send(said, worker.address)
    assert len(raised) == 1
    assert rig.events("good")[-1] == "SagaCompleted"
    assert rig.events("bad")[-1] == "AttemptStarted reserve 1"
    assert rig.engine.sagas.get("bad") is not before
    rig.send(worker.say(tuple(worker.reports.values())), worker.address)
    assert rig.events("bad")[-1] == "SagaCompleted"
    assert [key.step for key in worker.ran if key.saga_id == "bad"].count("reserve") == 1


def test_a_saga_whose_actor_raises_three_times_in_five_seconds_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """P12: it is restarted twice, and held the third time; whoever waits is told, and its neighbour goes on."""
    rig = Rig()
    worker = rig.worker()
    raised = break_saga(monkeypatch, "bad", 1_000)
    rig.send(run("bad"))
    rig.send(run("good"))
    rig.send(worker.say(tuple(worker.reports.values())), worker.address)
    assert len(raised) == 2
    assert rig.journal.find("bad").state is SagaState.RUNNING
    rig.send(worker.say(tuple(worker.reports.values())), worker.address)
    assert len(raised) == 3
    assert rig.journal.find("bad").state is SagaState.HELD
    assert "crashed" in rig.journal.find("bad").held_reason
    assert any(isinstance(message, SagaIsHeld) for message in rig.inbox["client"])
    assert rig.events("good")[-1] == "SagaCompleted"


def test_a_saga_whose_actor_raises_now_and_then_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """P12: what counts is how often in five seconds; one that raises every three goes on when it does no more."""
    rig = Rig()
    worker = rig.worker()
    raised = break_saga(monkeypatch, "bad", 6)
    rig.send(run("bad"))
    while len(raised) < 6:
        rig.tick(3.0)
        rig.send(worker.say(tuple(worker.reports.values())), worker.address)
    rig.send(worker.say(tuple(worker.reports.values())), worker.address)
    assert rig.events("bad")[-1] == "SagaCompleted"


def test_the_next_supervisor_leaves_a_saga_alone_that_was_held_for_its_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """P11, P12: what comes in about it changes nothing and is kept by its worker, until an operator has said so."""
    rig = Rig()
    worker = rig.worker()
    raised = break_saga(monkeypatch, "bad", 3)
    rig.send(run("bad"))
    while len(raised) < 3:
        rig.send(worker.say(tuple(worker.reports.values())), worker.address)
    rig.begin()
    rig.settle(5.0)
    assert rig.events("bad").count("SagaHeld") == 1
    assert len(worker.reports) == 1
    rig.send(RetrySaga(correlation_id="retry", saga_id="bad", by="eve", reason="mended"))
    rig.send(worker.say(tuple(worker.reports.values())), worker.address)
    assert rig.events("bad")[-1] == "SagaCompleted"


def test_a_saga_that_was_held_for_its_crashes_does_not_fill_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """P12: its worker sends the report again each second, keeps it, and nothing more is written."""
    rig = Rig()
    worker = rig.worker()
    break_saga(monkeypatch, "bad", 1_000)
    rig.send(run("bad"))
    for _ in range(10):
        rig.send(worker.say(tuple(worker.reports.values())), worker.address)
    assert rig.events("bad").count("SagaHeld") == 1
    assert len(worker.reports) == 1


def test_the_first_goodbye_after_a_restart_does_not_end_the_node_for_the_others() -> None:
    """A supervisor that took over hears the heartbeats of all before it takes one client for the last."""
    rig = Rig(limits=Limits(linger=10.0))
    rig.begin()
    assert rig.send(Detach("d", "one", 5.0)) == []
    rig.tick(1.0)
    rig.send(Heartbeat("h", "two"), "other")
    rig.tick(3.0)
    assert not rig.inbox["client"][-1].ending
    assert not any(isinstance(message, NodeDone) for message in rig.inbox["root"])
    rig.send(Detach("d", "two", 5.0), "other")
    assert any(isinstance(message, NodeDone) for message in rig.inbox["root"])


class Rotten(MemoryJournal):
    """One saga cannot be read."""

    rotten: str | None = None

    def load(self, saga_id: str) -> Any:
        if saga_id == self.rotten:
            raise CorruptionError(f"saga {saga_id!r}, event 2: the checksum is wrong")
        return super().load(saga_id)


def test_a_corrupt_saga_is_held_and_the_others_recovered() -> None:
    """P11, P13: nothing is executed on a bad record, and it stops nobody else."""
    rig = Rig(Rotten())
    worker = rig.worker(answer=hang)
    for name in ("a", "b", "c"):
        rig.send(start(name))
    rig.journal.rotten = "b"
    worker.answer = fail_at()
    rig.begin()
    rig.settle(3.0)
    for said in worker.finish():
        rig.send(said, worker.address)
    rig.settle(3.0)
    assert rig.journal.find("b").state is SagaState.HELD
    assert [rig.journal.find(name).state for name in ("a", "c")] == [SagaState.COMPLETED] * 2
    [held] = rig.send(wait("b"))
    assert isinstance(held, SagaIsHeld)
