"""Digests: equal contexts have one, others another."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from codec_strategies import contexts
from hypothesis import given, settings

from saga_actors.journal.codec import digest_of, encode_context


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


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(contexts)
def test_equal_contexts_have_one_digest(context: dict[str, Any]) -> None:
    """P10: the order in which keys were put in makes no other saga."""
    again = shuffled(context)
    assert again == context
    assert digest_of(encode_context(again, dict)) == digest_of(encode_context(context, dict))


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (1, True), ([1], (1,)), ({1}, frozenset({1})), ("1", 1), (None, False), ({"$a": 1}, {"$$a": 1})],
)
def test_other_contexts_have_another_digest(one: Any, other: Any) -> None:
    """P10: another type is another input."""
    assert digest_of(encode_context({"v": one}, dict)) != digest_of(encode_context({"v": other}, dict))


@pytest.mark.slow
def test_a_digest_is_the_same_in_every_process() -> None:
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
