"""Contexts: what goes in comes out equal, type for type, or is refused with the path of the value."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import subprocess
import sys
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_actors.errors import ContextError
from saga_actors.journal.codec import MAX_DEPTH, apply_result, decode_context, digest_of, encode_context

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


# --- strategies -----------------------------------------------------------------------------------------------------

zones = st.sampled_from(
    [None, UTC, BERLIN, ZoneInfo("Asia/Kathmandu"), timezone(timedelta(hours=-3)), timezone(timedelta(hours=1), "CET")]
)
moments = st.datetimes(timezones=zones, allow_imaginary=True)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
integers = st.one_of(st.integers(), st.integers(-(2**4_000), 2**4_000))
keys = st.one_of(st.text(max_size=5), st.sampled_from(["$", "$$", "$set", "$dict", "$datetime", "a b", "größe"]))
hashables = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        integers,
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
        st.binary(),
        moments,
        st.dates(),
        st.times(timezones=st.sampled_from([None, UTC, BERLIN])),
        st.timedeltas(),
        st.uuids(),
        decimals,
    ),
    lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)),
    max_leaves=4,
)
values = st.recursive(
    st.one_of(hashables, st.sets(hashables, max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(hashables, inner, max_size=3),
    ),
    max_leaves=12,
)
contexts = st.dictionaries(keys, values, max_size=5)

cards = st.builds(Card, st.text(max_size=5))
items = st.builds(Item, st.text(max_size=5), integers, decimals, st.none() | st.sampled_from(Colour))
pages = st.builds(
    Page,
    st.lists(cards, max_size=2),
    st.none() | cards,
    st.dictionaries(keys, cards, max_size=2),
    st.none() | st.tuples(cards, integers),
)
orders = st.builds(
    Order,
    order_id=st.text(),
    customer=integers,
    total=st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
    items=st.lists(items, max_size=3),
    payment=st.one_of(st.none(), cards, st.builds(Cash, decimals)),
    reference=st.one_of(
        st.none(), st.booleans(), integers, st.text(), st.floats(allow_nan=False, allow_infinity=False)
    ),
    source=st.one_of(st.text(), st.lists(st.integers()), moments, st.uuids(), st.sampled_from(Status)),
    size=st.none() | st.sampled_from(Size),
    access=st.sampled_from([Access.READ, Access.WRITE, Access.READ | Access.WRITE, Access(0)]),
    odd=st.sampled_from(Odd),
    placed=st.none() | moments,
    day=st.none() | st.dates(),
    at=st.none() | st.times(),
    lasts=st.none() | st.timedeltas(),
    key=st.none() | st.uuids(),
    raw=st.binary(),
    folder=st.none() | st.just(Path("/var/lib") / "sagas"),
    tags=st.sets(st.text(max_size=3), max_size=3),
    pairs=st.frozensets(st.tuples(st.integers(), st.text(max_size=3)), max_size=3),
    prices=st.dictionaries(st.integers(), decimals, max_size=3),
    counts=st.dictionaries(keys, st.lists(st.integers(), max_size=2), max_size=3),
    by_status=st.dictionaries(st.sampled_from(Status), st.integers()),
    sequence=st.lists(st.integers(), max_size=3) | st.tuples(st.integers()),
    row=st.lists(st.integers(), max_size=3).map(tuple),
    kind=st.sampled_from(["retail", 1]),
    page=st.none() | pages,
    address=st.none() | st.builds(Address, st.text(), st.lists(cards, max_size=2)),
    tree=st.none() | st.just(Node(1, [Node(2, [Node(3)]), Node(4)])),
    anything=values,
    private=st.integers(),
)


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


# --- dict contexts --------------------------------------------------------------------------------------------------


class TestDictContexts:
    @settings(max_examples=60, deadline=None)
    @given(contexts)
    def test_what_goes_in_comes_out_equal(self, context: dict[str, Any]) -> None:
        """P4, P10: a dict context comes back equal, type for type, and its bytes are JSON."""
        data = encode_context(context, dict)
        assert same(decode_context(data, dict), context)
        assert isinstance(json.loads(data), dict)

    def test_plain_values_are_plain_json(self) -> None:
        """A context of JSON's own types is the JSON one expects, readable and compact."""
        context = {"order_id": "ord_1", "total": 250, "rate": 0.5, "ok": True, "who": None, "where": ["Köln", {}]}
        assert encode_context(context, dict).decode() == (
            '{"order_id":"ord_1","total":250,"rate":0.5,"ok":true,"who":null,"where":["Köln",{}]}'
        )

    @pytest.mark.parametrize(
        ("value", "written"),
        [
            (datetime(2024, 5, 1, 12, tzinfo=UTC), '{"$datetime":"2024-05-01T12:00:00+00:00"}'),
            (datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN), '{"$datetime":"2024-10-27T02:30:00[Europe/Berlin]"}'),
            (Decimal("12.50"), '{"$decimal":"12.50"}'),
            ((1, 2), '{"$tuple":[1,2]}'),
            ({2, 1}, '{"$set":[1,2]}'),
            ({1: "a"}, '{"$dict":[[1,"a"]]}'),
            ({"$set": [1]}, '{"$$set":[1]}'),
        ],
    )
    def test_other_values_are_written_under_a_tag(self, value: Any, written: str) -> None:
        """What JSON does not know has a tag, and a real key that looks like one is escaped."""
        assert encode_context({"v": value}, dict).decode() == f'{{"v":{written}}}'
        assert same(there_and_back({"v": value}, dict), {"v": value})

    def test_both_sides_of_a_fold_are_kept(self) -> None:
        """The hour that comes twice stays the one that it was, and the name of a fixed offset stays too."""
        first = datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN)
        named = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET"))
        back = there_and_back({"v": [first, first.replace(fold=1), named]}, dict)["v"]
        assert [back[0].utcoffset(), back[1].utcoffset()] == [timedelta(hours=2), timedelta(hours=1)]
        assert back[2].tzname() == "CET"

    @misfits
    @settings(max_examples=5, deadline=None)
    @given(
        path=st.lists(st.sampled_from(["order", "items", "größe"]) | st.integers(0, 3), max_size=6),
    )
    def test_a_misfit_is_refused_with_its_path(self, misfit: Misfit, path: list[str | int]) -> None:
        """What would not come back equal is refused, wherever it lies, and the message has the path."""
        path = ["root", *path]
        message = refusal(buried(misfit.value, path))
        assert f"context: {spelled(path)} " in message
        assert misfit.word in message

    @pytest.mark.parametrize(
        ("context", "path"),
        [
            ({"a": (1, math.nan)}, "a[1]"),
            ({"a": {math.nan}}, "a[*]"),
            ({"a": {7: math.nan}}, "a[7]"),
            ({"a": {(1, 2): math.nan}}, "a[<tuple>]"),
            ({"a": {(1, math.nan): 2}}, "a.<key tuple>[1]"),
            ({"two words": {"": math.nan}}, '["two words"][""]'),
            ({"a": {"\udcff": 1}}, 'a["\\udcff"]'),
        ],
    )
    def test_every_container_has_a_place_in_the_path(self, context: dict[str, Any], path: str) -> None:
        """Paths go through tuples, sets and keys of any kind, and can be printed."""
        message = refusal(context)
        assert f"{path} is a" in message
        message.encode()

    def test_a_cycle_is_named(self) -> None:
        """A container that holds itself is refused at the place where it does."""
        order: dict[str, Any] = {"items": [1]}
        order["items"].append({"order": order})
        assert "order.items[1].order contains itself" in refusal({"order": order})

    def test_nesting_has_a_limit(self) -> None:
        """P12: as deep as the limit comes back; one deeper is refused, however deep the caller's own stack is."""
        fits = buried(1, ["a"] * MAX_DEPTH)
        assert there_and_back(fits, dict) == fits
        assert "deeper" in refusal({"a": fits})

    @pytest.mark.parametrize("context", [[1], None, "x", OrderedDict(), {1: 2}, {("a",): 1}])
    def test_the_top_is_a_dict_with_str_keys(self, context: Any) -> None:
        """A dict context is exactly a dict, its keys are str."""
        assert "expected" in refusal(context)

    def test_a_context_over_the_limit_says_both_sizes(self) -> None:
        """P12: the limit is told with the size and what to do, and can be set."""
        context = {"blob": "x" * 2_000}
        with pytest.raises(ContextError, match=r"basket is 2,011 bytes, the limit is 1,000; store .* reference"):
            encode_context(context, dict, limit=1_000, what="basket")
        assert len(encode_context(context, dict, limit=2_011)) == 2_011

    @misfits
    def test_messages_do_not_have_values(self, misfit: Misfit) -> None:
        """A context may hold secrets: a message has paths and types only."""
        message = refusal({"password": "hunter2", "pin": [misfit.value, 4711]})
        assert "hunter2" not in message
        assert "4711" not in message

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{",
            b"\xff",
            b"[]",
            b'{"a":NaN}',
            b"[" * 100_000,
            b'{"a":' + b"9" * 5_000 + b"}",
            b'{"$tuple":[]}',
            b'{"a":{"$nope":1}}',
            b'{"a":{"$date":"2024-01-01","b":1}}',
            b'{"a":{"$date":5}}',
            b'{"a":{"$datetime":"yesterday"}}',
            b'{"a":{"$datetime":"2024-01-01T00:00:00[Nowhere/Land]"}}',
            b'{"a":{"$datetime":"2024-01-01T00:00:00[../../etc/passwd]"}}',
            b'{"a":{"$timedelta":["x"]}}',
            b'{"a":{"$uuid":"x"}}',
            b'{"a":{"$decimal":"x"}}',
            b'{"a":{"$bytes":"%"}}',
            b'{"a":{"$tuple":{}}}',
            b'{"a":{"$set":[[]]}}',
            b'{"a":{"$dict":[1]}}',
            b'{"a":{"$dict":[[[],1]]}}',
        ],
    )
    def test_malformed_data_is_refused(self, data: bytes) -> None:
        """P13: whatever lies in the journal, decoding gives a context or raises ContextError."""
        with pytest.raises(ContextError, match="stored context"):
            decode_context(data, dict)

    @settings(max_examples=60, deadline=None)
    @given(st.binary() | contexts.map(lambda context: encode_context(context, dict)[:-2] + b"}"))
    def test_decoding_raises_nothing_else(self, data: bytes) -> None:
        """P13: bytes of any kind give a dict or ContextError."""
        with contextlib.suppress(ContextError):
            assert isinstance(decode_context(data, dict), dict)


