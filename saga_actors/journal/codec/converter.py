"""From an annotation to its hooks. Nothing is coerced: of cattrs we take the code made for each class, and no hook."""

from __future__ import annotations

import collections.abc
import dataclasses
from enum import Enum
from functools import cache
from typing import Any, Literal, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from saga_actors.journal.codec.annotation import UNIONS, alternatives, field_types, plain_annotation
from saga_actors.journal.codec.collection import items_hooks, mapping_hooks, pairs_hooks, tuple_hooks
from saga_actors.journal.codec.hooks import Hooks, unsupported
from saga_actors.journal.codec.leaf import LEAVES, enum_hooks, literal_hooks
from saga_actors.journal.codec.misfit import mismatch
from saga_actors.journal.codec.type_name import name_of, shown
from saga_actors.journal.codec.union import union_hooks

_CATTRS = Converter(detailed_validation=True, forbid_extra_keys=True)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


@cache
def hooks_of(annotation: Any) -> Hooks:
    """The hooks for an annotation, made once."""
    plain = plain_annotation(annotation)
    origin, args = get_origin(plain) or plain, get_args(plain)
    if plain in LEAVES:
        return LEAVES[plain]
    if origin in UNIONS:
        return union_hooks([(member, hooks_of(member)) for member in alternatives(plain)])
    if origin is Literal:
        return literal_hooks(args)
    if origin in (list, set, frozenset):
        return items_hooks(origin, hooks_of(args[0] if args else Any))
    if origin is tuple:
        return _tuple(args if args or plain is not tuple else (Any, ...))
    if origin in _DICTS:
        return _dict(*(args or (Any, Any)))
    if isinstance(origin, type) and issubclass(origin, Enum):
        return enum_hooks(origin)
    if isinstance(origin, type) and (attrs.has(origin) or dataclasses.is_dataclass(origin)):
        return _class(plain, origin)
    return unsupported(f"annotated as {shown(annotation)}, which a context cannot hold", "use an attrs class for it")


def _tuple(args: tuple[Any, ...]) -> Hooks:
    if len(args) == 2 and args[1] is ...:
        return items_hooks(tuple, hooks_of(args[0]))
    return tuple_hooks([hooks_of(each) for each in args])


def _dict(key: Any, item: Any) -> Hooks:
    if plain_annotation(key) is str:
        return mapping_hooks(hooks_of(item))
    return pairs_hooks(hooks_of(key), hooks_of(item))


def _class(annotation: Any, cls: Any) -> Hooks:
    expected = name_of(cls)

    @cache
    def fields() -> Hooks:  # at first use: a class may hold itself
        return _fields(annotation, cls)

    def dump(value: Any) -> Any:
        return fields().dump(value) if type(value) is cls else mismatch(value, expected)

    def load(tree: Any, _: Any = None) -> Any:
        if type(tree) is not dict:
            raise mismatch(tree, expected)
        return fields().load(tree)

    return Hooks(dump, load)


def _fields(annotation: Any, cls: Any) -> Hooks:
    try:
        fields = {name: hooks_of(kind) for name, kind in field_types(annotation, cls).items()}
    except NameError:
        return unsupported(f"{name_of(cls)}, whose annotations cannot be resolved", "define it at module level")
    overrides: dict[str, Any] = {
        name: override(unstruct_hook=field.dump, struct_hook=field.load) for name, field in fields.items()
    }
    # cattrs wants a type for each type variable, though our hooks leave it nothing to do with them
    closed = cls[(Any,) * len(cls.__parameters__)] if getattr(cls, "__parameters__", ()) else cls
    return Hooks(
        make_dict_unstructure_fn(closed, _CATTRS, _cattrs_use_linecache=False, **overrides),
        make_dict_structure_fn(closed, _CATTRS, _cattrs_use_linecache=False, **overrides),
    )
