"""What an operator does about sagas that are stuck, with a coordinator on a real node."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from desk import Booking, Print, Ticket
from premises import Premises
from waiting import eventually

from saga_actors import (
    Action,
    Cancellation,
    Compensated,
    CompensationFailed,
    Completed,
    ContextError,
    Coordinator,
    FailureKind,
    NotAllowedError,
    SagaActorsError,
    SagaHeldError,
    SagaIdError,
    SagaPrunedError,
    SagaState,
    UnknownSagaError,
    connect,
)
from saga_actors.events import Cancelled, Resolved, Retried, Settled, Skipped
from saga_actors.messages import CancelSaga, OperationDone, RetrySaga, SagaCancelled, new_id

pytestmark = pytest.mark.node

ANN: dict[str, Any] = {"by": "ann", "reason": "spoke to the bank"}


def spoil(premises: Premises, *names: str) -> None:
    for name in names:
        (premises.folder / name).touch()


def mend(premises: Premises, *names: str) -> None:
    for name in names:
        (premises.folder / name).unlink()


def fatal(premises: Premises, sagas: Coordinator, saga_id: str = "s1") -> None:
    """A saga whose undo of `pay` has failed, with `reserve` still to undo."""
    spoil(premises, "ship.broken", "undo-pay.broken")
    outcome = sagas.run(Booking, premises.context(), saga_id=saga_id)
    assert isinstance(outcome, CompensationFailed)
    assert (outcome.failure.step, outcome.undo.step, outcome.left) == ("ship", "pay", ("pay", "reserve"))


def held(premises: Premises, sagas: Coordinator, saga_id: str = "s1") -> None:
    """A saga of which nobody knows whether its payment happened."""
    spoil(premises, "pay.unknown")
    with pytest.raises(SagaHeldError, match="settle it, or retry it"):
        sagas.run(Booking, premises.context(), saga_id=saga_id)


# Fatal and held sagas.


def test_a_fatal_saga_is_retried_once_its_undo_works_again(premises: Premises) -> None:
    """P9: `retry` reopens it, and the rollback goes on in its order; the history says who, and why."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        fatal(premises, sagas)
        status = sagas.status("s1")
        assert status.allowed_actions == (Action.RETRY, Action.SKIP, Action.RESOLVE)
        assert status.left == ("pay", "reserve")
        mend(premises, "undo-pay.broken")
        assert sagas.retry("s1", **ANN) is SagaState.COMPENSATING
        assert isinstance(sagas.result("s1", timeout=20), Compensated)
        assert premises.outside.names("s1")[-3:] == ["undo-pay", "undo-pay", "undo-reserve"]
        (retried,) = [event for event in sagas.history("s1") if isinstance(event, Retried)]
        assert (retried.by, retried.reason) == ("ann", "spoke to the bank")
        assert sagas.status("s1").allowed_actions == ()
        with pytest.raises(NotAllowedError, match="nothing to do about it"):
            sagas.retry("s1", **ANN)


def test_a_failed_undo_that_was_done_by_hand_is_skipped(premises: Premises) -> None:
    """P2: the rollback goes on with what is left, and the outcome names what was skipped."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        fatal(premises, sagas)
        with pytest.raises(NotAllowedError, match="the one that can be skipped: pay"):
            sagas.skip("s1", "reserve", **ANN)
        sagas.skip("s1", "pay", **ANN)
        outcome = sagas.result("s1", timeout=20)
        assert isinstance(outcome, Compensated)
        assert outcome.skipped == ("pay",)
        assert premises.outside.names("s1")[-1] == "undo-reserve"
        assert [event.step for event in sagas.history("s1") if isinstance(event, Skipped)] == ["pay"]


def test_a_stuck_saga_is_resolved_by_hand(premises: Premises) -> None:
    """P2, P9: it has ended, says by whom and what was left, and that is final."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        fatal(premises, sagas)
        assert sagas.resolve("s1", "compensated", **ANN) is SagaState.COMPENSATED
        outcome = sagas.result("s1")
        assert isinstance(outcome, Compensated)
        assert (outcome.resolved_by, outcome.left) == ("ann", ("pay", "reserve"))
        with pytest.raises(NotAllowedError):
            sagas.resolve("s1", "fatal", **ANN)
        assert len([event for event in sagas.history("s1") if isinstance(event, Resolved)]) == 1
        with pytest.raises(SagaActorsError, match="expected completed, compensated or fatal"):
            sagas.resolve("s1", "running", **ANN)