# --- attrs contexts -------------------------------------------------------------------------------------------------


class TestAttrsContexts:
    @settings(max_examples=30, deadline=None)
    @given(orders)
    def test_what_goes_in_comes_out_equal(self, order: Order) -> None:
        """P4, P10: nested classes, unions, enums, generics and all scalars come back equal, type for type."""
        assert same(there_and_back(order, Order), order)

    @pytest.mark.parametrize(
        ("context", "context_type"),
        [
            (Page([1], 2, {"$a": 3}, (4, 5)), Page[int]),
            (Page([1, "two", Decimal(3)], (1,)), Page),
            (Page([Page(["x"])]), Page[Page[str]]),
            (NumberPage([1], 2), NumberPage),
            (WidePage([["a"]], ["b"], extra="c"), WidePage[str]),
            (Node(1, [Node(2, [Node(3)])]), Node),
        ],
    )
    def test_generic_and_recursive_classes_come_back(self, context: Any, context_type: Any) -> None:
        """An alias such as Page[int] says what its type variables are, also through bases."""
        assert same(there_and_back(context, context_type), context)

    def test_fields_need_no_tags(self) -> None:
        """The annotations say what a value is, so that the JSON is plain."""
        written = encode_context(Item("a", 2, Decimal("1.50"), Colour.BLUE), Item)
        assert written.decode() == '{"sku":"a","count":2,"price":"1.50","colour":"blue"}'

    @pytest.mark.parametrize("value", [1, True, 1.0, "1", None])
    def test_a_union_of_plain_types_coerces_nothing(self, value: Any) -> None:
        """1, True, 1.0 and "1" stay what they are."""
        assert same(there_and_back(Order(reference=value), Order).reference, value)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"customer": "3"}, "customer is str; expected int"),
            ({"customer": 1.5}, "customer is float; expected int"),
            ({"customer": BIG}, "customer is an int of more than"),
            ({"customer": Size.SMALL}, "customer is test_codec.Size; expected int"),
            ({"order_id": Status.OPEN}, "order_id is test_codec.Status; expected str"),
            ({"order_id": "\ud800"}, "order_id is a str with a lone surrogate"),
            ({"order_id": None}, "order_id is NoneType; expected str"),
            ({"total": math.nan}, "total is a float that is not finite"),
            ({"rush": 1}, "rush is int; expected bool"),
            ({"items": (Item("a", 1, Decimal(1)),)}, "items is tuple; expected list"),
            ({"items": [Item("a", 1, Decimal(1)), Card("x")]}, "items[1] is test_codec.Card; expected test_codec.Item"),
            ({"items": [Item("a", 1, misplaced(1))]}, "items[0].price is int; expected Decimal"),
            ({"items": [Item("a", 1, Decimal("NaN"))]}, "items[0].price is a Decimal that is not finite"),
            ({"payment": "hunter2"}, "payment is str; expected one of test_codec.Card, test_codec.Cash, None"),
            ({"payment": Card(misplaced(5))}, "number is int; expected str"),
            ({"reference": b"x"}, "reference is bytes; expected one of"),
            ({"source": (1,)}, "source is tuple; expected one of"),
            ({"source": ["a"]}, "[0] is str; expected int"),
            ({"colour": "red"}, "colour is str; expected test_codec.Colour"),
            ({"size": 1}, "size is int; expected test_codec.Size"),
            ({"day": datetime(2024, 1, 1)}, "day is datetime; expected date"),
            ({"raw": bytearray(b"x")}, "raw is bytearray; expected bytes"),
            ({"folder": "/x"}, "folder is str; expected Path"),
            ({"tags": ["a"]}, "tags is list; expected set"),
            ({"tags": {1}}, "tags[*] is int; expected str"),
            ({"pairs": frozenset({(1, 2)})}, "pairs[*][1] is int; expected str"),
            ({"prices": {1: 1.5}}, "prices[1] is float; expected Decimal"),
            ({"prices": {"1": Decimal(1)}}, "prices.<key> is str; expected int"),
            ({"counts": {1: [1]}}, "counts has a key of type int; expected str"),
            ({"counts": {"a": [1, "b"]}}, "counts.a[1] is str; expected int"),
            ({"counts": OrderedDict()}, "counts is collections.OrderedDict; expected dict"),
            ({"sequence": range(3)}, "sequence is range; expected one of"),
            ({"row": [1]}, "row is list; expected tuple"),
            ({"kind": True}, "kind is bool; expected one of the values of its Literal"),
            ({"page": Page([Card("a"), Cash(Decimal(1))])}, "page.items[1] is test_codec.Cash"),
            ({"page": Page([], numbered=misplaced((Card("a"), "b")))}, "page.numbered[1] is str; expected int"),
            ({"address": Address("x", [Card(misplaced(1))])}, "address.lines[0].number is int; expected str"),
            (
                {"tree": Node(1, [Node(2), Node(3, [Node(misplaced("x"))])])},
                "tree.children[1].children[0].value is str",
            ),
            ({"anything": {"a": [1, object()]}}, "anything.a[1] is object"),
            ({"private": "x"}, "_private is str; expected int"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_its_path(self, changes: dict[str, Any], message: str) -> None:
        """Nothing is coerced: the first value that does not fit is named by its path and its type."""
        told = refusal(Order(**changes), Order)
        assert message in told
        assert "hunter2" not in told

    @misfits
    @settings(max_examples=5, deadline=None)
    @given(path=st.lists(st.sampled_from(["a", "b"]) | st.integers(0, 2), max_size=4))
    def test_any_is_as_strict_as_a_dict_context(self, misfit: Misfit, path: list[str | int]) -> None:
        """A field annotated with Any refuses what a dict context refuses, with the whole path."""
        path = ["key", *path]
        message = refusal(Order(anything=buried(misfit.value, path)), Order)
        assert f"anything.{spelled(path)} " in message

    @pytest.mark.parametrize(
        ("context", "context_type"),
        [({"a": 1}, Order), (Order(), dict), (NumberPage([1]), Page[int]), (None, Order), (Order, Order)],
    )
    def test_the_context_is_exactly_of_its_type(self, context: Any, context_type: Any) -> None:
        """A dict for a class, a class for a dict, and a subclass whose fields would be lost are refused."""
        assert "expected" in refusal(context, context_type)

    def test_an_annotation_that_cannot_be_stored_is_refused_when_used(self) -> None:
        """Callables and unions of two kinds of list say what to do, and where they are; None is no use."""
        assert "call is annotated as" in refusal(Strange(print), Strange)
        assert there_and_back(Strange(), Strange) == Strange()
        assert "either is a union with two kinds of list" in refusal(Strange(either=[1]), Strange)

    def test_a_class_whose_annotations_cannot_be_resolved_is_refused(self) -> None:
        """A class in a function that names another one there says to define it at module level."""

        @attrs.define
        class Inner:
            value: int = 0

        @attrs.define
        class Outer:
            inner: Inner

        assert "define it at module level" in refusal(Outer(Inner()), Outer)

    def test_a_class_that_cannot_be_made_again_is_refused(self) -> None:
        """A field out of the constructor's reach, a converter or a validator that changes its mind: refused."""
        picky = Picky(half=0)
        assert same(there_and_back(picky, Picky), picky)
        picky.late = 1
        assert "late is int, and does not come back equal" in refusal(picky, Picky)
        assert "half is int, and does not come back equal" in refusal(Picky(), Picky)
        picky.even = 4711
        assert "is refused by" in refusal(picky, Picky)
        assert "4711" not in refusal(picky, Picky)

    def test_fields_that_do_not_count_in_eq_are_compared_too(self) -> None:
        """Equality that a class bends is not enough: field by field it must come back."""

        bent = Bent(1)
        object.__setattr__(bent, "loose", -1)
        assert "loose is int, and does not come back equal" in refusal(bent, Bent)

    def test_a_context_that_holds_itself_is_refused(self) -> None:
        """An instance inside itself does not end in a RecursionError."""
        node = Node(1)
        node.children.append(node)
        assert "contains itself" in refusal(node, Node)

    def test_nesting_has_a_limit(self) -> None:
        """P12: classes nested too deep are refused, so that nobody is too deep in his own stack to decode them."""
        node = Node(0)
        for _ in range(MAX_DEPTH):
            node = Node(0, [node])
        assert "deeper" in refusal(node, Node)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"[]", "is list; expected test_codec.Item"),
            (b'{"sku":"a","count":1}', "price is missing; expected Decimal"),
            (b'{"sku":"a","count":1,"price":"1","weight":2}', "does not know: weight"),
            (b'{"sku":"a","count":"1","price":"1"}', "count is str; expected int"),
            (b'{"sku":"a","count":1,"price":"x"}', "price is not written as Decimal is"),
            (b'{"sku":"a","count":1,"price":"1","colour":"mauve"}', "colour is not a member of"),
            (b"{", "well-formed"),
        ],
    )
    def test_malformed_data_is_refused_with_its_path(self, data: bytes, message: str) -> None:
        """P13: data that is not of the class raises ContextError."""
        with pytest.raises(ContextError, match=message):
            decode_context(data, Item)

    def test_a_field_with_a_default_may_be_missing(self) -> None:
        """A context written before a field with a default was added can still be read."""
        assert decode_context(b'{"sku":"a","count":1,"price":"1"}', Item) == Item("a", 1, Decimal(1))


