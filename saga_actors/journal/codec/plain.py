"""Dict contexts that are JSON as they stand, as most are: they are written as they are, with no tree in between.

Whatever is not surely so is left to `tagged`, which has the tags, and the words for what is refused.
"""

from __future__ import annotations

from typing import Any

from saga_actors.journal.codec.misfit import MAX_DEPTH
from saga_actors.journal.codec.tree import text_of

_TEXT = frozenset({str})
_LEAVES = frozenset({str, int, float, bool, type(None)})
_VALUES = _LEAVES | {dict, list}

_STRIDE, _SOME = 4_000, 200
"""An int too long to be stored has over 4,200 digits: at some multiple of the stride 200 of them can be seen."""


def plain_bytes(context: Any) -> bytes | None:
    """`context` as JSON if that says all of it; None if it needs tags, is refused, or may be either."""
    if type(context) is not dict or not _is_plain(context, 0):
        return None
    try:
        text = text_of(context)
        return None if '"$' in text or (len(text) > _STRIDE and _may_hold_a_huge_int(text)) else text.encode()
    except (ValueError, RecursionError):  # a float that is not finite, a lone surrogate; `tagged` finds where
        return None


def _is_plain(value: dict[Any, Any] | list[Any], depth: int) -> bool:
    """Whether a container holds nothing but JSON's own types, and exactly those: no subclasses."""
    items: Any = value
    if type(value) is dict:
        if not _TEXT.issuperset(map(type, value)):
            return False
        items = value.values()
    kinds = set(map(type, items))
    if kinds <= _LEAVES:
        return depth < MAX_DEPTH
    if depth >= MAX_DEPTH or not kinds <= _VALUES:
        return False
    return all(_is_plain(item, depth + 1) for item in items if type(item) is dict or type(item) is list)


def _may_hold_a_huge_int(text: str) -> bool:
    return any(text[place : place + _SOME].isdigit() for place in range(_STRIDE, len(text), _STRIDE))
