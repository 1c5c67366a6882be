"""The type of a saga's context: which it is, and its fields and types as text."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, ForwardRef, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import typing_extensions

from saga_actors.errors import DefinitionError

_DEEPEST = 50  # levels of fields; only a generic class that holds ever other ones of itself has more

Bindings = dict[Any, Any]
"""What type variables stand for."""


def context_types(cls: type, root: type, *, keep_open: bool) -> list[Any]:
    """What `cls` gives to the one type variable of `root`, its base; several if its bases do not agree.

    A type variable of `cls` itself stands for its default, or with `keep_open` for itself.
    """
    (variable,) = root.__parameters__  # type: ignore[attr-defined]
    found: list[Any] = []
    own = {each: each for each in cls.__parameters__} if keep_open else {}  # type: ignore[attr-defined]
    for base, bound in generic_bases(cls, own):
        if base is root and bound[variable] not in found:
            found.append(bound[variable])
    return found


def generic_bases(cls: type, bound: Bindings) -> Iterator[tuple[type, Bindings]]:
    """`cls` and all its bases, each with what its type variables stand for when those of `cls` are `bound`."""
    variables: tuple[Any, ...] = getattr(cls, "__parameters__", ())
    bound = {each: bound.get(each, _default(each)) for each in variables}
    yield cls, bound
    for base in typing_extensions.get_original_bases(cls):
        origin = get_origin(base) or base
        if isinstance(origin, type) and origin not in (object, typing.Generic):
            arguments = (_substituted(each, bound) for each in get_args(base))
            parameters: tuple[Any, ...] = getattr(origin, "__parameters__", ())
            yield from generic_bases(origin, dict(zip(parameters, arguments, strict=False)))


def _default(variable: Any) -> Any:
    default = getattr(variable, "__default__", typing_extensions.NoDefault)
    return variable if default is typing_extensions.NoDefault else default


def _substituted(annotation: Any, bound: Bindings) -> Any:
    if isinstance(annotation, TypeVar):
        return bound.get(annotation, annotation)
    variables = getattr(annotation, "__parameters__", ())
    if get_origin(annotation) is None or not variables:
        return annotation
    return annotation[tuple(bound.get(each, each) for each in variables)]


def is_open(context_type: Any) -> bool:
    """Whether it still has a type variable that a subclass will fill."""
    if isinstance(context_type, TypeVar):
        return True
    return get_origin(context_type) is not None and bool(getattr(context_type, "__parameters__", ()))


def checked_context_type(context_type: Any, what: str) -> Any:
    """`dict`, or the attrs class (as it is, if generic); DefinitionError for anything else."""
    origin = get_origin(context_type) or context_type
    if origin is dict and (get_args(context_type) or (str,))[0] in (str, Any):
        return dict
    if isinstance(origin, type) and attrs.has(origin) and not is_open(context_type):
        return context_type
    if isinstance(context_type, ForwardRef):
        hint = f"define {context_type.__forward_arg__} above the saga, and write it without quotes"
    else:
        hint = "write class …(Saga) for a dict, or class …(Saga[Order]) with Order an attrs class"
    raise DefinitionError(f"{what} has the context type {context_type!r}; expected a dict or one attrs class: {hint}")


def describe(context_type: Any) -> str:
    """The fields and types of a context as text, the same in every process: `{items: list[{sku: str}], total: int}`.

    A class with fields is its fields, in the order of their names, whatever it and its module are called; another one
    is its name. What cannot be resolved is as it was written.
    """
    return "dict" if context_type is dict else _described(context_type, ())


def _described(annotation: Any, within: tuple[Any, ...]) -> str:
    if annotation in within:
        return f"^{len(within) - within.index(annotation)}"  # itself again, so many levels up
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):  # in order, for typing's caches do not keep theirs
        return " | ".join(sorted({_described(each, within) for each in get_args(annotation)}))
    if origin in (Literal, typing_extensions.Literal):
        return f"Literal[{', '.join(sorted({repr(each) for each in get_args(annotation)}))}]"
    if origin in (Annotated, typing_extensions.Annotated):
        return _described(get_args(annotation)[0], within)
    if isinstance(annotation, typing.NewType):
        return _described(annotation.__supertype__, within)
    fields = _fields(annotation) if len(within) < _DEEPEST else None
    if fields is not None:
        inner = (*within, annotation)
        return "{" + ", ".join(f"{name}: {_described(fields[name], inner)}" for name in sorted(fields)) + "}"
    arguments = get_args(annotation)
    return _name(annotation) + (f"[{', '.join(_described(each, within) for each in arguments)}]" if arguments else "")


def _name(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is Ellipsis:
        return "..."
    if isinstance(annotation, (list, tuple)):  # the parameters of a Callable
        return f"[{', '.join(_described(each, ()) for each in annotation)}]"
    named = get_origin(annotation) or annotation
    names = (getattr(named, each, None) for each in ("__qualname__", "__name__", "_name"))
    return str(next(filter(None, names), type(named).__qualname__))


def _fields(annotation: Any) -> dict[str, Any] | None:
    """The fields of a class that has some (attrs, dataclass, TypedDict, NamedTuple), with their types."""
    cls = get_origin(annotation) or annotation
    if not isinstance(cls, type):
        return None
    if attrs.has(cls):
        given = {field.name: Any if field.type is None else field.type for field in attrs.fields(cls)}
    elif dataclasses.is_dataclass(cls):
        given = {field.name: field.type for field in dataclasses.fields(cls)}
    elif typing_extensions.is_typeddict(cls) or (issubclass(cls, tuple) and hasattr(cls, "_fields")):
        given = dict(cls.__annotations__)
    else:
        return None
    return _resolved(annotation, cls, given)


def _resolved(annotation: Any, cls: type, given: dict[str, Any]) -> dict[str, Any]:
    """`given` with names looked up and type variables filled in, each by the class that declares the field."""
    try:
        hints = get_type_hints(cls)
    except Exception:  # an annotation is code, and can raise anything
        hints = {}
    bound = dict(zip(getattr(cls, "__parameters__", ()), get_args(annotation), strict=False))
    declared: dict[str, Bindings] = {}
    for base, bindings in generic_bases(cls, bound):
        for name in inspect.get_annotations(base):
            declared.setdefault(name, bindings)
    return {name: _substituted(hints.get(name, hint), declared.get(name, bound)) for name, hint in given.items()}
