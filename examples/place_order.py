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
    """What the payment gateway answers."""

    id: str
    declined: bool
    why: str


class Gateway:
    """A payment gateway that is not there. A real one remembers each key, and charges once for all that have it."""

    def charge(self, total: int, idempotency_key: str) -> Receipt:
        return Receipt(f"ch_{idempotency_key[:8]}", declined=total > LIMIT, why=f"{total} is over the limit of {LIMIT}")

    def refund(self, charge_id: str) -> None: ...

    def refund_by_key(self, key: str | None) -> None: ...


gateway = Gateway()


def reserve(order: dict[str, Any]) -> dict[str, Any]:
    return {"reservation": f"res_{order['order_id']}"}


def release(order: dict[str, Any]) -> None: ...


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
    return {"parcel": f"par_{order['order_id']}"}


def cancel_shipment(order: dict[str, Any]) -> None: ...


def send_confirmation(order: dict[str, Any]) -> None: ...


class PlaceOrder(Saga):
    """Reserve, charge, ship and tell the customer; undone in reverse if a step fails."""

    reserve_inventory = step(reserve, compensate=release)
    charge_payment = step(charge, compensate=refund, timeout=10, retries=3)
    create_shipment = step(ship, compensate=cancel_shipment)
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
