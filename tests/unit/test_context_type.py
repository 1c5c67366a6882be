"""The type of a saga's context: where it comes from, and how it is described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import attrs
import pytest

from saga_actors.definition import (
    Saga,
    step,
)
from saga_actors.errors import DefinitionError
from saga_actors.outcomes import C

T = TypeVar("T")


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
class Page(Generic[T]):
    rows: list[T]
    next: Page[T] | None = None


@attrs.frozen
class IntPage(Page[int]):
    label: str = ""


class OrderDict(TypedDict, total=False):
    total: int


OrderLike = NewType("OrderLike", Order)


def nothing(order: Any) -> None:
    """A step, or an undo, that does nothing."""


def test_a_bare_saga_has_a_dict_context() -> None:
    """`Saga` and `Saga[dict[str, ...]]` mean a dict."""

    class Bare(Saga):
        charge = step(nothing)

    class Written(Saga[dict[str, int]]):
        charge = step(nothing)

    assert Bare.definition.context_type is dict
    assert Written.definition.context_type is dict


def test_an_attrs_context_is_found_through_inheritance() -> None:
    """The context's type is resolved through generic bases, with new type variables and generic attrs classes."""

    class Base(Saga[T], Generic[T], abstract=True):
        first = step(nothing)

    class Paged(Base[Page[T]], Generic[T], abstract=True):
        pass

    class OfOrders(Base[Order]):
        pass

    class OfPages(Paged[int]):
        pass

    class Below(OfOrders):
        pass

    assert OfOrders.definition.context_type is Order
    assert OfPages.definition.context_type == Page[int]
    assert Below.definition.context_type is Order


def test_a_default_fills_in_only_below_the_generic_base() -> None:
    """A base that is open in its context takes steps of any; a bare subclass of it means dict."""

    def of_an_order(order: Order) -> Order:
        return order

    class Base(Saga[C], abstract=True):
        first = step(of_an_order)

    class OfOrders(Base[Order]):
        pass

    assert OfOrders.definition.context_type is Order
    with pytest.raises(
        DefinitionError, match=r"execute of Bare\.first .* 'order' is annotated Order; expected .* dict"
    ):

        class Bare(Base):
            pass


@pytest.mark.parametrize("context_type", [int, list[int], OrderDict, Mapping[str, Any], dict[int, str], Any, T, None])
def test_another_context_type_is_refused(context_type: Any) -> None:
    """A context is a dict with str keys or one attrs class."""
    with pytest.raises(DefinitionError, match="expected a dict or one attrs class"):

        class Bad(Saga[context_type]):
            charge = step(nothing)


def test_a_quoted_context_type_is_refused_with_what_to_do() -> None:
    """A forward reference is not looked up; the message says where to define the class."""
    with pytest.raises(DefinitionError, match="define Order above the saga, and write it without quotes"):

        class Bad(Saga["Order"]):
            charge = step(nothing)


def test_bases_with_different_contexts_are_refused() -> None:
    """A saga has one context; bases that do not agree are named."""

    class Audited(Saga, abstract=True):
        audit = step(nothing)

    with pytest.raises(DefinitionError, match="sagas with different contexts"):

        class Bad(Audited, Saga[Order]):
            charge = step(nothing)


def context_of(context_type: Any) -> str:
    class Described(Saga[context_type]):
        charge = step(nothing)

    return Described.definition.plan.context


def test_a_context_is_described_by_its_fields_and_types() -> None:
    """P14: the text has every field with its type, nested classes as their fields, whatever they are called."""
    assert context_of(Order) == "{items: list[{count: int, sku: str}], paid: bool, total: int}"
    assert context_of(Page[int]) == "{next: None | ^1, rows: list[int]}"
    assert context_of(Page[str]) == "{next: None | ^1, rows: list[str]}"
    assert context_of(IntPage) == "{label: str, next: None | {next: None | ^1, rows: list[int]}, rows: list[int]}"


class Colour(Enum):
    RED = 1


class Point(NamedTuple):
    x: int


@attrs.define
class Rich:
    a: int | str | None
    b: Literal["y", "x"]
    c: Annotated[datetime, "utc"]
    d: OrderLike
    e: Callable[[int], str]
    f: tuple[int, ...]
    g: Mapping[str, Colour]
    h: OrderDict
    i: Point
    j: Any
    k: list  # type: ignore[type-arg]


def test_every_kind_of_type_is_described_in_one_way() -> None:
    """Unions and literals are in order, so that the text is the same in every process and Python version."""
    order = "{items: list[{count: int, sku: str}], paid: bool, total: int}"
    assert context_of(Rich) == (
        f"{{a: None | int | str, b: Literal['x', 'y'], c: datetime, d: {order}, e: Callable[[int], str], "
        "f: tuple[int, ...], g: Mapping[str, Colour], h: {total: int}, i: {x: int}, j: Any, k: list}"
    )


def test_a_type_that_cannot_be_resolved_is_described_as_written() -> None:
    """Names that only a type checker knows do not keep a saga from being defined."""

    @attrs.define
    class Loose:
        total: OnlyForCheckers  # type: ignore[name-defined]  # noqa: F821

    assert context_of(Loose) == "{total: OnlyForCheckers}"


@attrs.define
class Later:
    below: DefinedBelow


class PlacedEarly(Saga[Later]):
    charge = step(nothing)


@attrs.define
class DefinedBelow:
    total: int


def test_a_context_may_refer_to_what_stands_below_it() -> None:
    """P14: the plan is made when asked for, so that a class defined later in the module is described in full."""
    assert PlacedEarly.definition.plan.context == "{below: {total: int}}"


def test_the_context_is_part_of_the_fingerprint() -> None:
    """P14: the same steps on another context have another fingerprint."""

    class OfDicts(Saga):
        charge = step(nothing)

    class OfOrders(Saga[Order]):
        charge = step(nothing)

    assert OfDicts.definition.plan.fingerprint != OfOrders.definition.plan.fingerprint
