"""Values as trees that say by tags what they are: dict contexts, and what an attrs context annotates with Any."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from typing import Any

import attrs

from saga_actors.journal.codec.misfit import Misfit, check_depth, mismatch, segment_of
from saga_actors.journal.codec.native import sound_float, sound_int, sound_text
from saga_actors.journal.codec.scalar import SCALARS, read_scalar, scalar_tag
from saga_actors.journal.codec.tree import canonical_text
from saga_actors.journal.codec.type_name import name_of, type_name


def lower_context(context: Any) -> dict[str, Any]:
    """The tree of a dict context; raises a misfit."""
    if type(context) is not dict:
        raise mismatch(context, "a dict")
    for key in context:
        if type(key) is not str:
            raise Misfit(f"has a key of type {type_name(key)}; expected str at the top level")
    return _lower_dict(context, 0)


def lower(value: Any, depth: int = 0) -> Any:
    """The tree of a value that lies at `depth`; raises a misfit."""
    lower_exactly = _LOWER.get(type(value))
    if lower_exactly is None:
        raise _stranger(value)
    return lower_exactly(value, depth)


def _lower_dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    check_depth(depth)
    lowered: dict[str, Any] = {}
    key: Any = None
    try:
        for key, item in value.items():
            if type(key) is not str:
                break
            name = key if key[:1] != "$" and key.isascii() else _lower_key(key)
            kind = type(item)
            if kind is bool or item is None or (kind is str and item.isascii()):
                lowered[name] = item
            else:
                lowered[name] = lower(item, depth + 1)
        else:
            return lowered
    except Misfit as misfit:
        raise misfit.under(segment_of(key), value) from None
    return {"$dict": _lower_pairs(value, depth)}


def _lower_key(key: str) -> str:
    return "$" + key if key[:1] == "$" else sound_text(key)


def _lower_pairs(value: dict[Any, Any], depth: int) -> list[list[Any]]:
    pairs = []
    segment = ""
    try:
        for key, item in value.items():
            segment = f".<key {type_name(key)}>"
            lowered = lower(key, depth + 1)
            segment = segment_of(key)
            pairs.append([lowered, lower(item, depth + 1)])
    except Misfit as misfit:
        raise misfit.under(segment, value) from None
    return pairs


def _lower_list(value: Iterable[Any], depth: int) -> list[Any]:
    check_depth(depth)
    lowered: list[Any] = []
    try:
        for item in value:
            lowered.append(lower(item, depth + 1))
    except Misfit as misfit:
        raise misfit.under(f"[{len(lowered)}]", value) from None
    return lowered


def _lower_set(value: Iterable[Any], depth: int) -> list[Any]:
    check_depth(depth)
    try:
        return sorted((lower(item, depth + 1) for item in value), key=canonical_text)
    except Misfit as misfit:
        raise misfit.under("[*]", value) from None


def _lower_scalar(kind: type) -> Callable[[Any, int], Any]:
    tag, dump = scalar_tag(kind), SCALARS[kind].dump
    return lambda value, depth: {tag: dump(value)}


_LOWER: dict[type, Callable[[Any, int], Any]] = {
    dict: _lower_dict,
    list: _lower_list,
    str: lambda value, depth: sound_text(value),
    bool: lambda value, depth: value,
    int: lambda value, depth: sound_int(value),
    float: lambda value, depth: sound_float(value),
    type(None): lambda value, depth: value,
    tuple: lambda value, depth: {"$tuple": _lower_list(value, depth)},
    set: lambda value, depth: {"$set": _lower_set(value, depth)},
    frozenset: lambda value, depth: {"$frozenset": _lower_set(value, depth)},
} | {kind: _lower_scalar(kind) for kind in SCALARS}


def _stranger(value: object) -> Misfit:
    name = type_name(value)
    if isinstance(value, Enum):
        return Misfit(f"is {name}, a member of an enum; store .value, or use an attrs context")
    if attrs.has(type(value)):
        return Misfit(f"is {name}, an attrs instance; store attrs.asdict() of it, or use an attrs context")
    for base in _LOWER:
        if isinstance(value, base):
            return Misfit(f"is {name}, a subclass of {name_of(base)}; expected exactly {name_of(base)}, so convert it")
    return Misfit(
        f"is {name}; expected None, bool, int, finite float, str, list, dict, tuple, set, frozenset, datetime, date, "
        "time, timedelta, UUID, Decimal or bytes; store plain values of it, or use an attrs context"
    )


def lift(tree: Any) -> Any:
    """The value that `lower` made `tree` of; raises a misfit, also one that stands in the tree."""
    kind = type(tree)
    if kind is dict:
        return _lift_dict(tree)
    if kind is list:
        return _lift_list(tree)
    if kind is Misfit:
        raise tree
    return tree


def _lift_list(tree: Any) -> list[Any]:
    if type(tree) is not list:
        raise mismatch(tree, "a list")
    lifted: list[Any] = []
    try:
        for item in tree:
            lifted.append(lift(item))
    except Misfit as misfit:
        raise misfit.under(f"[{len(lifted)}]") from None
    return lifted


def _lift_dict(tree: dict[str, Any]) -> Any:
    lifted = {}
    key = ""
    try:
        for key, item in tree.items():
            if key[:1] != "$":
                lifted[key] = lift(item)
            elif key[1:2] == "$":
                lifted[key[1:]] = lift(item)
            elif len(tree) == 1 and key in _LIFT:
                return _LIFT[key](item)
            else:
                raise Misfit("is not a tag that is known, or does not stand alone")
    except TypeError:
        raise Misfit("holds something unhashable").under(segment_of(key)) from None
    except Misfit as misfit:
        raise misfit.under(segment_of(key)) from None
    return lifted


def _lift_pairs(tree: Any) -> dict[Any, Any]:
    pairs = _lift_list(tree)
    if any(type(pair) is not list or len(pair) != 2 for pair in pairs):
        raise Misfit("is not a list of pairs")
    return dict(pairs)


_LIFT: dict[str, Callable[[Any], Any]] = {
    "$dict": _lift_pairs,
    "$tuple": lambda tree: tuple(_lift_list(tree)),
    "$set": lambda tree: set(_lift_list(tree)),
    "$frozenset": lambda tree: frozenset(_lift_list(tree)),
} | {scalar_tag(kind): partial(read_scalar, kind) for kind in SCALARS}
