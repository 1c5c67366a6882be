"""What an annotation says: plain, with its type variables replaced, and as its alternatives."""

from __future__ import annotations

import collections.abc
import dataclasses
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Generic, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
from typing_extensions import TypeAliasType

_ABSTRACT: dict[Any, tuple[Any, ...]] = {
    collections.abc.Sequence: (list, tuple),
    collections.abc.Collection: (list, tuple, set, frozenset),
    collections.abc.Set: (set, frozenset),
}
UNIONS = (Union, types.UnionType, *_ABSTRACT)
"""The origins of annotations that have alternatives."""


def plain_annotation(annotation: Any) -> Any:
    """`annotation` without Annotated, Final, NewType and the like; what says nothing is Any."""
    while True:
        if get_origin(annotation) in (Annotated, Final):
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
        elif isinstance(annotation, TypeVar) or annotation in (None, object):
            return Any
        else:
            return annotation


def alternatives(annotation: Any) -> Iterable[Any]:
    """What a value may be, each of it plain."""
    plain = plain_annotation(annotation)
    origin, args = get_origin(plain) or plain, get_args(plain)
    if origin in _ABSTRACT:
        item = args[0] if args else Any
        for kind in _ABSTRACT[origin]:
            yield kind[item, ...] if kind is tuple else kind[item]
    elif origin in UNIONS:
        for member in args:
            yield from alternatives(member)
    else:
        yield plain


def field_types(annotation: Any, cls: Any) -> dict[str, Any]:
    """What each field of a class holds, its type variables replaced; raises NameError."""
    hints = get_type_hints(cls)
    fields = attrs.fields(cls) if attrs.has(cls) else dataclasses.fields(cls)
    bound = _bound_variables(annotation)
    return {field.name: _bind(hints.get(field.name, field.type), bound) for field in fields}


def _bound_variables(annotation: Any) -> dict[Any, Any]:
    """The type variables of a generic class and of its bases, and what they stand for in `annotation`."""
    cls = get_origin(annotation) or annotation
    bound = dict(zip(getattr(cls, "__parameters__", ()), get_args(annotation), strict=False))
    for base in getattr(cls, "__orig_bases__", ()):
        if get_origin(base) not in (Generic, Protocol):
            bound |= _bound_variables(_bind(base, bound))
    return bound


def _bind(annotation: Any, bound: Mapping[Any, Any]) -> Any:
    if isinstance(annotation, TypeVar):
        return bound.get(annotation, Any)
    if get_origin(annotation) is not None and (variables := getattr(annotation, "__parameters__", ())):
        return annotation[tuple(bound.get(variable, Any) for variable in variables)]
    return annotation
