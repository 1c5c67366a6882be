"""A short pickled form for frozen values that go from process to process by the thousand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

import attrs

T = TypeVar("T")


def compact(cls: type[T]) -> type[T]:
    """Pickle the instances of an attrs class with slots as the class and the values of its fields, in order.

    attrs pickles them with the names of the fields, which is longer, and takes twice the time. Here as there,
    validators are not run again when an instance is read. A subclass with fields of its own needs this, too.
    """
    values: Callable[[Any], tuple[Any, ...]] = attrgetter("__class__", *_names(cls))

    def reduced(self: Any) -> tuple[Any, ...]:
        return _made_again, values(self)

    cls.__reduce__ = reduced  # type: ignore[method-assign]
    return cls


def _made_again(cls: Any, *values: Any) -> Any:
    made = object.__new__(cls)
    for put, value in zip(_setters(cls), values, strict=True):
        put(made, value)
    return made


@cache
def _setters(cls: Any) -> tuple[Callable[[Any, Any], None], ...]:
    """What fills the slots of a class; its own `__setattr__` would say that it is frozen."""
    return tuple(getattr(cls, name).__set__ for name in _names(cls))


def _names(cls: Any) -> list[str]:
    return [field.name for field in attrs.fields(cls)]
