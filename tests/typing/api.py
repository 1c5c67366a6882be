"""The coordinator as type checkers see it: checked by mypy --strict and basedpyright, never run.

A line that must not check says so to both; an ignore that is not needed is itself an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never, assert_type

import attrs

from saga_actors import (
    AcceptReport,
    Action,
    Cancellation,
    Compensated,
    CompensationFailed,
    Completed,
    Coordinator,
    Failure,
    Node,
    Outcome,
    Saga,
    SagaHeldError,
    SagaState,
    SagaStatus,
    connect,
    step,
)
from saga_actors.events import Event
from saga_actors.messages import ListedSaga, RunSaga, SagaEnded, StartSaga

# Definitions.


def charge(order: dict[str, Any]) -> dict[str, Any]:
    return {"charge_id": "ch_1"}


def refund(order: dict[str, Any]) -> None: ...


class PlaceOrder(Saga):
    charge = step(charge, compensate=refund)


@attrs.frozen
class Order:
    total: int
    paid: bool = False


def pay(order: Order) -> Order:
    return attrs.evolve(order, paid=True)


async def pay_back(order: Order) -> None: ...


class PlaceTyped(Saga[Order]):
    pay = step(pay, compensate=pay_back)


# A coordinator.

sagas = Coordinator("sqlite:///sagas.db")
Coordinator("sqlite:///sagas.db", node="attach", sagas=[PlaceOrder, "shop.orders"], telemetry=["shop:on_event"])
Coordinator("sqlite:///sagas.db", workers=4, threads=16, max_unfinished=500, context_limit=100_000)
with Coordinator("sqlite:///sagas.db") as opened:
    assert_type(opened, Coordinator)
sagas.close()
sagas.close(drain=timedelta(seconds=2))


# What comes of sagas with a dict.

assert_type(sagas.run(PlaceOrder, {"total": 3}), Outcome[dict[str, Any]])
assert_type(sagas.start(PlaceOrder, {"total": 3}, saga_id="ord_1", deadline=timedelta(hours=1)), str)
assert_type(sagas.result("ord_1", PlaceOrder), Outcome[dict[str, Any]])
assert_type(sagas.result("ord_1"), Outcome[dict[str, Any]])


def matched(outcome: Outcome[dict[str, Any]]) -> str:
    match outcome:
        case Completed(context):
            assert_type(context, dict[str, Any])
            return outcome.saga_id
        case Compensated(failure, context):
            assert_type(failure, Failure)
            assert_type(context, dict[str, Any])
            return failure.reason
        case CompensationFailed(failure, undo):
            assert_type((failure, undo), tuple[Failure, Failure])
            assert_type(outcome.context, dict[str, Any])
            assert_type(outcome.left, tuple[str, ...])
            return undo.step or ""
        case _:
            assert_never(outcome)


match sagas.run(PlaceOrder, {"order_id": "ord_123", "total": 250}):
    case Completed(context):
        assert_type(context, dict[str, Any])
    case Compensated(failure, context):
        assert_type(failure, Failure)
        assert_type(context, dict[str, Any])
    case CompensationFailed(failure, undo):
        assert_type(undo, Failure)


# What comes of sagas with a class.

assert_type(sagas.run(PlaceTyped, Order(3), timeout=5), Outcome[Order])
assert_type(sagas.start(PlaceTyped, Order(3), deadline=datetime.now(UTC), timeout=timedelta(seconds=5)), str)
assert_type(sagas.result("ord_1", PlaceTyped, timeout=1.5), Outcome[Order])

typed = sagas.result("ord_1", PlaceTyped)
match typed:
    case Completed(order):
        assert_type(order, Order)
        assert_type(order.paid, bool)
    case Compensated(failure, order):
        assert_type(order, Order)
    case CompensationFailed(failure, undo):
        assert_type(typed, CompensationFailed[Order])
        assert_type(typed.context, Order)


def any_of(sagas: Coordinator, saga: type[Saga[Order]]) -> Order:
    outcome = sagas.run(saga, Order(3))
    if isinstance(outcome, Completed):
        assert_type(outcome, Completed[Order])
    return outcome.context


# Asking.

assert_type(sagas.status("ord_1"), SagaStatus)
assert_type(sagas.status("ord_1").state, SagaState)
assert_type(sagas.status("ord_1").outcome, Outcome[Any] | None)
assert_type(sagas.list(state="held", saga=PlaceTyped), Sequence[ListedSaga])
assert_type(sagas.list(state=SagaState.HELD, saga="shop:PlaceOrder", limit=5), Sequence[ListedSaga])
assert_type(sagas.history("ord_1"), tuple[Event, ...])


def reason(error: SagaHeldError) -> str:
    return f"{error.saga_id}: {error.reason}"


# Messages.


def decoded(ended: SagaEnded) -> None:
    assert_type(ended.outcome(PlaceTyped), Outcome[Order])
    assert_type(ended.outcome(PlaceOrder), Outcome[dict[str, Any]])


with connect("sqlite:///sagas.db", sagas=[PlaceOrder]) as node:
    assert_type(node, Node)
assert_type(RunSaga.of(PlaceTyped, Order(3)), RunSaga)
assert_type(StartSaga.of(PlaceOrder, {"total": 3}, saga_id="ord_1"), StartSaga)


# Operating.

assert_type(sagas.cancel("ord_1", "the customer called"), Cancellation)
assert_type(sagas.retry("ord_1", by="ann", reason="the bank is back"), SagaState)
assert_type(sagas.settle("ord_1", "charge", True, {"charge_id": 7}, by="ann", reason="asked the bank"), SagaState)
assert_type(sagas.skip("ord_1", "charge", by="ann", reason="refunded by hand"), SagaState)
assert_type(sagas.resolve("ord_1", "compensated", by="ann", reason="all done by hand"), SagaState)
assert_type(sagas.accept(PlaceTyped, by="ann", reason="release 7", dry_run=True), AcceptReport)
assert_type(sagas.prune(timedelta(days=90), ["completed"]), int)
assert_type(sagas.status("ord_1").allowed_actions, tuple[Action, ...])


# What must not check.

Coordinator()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Coordinator("sqlite:///sagas.db", "attach")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Coordinator("sqlite:///sagas.db", node="start")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Coordinator("sqlite:///sagas.db", workers="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Coordinator("sqlite:///sagas.db", sagas=PlaceOrder)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Coordinator("sqlite:///sagas.db", sagas=[int])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
sagas.run(PlaceOrder, Order(3))  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
sagas.run(PlaceTyped, {"total": 3})  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
sagas.run(PlaceTyped, None)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
sagas.run(PlaceOrder)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
sagas.run(PlaceTyped, Order(3), "ord_1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
sagas.run("PlaceOrder", {"total": 3})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sagas.run(PlaceOrder.charge, {"total": 3})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sagas.start(PlaceTyped, Order(3), saga_id=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sagas.start(PlaceTyped, Order(3), deadline=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sagas.start(PlaceTyped, Order(3), timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sagas.result(7)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
sagas.result("ord_1", int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
print(typed.context.charge_id)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
print(matched(typed))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sagas.status()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
sagas.status("ord_1").state = SagaState.HELD  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
sagas.cancel("ord_1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
sagas.retry("ord_1", "ann", "why not")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Completed({}, "ord_1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
RunSaga.of(PlaceTyped, {"total": 3})  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
