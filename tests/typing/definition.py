"""Definitions as type checkers see them: checked by mypy --strict and basedpyright, never run.

A line that must not check says so to both; an ignore that is not needed is itself an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Generic, TypeVar, assert_type

import attrs

from saga_actors.definition import Saga, Source, Step, importable, registered_sagas, saga_named, step
from saga_actors.retry import Retry
from saga_actors.step_context import StepContext, current_step

T = TypeVar("T")
Ctx = dict[str, Any]


@attrs.frozen
class Order:
    total: int
    paid: bool = False


@attrs.frozen
class Page(Generic[T]):
    rows: list[T]


def reserve(order: Ctx) -> None: ...
def release(order: Ctx) -> None: ...
def charge(order: Ctx) -> Ctx:
    return {"charge_id": current_step().idempotency_key}


def ship(order: Ctx) -> dict[str, str]:
    return {"parcel": "p_1"}


def maybe(order: Mapping[str, Any]) -> dict[str, Any] | None:
    return None


async def notify(order: Ctx) -> None: ...
async def price(order: Ctx) -> Ctx:
    return {"price": 3}


async def unnotify(order: Ctx) -> None: ...
def charge_at(gateway: str, order: Ctx) -> Ctx:
    return order


# A dict context.


class PlaceOrder(Saga, name="place-order"):
    reserve = step(reserve, compensate=release)
    charge = step(charge, compensate=lambda order: None, timeout=10, retries=3)
    ship = step(ship, timeout=timedelta(hours=2), retries=Retry(3, 0.5, on=ConnectionError))
    maybe = step(maybe)
    notify = step(notify, compensate=unnotify, on_failure="ignore")
    price = step(price, on_unknown="hold", unknown_on=TimeoutError, reruns=0)
    partly = step(partial(charge_at, "gateway"), unknown_on=(TimeoutError, OSError))
    note = step(lambda order: {"note": order["total"]})


assert_type(PlaceOrder.charge, Step[dict[str, Any]])
assert_type(PlaceOrder.note, Step[dict[str, Any]])
assert_type(PlaceOrder.definition.name, str)
assert_type(PlaceOrder.definition.plan.steps[0].timeout, float)


class Written(Saga[dict[str, Any]]):
    charge = step(charge)


# An attrs context.


def check(order: Order) -> None: ...
def pay(order: Order) -> Order:
    return attrs.evolve(order, paid=True)


def pay_back(order: Order) -> None: ...
async def pay_async(order: Order) -> Order | None:
    return attrs.evolve(order, paid=True)


async def pay_back_async(order: Order) -> None: ...
def count(page: Page[int]) -> Page[int]:
    return page


class PlaceTyped(Saga[Order]):
    check = step(check)
    pay = step(pay, compensate=pay_back)
    again = step(pay_async, compensate=pay_back_async)
    short: Step[Order] = step(lambda order: attrs.evolve(order, total=order.total + 1))


class Paged(Saga[Page[int]]):
    count = step(count)


assert_type(PlaceTyped.pay, Step[Order])
assert_type(PlaceTyped.pay.execute(Order(3)) is None, bool)


# Bases and overriding.


class Base(Saga[T], Generic[T], abstract=True):
    pass


class OfOrders(Base[Order]):
    pay = step(pay)


class Dearer(OfOrders):
    pay = step(pay, compensate=pay_back, timeout=5)


# Sagas as values.


def context_of(saga: type[Saga[T]], context: T) -> T:
    return context


assert_type(context_of(PlaceTyped, Order(3)), Order)
assert_type(context_of(PlaceOrder, {"total": 3}), dict[str, Any])
assert_type(importable(PlaceOrder), Source)
assert_type(registered_sagas(), list[type[Saga[Any]]])
assert_type(saga_named("place-order"), type[Saga[Any]] | None)
assert_type(current_step(), StepContext)
assert_type(current_step().undoes_key, str | None)


# What must not check.


def number(order: Order) -> int:
    return order.total


async def number_async(order: Order) -> int:
    return order.total


def told(order: Ctx) -> bool:
    return True


step(number)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
step(number_async)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
step("charge")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
step(charge, compensate=told)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
step(pay, compensate=release)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
step(charge, compensate=pay_back)  # pyright: ignore[reportArgumentType]
step(charge, release)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
step(charge, timeout="30")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
step(charge, retries="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
step(charge, retries=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
step(charge, reruns=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
step(charge, on_failure="retry")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
step(charge, on_unknown="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
step(charge, unknown_on="TimeoutError")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
step(charge, unknown_on=int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
step(charge, tries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
step(charge).timeout = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
Retry("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Retry(3, jitter="full")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
PlaceOrder.charge.execute(Order(3))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
context_of(PlaceTyped, {"total": 3})  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
importable(int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
current_step().attempt = 2  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
