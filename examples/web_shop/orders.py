"""The order, as a saga over the shop's database; the module that the node is asked to serve."""

from __future__ import annotations

from typing import Any

import database

from saga_actors import Abort, Saga, current_step, step

PRICE = 20
LARGEST = 5


class NoCarrier(Exception):
    """Nobody carries so much at a time."""


def reserve(order: dict[str, Any]) -> None:
    try:
        database.reserve(current_step().idempotency_key, order["order_id"], order["item"], order["count"])
    except database.OutOfStockError as error:
        raise Abort(str(error)) from error


def release(order: dict[str, Any]) -> None:
    database.release(key_of_what_is_undone())


def charge(order: dict[str, Any]) -> dict[str, Any]:
    amount = order["count"] * PRICE
    database.pay(current_step().idempotency_key, order["order_id"], amount)
    return {"paid": amount}


def refund(order: dict[str, Any]) -> None:
    database.pay_back(key_of_what_is_undone())


def ship(order: dict[str, Any]) -> None:
    if order["count"] > LARGEST:
        raise NoCarrier(f"no carrier takes more than {LARGEST} at a time")
    database.send(current_step().idempotency_key, order["order_id"])


def key_of_what_is_undone() -> str:
    key = current_step().undoes_key
    assert key is not None  # an undo has one
    return key


class PlaceOrder(Saga):
    """Reserve, charge, ship; undone in reverse if a step fails."""

    reserve = step(reserve, compensate=release)
    charge = step(charge, compensate=refund)
    ship = step(ship)
