"""The code of steps: which callables are taken, and which annotations are provably wrong."""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, MutableMapping
from typing import Annotated, Any, Generic, Literal, NewType, NoReturn, Protocol, TypedDict, TypeVar
from unittest import mock

import attrs
import pytest

from saga_actors.definition import (
    Saga,
    step,
)
from saga_actors.errors import DefinitionError

T = TypeVar("T")
Ctx = dict[str, Any]


@attrs.frozen
class Item:
    sku: str
    count: int


@attrs.frozen
class Order:
    total: int
    items: list[Item] = attrs.field(factory=list)
    paid: bool = False


@attrs.frozen
class SpecialOrder(Order):
    discount: int = 0


@attrs.frozen
class Page(Generic[T]):
    rows: list[T]
    next: Page[T] | None = None


@attrs.frozen
class IntPage(Page[int]):
    label: str = ""


class OrderDict(TypedDict, total=False):
    total: int


class HasTotal(Protocol):
    @property
    def total(self) -> int: ...


OrderLike = NewType("OrderLike", Order)


def nothing(order: Any) -> None:
    """A step, or an undo, that does nothing."""


class Charger:
    def charge(self, order: Ctx) -> Ctx:
        return order

    async def charge_async(self, order: Ctx) -> Ctx:
        return order

    def __call__(self, order: Ctx) -> None: ...


class AsyncCharger:
    def __init__(self, order: Any = None) -> None: ...

    async def __call__(self, order: Ctx) -> None: ...


async def charge_async(order: Ctx) -> Ctx:
    return order


def charge_with(gateway: str, order: Ctx) -> Ctx:
    return order


async def charge_async_with(gateway: str, order: Ctx) -> Ctx:
    return order


@functools.wraps(charge_with)
def injected(*arguments: Any) -> Any:
    return charge_with("gateway", *arguments)


@pytest.mark.parametrize(
    ("code", "is_async"),
    [
        (lambda order: None, False),
        (charge_async, True),
        (functools.partial(charge_with, "gateway"), False),
        (functools.partial(charge_async_with, "gateway"), True),
        (functools.partial(functools.partial(charge_async_with), "gateway"), True),
        (Charger().charge, False),
        (Charger().charge_async, True),
        (functools.partial(Charger().charge_async), True),
        (Charger(), False),
        (AsyncCharger(), True),
        (functools.partial(AsyncCharger()), True),
        (staticmethod(charge_async), True),
        (AsyncCharger, False),
        (injected, False),
        (print, False),
        (dict, False),
        (mock.Mock(), False),
        (mock.AsyncMock(), True),
    ],
)
def test_any_callable_of_one_argument_is_a_step(code: Any, is_async: bool) -> None:
    """Functions, lambdas, partials, methods, objects and their async forms work, and it is seen which are async."""

    class PlaceOrder(Saga):
        charge = step(code)

    assert PlaceOrder.definition.plan.steps[0].is_async is is_async


def fits(code: Any, context_type: Any, *, undo: bool = False) -> bool:
    """Whether a saga of this context takes `code`; a refusal has to name the step."""
    charging = step(nothing, compensate=code) if undo else step(code)
    try:
        types.new_class("Tried", (Saga[context_type],), exec_body=lambda body: body.update(charging=charging))
    except DefinitionError as error:
        if f"{'compensate' if undo else 'execute'} of Tried.charging" not in str(error):
            raise
        return False
    return True


def taking(annotation: Any) -> Callable[[Any], None]:
    def code(order: Any) -> None: ...

    code.__annotations__ = {"order": annotation, "return": None}
    return code


def returning(annotation: Any) -> Callable[[Any], Any]:
    def code(order: Any) -> Any: ...

    code.__annotations__ = {"return": annotation}
    return code


@pytest.mark.parametrize(
    "annotation",
    [
        dict,
        dict[str, Any],
        dict[str, int],
        Ctx,
        "dict[str, Any]",
        Mapping[str, Any],
        MutableMapping,
        OrderDict,
        HasTotal,
        object,
        Any,
        T,
        dict[str, Any] | None,
        Order | dict[str, Any],
        Annotated[dict[str, Any], "context"],
        NewType("Paid", dict[str, Any]),
        "NameOnlyForCheckers",
        "1 / 0",
    ],
)
def test_a_wider_parameter_fits_a_dict(annotation: Any) -> None:
    """An annotation that a dict satisfies, or that cannot be resolved, passes for execute and compensate alike."""
    assert fits(taking(annotation), dict)
    assert fits(taking(annotation), dict, undo=True)


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        "int",
        Order,
        "Order",
        list[Any],
        None,
        Order | None,
        Literal["x"],
        dict[int, Any],
        Annotated[int, 1],
        Page[int],
    ],
)
def test_a_parameter_that_no_dict_satisfies_is_refused(annotation: Any) -> None:
    """A first parameter that is provably something else than a dict is refused for execute and compensate alike."""
    assert not fits(taking(annotation), dict)
    assert not fits(taking(annotation), dict, undo=True)