def test_a_step_of_which_nobody_knew_is_settled_as_done(premises: Premises) -> None:
    """P7: the saga goes on with what the step would have returned, merged as if it had."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        held(premises, sagas)
        status = sagas.status("s1")
        assert status.allowed_actions == (Action.RETRY, Action.SETTLE, Action.CANCEL, Action.RESOLVE)
        assert status.in_doubt == ("pay",)
        assert sagas.settle("s1", "pay", True, {"charge_id": 7}, **ANN) is SagaState.RUNNING
        outcome = sagas.result("s1", timeout=20)
        assert outcome == Completed({**premises.context(), "reserve": 1, "charge_id": 7, "ship": 1}, saga_id="s1")
        (settled,) = [event for event in sagas.history("s1") if isinstance(event, Settled)]
        assert (settled.step, settled.happened, settled.by) == ("pay", True, "ann")


def test_a_step_of_which_nobody_knew_is_settled_as_not_done(premises: Premises) -> None:
    """P2: the saga goes back, and the step itself is not undone."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        held(premises, sagas)
        with pytest.raises(SagaActorsError, match="leave it out"):
            sagas.settle("s1", "pay", False, {"charge_id": 7}, **ANN)
        sagas.settle("s1", "pay", False, **ANN)
        assert isinstance(sagas.result("s1", timeout=20), Compensated)
        assert premises.outside.names("s1") == ["reserve", "pay", "undo-reserve"]


def test_what_is_settled_must_be_what_the_step_could_have_returned(premises: Premises) -> None:
    """The error names the step; nothing is changed."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        held(premises, sagas)
        with pytest.raises(ContextError, match="result of step 'pay'"):
            sagas.settle("s1", "pay", True, {"charge": object()}, **ANN)
        with pytest.raises(SagaActorsError, match="has no step 'nowhere'; its steps are reserve, pay, ship"):
            sagas.settle("s1", "nowhere", True, {}, **ANN)
        with pytest.raises(NotAllowedError, match="here: pay"):
            sagas.settle("s1", "ship", True, **ANN)
        assert sagas.status("s1").state is SagaState.HELD


def test_a_typed_step_is_settled_with_its_class(premises: Premises) -> None:
    """The client has the class; the node need not decode anything."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        spoil(premises, "print.unknown")
        ticket = Ticket(str(premises.folder))
        with pytest.raises(SagaHeldError):
            sagas.run(Print, ticket, saga_id="s1")
        sagas.settle("s1", "print", True, Ticket(ticket.folder, "1b"), **ANN)
        assert sagas.result("s1", Print, timeout=20) == Completed(Ticket(ticket.folder, "1b"), saga_id="s1")


def test_a_held_step_is_tried_again(premises: Premises) -> None:
    """P7: with the same key, and fresh retries."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        held(premises, sagas)
        mend(premises, "pay.unknown")
        sagas.retry("s1", **ANN)
        assert isinstance(sagas.result("s1", timeout=20), Completed)
        first, second = premises.outside.calls("pay", "s1")
        assert (first.key, first.attempt, second.attempt) == (second.key, 1, 2)


def test_an_operator_says_who_and_why(premises: Premises) -> None:
    """Refused before anything is sent."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        with pytest.raises(SagaActorsError, match=r"RetrySaga\.reason is ' '; expected a text"):
            sagas.retry("s1", by="ann", reason=" ")
        with pytest.raises(SagaActorsError, match=r"RetrySaga\.by is ''"):
            sagas.retry("s1", by="", reason="why not")
        with pytest.raises(UnknownSagaError):
            sagas.retry("nowhere", **ANN)


