"""Attrs contexts: what goes in comes out equal, type for type, or is refused with the path of the value."""

from __future__ import annotations

import math
from collections import OrderedDict
from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs
import pytest
from codec_cases import (
    BIG,
    Address,
    Bent,
    Card,
    Cash,
    Colour,
    Item,
    Misfit,
    Node,
    NumberPage,
    Order,
    Page,
    Picky,
    Size,
    Status,
    Strange,
    WidePage,
    buried,
    misfits,
    misplaced,
    refusal,
    same,
    spelled,
    there_and_back,
)
from codec_strategies import orders
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_actors.errors import ContextError
from saga_actors.journal.codec import MAX_DEPTH, decode_context, encode_context


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(orders)
def test_what_goes_in_comes_out_equal(order: Order) -> None:
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
def test_generic_and_recursive_classes_come_back(context: Any, context_type: Any) -> None:
    """An alias such as Page[int] says what its type variables are, also through bases."""
    assert same(there_and_back(context, context_type), context)


def test_fields_need_no_tags() -> None:
    """The annotations say what a value is, so that the JSON is plain."""
    written = encode_context(Item("a", 2, Decimal("1.50"), Colour.BLUE), Item)
    assert written.decode() == '{"sku":"a","count":2,"price":"1.50","colour":"blue"}'


@pytest.mark.parametrize("value", [1, True, 1.0, "1", None])
def test_a_union_of_plain_types_coerces_nothing(value: Any) -> None:
    """1, True, 1.0 and "1" stay what they are."""
    assert same(there_and_back(Order(reference=value), Order).reference, value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"customer": "3"}, "customer is str; expected int"),
        ({"customer": 1.5}, "customer is float; expected int"),
        ({"customer": BIG}, "customer is an int of more than"),
        ({"customer": Size.SMALL}, "customer is codec_cases.Size; expected int"),
        ({"order_id": Status.OPEN}, "order_id is codec_cases.Status; expected str"),
        ({"order_id": "\ud800"}, "order_id is a str with a lone surrogate"),
        ({"order_id": None}, "order_id is NoneType; expected str"),
        ({"total": math.nan}, "total is a float that is not finite"),
        ({"rush": 1}, "rush is int; expected bool"),
        ({"items": (Item("a", 1, Decimal(1)),)}, "items is tuple; expected list"),
        ({"items": [Item("a", 1, Decimal(1)), Card("x")]}, "items[1] is codec_cases.Card; expected codec_cases.Item"),
        ({"items": [Item("a", 1, misplaced(1))]}, "items[0].price is int; expected Decimal"),
        ({"items": [Item("a", 1, Decimal("NaN"))]}, "items[0].price is a Decimal that is not finite"),
        ({"payment": "hunter2"}, "payment is str; expected one of codec_cases.Card, codec_cases.Cash, None"),
        ({"payment": Card(misplaced(5))}, "number is int; expected str"),
        ({"reference": b"x"}, "reference is bytes; expected one of"),
        ({"source": (1,)}, "source is tuple; expected one of"),
        ({"source": ["a"]}, "[0] is str; expected int"),
        ({"colour": "red"}, "colour is str; expected codec_cases.Colour"),
        ({"size": 1}, "size is int; expected codec_cases.Size"),
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
        ({"page": Page([Card("a"), Cash(Decimal(1))])}, "page.items[1] is codec_cases.Cash"),
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
def test_what_does_not_fit_is_refused_with_its_path(changes: dict[str, Any], message: str) -> None:
    """Nothing is coerced: the first value that does not fit is named by its path and its type."""
    told = refusal(Order(**changes), Order)
    assert message in told
    assert "hunter2" not in told


@misfits
@settings(max_examples=5, deadline=None)
@given(path=st.lists(st.sampled_from(["a", "b"]) | st.integers(0, 2), max_size=4))
def test_any_is_as_strict_as_a_dict_context(misfit: Misfit, path: list[str | int]) -> None:
    """A field annotated with Any refuses what a dict context refuses, with the whole path."""
    path = ["key", *path]
    message = refusal(Order(anything=buried(misfit.value, path)), Order)
    assert f"anything.{spelled(path)} " in message


@pytest.mark.parametrize(
    ("context", "context_type"),
    [({"a": 1}, Order), (Order(), dict), (NumberPage([1]), Page[int]), (None, Order), (Order, Order)],
)
def test_the_context_is_exactly_of_its_type(context: Any, context_type: Any) -> None:
    """A dict for a class, a class for a dict, and a subclass whose fields would be lost are refused."""
    assert "expected" in refusal(context, context_type)


def test_an_annotation_that_cannot_be_stored_is_refused_when_used() -> None:
    """Callables and unions of two kinds of list say what to do, and where they are; None is no use."""
    assert "call is annotated as" in refusal(Strange(print), Strange)
    assert there_and_back(Strange(), Strange) == Strange()
    assert "either is a union with two kinds of list" in refusal(Strange(either=[1]), Strange)


def test_a_class_whose_annotations_cannot_be_resolved_is_refused() -> None:
    """A class in a function that names another one there says to define it at module level."""

    @attrs.define
    class Inner:
        value: int = 0

    @attrs.define
    class Outer:
        inner: Inner

    assert "define it at module level" in refusal(Outer(Inner()), Outer)


def test_a_class_that_cannot_be_made_again_is_refused() -> None:
    """A field out of the constructor's reach, a converter or a validator that changes its mind: refused."""
    picky = Picky(half=0)
    assert same(there_and_back(picky, Picky), picky)
    picky.late = 1
    assert "late is int, and does not come back equal" in refusal(picky, Picky)
    assert "half is int, and does not come back equal" in refusal(Picky(), Picky)
    picky.even = 4711
    assert "is refused by" in refusal(picky, Picky)
    assert "4711" not in refusal(picky, Picky)


def test_fields_that_do_not_count_in_eq_are_compared_too() -> None:
    """Equality that a class bends is not enough: field by field it must come back."""

    bent = Bent(1)
    object.__setattr__(bent, "loose", -1)
    assert "loose is int, and does not come back equal" in refusal(bent, Bent)


def test_a_context_that_holds_itself_is_refused() -> None:
    """An instance inside itself does not end in a RecursionError."""
    node = Node(1)
    node.children.append(node)
    assert "contains itself" in refusal(node, Node)


def test_nesting_has_a_limit() -> None:
    """P12: classes nested too deep are refused, so that nobody is too deep in his own stack to decode them."""
    node = Node(0)
    for _ in range(MAX_DEPTH):
        node = Node(0, [node])
    assert "deeper" in refusal(node, Node)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", "is list; expected codec_cases.Item"),
        (b'{"sku":"a","count":1}', "price is missing; expected Decimal"),
        (b'{"sku":"a","count":1,"price":"1","weight":2}', "does not know: weight"),
        (b'{"sku":"a","count":"1","price":"1"}', "count is str; expected int"),
        (b'{"sku":"a","count":1,"price":"x"}', "price is not written as Decimal is"),
        (b'{"sku":"a","count":1,"price":"1","colour":"mauve"}', "colour is not a member of"),
        (b"{", "well-formed"),
    ],
)
def test_malformed_data_is_refused_with_its_path(data: bytes, message: str) -> None:
    """P13: data that is not of the class raises ContextError."""
    with pytest.raises(ContextError, match=message):
        decode_context(data, Item)


def test_a_field_with_a_default_may_be_missing() -> None:
    """A context written before a field with a default was added can still be read."""
    assert decode_context(b'{"sku":"a","count":1,"price":"1"}', Item) == Item("a", 1, Decimal(1))
