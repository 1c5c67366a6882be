"""The engine when several things come together in one turn, or just after one that was not to be."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from engine_rig import ORDER, OTHER, Rig, Worker, fail_at, hang, run, start, succeed, wait

from saga_actors.actors import recovery as recovery_module
from saga_actors.actors import saga as saga_module
from saga_actors.actors.engine import Engine
from saga_actors.actors.inquiry import Inquiry
from saga_actors.actors.limits import Limits
from saga_actors.actors.protocol import FromWorker, Joined, Left, Neighbours, Order, Posted, TakeInventory, ToWorker
from saga_actors.errors import JournalFullError, SagaActorsError
from saga_actors.events import AttemptFailed, Ending, Fault, Phase, WorkerId
from saga_actors.inputs import CancelRequested, Failed, Report, Succeeded
from saga_actors.journal import MemoryJournal, open_journal, open_reader
from saga_actors.messages import (
    AwaitSaga,
    CancelSaga,
    DropTombstones,
    GetStatus,
    NewSaga,
    OperationDone,
    PruneSagas,
    Refusal,
    Refused,
    ResolveSaga,
    RetrySaga,
    SagaIsHeld,
    SagasStarted,
    StartSaga,
    StartSagas,
)
from saga_actors.outcomes import SagaState
from saga_actors.plan import OnUnknown, SagaPlan, StepPlan
from saga_actors.retry import Backoff

UNSURE = SagaPlan("shop:PlaceOrder", (StepPlan("one", on_unknown=OnUnknown.HOLD), StepPlan("two")), max_running=1)
CANCEL = CancelSaga(correlation_id="c", saga_id="a", reason="no longer wanted")


class Full(MemoryJournal):
    """Its disk is full while it says so."""

    full = False

    def append(self, *given: Any) -> Any:
        if self.full:
            raise JournalFullError("no room")
        return super().append(*given)

    def hold(self, *given: Any) -> None:
        if self.full:
            raise JournalFullError("no room")
        super().hold(*given)


def in_one_turn(rig: Rig, *messages: tuple[Any, str]) -> None:
    for message, sender in messages:
        rig.engine.take(message, sender)
    rig._deliver(rig.engine.finish_turn())


def joined(rig: Rig, worker: Worker) -> Worker:
    rig.workers[worker.address] = worker
    rig.send(Joined(worker.worker, worker.address))
    return worker


def of(number: int, answer: Any, *plans: SagaPlan) -> Worker:
    return Worker(WorkerId(number, 100 + number, float(number)), f"worker-{number}", answer, {p.saga: p for p in plans})


def never_ordered(rig: Rig) -> tuple[Worker, Any]:
    """A saga `a` whose first order got lost, at a new supervisor, which is about to hear of it in the inventory."""
    worker = rig.worker(answer=hang)
    rig.lost = lambda _to, message: isinstance(message, ToWorker)
    rig.send(start("a"))
    rig.lost = lambda _to, _message: False
    rig.engine = Engine(
        rig.journal,
        Inquiry(rig.journal),
        epoch=rig.journal.take_epoch("rig"),
        limits=rig.limits,
        clock=lambda: rig.now,
        roll=lambda: 0.5,
        took_over=True,
    )
    rig.send(Neighbours("root", "status", "telemetry"))
    said = rig.engine.handle(Joined(worker.worker, worker.address), "root") + rig.engine.tick()
    (asked,) = [message for _, message in said if isinstance(message, TakeInventory)]
    (inventory,) = worker.take(asked)
    return worker, inventory


def test_an_order_that_is_sent_again_is_not_lost_with_a_full_disk() -> None:
    """P1: the turn in which it was to go out was not written."""
    rig = Rig(Full())
    worker, inventory = never_ordered(rig)
    rig.journal.full = True
    in_one_turn(rig, (inventory, worker.address), (CANCEL, "client"))
    assert not worker.ran
    rig.journal.full = False
    rig.settle(30)
    assert worker.ran


def test_an_order_that_is_sent_again_is_not_lost_with_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """P1: the saga's actor raised in the turn in which it was to go out."""
    rig = Rig()
    worker, inventory = never_ordered(rig)
    decide, raised = saga_module.decide, []

    def raising(execution: Any, given: Any, at: float, roll: float) -> Any:
        if isinstance(given, CancelRequested) and not raised:
            raised.append(1)
            raise RuntimeError("once")
        return decide(execution, given, at, roll)

    monkeypatch.setattr(saga_module, "decide", raising)
    in_one_turn(rig, (inventory, worker.address), (CANCEL, "client"))
    rig.settle(30)
    assert raised
    assert worker.ran