def test_what_an_operator_did_survives_the_node(premises: Premises) -> None:
    """P5, P9: durable when the call returns, and the next node goes on from there."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        fatal(premises, sagas)
        mend(premises, "undo-pay.broken")
        spoil(premises, "undo-reserve.broken")
        sagas.skip("s1", "pay", **ANN)
        eventually(lambda: sagas.status("s1").state is SagaState.FATAL)
    mend(premises, "undo-reserve.broken")
    with premises.coordinator(sagas=["desk"]) as sagas:
        sagas.retry("s1", **ANN)
        outcome = sagas.result("s1", timeout=20)
        assert isinstance(outcome, Compensated)
        assert outcome.skipped == ("pay",)


# Cancelling.


def test_a_saga_is_cancelled_while_its_step_runs(premises: Premises) -> None:
    """The one in flight is awaited, and undone with its own context; nothing else begins."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        sagas.start(Booking, premises.context(gate="pay"), saga_id="s1")
        eventually(lambda: premises.outside.calls("pay", "s1"))
        assert sagas.cancel("s1", "the customer called", by="ann") is Cancellation.ACCEPTED
        assert sagas.cancel("s1", "again") is Cancellation.ALREADY_GOING_BACK
        assert sagas.status("s1").state is SagaState.RUNNING
        premises.outside.open("pay")
        outcome = sagas.result("s1", timeout=20)
        assert isinstance(outcome, Compensated)
        assert (outcome.failure.kind, outcome.failure.reason) == (FailureKind.CANCELLED, "the customer called")
        assert premises.outside.names("s1") == ["reserve", "pay", "undo-pay", "undo-reserve"]
        assert premises.outside.calls("undo-pay", "s1")[0].done == ("reserve", "pay")
        assert sagas.cancel("s1", "too late") is Cancellation.COMPENSATED
        assert [event.by for event in sagas.history("s1") if isinstance(event, Cancelled)] == ["ann"]


def test_the_last_step_of_a_cancelled_saga_may_succeed_and_is_undone(premises: Premises) -> None:
    """A cancel that was accepted is kept."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        sagas.start(Booking, premises.context(gate="ship"), saga_id="s1")
        eventually(lambda: premises.outside.calls("ship", "s1"))
        assert sagas.cancel("s1", "the customer called") is Cancellation.ACCEPTED
        premises.outside.open("ship")
        assert isinstance(sagas.result("s1", timeout=20), Compensated)
        assert premises.outside.names("s1")[-3:] == ["undo-ship", "undo-pay", "undo-reserve"]


def test_a_cancel_that_comes_too_late_says_why(premises: Premises) -> None:
    """A rollback cannot be cancelled, an end is final, and a held saga goes back."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        done = sagas.run(Booking, premises.context(), saga_id="done")
        assert isinstance(done, Completed)
        assert sagas.cancel("done", "too late") is Cancellation.COMPLETED
        spoil(premises, "ship.broken")
        sagas.start(Booking, premises.context(gate="undo-pay"), saga_id="back")
        eventually(lambda: premises.outside.calls("undo-pay", "back"))
        assert sagas.cancel("back", "too late") is Cancellation.ALREADY_GOING_BACK
        premises.outside.open("undo-pay")
        sagas.result("back", timeout=20)
        mend(premises, "ship.broken")
        fatal(premises, sagas, "fatal")
        assert sagas.cancel("fatal", "too late") is Cancellation.FATAL
        mend(premises, "undo-pay.broken", "ship.broken")
        held(premises, sagas, "held")
        assert sagas.cancel("held", "give up") is Cancellation.ACCEPTED
        outcome = sagas.result("held", timeout=20)
        assert isinstance(outcome, Compensated)
        assert outcome.failure.cause is not None
        assert outcome.failure.cause.step == "pay"
        assert premises.outside.names("held")[-2:] == ["undo-pay", "undo-reserve"]
        with pytest.raises(UnknownSagaError):
            sagas.cancel("nowhere", "why")


def test_code_among_actors_operates_by_messages(premises: Premises) -> None:
    """The same verbs, as messages to the supervisor."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        fatal(premises, sagas)
        mend(premises, "undo-pay.broken")
        with connect(premises.url, sagas=["desk"]) as node:
            again = RetrySaga(correlation_id=new_id(), saga_id="s1", **ANN)
            assert node.system.ask(node.supervisor, again, 30) == OperationDone(
                again.correlation_id, "s1", SagaState.COMPENSATING
            )
            cancel = CancelSaga(correlation_id=new_id(), saga_id="s1", reason="why not")
            answer = node.system.ask(node.supervisor, cancel, 30)
            assert isinstance(answer, SagaCancelled)


# Lists, and what is removed.


def test_a_list_is_paged_while_sagas_come(premises: Premises) -> None:
    """Each saga once, whatever is started between two pages."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        before = datetime.now(UTC)
        sagas.start_many(Booking, [premises.context() for _ in range(30)], saga_ids=[f"s{n}" for n in range(30)])
        seen: list[str] = []
        page = sagas.list(limit=7)
        while page:
            seen += [each.saga_id for each in page]
            sagas.start(Booking, premises.context())
            page = sagas.list(limit=7, after=page[-1])
        assert seen == [f"s{n}" for n in reversed(range(30))]
        assert len(sagas.list(since=before)) == 35
        assert len(sagas.list(since=timedelta(hours=1), saga=Booking)) == 35
        assert sagas.list(since=datetime.now(UTC)) == []


