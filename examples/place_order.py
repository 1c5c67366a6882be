"""An order in one file: reserve, charge, ship and tell the customer; undone in reverse if a step fails.

Run it with `python place_order.py`. Run it twice: the same ids are the same sagas, and nothing is charged again.
"""

from __future__ import annotations

from typing import Any

import attrs

from saga_actors import Abort, Compensated, CompensationFailed, Completed, Coordinator, Saga, current_step, step

LIMIT = 1_000


@attrs.frozen
class Receipt:
    """What the gateway answers to a charge."""

    id: str
    declined: bool
    why: str


class Gateway:
    """A shop's partners, who are not there. Real ones remember each key, and act once for all calls that have it."""

    def reserve(self, order_id: str, idempotency_key: str) -> str:
        return f"res_{order_id}"

    def release(self, key: str | None) -> None: ...

    def charge(self, total: int, idempotency_key: str) -> Receipt:
        return Receipt(f"ch_{idempotency_key[:8]}", declined=total > LIMIT, why=f"{total} is over the limit of {LIMIT}")

    def refund(self, charge_id: str) -> None: ...

    def refund_by_key(self, key: str | None) -> None: ...

    def ship(self, order_id: str, idempotency_key: str) -> str:
        return f"par_{order_id}"

    def cancel(self, key: str | None) -> None: ...

    def confirm(self, order_id: str, idempotency_key: str) -> None: ...


gateway = Gateway()


def reserve(order: dict[str, Any]) -> dict[str, Any]:
    return {"reservation": gateway.reserve(order["order_id"], idempotency_key=current_step().idempotency_key)}


def release(order: dict[str, Any]) -> None:  # the key is known, whether reserve answered or not
    gateway.release(current_step().undoes_key)


def charge(order: dict[str, Any]) -> dict[str, Any]:
    receipt = gateway.charge(order["total"], idempotency_key=current_step().idempotency_key)
    if receipt.declined:
        raise Abort(f"card declined: {receipt.why}")  # failed, and no retry will help
    return {"charge_id": receipt.id}  # merged into the context


def refund(order: dict[str, Any]) -> None:  # gets the context as it was when charge completed
    if "charge_id" in order:
        gateway.refund(order["charge_id"])
    else:  # charge never answered: it may have happened
        gateway.refund_by_key(current_step().undoes_key)


def ship(order: dict[str, Any]) -> dict[str, Any]:
    return {"parcel": gateway.ship(order["order_id"], idempotency_key=current_step().idempotency_key)}


def cancel_shipment(order: dict[str, Any]) -> None:
    gateway.cancel(current_step().undoes_key)


def send_confirmation(order: dict[str, Any]) -> None:
    gateway.confirm(order["order_id"], idempotency_key=current_step().idempotency_key)


class PlaceOrder(Saga):
    """Reserve, charge, ship and tell the customer; undone in reverse if a step fails."""

    reserve_inventory = step(reserve, compensate=release, unknown_on=TimeoutError)
    charge_payment = step(charge, compensate=refund, timeout=10, retries=3, unknown_on=TimeoutError)
    create_shipment = step(ship, compensate=cancel_shipment, unknown_on=TimeoutError)
    notify_customer = step(send_confirmation, on_failure="ignore")


def place(sagas: Coordinator, order: dict[str, Any]) -> None:
    match sagas.run(PlaceOrder, order, saga_id=order["order_id"]):
        case Completed(context):
            print(f"{context['order_id']}: paid by {context['charge_id']}, sent as {context['parcel']}")
        case Compensated(failure, context):
            print(f"{context['order_id']}: undone, for {failure.step} failed: {failure.reason}")
        case CompensationFailed(failure, undo):
            print(f"{order['order_id']}: needs somebody; {undo.step} could not be undone: {undo.reason}")


if __name__ == "__main__":
    with Coordinator("sqlite:///sagas.db") as sagas:
        place(sagas, {"order_id": "ord_123", "total": 250})
        place(sagas, {"order_id": "ord_124", "total": 5_000})

        saga_id = sagas.start(PlaceOrder, {"order_id": "ord_125", "total": 90}, saga_id="ord_125")
        sagas.result(saga_id)
        print(f"{saga_id}: {sagas.status(saga_id).state}")
