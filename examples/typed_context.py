"""A context of a class of your own: `Saga[Order]`. Run it: `python typed_context.py`.

Steps get an `Order` and return a whole new one, and type checkers see both. What is journalled comes back equal, type
for type; what could not is refused when the saga starts, with the path of the value.
"""

from __future__ import annotations

import tempfile
from datetime import date, timedelta
from decimal import Decimal

import attrs

from saga_actors import Abort, Compensated, Completed, ContextError, Coordinator, Saga, step


@attrs.frozen
class Line:
    """So many of something."""

    item: str
    count: int
    price: Decimal


@attrs.frozen
class Order:
    """What is known of an order; what is not known yet is None."""

    placed: date
    lines: tuple[Line, ...]
    total: Decimal | None = None
    arrives: date | None = None


def price(order: Order) -> Order:
    return attrs.evolve(order, total=sum((line.count * line.price for line in order.lines), Decimal(0)))


def schedule(order: Order) -> Order:
    if any(line.count > 100 for line in order.lines):
        raise Abort("no van is that big")
    return attrs.evolve(order, arrives=order.placed + timedelta(days=2))


def unschedule(order: Order) -> None:
    """Nothing was booked outside, in this example."""


class PlaceOrder(Saga[Order]):
    """Priced, then scheduled."""

    price = step(price, on_failure="rollback")
    schedule = step(schedule, compensate=unschedule)


def place(sagas: Coordinator, order: Order) -> None:
    match sagas.run(PlaceOrder, order):
        case Completed(done):
            print(f"{done.total} in all, arrives on {done.arrives}")
        case Compensated(failure, order):
            print(f"not placed: {failure.reason}; it would have been {order.total}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, Coordinator(f"sqlite:///{folder}/sagas.db") as sagas:
        place(sagas, Order(date(2026, 11, 23), (Line("chair", 4, Decimal("49.90")), Line("table", 1, Decimal("180")))))
        place(sagas, Order(date(2026, 11, 23), (Line("chair", 400, Decimal("49.90")),)))
        try:
            sagas.start(PlaceOrder, Order(date(2026, 11, 23), (Line("chair", 1.5, Decimal(1)),)))  # type: ignore[arg-type]
        except ContextError as error:
            print(error)
