"""What operators ask of the engine: done once, durable before it is answered, refused where it makes no sense."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from engine_rig import ORDER, OTHER, Rig, Worker, fail_at, hang, run, start, succeed

from saga_actors.actors.protocol import Bundle, CatchUp, CaughtUp, Joined, Loaded, Order
from saga_actors.errors import CorruptionError, JournalFullError
from saga_actors.events import Cancelled, Ending, Fault, Phase, Resolved, Retried, Settled, Skipped
from saga_actors.inputs import Failed, Report
from saga_actors.journal import MemoryJournal
from saga_actors.journal.port import History
from saga_actors.messages import (
    AcceptPlan,
    CancelSaga,
    DropTombstones,
    GetStatus,
    OperationDone,
    PruneSagas,
    Refusal,
    Refused,
    ResolveSaga,
    RetrySaga,
    SagaCancelled,
    SagaEnded,
    SagaIsHeld,
    SagasPruned,
    SagaStarted,
    SettleStep,
    SkipUndo,
)
from saga_actors.outcomes import Action, Cancellation, Compensated, CompensationFailed, FailureKind, SagaState
from saga_actors.plan import OnUnknown, SagaPlan, StepPlan

ANN: dict[str, Any] = {"by": "ann", "reason": "asked the bank"}
PAY = SagaPlan(
    "shop:Pay",
    (
        StepPlan("reserve", compensable=True),
        StepPlan("charge", compensable=True, on_unknown=OnUnknown.HOLD),
        StepPlan("ship"),
    ),
)


def retry(saga_id: str, request: str = "q1") -> RetrySaga:
    return RetrySaga(correlation_id=request, saga_id=saga_id, **ANN)


def cancel(saga_id: str, request: str = "q1") -> CancelSaga:
    return CancelSaga(correlation_id=request, saga_id=saga_id, reason="no longer wanted", by="ann")


def resolve(saga_id: str, state: SagaState = SagaState.COMPENSATED, request: str = "q1") -> ResolveSaga:
    return ResolveSaga(correlation_id=request, saga_id=saga_id, state=state, **ANN)


def settle(saga_id: str, step: str, happened: bool, context: bytes | None = None, request: str = "q1") -> SettleStep:
    return SettleStep(correlation_id=request, saga_id=saga_id, step=step, happened=happened, context=context, **ANN)


def skip(saga_id: str, step: str, request: str = "q1") -> SkipUndo:
    return SkipUndo(correlation_id=request, saga_id=saga_id, step=step, **ANN)


@attrs.define
class Moody:
    """A worker's answer that a test changes as it goes: these undos fail for good, and `ship` does not work."""

    undos: tuple[str, ...] = ("reserve",)
    steps: tuple[str, ...] = ("ship",)
    unknown: tuple[str, ...] = ()

    def __call__(self, order: Order) -> Report | None:
        key = order.key
        name = key.phase, key.step, key.attempt, key.epoch
        if key.phase is Phase.COMPENSATE:
            return (
                Failed(*name, Ending.FAILED, Fault("no", retryable=False)) if key.step in self.undos else succeed(order)
            )
        if key.step in self.unknown:
            return Failed(*name, Ending.UNKNOWN, Fault("who knows", retryable=False))
        return fail_at(*self.steps)(order)


def fatal() -> tuple[Rig, Moody]:
    """A saga `s1` whose undo of `reserve` has failed for good."""
    rig, moody = Rig(), Moody()
    rig.worker(answer=moody)
    (ended,) = rig.send(run("s1"))
    assert isinstance(ended, SagaEnded)
    assert isinstance(ended.encoded, CompensationFailed)
    return rig, moody


def held() -> tuple[Rig, Moody]:
    """A saga `s1` of which nobody knows whether its payment happened."""
    rig, moody = Rig(), Moody(undos=(), steps=(), unknown=("charge",))
    worker = rig.worker(answer=moody)
    worker.plans[PAY.saga] = PAY
    rig.send(Loaded(worker.worker, {PAY.saga: PAY}, {}, ()), worker.address)
    (held_,) = rig.send(run("s1", PAY))
    assert isinstance(held_, SagaIsHeld)
    return rig, moody


def kinds(rig: Rig, saga_id: str = "s1") -> list[type[Any]]:
    return [type(stored.event) for stored in rig.journal.load(saga_id)]


def state(rig: Rig, saga_id: str = "s1") -> SagaState:
    row = rig.journal.find(saga_id)
    assert row is not None
    return SagaState(row.state)