def test_a_saga_whose_definition_changes_in_the_turn_that_begins_it_is_not_accepted() -> None:
    """P14: it would go on with a plan that its own beginning does not name; whoever asked has it served anew."""
    rig = Rig()
    one = rig.worker(1)
    newer = attrs.evolve(ORDER, steps=(attrs.evolve(ORDER.steps[0], timeout=99.0), *ORDER.steps[1:]))
    two = joined(rig, of(2, hang, newer))
    rig.kill(one)
    in_one_turn(rig, (start("a"), "client"), (Left(one.worker), "root"))
    (refused,) = rig.inbox["client"]
    assert (type(refused), refused.code) == (Refused, Refusal.NOT_SERVED)
    assert rig.journal.find("a") is None
    rig.send(start("a"))
    assert [key.saga_id for key in two.ran] == ["a"]


def test_a_retry_that_was_not_written_takes_no_place() -> None:
    """P12: max_running is 1, the saga stays held, and another may begin."""

    def unknown(order: Order) -> Report | None:
        key = order.key
        return Failed(key.phase, key.step, key.attempt, key.epoch, Ending.UNKNOWN, Fault("?", retryable=False))

    rig = Rig(Full())
    worker = joined(rig, of(1, unknown, UNSURE))
    rig.settle(2)
    rig.send(start("held", UNSURE))
    worker.answer = hang
    rig.journal.full = True
    rig.send(RetrySaga(correlation_id="r", saga_id="held", by="ann", reason="the bank is back"))
    rig.journal.full = False
    rig.settle(5)
    assert rig.journal.find("held").state is SagaState.HELD
    rig.send(start("next", UNSURE))
    assert worker.ran[-1].saga_id == "next"


def test_those_that_report_in_a_turn_leave_room_for_new_ones() -> None:
    """P12: what counts towards the limit is a saga, and not what has happened to it."""
    rig = Rig(limits=Limits(max_unfinished=6))
    worker = rig.worker(answer=hang)
    for number in range(4):
        rig.send(start(f"s{number}"))
    worker.answer = succeed
    said = worker.finish()
    worker.answer = hang
    sagas = tuple(NewSaga(f"n{number}", "d", b'{"n":1}') for number in range(3))
    many = StartSagas(correlation_id="all", saga=ORDER.saga, fingerprint=ORDER.fingerprint, sagas=sagas)
    in_one_turn(rig, *[(message, worker.address) for message in said], (many, "client"))
    (answer,) = [message for message in rig.inbox["client"] if isinstance(message, SagasStarted)]
    assert list(answer.refused) == ["n2"]


def fatal_and_reported_again() -> Rig:
    """A fatal saga `a` of which a report comes once more, long after."""

    def answer(order: Order) -> Report | None:
        key = order.key
        if key.phase is Phase.COMPENSATE or key.step == "ship":
            fault = Fault("no", retryable=False)
            return Failed(key.phase, key.step, key.attempt, key.epoch, Ending.FAILED, fault)
        return succeed(order)

    rig = Rig()
    worker = rig.worker(answer=answer)
    rig.send(run("a"))
    report = Failed(Phase.COMPENSATE, "charge", 1, 1, Ending.FAILED, Fault("no", retryable=False))
    again = FromWorker(worker.worker, rig.engine.epoch, worker.received, (Posted(99, "a", report),))
    rig.send(again, worker.address)
    return rig


def test_a_late_report_of_a_fatal_saga_keeps_no_actor_and_no_id() -> None:
    """P12: pruned after that, whoever asks is answered, and its tombstone dropped, the id is free."""
    rig = fatal_and_reported_again()
    assert rig.engine.sagas.get("a") is None
    rig.send(PruneSagas(correlation_id="p", before=rig.now + 1, states=(SagaState.FATAL,)))
    (refused,) = rig.send(wait("a"))
    assert refused.code == Refusal.PRUNED
    rig.send(DropTombstones(correlation_id="q", before=rig.now + 1))
    rig.send(start("a", digest="other"))
    assert rig.journal.find("a") is not None


