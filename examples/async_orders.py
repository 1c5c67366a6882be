"""Three hundred orders, awaited at once on an event loop. Run it: `python async_orders.py`."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import Counter
from typing import Any

from saga_actors import Abort, AsyncCoordinator, Saga, step

ORDERS = 300


async def reserve(order: dict[str, Any]) -> dict[str, Any]:
    return {"reserved": True}


async def release(order: dict[str, Any]) -> None: ...


def charge(order: dict[str, Any]) -> dict[str, Any]:
    if order["number"] % 10 == 0:
        raise Abort("every tenth card is declined")
    return {"charged": 90}


class PlaceOrder(Saga):
    """Its first step runs on a loop, its second on a thread."""

    reserve = step(reserve, compensate=release)
    charge = step(charge)


async def main(url: str) -> None:
    async with AsyncCoordinator(url) as sagas:
        runs = (sagas.run(PlaceOrder, {"number": number}, saga_id=f"ord_{number}") for number in range(ORDERS))
        outcomes = await asyncio.gather(*runs)
        print(dict(sorted(Counter(type(outcome).__name__ for outcome in outcomes).items())))
        print(f"with {'a few' if threading.active_count() < 30 else 'many'} threads")

        waiting = asyncio.create_task(sagas.run(PlaceOrder, {"number": 1}, saga_id="ord_last"))
        await asyncio.sleep(0)
        waiting.cancel()  # nobody waits any more, and the saga goes on, if it had begun
        await sagas.start(PlaceOrder, {"number": 1}, saga_id="ord_last")
        print((await sagas.result("ord_last")).context)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(f"sqlite:///{folder}/sagas.db"))
