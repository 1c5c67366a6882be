"""Types as messages call them."""

from __future__ import annotations

from typing import Any, get_origin


def name_of(kind: Any) -> str:
    """`int`, `Decimal` or `shop.orders.Order`."""
    module = getattr(kind, "__module__", "builtins")
    name = getattr(kind, "__qualname__", None) or str(kind)
    return name if module in ("builtins", "datetime", "decimal", "uuid", "pathlib") else f"{module}.{name}"


def type_name(value: object) -> str:
    """The name of a value's type."""
    return name_of(type(value))


def shown(annotation: Any) -> str:
    """An annotation, as it was written."""
    if annotation is type(None):
        return "None"
    return name_of(annotation) if isinstance(annotation, type) and get_origin(annotation) is None else str(annotation)