# Retry.


def test_a_fatal_saga_is_retried_and_goes_back_to_the_end() -> None:
    """P9: by an operator's journalled action alone."""
    rig, moody = fatal()
    moody.undos = ()
    (done,) = rig.send(retry("s1"))
    assert done == OperationDone("q1", "s1", SagaState.COMPENSATING)
    assert state(rig) is SagaState.COMPENSATED
    (retried,) = [s.event for s in rig.journal.load("s1") if isinstance(s.event, Retried)]
    assert (retried.by, retried.reason, retried.request) == ("ann", "asked the bank", "q1")


def test_a_retry_that_comes_twice_is_done_once_and_answered_twice() -> None:
    """P9, P12: messages are hints; the undo is not tried again for an echo."""
    rig, _ = fatal()
    first = rig.send(retry("s1"))
    again = rig.send(retry("s1"))
    assert [type(answer) for answer in (*first, *again)] == [OperationDone, OperationDone]
    assert kinds(rig).count(Retried) == 1
    assert rig.send(retry("s1", "q2")) != []
    assert kinds(rig).count(Retried) == 2


def test_a_retry_is_known_to_the_next_supervisor() -> None:
    """P9: it was durable before it was answered, and the answer got lost."""
    rig, moody = fatal()
    moody.undos = ()
    rig.lost = lambda to, _: to == "client"
    rig.send(retry("s1"))
    rig.lost = lambda _to, _message: False
    rig.begin()
    assert rig.send(retry("s1")) == [OperationDone("q1", "s1", SagaState.COMPENSATED)]
    assert kinds(rig).count(Retried) == 1


def test_a_running_saga_cannot_be_retried() -> None:
    """The refusal says what could be."""
    rig = Rig()
    rig.worker(answer=hang)
    rig.send(start("s1"))
    (refused,) = rig.send(retry("s1"))
    assert isinstance(refused, Refused)
    assert refused.code == Refusal.NOT_ALLOWED
    assert "only a fatal or held one" in refused.message


def test_a_saga_that_has_completed_cannot_be_reopened() -> None:
    """P9: terminal is final."""
    rig = Rig()
    rig.worker()
    rig.send(run("s1"))
    before = kinds(rig)
    for message in (retry("s1"), skip("s1", "ship"), settle("s1", "ship", False), resolve("s1")):
        (refused,) = rig.send(message)
        assert (type(refused), refused.code) == (Refused, Refusal.NOT_ALLOWED)
    assert kinds(rig) == before


def test_nobody_knows_a_saga_that_never_was() -> None:
    """The refusal says so."""
    rig = Rig()
    rig.worker()
    (refused,) = rig.send(retry("s1"))
    assert (type(refused), refused.code) == (Refused, Refusal.UNKNOWN_SAGA)


def test_an_operation_that_meets_a_full_disk_changes_nothing_and_says_so() -> None:
    """P5: and what was asked for can be asked for again."""
    rig, moody = fatal()
    moody.undos = ()
    append = rig.journal.append

    def full(*_: Any) -> Any:
        raise JournalFullError("no room")

    rig.journal.append = full
    (refused,) = rig.send(retry("s1"))
    assert (type(refused), refused.code) == (Refused, Refusal.OVERLOADED)
    rig.journal.append = append
    rig.settle(5)
    assert state(rig) is SagaState.FATAL
    assert rig.send(retry("s1")) == [OperationDone("q1", "s1", SagaState.COMPENSATING)]
    assert state(rig) is SagaState.COMPENSATED


# Settle, skip, resolve.


def test_a_step_settled_as_done_goes_on_with_its_result() -> None:
    """P7: the operator knows."""
    rig, moody = held()
    moody.unknown = ()
    (done,) = rig.send(settle("s1", "charge", True, b'{"n":1,"charge_id":7}'))
    assert isinstance(done, OperationDone)
    assert state(rig) is SagaState.COMPLETED
    (settled,) = [s.event for s in rig.journal.load("s1") if isinstance(s.event, Settled)]
    assert (settled.happened, settled.by, settled.context) == (True, "ann", b'{"n":1,"charge_id":7}')


def test_a_step_settled_as_not_done_takes_its_saga_back() -> None:
    """P2: the step itself is not undone."""
    rig, _ = held()
    rig.send(settle("s1", "charge", False))
    assert state(rig) is SagaState.COMPENSATED
    assert "AttemptStarted charge 2" not in rig.events("s1")


