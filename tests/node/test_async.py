"""The same verbs on an event loop: awaited, by many at a time, given up, and after a fork."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from desk import Booking
from flows import Trip
from premises import Premises
from shop import PlaceOrder
from waiting import eventually

from saga_actors import (
    AsyncCoordinator,
    Cancellation,
    Completed,
    Coordinator,
    CoordinatorClosedError,
    EventName,
    NodeUnreachableError,
    SagaHeldError,
    SagaState,
    SagaTimeoutError,
    UnknownSagaError,
)

pytestmark = pytest.mark.node

THREADS = 40
"""More than one process's event loop, its client and the pool for reading files ever need."""

ANN: dict[str, Any] = {"by": "ann", "reason": "spoke to the bank"}


def on_loop(premises: Premises, test: Callable[[AsyncCoordinator], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run this on an event loop, with a coordinator that is closed afterwards."""

    async def main() -> None:
        async with AsyncCoordinator(premises.url, sagas=["flows", "shop", "desk"], **options) as sagas:
            await test(sagas)

    asyncio.run(main())


async def until(claim: Callable[[], object]) -> None:
    """Wait until it holds, while the loop goes on."""
    await asyncio.to_thread(eventually, claim, 20.0)


def test_every_verb_is_there_twice_and_means_the_same() -> None:
    """Each public method of one face is one of the other, with the same arguments and the same documentation."""
    one, other = (
        {name: vars(face)[name] for name in vars(face) if not name.startswith("_")}
        for face in (Coordinator, AsyncCoordinator)
    )
    assert one.keys() - other.keys() == {"locate"}  # what `connect` needs, for actors
    assert other.keys() <= one.keys()
    for name in other.keys() - {"events", "close"}:
        assert inspect.signature(one[name]) == inspect.signature(other[name])
        assert one[name].__doc__ == other[name].__doc__


def test_an_order_is_run_and_asked_about(premises: Premises) -> None:
    """`await` gives what the blocking verb returns."""

    async def test(sagas: AsyncCoordinator) -> None:
        outcome = await sagas.run(PlaceOrder, premises.context(), saga_id="ord_1")
        assert isinstance(outcome, Completed)
        assert await sagas.result("ord_1", PlaceOrder) == outcome
        assert (await sagas.status("ord_1")).outcome == outcome
        assert [saga.saga_id for saga in await sagas.list()] == ["ord_1"]
        assert len(await sagas.history("ord_1")) > 4
        assert await sagas.start(PlaceOrder, premises.context(), saga_id="ord_1") == "ord_1"
        ids = await sagas.start_many(PlaceOrder, [premises.context()] * 3)
        assert len({(await sagas.result(saga_id)).saga_id for saga_id in ids}) == 3
        with pytest.raises(UnknownSagaError):
            await sagas.status("nobody")

    on_loop(premises, test)
    assert premises.family() == set()


def test_operators_have_their_verbs(premises: Premises) -> None:
    """A saga that is held is settled, one that is fatal resolved, one that runs cancelled."""

    async def test(sagas: AsyncCoordinator) -> None:
        (premises.folder / "pay.unknown").touch()
        with pytest.raises(SagaHeldError):
            await sagas.run(Booking, premises.context(), saga_id="held")
        (premises.folder / "pay.unknown").unlink()
        await sagas.settle("held", "pay", True, {"pay": 7}, **ANN)
        assert isinstance(await sagas.result("held"), Completed)
        await sagas.start(Booking, premises.context(gate="pay"), saga_id="turned")
        await until(lambda: premises.outside.calls("pay", "turned"))
        assert await sagas.cancel("turned", "no more wanted") is Cancellation.ACCEPTED
        premises.outside.open("pay")
        await sagas.result("turned")
        assert (await sagas.accept(Booking, **ANN)).accepted == ()

    on_loop(premises, test)


def test_a_thousand_await_at_a_time_without_a_thousand_threads(premises: Premises) -> None:
    """Each gets its own answer, and the loop goes on meanwhile."""

    async def test(sagas: AsyncCoordinator) -> None:
        await sagas.have_served()
        threads: list[int] = []

        async def count() -> None:
            while True:
                threads.append(threading.active_count())
                await asyncio.sleep(0.01)

        counting = asyncio.create_task(count())
        runs = [sagas.run(Trip, premises.context(number=number), saga_id=f"t{number}") for number in range(1_000)]
        outcomes = await asyncio.gather(*runs)
        counting.cancel()
        assert [outcome.context["number"] for outcome in outcomes] == list(range(1_000))
        assert len(threads) > 50
        assert max(threads) < THREADS

    on_loop(premises, test)


def test_whoever_stops_awaiting_leaves_the_saga_running(premises: Premises) -> None:
    """Cancelling the task gives up the answer only; nobody waits for it any more."""

    async def test(sagas: AsyncCoordinator) -> None:
        running = asyncio.create_task(sagas.run(Trip, premises.context(gates=["hotel"]), saga_id="t1"))
        await until(lambda: premises.outside.calls("hotel"))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await sagas.status("t1")).state is SagaState.RUNNING
        with pytest.raises(SagaTimeoutError, match="t1"):
            await sagas.result("t1", timeout=0.2)
        assert not sagas._verbs.client()._questions
        premises.outside.open("t1-hotel")
        assert isinstance(await sagas.result("t1"), Completed)

    on_loop(premises, test)


def test_whoever_awaits_outlives_the_supervisor_and_the_node(premises: Premises) -> None:
    """The call goes on, as a blocking one does."""

    async def test(sagas: AsyncCoordinator) -> None:
        running = asyncio.create_task(sagas.run(Trip, premises.context(gates=["hotel"]), saga_id="t1"))
        await until(lambda: premises.outside.calls("hotel"))
        premises.kill(premises.pid("SagaSupervisor"))
        await asyncio.sleep(0)
        premises.kill(premises.pid("admin"))
        await until(lambda: len(premises.outside.calls("hotel")) > 1)
        premises.outside.open("t1-hotel")
        assert isinstance(await running, Completed)

    on_loop(premises, test)


def test_events_come_as_they_happen(premises: Premises) -> None:
    """`async for`, of one saga to its end; closing ends a subscription to all."""

    async def test(sagas: AsyncCoordinator) -> None:
        everything = sagas.events()
        seen: list[str] = []
        has_ended = asyncio.Event()

        async def watch() -> None:
            async for event in everything:
                seen.append(str(event.name))
                if event.name is EventName.COMPLETED:
                    has_ended.set()

        watching = asyncio.create_task(watch())
        await sagas.run(Trip, premises.context(), saga_id="t1")
        told = [str(event.name) async for event in sagas.events("t1")]
        assert told == ["started", *["step_started", "step_ok"] * 4, "completed"]
        await asyncio.wait_for(has_ended.wait(), 20.0)
        await everything.aclose()
        await watching
        assert seen == told

    on_loop(premises, test)


def test_a_coordinator_is_used_on_one_loop_after_the_other(premises: Premises) -> None:
    """It may be made before there is a loop; after it is closed it says so."""
    sagas = AsyncCoordinator(premises.url, sagas=["flows"])
    for number in range(2):
        outcome = asyncio.run(sagas.run(Trip, premises.context(), saga_id=f"t{number}"))
        assert isinstance(outcome, Completed)
    asyncio.run(sagas.close())
    with pytest.raises(CoordinatorClosedError):
        asyncio.run(sagas.status("t1"))


def test_forked_workers_have_clients_of_their_own(premises: Premises) -> None:
    """As servers do that load the application first, and fork then."""
    sagas = AsyncCoordinator(premises.url, sagas=["flows"])
    asyncio.run(sagas.run(Trip, premises.context(), saga_id="parent"))
    children = [fork(lambda number=number: serve(sagas, premises, number)) for number in range(3)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    assert isinstance(asyncio.run(sagas.run(Trip, premises.context(), saga_id="after")), Completed)
    asyncio.run(sagas.close())


def fork(work: Callable[[], None]) -> int:
    """A forked child that does this, and exits with 1 if it raises; its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(60)
        work()
        code = 0
    finally:
        os._exit(code)


def serve(sagas: AsyncCoordinator, premises: Premises, number: int) -> None:
    outcome = asyncio.run(sagas.run(Trip, premises.context(), saga_id=f"child{number}"))
    assert isinstance(outcome, Completed)
    asyncio.run(sagas.close())


def test_a_node_that_is_not_there_is_said_to_be_missing(premises: Premises) -> None:
    """Whoever only attaches is told after some seconds, as a blocking caller is; the loop goes on meanwhile."""

    async def test(sagas: AsyncCoordinator) -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.05)
                ticks += 1

        ticking = asyncio.create_task(tick())
        with pytest.raises(NodeUnreachableError):
            await sagas.run(Trip, premises.context())
        ticking.cancel()
        assert ticks > 20

    on_loop(premises, test, node="attach")
    assert list(Path(premises.folder).glob("sagas.db*")) == []
