"""What went in, and what came back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import attrs

from saga_actors.journal.codec.misfit import Misfit, check_depth, segment_of
from saga_actors.journal.codec.type_name import type_name

Parts = Callable[[Any, Any], Iterable[tuple[str | int, Any, Any]]]
"""What two values of one type hold, side by side, each part with its segment of the path or its index."""


def compare(sent: Any, back: Any, depth: int = 0) -> None:
    """Raise a misfit at the first place where the two are not equal, type for type."""
    if type(sent) is not type(back):
        raise Misfit(f"is {type_name(sent)}; expected {type_name(back)}, as which it would come back")
    kind: Any = type(sent)
    parts = _parts_of(kind)
    if parts is None:
        if sent != back:
            raise Misfit(f"is {type_name(sent)}, and does not come back equal")
        return
    check_depth(depth)
    if kind in _CONTAINERS and len(sent) != len(back):
        raise Misfit(f"is {type_name(sent)}, and does not come back with the same size")
    for segment, one, other in parts(sent, back):
        if type(one) in _LEAVES and type(one) is type(other) and one == other:
            continue  # as most are, which need no call of their own
        try:
            compare(one, other, depth + 1)
        except Misfit as misfit:
            raise misfit.under(segment if type(segment) is str else f"[{segment}]", sent) from None


@cache
def _parts_of(kind: Any) -> Parts | None:
    if kind in _CONTAINERS:
        return _CONTAINERS[kind]
    if attrs.has(kind):
        names = [field.name for field in attrs.fields(kind)]
    elif dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    else:
        return None
    return _parts_of_fields(names) if names else None


def _parts_of_fields(names: list[str]) -> Parts:
    fields = [(f".{name}", name) for name in names]
    return lambda sent, back: ((segment, getattr(sent, name), getattr(back, name)) for segment, name in fields)


def _parts_of_list(sent: Sequence[Any], back: Sequence[Any]) -> Iterable[tuple[int, Any, Any]]:
    return zip(range(len(sent)), sent, back, strict=True)


def _parts_of_set(sent: Iterable[Any], back: Iterable[Any]) -> Iterable[tuple[str, Any, Any]]:
    found = {item: item for item in back}
    for item in sent:
        yield "[*]", item, found.get(item)


def _parts_of_dict(sent: dict[Any, Any], back: dict[Any, Any]) -> Iterable[tuple[str, Any, Any]]:
    for (key, value), (other_key, other) in zip(sent.items(), back.items(), strict=True):
        yield ".<key>", key, other_key
        yield segment_of(key), value, other


_LEAVES = frozenset({str, int, float, bool, type(None)})
_CONTAINERS: dict[Any, Parts] = {
    dict: _parts_of_dict,
    list: _parts_of_list,
    tuple: _parts_of_list,
    set: _parts_of_set,
    frozenset: _parts_of_set,
}