def test_a_settled_context_that_is_too_big_is_refused() -> None:
    """P12: as it would have been from the step."""
    rig, _ = held()
    rig.engine.limits = attrs.evolve(rig.engine.limits, context_limit=10)
    (refused,) = rig.send(settle("s1", "charge", True, b'{"n":1,"charge_id":7}'))
    assert (refused.code, state(rig)) == (Refusal.TOO_LARGE, SagaState.HELD)


def test_a_failed_undo_that_was_done_by_hand_is_skipped() -> None:
    """P2: and the outcome says which."""
    rig, _ = fatal()
    rig.send(skip("s1", "reserve"))
    (ended,) = rig.send(run("s1"))
    assert isinstance(ended.encoded, Compensated)
    assert ended.encoded.skipped == ("reserve",)
    assert kinds(rig).count(Skipped) == 1


def test_another_undo_than_the_failed_one_cannot_be_skipped() -> None:
    """P3: the rollback goes on in its order."""
    rig, _ = fatal()
    (refused,) = rig.send(skip("s1", "charge"))
    assert "the one that can be skipped: reserve" in refused.message


@pytest.mark.parametrize("end", [SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.FATAL])
def test_a_saga_resolved_by_hand_has_ended_and_says_by_whom_and_what_was_left(end: SagaState) -> None:
    """P2, P9: and it is final."""
    rig, _ = fatal()
    (done,) = rig.send(resolve("s1", end))
    assert done == OperationDone("q1", "s1", end)
    (ended,) = rig.send(run("s1"))
    assert (ended.encoded.resolved_by, ended.encoded.left) == ("ann", ("reserve",))
    (refused,) = rig.send(retry("s1", "q2"))
    assert refused.code == Refusal.NOT_ALLOWED
    assert kinds(rig).count(Resolved) == 1


def test_whoever_waits_hears_of_the_end_that_an_operator_made() -> None:
    """P1: a saga that was held ends, too."""
    rig, moody = held()
    moody.unknown = ()
    rig.send(settle("s1", "charge", True, None), "operator")
    (ended,) = rig.send(run("s1", PAY), "somebody")
    assert isinstance(ended, SagaEnded)


# Cancel.


def test_a_cancelled_saga_goes_back_once_its_attempt_is_done() -> None:
    """P2: even if that succeeds, and whatever it was."""
    rig, answers = Rig(), {"ship": hang}
    worker = rig.worker(answer=lambda order: answers.get(order.key.step, succeed)(order))
    rig.send(start("s1"))
    assert rig.send(cancel("s1")) == [SagaCancelled("q1", "s1", Cancellation.ACCEPTED)]
    assert state(rig) is SagaState.RUNNING
    answers.clear()
    for said in worker.finish():
        rig.send(said, worker.address)
    assert state(rig) is SagaState.COMPENSATED
    assert "AttemptStarted notify 1" not in rig.events("s1")
    (ended,) = rig.send(run("s1"))
    assert ended.encoded.failure.kind is FailureKind.CANCELLED
    assert ended.encoded.failure.reason == "no longer wanted"


def test_a_cancelled_saga_that_waits_for_a_slot_or_a_retry_starts_no_attempt() -> None:
    """From the commit of the cancel no attempt starts forward."""
    rig = Rig()
    rig.worker(answer=fail_at("charge", retryable=True))
    rig.send(start("s1"))
    assert rig.events("s1")[-1] == "RetryScheduled charge"
    rig.send(cancel("s1"))
    assert state(rig) is SagaState.COMPENSATED
    assert "AttemptStarted charge 2" not in rig.events("s1")
    rig.begin()
    rig.settle()
    assert state(rig) is SagaState.COMPENSATED


def test_a_cancel_that_fails_beside_a_step_has_its_failure_as_cause() -> None:
    """Nothing that is known is lost."""
    rig = Rig()
    rig.worker(answer=fail_at("charge", retryable=True))
    rig.send(start("s1"))
    rig.send(cancel("s1"))
    (ended,) = rig.send(run("s1"))
    assert ended.encoded.failure.cause.step == "charge"


def test_a_cancel_says_why_it_comes_too_late() -> None:
    """A rollback cannot be cancelled, and an end is final."""
    rig, moody = fatal()
    assert rig.send(cancel("s1")) == [SagaCancelled("q1", "s1", Cancellation.FATAL)]
    moody.undos = ()
    rig.send(retry("s1", "q2"))
    assert rig.send(cancel("s1", "q3")) == [SagaCancelled("q3", "s1", Cancellation.COMPENSATED)]
    rig.send(run("s2"))
    assert rig.send(cancel("s2", "q4")) == [SagaCancelled("q4", "s2", Cancellation.COMPENSATED)]
    assert not any(kind is Cancelled for kind in kinds(rig))