def test_a_parameter_is_compared_with_the_attrs_class() -> None:
    """The class and its bases fit; dicts, other classes, subclasses and other arguments of a generic class do not."""
    for annotation in (Order, "Order", object, HasTotal, OrderLike, Order | None):
        assert fits(taking(annotation), Order)
    assert fits(taking(Order), SpecialOrder)
    assert fits(taking(Page), Page[int])
    assert fits(taking(Page[T]), Page[int])  # type: ignore[valid-type]
    assert fits(taking(Page[int]), IntPage)
    for wrong in (dict[str, Any], Mapping[str, Any], Item, SpecialOrder, OrderDict, "Item | None"):
        assert not fits(taking(wrong), Order)
    assert not fits(taking(Page[str]), Page[int])


def test_a_local_class_is_not_taken_for_a_global_one() -> None:
    """A quoted name in a function may be that of a class which only that function knows."""

    @attrs.define
    class Order:
        local: bool

    def charge(order: Order) -> Order:
        return order

    assert fits(charge, Order)


@pytest.mark.parametrize(
    "annotation",
    [
        None,
        dict,
        dict[str, str],
        Mapping[str, Any],
        OrderDict,
        dict[str, Any] | None,
        int | None,
        Any,
        object,
        T,
        NoReturn,
        HasTotal,
        Awaitable[None],
        Awaitable,
        Coroutine[Any, Any, dict[str, Any]],
        asyncio.Future[None],
        "OnlyForCheckers",
    ],
)
def test_a_return_that_can_be_right_passes(annotation: Any) -> None:
    """What may return None or a mapping, now or once awaited, is a step of a dict saga."""
    assert fits(returning(annotation), dict)


@pytest.mark.parametrize(
    "annotation", [int, "int", str, list[dict[str, Any]], Order, Awaitable[int], Coroutine[Any, Any, str], int | str]
)
def test_a_return_that_cannot_be_right_is_refused(annotation: Any) -> None:
    """What returns neither None nor a mapping is no step of a dict saga."""
    assert not fits(returning(annotation), dict)


def test_a_return_is_compared_with_the_attrs_class() -> None:
    """A saga on an attrs class takes that class (or wider, or a subclass) or None, and no mapping."""
    for annotation in (Order, SpecialOrder, Order | None, Awaitable[Order], None, object):
        assert fits(returning(annotation), Order)
    assert fits(returning(Order), SpecialOrder)
    for wrong in (dict[str, Any], Item, int):
        assert not fits(returning(wrong), Order)


def test_a_compensation_returns_none() -> None:
    """A compensation that is annotated to return something provably not None is refused."""
    for annotation in (None, Any, object, NoReturn, Awaitable[None], bool | None):
        assert fits(returning(annotation), dict, undo=True)
    for wrong in (bool, dict[str, Any], Awaitable[dict[str, Any]], "int"):
        assert not fits(returning(wrong), dict, undo=True)


def test_the_message_says_what_was_given_and_expected() -> None:
    """A wrong annotation is reported with the class, the step, the function, its parameter and the saga's context."""

    def charge(order: int) -> None: ...

    with pytest.raises(DefinitionError) as refused:

        class PlaceOrder(Saga[Order]):
            charging = step(charge)

    assert "execute of PlaceOrder.charging is " in str(refused.value)
    assert "charge, whose 'order' is annotated int; expected the saga's context, Order, or something wider" in str(
        refused.value
    )


def generates(order: Any) -> Iterator[None]:
    yield None


async def generates_async(order: Any) -> AsyncIterator[None]:
    yield None


@pytest.mark.parametrize("code", [generates, generates_async, functools.partial(generates_async)])
def test_generators_are_refused(code: Any) -> None:
    """A function with `yield` would run nothing when called, so it is neither step nor undo."""
    assert not fits(code, dict)
    assert not fits(code, dict, undo=True)


@pytest.mark.parametrize(
    "code",
    [
        lambda: None,
        lambda order, gateway: None,
        lambda *, order: None,
        lambda order, *, gateway: None,
        functools.partial(charge_with, "gateway", {}),
        functools.partial(charge_with, order={}),
        functools.partial(nothing, order={}),
        charge_with,
        Charger.charge,
        list.append,
    ],
)
def test_code_that_cannot_take_the_context_alone_is_refused(code: Any) -> None:
    """A step is called with one positional argument; what cannot be is refused."""
    if code is Charger.charge:
        assert fits(Charger().charge, dict)
    assert not fits(code, dict)
    assert not fits(code, dict, undo=True)


@pytest.mark.parametrize(
    "code",
    [
        lambda order, gateway="default": None,
        lambda *orders: None,
        lambda order, *, gateway="default": None,
        functools.partial(charge_with, "gateway"),
        functools.partial(nothing),
    ],
)
def test_code_that_can_take_the_context_alone_passes(code: Any) -> None:
    """Defaults, partials and starred parameters leave one argument open, and that is enough."""
    assert fits(code, dict)