# --- digests --------------------------------------------------------------------------------------------------------


def shuffled(value: Any) -> Any:
    """An equal value, made in another order."""
    match value:
        case dict():
            return {key: shuffled(value[key]) for key in reversed(value)}
        case list():
            return [shuffled(item) for item in value]
        case tuple():
            return tuple(shuffled(item) for item in value)
        case set():
            return {*sorted(value, key=repr)}
        case _:
            return value


class TestDigests:
    @settings(max_examples=30, deadline=None)
    @given(contexts)
    def test_equal_contexts_have_one_digest(self, context: dict[str, Any]) -> None:
        """P10: the order in which keys were put in makes no other saga."""
        again = shuffled(context)
        assert again == context
        assert digest_of(encode_context(again, dict)) == digest_of(encode_context(context, dict))

    @pytest.mark.parametrize(
        ("one", "other"),
        [(1, 1.0), (1, True), ([1], (1,)), ({1}, frozenset({1})), ("1", 1), (None, False), ({"$a": 1}, {"$$a": 1})],
    )
    def test_other_contexts_have_another_digest(self, one: Any, other: Any) -> None:
        """P10: another type is another input."""
        assert digest_of(encode_context({"v": one}, dict)) != digest_of(encode_context({"v": other}, dict))

    def test_a_digest_is_the_same_in_every_process(self) -> None:
        """P10: sets are written in an order of their own, whatever the hash seed is."""
        code = (
            "from saga_actors.journal.codec import *\n"
            "print(digest_of(encode_context({'s': {'a', 'b', 'c', 'd'}, 'd': {1: 2, 'x': 3}}, dict)))"
        )
        run = [sys.executable, "-c", code]
        seeds = ("1", "2")
        digests = {subprocess.check_output(run, env={"PYTHONHASHSEED": seed}, text=True) for seed in seeds}
        here = digest_of(encode_context({"d": {"x": 3, 1: 2}, "s": {"d", "c", "b", "a"}}, dict))
        assert digests == {here + "\n"}
        assert len(here) == 32


