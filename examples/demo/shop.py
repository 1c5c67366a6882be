"""The shop of the demo: the place-order saga, and a world outside that notes each call made to it in a ledger."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs

from saga_actors import Abort, Saga, current_step, step

FOLDER = "SAGA_DEMO_FOLDER"
PATIENCE = 20.0

Order = dict[str, Any]
T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: str) -> T:
    """What `look` finds, as soon as it finds something; raises TimeoutError after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:g} s for {what}, in vain")
        time.sleep(0.01)
    return found


@attrs.frozen
class Call:
    """One call to somebody outside, as the ledger has it; `order` is the context that the step was given."""

    who: str
    what: str
    key: str
    pid: int
    order: Order


@attrs.frozen
class World:
    """All who are outside: what they were asked to do is a line each in a file, which outlives every process."""

    folder: Path

    @classmethod
    def here(cls) -> World:
        """The one that the demo has made."""
        return cls(Path(os.environ[FOLDER]))

    def calls(self, order_id: str) -> list[Call]:
        """The calls for one order, in their order."""
        lines = self._ledger.read_text().splitlines() if self._ledger.exists() else []
        calls = [Call(**json.loads(line)) for line in lines]
        return [call for call in calls if call.order["order_id"] == order_id]

    def call(self, who: str, what: str, order: Order) -> None:
        """Ask somebody to do something, and wait for the answer."""
        call = Call(who, what, current_step().idempotency_key, os.getpid(), order)
        line = json.dumps(attrs.asdict(call)) + "\n"
        file = os.open(self._ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
        silence = self._silence(who, order["order_id"])
        eventually(lambda: None if silence.exists() else True, f"an answer of the {who}")

    def silence(self, who: str, order_id: str) -> None:
        """Have somebody take a call for this order, and not answer it for now."""
        self._silence(who, order_id).touch()

    def answer(self, who: str, order_id: str) -> None:
        """Have somebody answer again."""
        self._silence(who, order_id).unlink()

    @property
    def _ledger(self) -> Path:
        return self.folder / "ledger.jsonl"

    def _silence(self, who: str, order_id: str) -> Path:
        return self.folder / f"{who} is silent about {order_id}"


def reserve(order: Order) -> Order:
    World.here().call("warehouse", "reserve", order)
    return {"stage": "reserved"}


def release(order: Order) -> None:
    World.here().call("warehouse", "release", order)


def charge(order: Order) -> Order:
    World.here().call("bank", "charge", order)
    return {"stage": "paid", "charge": f"ch_{order['total']}"}


def refund(order: Order) -> None:
    World.here().call("bank", "refund", order)


def ship(order: Order) -> Order:
    World.here().call("carrier", "ship", order)
    if order["to"] == "the Moon":
        raise Abort("nobody delivers to the Moon")
    return {"stage": "shipped"}


def cancel_shipment(order: Order) -> None:
    World.here().call("carrier", "cancel", order)


def send_confirmation(order: Order) -> None:
    World.here().call("postman", "confirm", order)


class PlaceOrder(Saga, name="place-order"):
    """Reserve, charge, ship and tell the customer; undone in reverse if a step fails."""

    reserve_inventory = step(reserve, compensate=release)
    charge_payment = step(charge, compensate=refund)
    create_shipment = step(ship, compensate=cancel_shipment)
    notify_customer = step(send_confirmation, on_failure="ignore")
