"""A changed copy of a frozen value, for those of which thousands are made a second."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar

import attrs

T = TypeVar("T")

Changes = dict[str, Any]
"""Some fields of a value, by name, and what they are to be."""


def evolve(value: T, **changes: Any) -> T:
    """What `attrs.evolve` gives, in less than half the time; for a class whose fields are all positional."""
    cls = type(value)
    get, places = _FIELDS.get(cls) or _fields_of(cls)
    fields = [*get(value)]
    for name, changed in changes.items():
        fields[places[name]] = changed
    return cls(*fields)


_FIELDS: dict[type[Any], tuple[Callable[[Any], tuple[Any, ...]], dict[str, int]]] = {}


def _fields_of(cls: Any) -> tuple[Callable[[Any], tuple[Any, ...]], dict[str, int]]:
    names = [field.name for field in attrs.fields(cls)]
    _FIELDS[cls] = attrgetter(*names), {name: place for place, name in enumerate(names)}
    return _FIELDS[cls]