def test_what_became_at_most_once_runs_alone() -> None:
    """P6: the definition says so only since the saga was accepted."""
    rig = Rig(limits=Limits(threads=4))
    rig.engine._commits._full_until = rig.now + 1e6  # no slot is given
    joined(rig, of(1, hang, ORDER, OTHER))
    rig.send(start("a"))
    once = attrs.evolve(ORDER, steps=(attrs.evolve(ORDER.steps[0], reruns=0), *ORDER.steps[1:]))
    rig.workers.clear()
    rig.begin()
    second = joined(rig, of(2, hang, once, OTHER))
    rig.send(start("other", OTHER))
    rig.settle(5)
    assert [key.saga_id for key in second.ran] == ["other"]


def test_what_must_run_alone_waits_until_all_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """P6: a worker that runs what is not folded yet is not empty."""
    monkeypatch.setattr(recovery_module, "AT_ONCE", 1)
    once = SagaPlan("shop:PlaceOrder", (StepPlan("one"), StepPlan("two", reruns=0)))
    rig = Rig()
    worker = joined(rig, of(1, hang, once, OTHER))
    rig.settle(2)
    rig.send(start("a", once))
    rig.send(start("b", OTHER))
    worker.answer = lambda order: succeed(order) if order.key.step == "one" else None
    for said in worker.finish():
        rig.send(said, worker.address)
    rig.begin()
    for _ in range(8):
        rig.tick(0.1)
    assert [key.step for key in worker.ran] == ["one", "refund"]


@pytest.mark.parametrize("passes", [9.9999, 100.0])
def test_a_deadline_that_passes_while_a_saga_is_decided_about_or_waits_for_a_slot_is_heeded(
    monkeypatch: pytest.MonkeyPatch, passes: float
) -> None:
    """The saga waits for a retry, or, that being due, for a worker that there is none of."""
    far = SagaPlan("shop:PlaceOrder", (StepPlan("one", retries=Backoff(3, first_delay=50.0, jitter=0.0)),))
    rig = Rig()
    worker = joined(rig, of(1, hang, far))
    rig.send(attrs.evolve(start("a", far), deadline=rig.now + passes + 0.0001))
    decide = saga_module.decide

    def slow(execution: Any, given: Any, at: float, roll: float) -> Any:
        decision = decide(execution, given, at, roll)
        if isinstance(given, Failed):
            rig.now += 0.001
        return decision

    monkeypatch.setattr(saga_module, "decide", slow)
    if passes < 50.0:
        rig.now += passes
    worker.answer = fail_at("one", retryable=True)
    for said in worker.finish():
        rig.send(said, worker.address)
    rig.kill(worker)
    rig.send(Left(worker.worker))
    rig.settle(passes + 1.0)
    assert rig.journal.find("a").state is SagaState.COMPENSATED


def test_the_report_of_a_saga_that_was_resolved_unread_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """P12: its worker does not send it for ever."""
    rig = Rig()
    worker = rig.worker(answer=hang)
    rig.send(start("bad"))
    decide = saga_module.decide

    def raising(execution: Any, given: Any, at: float, roll: float) -> Any:
        if isinstance(given, Succeeded):
            raise RuntimeError("no")
        return decide(execution, given, at, roll)

    monkeypatch.setattr(saga_module, "decide", raising)
    worker.answer = succeed
    for said in worker.finish():
        for _ in range(4):
            rig.send(said, worker.address)
    assert worker.reports
    resolve = ResolveSaga(correlation_id="r", saga_id="bad", by="ann", reason="done", state=SagaState.FATAL)
    assert rig.send(resolve) == [OperationDone("r", "bad", SagaState.FATAL)]
    rig.send(worker.say(tuple(worker.reports.values())), worker.address)
    assert not worker.reports