def test_a_cancel_of_what_goes_back_already_says_so() -> None:
    """It is no error."""
    rig = Rig()
    rig.worker(answer=lambda order: None if order.key.phase is Phase.COMPENSATE else fail_at("ship")(order))
    rig.send(start("s1"))
    assert rig.send(cancel("s1")) == [SagaCancelled("q1", "s1", Cancellation.ALREADY_GOING_BACK)]


def test_a_cancel_whose_answer_was_lost_is_still_accepted() -> None:
    """P9: asked again, also after the end that it brought about."""
    rig = Rig()
    rig.worker(answer=fail_at("charge", retryable=True))
    rig.send(start("s1"))
    rig.lost = lambda to, _: to == "client"
    rig.send(cancel("s1"))
    rig.lost = lambda _to, _message: False
    assert state(rig) is SagaState.COMPENSATED
    assert rig.send(cancel("s1")) == [SagaCancelled("q1", "s1", Cancellation.ACCEPTED)]
    rig.begin()
    assert rig.send(cancel("s1")) == [SagaCancelled("q1", "s1", Cancellation.ACCEPTED)]


def test_a_held_saga_can_be_cancelled_and_goes_back() -> None:
    """It has not turned back yet; its unknown step is undone."""
    rig, _ = held()
    assert rig.send(cancel("s1")) == [SagaCancelled("q1", "s1", Cancellation.ACCEPTED)]
    assert state(rig) is SagaState.COMPENSATED


def test_a_cancel_in_the_very_bundle_of_the_start_is_heeded() -> None:
    """P5: the first step of it never begins."""
    rig = Rig()
    worker = rig.worker()
    rig.send(Bundle((start("s1"), cancel("s1"))))
    assert state(rig) is SagaState.COMPENSATED
    assert worker.ran == []


# What may be done.


def test_status_lists_what_an_operator_may_do() -> None:
    """Of a fatal and of a held saga, and of no other."""
    rig, _ = fatal()
    (answer,) = rig.send(GetStatus("g", "s1"))
    assert answer.status.allowed_actions == (Action.RETRY, Action.SKIP, Action.RESOLVE)
    assert answer.status.left == ("reserve",)
    other, _ = held()
    (answer,) = other.send(GetStatus("g", "s1"))
    assert answer.status.allowed_actions == (Action.RETRY, Action.SETTLE, Action.CANCEL, Action.RESOLVE)
    other.send(resolve("s1"))
    (answer,) = other.send(GetStatus("g", "s1"))
    assert answer.status.allowed_actions == ()


# Accept.


def changed() -> tuple[Rig, SagaPlan]:
    """A saga `s1` held because a step that it has not started is called otherwise now."""
    rig = Rig()
    old = rig.worker(1, answer=lambda order: None if order.key.step == "charge" else succeed(order))
    rig.send(start("s1"))
    new = attrs.evolve(ORDER, steps=(*ORDER.steps[:2], attrs.evolve(ORDER.steps[2], name="send"), ORDER.steps[3]))
    rig.kill(old)
    rig.begin()
    worker = Worker(
        attrs.evolve(old.worker, number=2, pid=999), "worker-2", succeed, {new.saga: new, OTHER.saga: OTHER}
    )
    rig.workers[worker.address] = worker
    rig.send(Joined(worker.worker, worker.address))
    rig.send(Loaded(worker.worker, {new.saga: new}, {}, ()), worker.address)
    rig.settle(2)
    return rig, new


def accept(new: SagaPlan, *, dry_run: bool = False, request: str = "q1") -> AcceptPlan:
    return AcceptPlan(correlation_id=request, saga_id="s1", fingerprint=new.fingerprint, dry_run=dry_run, **ANN)


def test_a_held_saga_goes_on_with_the_definition_that_an_operator_accepts() -> None:
    """P14: and by nothing else."""
    rig, new = changed()
    assert state(rig) is SagaState.HELD
    (answer,) = rig.send(GetStatus("g", "s1"))
    assert Action.ACCEPT in answer.status.allowed_actions
    assert "step 3 was 'ship', and is 'send' now" in answer.status.held_reason
    assert rig.send(accept(new)) == [OperationDone("q1", "s1", SagaState.RUNNING)]
    assert state(rig) is SagaState.COMPLETED
    assert "AttemptSucceeded send 1" in rig.events("s1")


