"""The face for event loops, live events and the testing kit, as type checkers see them: checked, never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

import attrs

from saga_actors import (
    AsyncCoordinator,
    Cancellation,
    Coordinator,
    Events,
    Outcome,
    Saga,
    SagaState,
    SagaStatus,
    TelemetryEvent,
    step,
)
from saga_actors.messages import ListedSaga
from saga_actors.testing import Call, Crashes, Rehearsal, assert_undone, crash_everywhere, unknown


@attrs.frozen
class Order:
    total: int


def pay(order: Order) -> Order:
    return order


class Pay(Saga[Order]):
    pay = step(pay)


async def awaited() -> None:
    async with AsyncCoordinator("sqlite:///sagas.db", node="attach") as sagas:
        assert_type(await sagas.run(Pay, Order(3), saga_id="ord_1"), Outcome[Order])
        assert_type(await sagas.start(Pay, Order(3)), str)
        assert_type(await sagas.start_many(Pay, [Order(3)]), list[str])
        assert_type(await sagas.result("ord_1"), Outcome[dict[str, Any]])
        assert_type(await sagas.result("ord_1", Pay), Outcome[Order])
        assert_type(await sagas.status("ord_1"), SagaStatus)
        assert_type(await sagas.list(state="held"), Sequence[ListedSaga])
        assert_type(await sagas.cancel("ord_1", "why"), Cancellation)
        assert_type(await sagas.retry("ord_1", by="ann", reason="why"), SagaState)
        async for event in sagas.events("ord_1"):
            assert_type(event, TelemetryEvent)
        await sagas.run(Pay, {"total": 3})  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
        await sagas.status()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def told(sagas: Coordinator) -> None:
    with sagas.events() as events:
        assert_type(events, Events)
        assert_type(events.next(1.0), TelemetryEvent | None)
        for event in events:
            assert_type(event, TelemetryEvent)


def rehearsed() -> None:
    rehearsal = Rehearsal(Pay)
    rehearsal.script("pay", unknown(), None)
    outcome = rehearsal.run(Pay, Order(3))
    assert_type(outcome, Outcome[Order])
    assert_type(rehearsal.calls, Sequence[Call])
    assert_undone(rehearsal, outcome, "pay")
    assert_type(crash_everywhere(Pay, Order(3)), Crashes)
    told(rehearsal)
    crash_everywhere(Pay, {"total": 3})  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