class Both:
    """The writer and a reader of one SQLite file."""

    def __init__(self, path: Any) -> None:
        self._writer, self._reader = open_journal(f"sqlite:///{path}"), open_reader(f"sqlite:///{path}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer if hasattr(self._writer, name) else self._reader, name)


@pytest.mark.parametrize(
    "message",
    [
        AwaitSaga("w", "\ud800"),
        GetStatus("g", "\ud800"),
        StartSaga(correlation_id="s", saga_id="\ud800", saga=ORDER.saga, fingerprint="f", digest="d", context=b"{}"),
        StartSagas(correlation_id="s", saga=ORDER.saga, fingerprint="f", sagas=(NewSaga("\ud800", "d", b"{}"),)),
        CancelSaga(correlation_id="c", saga_id="\ud800", reason="x"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_an_id_that_is_no_text_is_refused(tmp_path: Any, message: Any) -> None:
    """P11: it is not the end of the supervisor."""
    rig = Rig(Both(tmp_path / "journal.db"))
    rig.worker(answer=hang)
    (answer,) = rig.send(message)
    assert isinstance(answer, Refused) or "\ud800" in answer.refused


def test_an_id_stands_once_in_a_message() -> None:
    """Of one that is there twice nobody could say which of them was accepted."""
    sagas = (NewSaga("a", "d", b"{}"), NewSaga("a", "e", b"{}"))
    with pytest.raises(SagaActorsError, match="an id more than once"):
        StartSagas(correlation_id="all", saga=ORDER.saga, fingerprint=ORDER.fingerprint, sagas=sagas)


def test_a_saga_that_could_not_be_held_for_want_of_room_is_held_when_there_is_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P1, P12: whoever waits for it is told then."""
    rig = Rig(Full())
    worker = rig.worker(answer=hang)
    rig.send(run("bad"))
    decide = saga_module.decide

    def raising(execution: Any, given: Any, at: float, roll: float) -> Any:
        if isinstance(given, Succeeded):
            raise RuntimeError("no")
        return decide(execution, given, at, roll)

    monkeypatch.setattr(saga_module, "decide", raising)
    worker.answer = succeed
    rig.journal.full = True
    for said in worker.finish():
        for _ in range(4):
            rig.send(said, worker.address)
    assert rig.journal.find("bad").state is SagaState.RUNNING
    rig.journal.full = False
    rig.settle(5)
    assert rig.journal.find("bad").state is SagaState.HELD
    assert any(isinstance(message, SagaIsHeld) for message in rig.inbox["client"])


def test_what_runs_alone_gets_no_neighbour_before_it_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """P6: its worker says that it runs it, and that saga is folded before any slot is given out."""
    monkeypatch.setattr(recovery_module, "AT_ONCE", 1)
    once = SagaPlan("shop:PlaceOrder", (StepPlan("once", reruns=0),))
    rig = Rig()
    worker = joined(rig, of(1, hang, once, OTHER))
    rig.settle(2)
    rig.engine._commits._full_until = rig.now + 1e9
    rig.send(start("first", OTHER))
    rig.engine._commits._full_until = 0.0
    rig.engine.slots.drop("first")
    rig.send(start("a", once))
    assert [key.saga_id for key in worker.ran] == ["a"]
    rig.begin()
    for _ in range(8):
        rig.tick(0.1)
    assert [key.saga_id for key in worker.ran] == ["a"]


def test_an_attempt_that_was_about_to_go_to_a_worker_that_died_has_not_begun() -> None:
    """P6, P7: the success of the step before it came in the same turn as the death; it is in no doubt."""
    rig = Rig()
    worker = rig.worker(answer=hang)
    rig.settle(2)
    rig.send(start("a"))
    worker.answer = succeed
    said = worker.finish()
    rig.kill(worker)
    in_one_turn(rig, *[(message, worker.address) for message in said], (Left(worker.worker), "root"))
    endings = [s.event.ending for s in rig.journal.load("a") if isinstance(s.event, AttemptFailed)]
    assert endings == [Ending.UNBEGUN]
    rig.worker(2)
    assert rig.journal.find("a").state is SagaState.COMPLETED


def test_a_report_of_a_worker_of_another_node_is_not_heeded() -> None:
    """P1, P6: the port of a dead supervisor was dealt to this one; both journals have a saga of this id."""
    rig = Rig()
    worker = rig.worker(answer=hang)
    rig.send(start("a"))
    key = worker.running[0].key
    report = Succeeded(key.phase, key.step, key.attempt, key.epoch, b'{"theirs":1}')
    stranger = WorkerId(1, 4_711, 47.0)
    assert rig.send(FromWorker(stranger, key.epoch, 1, (Posted(1, "a", report),)), "elsewhere") == []
    assert rig.events("a")[-1] == "AttemptStarted reserve 1"
