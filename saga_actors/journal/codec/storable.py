"""Whether contexts of a type can be stored at all, told from its annotations before there is any value."""

from __future__ import annotations

import collections.abc
import dataclasses
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, get_args, get_origin

import attrs

from saga_actors.journal.codec.annotation import UNIONS, alternatives, field_types, plain_annotation
from saga_actors.journal.codec.converter import hooks_of
from saga_actors.journal.codec.leaf import LEAVES
from saga_actors.journal.codec.misfit import Misfit

CONTAINERS = (list, set, frozenset, tuple, dict, collections.abc.Mapping, collections.abc.MutableMapping)


def unstorable(context_type: Any) -> tuple[str, ...]:
    """What no journal could keep of a context of this type: each field by its path, why, and what to do."""
    return () if context_type is dict else tuple(_flaws(context_type, "context", frozenset()))


def _flaws(annotation: Any, path: str, within: frozenset[Any]) -> Iterator[str]:
    plain = plain_annotation(annotation)
    origin = get_origin(plain) or plain
    if plain in LEAVES or origin is Literal or (isinstance(origin, type) and issubclass(origin, Enum)):
        return
    if isinstance(origin, type) and (attrs.has(origin) or dataclasses.is_dataclass(origin)):
        yield from _flaws_of_fields(plain, origin, path, within)
    elif origin in UNIONS:
        for kind in alternatives(plain):
            yield from _flaws(kind, path, within)
    elif origin in CONTAINERS:
        for kind in get_args(plain):
            yield from () if kind is ... else _flaws(kind, f"{path}[...]", within)
    elif isinstance(misfit := hooks_of(plain).dump(None), Misfit):
        yield f"{path} {misfit.reason}"


def _flaws_of_fields(annotation: Any, cls: Any, path: str, within: frozenset[Any]) -> Iterator[str]:
    if cls in within:  # it holds itself
        return
    try:
        fields = field_types(annotation, cls)
    except NameError:
        yield f"{path} has annotations that cannot be resolved; define {cls.__qualname__} at module level"
        return
    for name, kind in fields.items():
        yield from _flaws(kind, f"{path}.{name}", within | {cls})