def test_a_rehearsal_changes_nothing_and_says_what_would_be() -> None:
    """P14: dry_run."""
    rig, new = changed()
    before = kinds(rig)
    assert rig.send(accept(new, dry_run=True)) == [OperationDone("q1", "s1", SagaState.RUNNING)]
    assert (kinds(rig), state(rig)) == (before, SagaState.HELD)
    assert len(rig.engine.sagas._tracked) == 0


def test_another_definition_than_the_served_one_cannot_be_accepted() -> None:
    """P14: what was looked at is what is taken."""
    rig, _ = changed()
    (refused,) = rig.send(accept(ORDER))
    assert (refused.code, state(rig)) == (Refusal.MISMATCH, SagaState.HELD)


# Sagas that cannot be read.


def test_a_saga_whose_actor_raised_can_be_retried() -> None:
    """P1: whatever held it, an operator can have it go on."""
    rig = Rig()
    worker = rig.worker(answer=hang)
    rig.send(start("s1"))
    rig.engine.holds.hold("s1", "crashed", "too often")
    assert "s1" in rig.engine.holds.illegible
    assert rig.send(retry("s1")) == [OperationDone("q1", "s1", SagaState.RUNNING)]
    worker.answer = succeed
    for said in worker.finish():
        rig.send(said, worker.address)
    assert state(rig) is SagaState.COMPLETED


class Rotten(MemoryJournal):
    """Its records of one saga cannot be read, as long as it says so."""

    rotten: str | None = None

    def load(self, saga_id: str) -> History:
        if saga_id == self.rotten:
            raise CorruptionError(f"saga {saga_id!r}: event 2 does not match its checksum")
        return super().load(saga_id)


def rotten() -> Rig:
    """A saga `s1` whose records cannot be read, and which is held for it."""
    rig = Rig(Rotten())
    rig.worker(answer=hang)
    rig.send(start("s1"))
    rig.journal.rotten = "s1"
    rig.begin()
    rig.settle(3.0)
    assert state(rig) is SagaState.HELD
    return rig


def test_a_saga_that_cannot_be_read_is_resolved_by_hand() -> None:
    """P13: nothing is executed on it, but it need not stay for ever; asked twice, or by another, it says so."""
    rig = rotten()
    (answer,) = rig.send(GetStatus("g", "s1"))
    assert answer.status.allowed_actions == (Action.RETRY, Action.RESOLVE)
    for message in (cancel("s1", "q0"), skip("s1", "reserve", "q0"), retry("s1", "q0")):
        (refused,) = rig.send(message)
        assert (type(refused), refused.code) == (Refused, Refusal.CORRUPT)
    for _ in range(2):
        assert rig.send(resolve("s1", SagaState.FATAL)) == [OperationDone("q1", "s1", SagaState.FATAL)]
    assert state(rig) is SagaState.FATAL
    (refused,) = rig.send(resolve("s1", SagaState.COMPLETED, "q2"))
    assert (type(refused), refused.code) == (Refused, Refusal.NOT_ALLOWED)
    rig.begin()
    rig.settle(3.0)
    assert state(rig) is SagaState.FATAL


def test_a_saga_that_can_be_read_again_goes_on() -> None:
    """P1: its file was mended, or its disk."""
    rig = rotten()
    rig.journal.rotten = None
    (done,) = rig.send(retry("s1"))
    assert done == OperationDone("q1", "s1", SagaState.RUNNING)
    worker = rig.workers["worker-1"]
    worker.answer = succeed
    for said in worker.finish():
        rig.send(said, worker.address)
    assert state(rig) is SagaState.COMPLETED


# Pruning.


def ended(*saga_ids: str) -> Rig:
    rig = Rig()
    rig.worker()
    for saga_id in saga_ids:
        rig.send(run(saga_id))
    return rig


def prune(before: float, *states: SagaState, after: int | None = None) -> PruneSagas:
    return PruneSagas(correlation_id="p1", before=before, states=states or (SagaState.COMPLETED,), after=after)