def test_pruned_sagas_leave_a_tombstone(premises: Premises) -> None:
    """P10: the same id is the same saga also after its records are gone, and nothing is run again."""
    context = premises.context()
    with premises.coordinator(sagas=["desk"]) as sagas:
        sagas.run(Booking, context, saga_id="s1")
        held(premises, sagas, "held")
        assert sagas.prune(timedelta(days=1)) == 0
        assert sagas.prune(timedelta(0)) == 1
        status = sagas.status("s1")
        assert (status.state, status.pruned) == (SagaState.COMPLETED, True)
        assert sagas.start(Booking, context, saga_id="s1") == "s1"
        with pytest.raises(SagaPrunedError, match="ended as completed"):
            sagas.run(Booking, context, saga_id="s1")
        with pytest.raises(SagaPrunedError):
            sagas.result("s1")
        with pytest.raises(SagaIdError):
            sagas.start(Booking, premises.context(other=1), saga_id="s1")
        assert premises.outside.names("s1") == ["reserve", "pay", "ship"]
        assert [each.saga_id for each in sagas.list()] == ["held"]
    with premises.coordinator(sagas=["desk"]) as sagas:
        assert sagas.status("s1").pruned
        assert sagas.prune(tombstones_older_than=timedelta(0)) == 1
        mend(premises, "pay.unknown")
        assert isinstance(sagas.run(Booking, context, saga_id="s1"), Completed)


def test_pruning_takes_what_is_named_and_nothing_unfinished(premises: Premises) -> None:
    """P1: what has not ended is never removed."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        fatal(premises, sagas, "fatal")
        mend(premises, "ship.broken", "undo-pay.broken")
        sagas.start(Booking, premises.context(gate="pay"), saga_id="running")
        assert sagas.prune(timedelta(0)) == 0
        assert sagas.prune(timedelta(0), states=["fatal"]) == 1
        assert [each.saga_id for each in sagas.list()] == ["running"]
        premises.outside.open("pay")
        assert isinstance(sagas.result("running", timeout=20), Completed)
        with pytest.raises(SagaActorsError, match="only completed, compensated and fatal are ends"):
            sagas.prune(timedelta(0), states=["running"])
        with pytest.raises(SagaActorsError, match="say how old"):
            sagas.prune()
        with pytest.raises(SagaActorsError, match="older_than is 5; expected a timedelta"):
            sagas.prune(5)  # type: ignore[arg-type]


def test_many_are_pruned_beside_sagas_that_run(premises: Premises) -> None:
    """P11: in small commits, and nobody waits for it."""
    with premises.coordinator(sagas=["desk"]) as sagas:
        ids = sagas.start_many(Booking, [premises.context() for _ in range(1_000)])
        for saga_id in ids:
            sagas.result(saga_id, timeout=60)
        with ThreadPoolExecutor(1) as beside:
            pruned = beside.submit(sagas.prune, timedelta(0))
            ended = [sagas.run(Booking, premises.context()) for _ in range(20)]
            assert all(isinstance(outcome, Completed) for outcome in ended)
            assert pruned.result(60) >= 1_000


def test_fifty_clients_that_start_one_id_at_once_start_one_saga(premises: Premises) -> None:
    """P10: each gets its outcome, and each step has run once."""
    context = premises.context()

    def run(sagas: Coordinator) -> Any:
        return sagas.run(Booking, context, saga_id="s1", timeout=60)

    clients = [premises.coordinator(sagas=["desk"]) for _ in range(50)]
    try:
        with ThreadPoolExecutor(50) as threads:
            outcomes = list(threads.map(run, clients))
    finally:
        for client in clients:
            client.close()
    assert {str(outcome) for outcome in outcomes} == {str(outcomes[0])}
    assert premises.outside.names("s1") == ["reserve", "pay", "ship"]


def test_an_id_that_exists_is_answered_also_by_a_full_node(premises: Premises) -> None:
    """P10: what was accepted is accepted, however many others there are."""
    with premises.coordinator(sagas=["desk"], max_unfinished=1) as sagas:
        context = premises.context(gate="pay")
        sagas.start(Booking, context, saga_id="s1")
        with pytest.raises(SagaActorsError, match="as many as may be"):
            sagas.start(Booking, context, saga_id="s2")
        assert sagas.start(Booking, context, saga_id="s1") == "s1"
        premises.outside.open("pay")
        assert isinstance(sagas.result("s1", timeout=20), Completed)
