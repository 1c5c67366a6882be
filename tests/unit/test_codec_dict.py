"""Dict contexts: what goes in comes out equal, type for type, or is refused with the path of the value."""

from __future__ import annotations

import contextlib
import json
import math
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import pytest
from codec_cases import BERLIN, Misfit, buried, misfits, refusal, same, spelled, there_and_back
from codec_strategies import contexts
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_actors.errors import ContextError
from saga_actors.journal.codec import MAX_DEPTH, decode_context, encode_context
from saga_actors.journal.codec.plain import plain_bytes
from saga_actors.journal.codec.tagged import lower_context
from saga_actors.journal.codec.tree import write


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(contexts)
def test_what_goes_in_comes_out_equal(context: dict[str, Any]) -> None:
    """P4, P10: a dict context comes back equal, type for type, and its bytes are JSON."""
    data = encode_context(context, dict)
    assert same(decode_context(data, dict), context)
    assert isinstance(json.loads(data), dict)


def test_plain_values_are_plain_json() -> None:
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
def test_other_values_are_written_under_a_tag(value: Any, written: str) -> None:
    """What JSON does not know has a tag, and a real key that looks like one is escaped."""
    assert encode_context({"v": value}, dict).decode() == f'{{"v":{written}}}'
    assert same(there_and_back({"v": value}, dict), {"v": value})


def test_both_sides_of_a_fold_are_kept() -> None:
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
def test_a_misfit_is_refused_with_its_path(misfit: Misfit, path: list[str | int]) -> None:
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
def test_every_container_has_a_place_in_the_path(context: dict[str, Any], path: str) -> None:
    """Paths go through tuples, sets and keys of any kind, and can be printed."""
    message = refusal(context)
    assert f"{path} is a" in message
    message.encode()


def test_a_cycle_is_named() -> None:
    """A container that holds itself is refused at the place where it does."""
    order: dict[str, Any] = {"items": [1]}
    order["items"].append({"order": order})
    assert "order.items[1].order contains itself" in refusal({"order": order})


def test_nesting_has_a_limit() -> None:
    """P12: as deep as the limit comes back; one deeper is refused, however deep the caller's own stack is."""
    fits = buried(1, ["a"] * MAX_DEPTH)
    assert there_and_back(fits, dict) == fits
    assert "deeper" in refusal({"a": fits})


@pytest.mark.parametrize("context", [[1], None, "x", OrderedDict(), {1: 2}, {("a",): 1}])
def test_the_top_is_a_dict_with_str_keys(context: Any) -> None:
    """A dict context is exactly a dict, its keys are str."""
    assert "expected" in refusal(context)


def test_a_context_over_the_limit_says_both_sizes() -> None:
    """P12: the limit is told with the size and what to do, and can be set."""
    context = {"blob": "x" * 2_000}
    with pytest.raises(ContextError, match=r"basket is 2,011 bytes, the limit is 1,000; store .* reference"):
        encode_context(context, dict, limit=1_000, what="basket")
    assert len(encode_context(context, dict, limit=2_011)) == 2_011


@misfits
def test_messages_do_not_have_values(misfit: Misfit) -> None:
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
def test_malformed_data_is_refused(data: bytes) -> None:
    """P13: whatever lies in the journal, decoding gives a context or raises ContextError."""
    with pytest.raises(ContextError, match="stored context"):
        decode_context(data, dict)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.binary() | contexts.map(lambda context: encode_context(context, dict)[:-2] + b"}"))
def test_decoding_raises_nothing_else(data: bytes) -> None:
    """P13: bytes of any kind give a dict or ContextError."""
    with contextlib.suppress(ContextError):
        assert isinstance(decode_context(data, dict), dict)


PLAIN = {"a": 1, "größe": [0.5, {"b": None, "c": [True, "x\n"]}, []], "d": {}}


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1: 2},
        {"$set": 1},
        'a $ and a "$',
        "$",
        math.inf,
        b"x",
        2**14_001,
        10**4_230,
        "9" * 5_000,
        "\udc80",
        buried(1, ["a"] * MAX_DEPTH),
        buried(1, ["a"] * (MAX_DEPTH - 1)),
        buried(1, ["a"] * (MAX_DEPTH - 3)),
        OrderedDict(a=1),
        HTTPStatus.OK,
        PLAIN,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("where", [lambda v: {"v": v}, lambda v: {"v": [{"w": v}], "x" * 4_100: 1}])
def test_the_short_way_writes_what_the_long_one_does(value: Any, where: Callable[[Any], dict[str, Any]]) -> None:
    """A context is written as it stands only if that is what its tree would have been, and would have been taken."""
    data = plain_bytes(where(value))
    if data is not None:
        assert data == write(lower_context(where(value)))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(contexts)
def test_the_short_way_writes_what_the_long_one_does_by_chance(context: dict[str, Any]) -> None:
    """P4: the same bytes, whatever is in the context."""
    data = plain_bytes(context)
    assert data is None or data == write(lower_context(context))


def test_plain_contexts_take_the_short_way() -> None:
    """What JSON knows needs no tree, down to the greatest depth."""
    assert plain_bytes(PLAIN) == write(PLAIN)
    assert plain_bytes(buried(1, ["a"] * MAX_DEPTH))
    assert plain_bytes(buried(1, ["a"] * (MAX_DEPTH + 1))) is None
