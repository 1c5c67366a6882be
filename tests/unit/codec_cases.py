"""Contexts of every kind, and values that none can hold."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest

from saga_actors.errors import ContextError
from saga_actors.journal.codec import decode_context, encode_context

T = TypeVar("T")
U = TypeVar("U")
CustomerId = NewType("CustomerId", int)
Point = namedtuple("Point", "x y")
BERLIN = ZoneInfo("Europe/Berlin")
BIG = 10**5_000


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Status(StrEnum):
    OPEN = "open"
    PAID = "paid"


class Access(Flag):
    READ = 1
    WRITE = 2


class Odd(Enum):
    PAIR = (1, 2)
    HALF = 0.5


@attrs.frozen
class Card:
    number: str


@attrs.frozen
class Cash:
    amount: Decimal


@attrs.frozen
class Item:
    sku: str
    count: int
    price: Decimal
    colour: Colour | None = None


@attrs.frozen
class Page(Generic[T]):
    items: list[T]
    first: T | None = None
    named: dict[str, T] = attrs.Factory(dict)
    numbered: tuple[T, int] | None = None


@attrs.frozen
class WidePage(Page[list[U]], Generic[U]):
    extra: U | None = None


@attrs.frozen
class NumberPage(Page[int]):
    pass


@attrs.define
class Node:
    value: int
    children: list[Node] = attrs.Factory(list)


@dataclasses.dataclass
class Address:
    street: str
    lines: list[Card] = dataclasses.field(default_factory=list)


@attrs.define
class Order:
    order_id: str = "ord_1"
    customer: CustomerId = CustomerId(1)
    total: float = 0.0
    rush: bool = False
    items: list[Item] = attrs.Factory(list)
    payment: Card | Cash | None = None
    reference: int | str | float | None = None
    source: str | list[int] | datetime | UUID | Status = ""
    colour: Colour = Colour.RED
    size: Size | None = None
    access: Access = Access.READ
    odd: Odd = Odd.HALF
    placed: datetime | None = None
    day: date | None = None
    at: time | None = None
    lasts: timedelta | None = None
    key: UUID | None = None
    raw: bytes = b""
    folder: Path | None = None
    tags: set[str] = attrs.Factory(set)
    pairs: frozenset[tuple[int, str]] = frozenset()
    prices: dict[int, Decimal] = attrs.Factory(dict)
    counts: dict[str, list[int]] = attrs.Factory(dict)
    by_status: Mapping[Status, int] = attrs.Factory(dict)
    sequence: Sequence[int] = ()
    row: tuple[int, ...] = ()
    kind: Literal["retail", 1] = "retail"
    noted: Annotated[int, ["unhashable"]] = 0
    page: Page[Card] | None = None
    address: Address | None = None
    tree: Node | None = None
    anything: Any = None
    _private: int = 0


@attrs.define
class Strange:
    """Fields that a context cannot hold, each fine until it is used."""

    call: Callable[[], None] | None = None
    either: list[int] | list[str] | None = None


def halved(number: int) -> int:
    return number // 2


def unsigned(number: int) -> int:
    return abs(number)


@attrs.define
class Picky:
    """A class that a value in it, or an attribute beside it, can keep from being made again."""

    even: int = attrs.field(default=2, validator=attrs.validators.in_([2, 4]), on_setattr=attrs.setters.NO_OP)
    late: int = attrs.field(default=0, init=False)
    half: int = attrs.field(default=8, converter=halved)


@attrs.define
class Bent:
    """A class whose equality does not see its only field."""

    loose: int = attrs.field(eq=False, converter=unsigned)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if attrs.has(type(one)):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in attrs.fields(type(one)))
    if dataclasses.is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one))
    match one:
        case dict():
            return len(one) == len(other) and all(
                same(a, b) and same(one[a], other[b]) for a, b in zip(one, other, strict=True)
            )
        case list() | tuple():
            return len(one) == len(other) and all(map(same, one, other))
        case set() | frozenset():
            found = {item: item for item in other}
            return bool(one == other) and all(same(item, found[item]) for item in one)
        case float():
            return bool(one == other) and math.copysign(1, one) == math.copysign(1, other)
        case datetime() | time():
            return bool(one == other and one.fold == other.fold and one.utcoffset() == other.utcoffset())
        case _:
            return bool(one == other) and repr(one) == repr(other)


def there_and_back(context: Any, context_type: Any) -> Any:
    return decode_context(encode_context(context, context_type), context_type)


def misplaced(value: object) -> Any:
    """`value`, where a type checker would not have it."""
    return value


def refusal(context: Any, context_type: Any = dict) -> str:
    with pytest.raises(ContextError) as caught:
        encode_context(context, context_type)
    return str(caught.value)


@attrs.frozen
class Misfit:
    """A value that cannot be stored, and a word of the reason."""

    value: Any
    word: str


MISFITS = {
    "nan": Misfit(math.nan, "finite"),
    "infinity": Misfit(-math.inf, "finite"),
    "lone surrogate": Misfit("\ud800", "surrogate"),
    "huge int": Misfit(BIG, "digits"),
    "OrderedDict": Misfit(OrderedDict(a=1), "subclass of dict"),
    "defaultdict": Misfit(defaultdict(list), "subclass of dict"),
    "namedtuple": Misfit(Point(1, 2), "subclass of tuple"),
    "Enum": Misfit(Colour.RED, "store .value"),
    "IntEnum": Misfit(Size.SMALL, "store .value"),
    "StrEnum": Misfit(Status.OPEN, "store .value"),
    "attrs": Misfit(Card("1"), "attrs instance"),
    "dataclass": Misfit(Address("x"), "Address"),
    "object": Misfit(object(), "object"),
    "class": Misfit(Card, "type"),
    "bytearray": Misfit(bytearray(b"x"), "bytearray"),
    "Decimal nan": Misfit(Decimal("sNaN"), "finite"),
    "Decimal infinity": Misfit(Decimal("-Infinity"), "finite"),
    "a zone without equal": Misfit(datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo.no_cache("Europe/Berlin")), "tzinfo"),
}
misfits = pytest.mark.parametrize("misfit", MISFITS.values(), ids=MISFITS.keys())


def buried(value: Any, path: list[str | int]) -> dict[str, Any]:
    """`value` under `path`, a key or the index of a list at each level, with sound neighbours."""
    for segment in reversed(path):
        value = {"before": 1, segment: value} if isinstance(segment, str) else [0] * segment + [value]
    assert isinstance(value, dict)
    return value


def spelled(path: list[str | int]) -> str:
    return "".join(f".{each}" if isinstance(each, str) else f"[{each}]" for each in path).removeprefix(".")
