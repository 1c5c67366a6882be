"""Results of steps, applied to the context of their saga."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from codec_cases import Card, Node, NumberPage, same
from codec_strategies import contexts
from hypothesis import given, settings

from saga_actors.errors import ContextError
from saga_actors.journal.codec import apply_result, decode_context, encode_context


def applied(original: bytes, context: Any, result: Any, context_type: Any = dict) -> bytes | None:
    return apply_result(original, context, result, context_type, step="charge")


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(contexts)
def test_none_leaves_the_context_as_it_is(context: dict[str, Any]) -> None:
    """A step that returns None and touched nothing changes nothing."""
    original = encode_context(context, dict)
    assert applied(original, decode_context(original, dict), None) is None


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(contexts, contexts)
def test_a_mapping_is_merged_shallowly(context: dict[str, Any], changes: dict[str, Any]) -> None:
    """What a step returns replaces key by key, and no key is ever removed."""
    original = encode_context(context, dict)
    merged = applied(original, decode_context(original, dict), MappingProxyType(changes))
    assert merged is not None
    assert same(decode_context(merged, dict), context | changes)


@pytest.mark.parametrize("change", [lambda c: c.update(new=1), lambda c: c["items"].append(2), dict.clear])
def test_a_change_in_place_without_a_result_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    """A change that would be lost in silence is an error that says to return it."""
    original = encode_context({"items": [1]}, dict)
    context = decode_context(original, dict)
    change(context)
    with pytest.raises(ContextError, match=r"'charge' changed its context in place .* return the changes"):
        applied(original, context, None)


def test_a_change_in_place_that_cannot_be_stored_is_refused_too() -> None:
    """It is a change in place all the same."""
    original = encode_context({"items": [1]}, dict)
    with pytest.raises(ContextError, match="in place"):
        applied(original, {"items": [object()]}, None)


def test_another_order_of_keys_is_no_change() -> None:
    """Taking a key out and putting it back changes nothing."""
    original = encode_context({"a": 1, "b": {1: 2, 3: 4}}, dict)
    assert applied(original, {"b": {3: 4, 1: 2}, "a": 1}, None) is None


def test_a_result_is_merged_into_the_original() -> None:
    """What a step did in place beside its result counts for nothing."""
    original = encode_context({"items": [1], "kept": True}, dict)
    context = decode_context(original, dict)
    context["items"].append(2)
    del context["kept"]
    assert applied(original, context, {"done": True}) == b'{"items":[1],"kept":true,"done":true}'


@pytest.mark.parametrize(
    "result",
    [
        {"new": 1, "größe": [{}]},
        {"a": 2, "new": 1},
        {"a": 2},
        {"inner": 2},
        {"$tag": 1, "b c": 2, 'd"': 3, "": 4},
        {"when": (1, 2)},
        {},
    ],
)
@pytest.mark.parametrize("context", [{"a": {"inner": 1}, "t": '"new":'}, {"$tag": 0, "b c": (1,), 'd"': 0}, {}])
def test_old_and_new_keys_are_merged_alike(context: dict[str, Any], result: dict[str, Any]) -> None:
    """The bytes are those of the merged context as if it had been encoded whole: old keys keep their places."""
    original = encode_context(context, dict)
    assert applied(original, context, result) == encode_context(context | result, dict)


@pytest.mark.parametrize("result", ["hunter2", [1], 5, object(), Card("hunter2")])
def test_anything_else_is_refused(result: Any) -> None:
    """A result that is neither None nor a mapping names the step, the type and what is allowed."""
    original = encode_context({}, dict)
    with pytest.raises(ContextError, match=r"step 'charge' returned .*; expected None .* or a dict") as caught:
        applied(original, {}, result)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("result", "path"), [({"a": [math.nan]}, r"a\[0\]"), ({1: 2}, "key of type int")])
def test_a_result_that_cannot_be_stored_is_refused_with_its_path(result: Any, path: str) -> None:
    """The path is one within what the step returned."""
    with pytest.raises(ContextError, match=rf"result of step 'charge'.*{path}"):
        applied(b"{}", {}, result)


def test_the_limit_holds_for_the_merged_context() -> None:
    """P12: a context cannot grow over its limit step by step."""
    original = encode_context({"a": "x" * 60}, dict)
    with pytest.raises(ContextError, match="the limit is 100"):
        apply_result(original, {"a": "x" * 60}, {"b": "x" * 60}, dict, step="charge", limit=100)


def test_an_instance_replaces_an_attrs_context() -> None:
    """A step of an attrs saga returns a whole new context, or None."""
    original = encode_context(Node(1), Node)
    assert applied(original, Node(1), None, Node) is None
    replaced = applied(original, Node(1), Node(2), Node)
    assert replaced is not None
    assert decode_context(replaced, Node) == Node(2)


def test_an_attrs_context_changed_in_place_is_refused() -> None:
    """Returned, the changed instance is the result; not returned, it is an error."""
    original = encode_context(Node(1), Node)
    changed = Node(1, [Node(2)])
    assert applied(original, changed, changed, Node) == encode_context(changed, Node)
    with pytest.raises(ContextError, match="in place"):
        applied(original, changed, None, Node)


@pytest.mark.parametrize("result", [{"value": 2}, 5, Card("x"), NumberPage([1])])
def test_anything_else_is_refused_of_an_attrs_saga(result: Any) -> None:
    """A mapping is no context of an attrs saga."""
    with pytest.raises(ContextError, match=r"returned .*; expected None .* or an instance of codec_cases\.Node"):
        applied(encode_context(Node(1), Node), Node(1), result, Node)
