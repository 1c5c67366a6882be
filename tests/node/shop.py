"""Orders of a shop, as dicts and as attrs classes; each effect is a line in the ledger that `flows` keeps outside."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
from flows import act, act_async, undo

from saga_actors import Abort, OutcomeUnknown, Saga, step


class PlaceOrder(Saga):
    """Three steps with undos, one of them `async def`, and a message to the customer that may fail."""

    reserve = step(act, compensate=undo)
    charge = step(act_async, compensate=undo)
    ship = step(act, compensate=undo, compensate_retries=0)
    notify = step(act, on_failure="ignore")


class Other(Saga):
    """Another saga than PlaceOrder."""

    only = step(act)


@attrs.frozen
class Line:
    """One line of an order."""

    article: str
    pieces: int = 1


@attrs.frozen
class Order:
    """An order with a type."""

    folder: str
    lines: tuple[Line, ...]
    paid: str | None = None
    parcel: str | None = None
    declined: bool = False


def pay(order: Order) -> Order:
    """Charge so much per piece."""
    act({"folder": order.folder})
    if order.declined:
        raise Abort("card declined")
    return attrs.evolve(order, paid=f"{sum(line.pieces for line in order.lines)} paid")


def pay_back(order: Order) -> None:
    """Undo it."""
    act({"folder": order.folder})


async def send(order: Order) -> Order:
    """Send the parcel, on the loop."""
    await asyncio.sleep(0)
    act({"folder": order.folder})
    return attrs.evolve(order, parcel="p_1")


async def check(order: Order) -> None:
    """Change nothing."""


class PlaceTyped(Saga[Order]):
    """Blocking and async steps on an attrs class."""

    check = step(check)
    send = step(send, compensate=pay_back)
    pay = step(pay, compensate=pay_back)


def may_have_happened(context: dict[str, Any]) -> None:
    """Nobody knows."""
    raise OutcomeUnknown("the line went dead")


class Doubtful(Saga):
    """Is held for an operator when nobody knows."""

    call = step(may_have_happened, on_unknown="hold")


def grow(context: dict[str, Any]) -> dict[str, Any]:
    """A result of so many characters."""
    return {"grown": "x" * context["by"]}


class Growing(Saga):
    """Its context grows."""

    grow = step(grow)


def nonsense(context: dict[str, Any]) -> Any:
    """No context at all."""
    return 42


class Nonsense(Saga):
    """Its step returns nonsense."""

    talk = step(nonsense)