def test_a_pruned_id_is_still_that_saga() -> None:
    """P10: asked again it is answered, and nothing runs; with another context it is refused."""
    rig = ended("s1")
    worker = rig.workers["worker-1"]
    ran = len(worker.ran)
    (pruned,) = rig.send(prune(rig.now + 1))
    assert (pruned.count, pruned.next_page) == (1, None)
    (started,) = rig.send(start("s1"))
    assert isinstance(started, SagaStarted)
    (refused,) = rig.send(run("s1"))
    assert (refused.code, "ended as completed" in refused.message) == (Refusal.PRUNED, True)
    (refused,) = rig.send(start("s1", digest="other"))
    assert refused.code == Refusal.ID_TAKEN
    (refused,) = rig.send(retry("s1"))
    assert refused.code == Refusal.PRUNED
    assert len(worker.ran) == ran
    (answer,) = rig.send(GetStatus("g", "s1"))
    assert (answer.status.state, answer.status.pruned) == (SagaState.COMPLETED, True)
    (dropped,) = rig.send(DropTombstones(correlation_id="p2", before=rig.now + 1))
    assert dropped.count == 1
    (ended_,) = rig.send(run("s1"))
    assert isinstance(ended_, SagaEnded)


def test_a_saga_that_is_reopened_in_the_same_turn_is_not_pruned() -> None:
    """P1: whichever message came first."""
    rig, moody = fatal()
    moody.undos = ()
    rig.workers["worker-1"].answer = hang
    answers = rig.send(Bundle((prune(rig.now + 1, SagaState.FATAL), retry("s1"))))
    rig.tick()
    assert state(rig) is SagaState.COMPENSATING
    assert [type(item) for bundle in answers for item in bundle.items] == [OperationDone, SagasPruned]


def test_listeners_are_told_before_anything_is_pruned() -> None:
    """They are told of every event; but one that hangs keeps nobody waiting for ever (P12)."""
    rig = Rig()
    rig.telemetry_listens = False
    rig.worker()
    rig.send(run("s1"))
    assert rig.send(prune(rig.now + 1)) == []
    (asked,) = [message for message in rig.inbox["telemetry"] if isinstance(message, CatchUp)]
    assert rig.journal.find("s1") is not None
    rig.send(CaughtUp(asked.position), "telemetry")
    assert rig.journal.find("s1") is None
    assert [type(message) for message in rig.inbox["client"]][-1] is SagasPruned
    rig.send(run("s2"))
    rig.send(prune(rig.now + 1))
    assert rig.journal.find("s2") is not None
    rig.tick(3.0)
    assert rig.journal.find("s2") is None


# Limits.


def test_reopened_sagas_count_towards_their_classs_limit() -> None:
    """P11: max_running holds for them as for others."""
    rig = Rig()
    limited = attrs.evolve(ORDER, max_running=1)
    moody = Moody()
    worker = rig.worker(answer=moody)
    worker.plans[limited.saga] = limited
    rig.send(Loaded(worker.worker, {limited.saga: limited}, {}, ()), worker.address)
    rig.send(run("s1", limited))
    worker.answer = hang
    rig.send(retry("s1"))
    rig.send(start("s2", limited))
    assert [key.saga_id for key in worker.ran if key.saga_id == "s2"] == []


# What was refused.


def test_a_late_copy_of_what_was_refused_is_refused_as_well() -> None:
    """P7: ann said "not charged" of the first attempt and was told no, for bob was quicker; the second did charge."""
    rig, moody = held()
    worker = rig.workers["worker-1"]
    worker.answer = hang
    rig.send(retry("s1", "bob"))
    anns = settle("s1", "charge", False, request="ann")
    (refused,) = rig.send(anns)
    assert (type(refused), refused.code) == (Refused, Refusal.NOT_ALLOWED)
    worker.answer = moody
    for said in worker.finish():
        rig.send(said, worker.address)
    assert state(rig) is SagaState.HELD
    assert rig.send(anns) == [refused]
    assert Settled not in kinds(rig)


def test_a_second_cancel_is_told_that_there_was_one() -> None:
    """The history has the first alone, and the second is answered the same whenever it is asked again."""
    rig, answers = Rig(), {"ship": hang}
    worker = rig.worker(answer=lambda order: answers.get(order.key.step, succeed)(order))
    rig.send(start("s1"))
    rig.send(cancel("s1", "ann"))
    second = [SagaCancelled("bob", "s1", Cancellation.ALREADY_GOING_BACK)]
    assert rig.send(cancel("s1", "bob")) == second
    worker.answer = lambda order: None if order.key.phase is Phase.COMPENSATE else succeed(order)
    for said in worker.finish():
        rig.send(said, worker.address)
    assert rig.send(cancel("s1", "bob")) == second
    assert kinds(rig).count(Cancelled) == 1
