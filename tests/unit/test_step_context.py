"""The running step, and the key of its effect."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from datetime import UTC, datetime

import attrs
import pytest

from saga_actors.errors import SagaActorsError
from saga_actors.events import Phase
from saga_actors.step_context import StepContext, begin_step, current_step, idempotency_key


def step_context(step: str = "charge") -> StepContext:
    return StepContext(
        saga_id="ord_1",
        saga="place-order",
        step=step,
        phase=Phase.EXECUTE,
        attempt=1,
        outcome=None,
        times_out_at=datetime(2030, 1, 1, tzinfo=UTC).timestamp(),
    )


def test_outside_a_step_there_is_no_current_one() -> None:
    """Called elsewhere, current_step says where to call it."""
    with pytest.raises(SagaActorsError, match=r"current_step\(\) was called outside a step; call it in"):
        current_step()


def test_the_current_step_is_known_while_it_runs() -> None:
    """Inside the context that a step runs in it is the given one, and outside there is none, however it ended."""
    inside = step_context("charge")

    def fail() -> None:
        begin_step(inside)
        assert current_step() is inside
        raise ConnectionError

    with pytest.raises(ConnectionError):
        copy_context().run(fail)
    with pytest.raises(SagaActorsError):
        current_step()


def test_each_thread_has_its_own_current_step() -> None:
    """Two threads at once see each its own attempt."""
    both_inside = threading.Barrier(2, timeout=30)
    seen: dict[str, str] = {}

    def run(name: str) -> None:
        begin_step(step_context(name))
        both_inside.wait()
        seen[name] = current_step().step

    threads = [threading.Thread(target=run, args=(name,)) for name in ("charge", "ship")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"charge": "charge", "ship": "ship"}


def test_each_task_has_its_own_current_step() -> None:
    """Two tasks on one loop see each its own attempt, and so does what they await or run in a thread."""

    async def run(name: str, both_inside: asyncio.Barrier) -> tuple[str, str]:
        begin_step(step_context(name))
        await both_inside.wait()
        return current_step().step, await asyncio.to_thread(lambda: current_step().step)

    async def both() -> list[tuple[str, str]]:
        both_inside = asyncio.Barrier(2)
        async with asyncio.timeout(30):
            return list(await asyncio.gather(run("charge", both_inside), run("ship", both_inside)))

    assert asyncio.run(both()) == [("charge", "charge"), ("ship", "ship")]


def test_what_a_step_asks_for_is_the_same_each_time() -> None:
    """Keys and the deadline are made when they are asked for, and fixed all the same (P6)."""
    context = step_context("charge")
    assert (
        context.idempotency_key
        == context.idempotency_key
        == idempotency_key("place-order", "ord_1", "charge", Phase.EXECUTE)
    )
    assert context.deadline == datetime(2030, 1, 1, tzinfo=UTC)
    assert context.undoes_key is None
    assert attrs.evolve(context, phase=Phase.COMPENSATE).undoes_key == context.idempotency_key


def test_an_idempotency_key_is_one_per_effect() -> None:
    """P6: the key depends on the saga's id, the step and the phase, on all of them, and on nothing else."""
    key = idempotency_key("shop:PlaceOrder", "ord_1", "charge", Phase.EXECUTE)
    assert key == "2fa31c76-daae-500f-9209-791ed2be27dc"
    others = {
        idempotency_key("shop:PlaceOrder", "ord_2", "charge", Phase.EXECUTE),
        idempotency_key("shop:PlaceOrder", "ord_1", "ship", Phase.EXECUTE),
        idempotency_key("shop:Refund", "ord_1", "charge", Phase.EXECUTE),
        idempotency_key("shop:PlaceOrder", "ord_1", "charge", Phase.COMPENSATE),
        idempotency_key("shop:PlaceOrder", "ord_1c", "harge", Phase.EXECUTE),
        idempotency_key("shop:PlaceOrder", 'ord_1", "charge', "", Phase.EXECUTE),
    }
    assert len(others | {key}) == 7
    assert all(each.isascii() and each.isprintable() and len(each) == 36 for each in others | {key})