# --- results of steps -----------------------------------------------------------------------------------------------


class TestResults:
    def apply(self, original: bytes, context: Any, result: Any, context_type: Any = dict) -> bytes | None:
        return apply_result(original, context, result, context_type, step="charge")

    @settings(max_examples=30, deadline=None)
    @given(contexts)
    def test_none_leaves_the_context_as_it_is(self, context: dict[str, Any]) -> None:
        """A step that returns None and touched nothing changes nothing."""
        original = encode_context(context, dict)
        assert self.apply(original, decode_context(original, dict), None) is None

    @settings(max_examples=30, deadline=None)
    @given(contexts, contexts)
    def test_a_mapping_is_merged_shallowly(self, context: dict[str, Any], changes: dict[str, Any]) -> None:
        """What a step returns replaces key by key, and no key is ever removed."""
        original = encode_context(context, dict)
        merged = self.apply(original, decode_context(original, dict), MappingProxyType(changes))
        assert merged is not None
        assert same(decode_context(merged, dict), context | changes)

    @pytest.mark.parametrize("change", [lambda c: c.update(new=1), lambda c: c["items"].append(2), dict.clear])
    def test_a_change_in_place_without_a_result_is_refused(self, change: Callable[[dict[str, Any]], None]) -> None:
        """A change that would be lost in silence is an error that says to return it."""
        original = encode_context({"items": [1]}, dict)
        context = decode_context(original, dict)
        change(context)
        with pytest.raises(ContextError, match=r"'charge' changed its context in place .* return the changes"):
            self.apply(original, context, None)

    def test_a_change_in_place_that_cannot_be_stored_is_refused_too(self) -> None:
        """It is a change in place all the same."""
        original = encode_context({"items": [1]}, dict)
        with pytest.raises(ContextError, match="in place"):
            self.apply(original, {"items": [object()]}, None)

    def test_another_order_of_keys_is_no_change(self) -> None:
        """Taking a key out and putting it back changes nothing."""
        original = encode_context({"a": 1, "b": {1: 2, 3: 4}}, dict)
        assert self.apply(original, {"b": {3: 4, 1: 2}, "a": 1}, None) is None

    def test_a_result_is_merged_into_the_original(self) -> None:
        """What a step did in place beside its result counts for nothing."""
        original = encode_context({"items": [1], "kept": True}, dict)
        context = decode_context(original, dict)
        context["items"].append(2)
        del context["kept"]
        assert self.apply(original, context, {"done": True}) == b'{"items":[1],"kept":true,"done":true}'

    @pytest.mark.parametrize("result", ["hunter2", [1], 5, object(), Card("hunter2")])
    def test_anything_else_is_refused(self, result: Any) -> None:
        """A result that is neither None nor a mapping names the step, the type and what is allowed."""
        original = encode_context({}, dict)
        with pytest.raises(ContextError, match=r"step 'charge' returned .*; expected None .* or a dict") as caught:
            self.apply(original, {}, result)
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(("result", "path"), [({"a": [math.nan]}, r"a\[0\]"), ({1: 2}, "key of type int")])
    def test_a_result_that_cannot_be_stored_is_refused_with_its_path(self, result: Any, path: str) -> None:
        """The path is one within what the step returned."""
        with pytest.raises(ContextError, match=rf"result of step 'charge'.*{path}"):
            self.apply(b"{}", {}, result)

    def test_the_limit_holds_for_the_merged_context(self) -> None:
        """P12: a context cannot grow over its limit step by step."""
        original = encode_context({"a": "x" * 60}, dict)
        with pytest.raises(ContextError, match="the limit is 100"):
            apply_result(original, {"a": "x" * 60}, {"b": "x" * 60}, dict, step="charge", limit=100)

    def test_an_instance_replaces_an_attrs_context(self) -> None:
        """A step of an attrs saga returns a whole new context, or None."""
        original = encode_context(Node(1), Node)
        assert self.apply(original, Node(1), None, Node) is None
        replaced = self.apply(original, Node(1), Node(2), Node)
        assert replaced is not None
        assert decode_context(replaced, Node) == Node(2)

    def test_an_attrs_context_changed_in_place_is_refused(self) -> None:
        """Returned, the changed instance is the result; not returned, it is an error."""
        original = encode_context(Node(1), Node)
        changed = Node(1, [Node(2)])
        assert self.apply(original, changed, changed, Node) == encode_context(changed, Node)
        with pytest.raises(ContextError, match="in place"):
            self.apply(original, changed, None, Node)

    @pytest.mark.parametrize("result", [{"value": 2}, 5, Card("x"), NumberPage([1])])
    def test_anything_else_is_refused_of_an_attrs_saga(self, result: Any) -> None:
        """A mapping is no context of an attrs saga."""
        with pytest.raises(ContextError, match=r"returned .*; expected None .* or an instance of test_codec\.Node"):
            self.apply(encode_context(Node(1), Node), Node(1), result, Node)
