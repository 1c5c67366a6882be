"""What the signature of a step's code proves to be wrong; whatever it leaves open passes."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import typing_extensions

from saga_actors.errors import DefinitionError

_UNIONS = (Union, types.UnionType)
_ANNOTATED = (Annotated, typing_extensions.Annotated)
_LITERALS = (Literal, typing_extensions.Literal)


def is_async(code: Callable[..., Any]) -> bool:
    """Whether calling `code` gives a coroutine: an `async def`, also behind a partial, a method or a `__call__`."""
    return inspect.iscoroutinefunction(code) or inspect.iscoroutinefunction(_function(code))


def check_signature(code: Callable[..., Any], context_type: Any, what: str, *, undo: bool) -> None:
    """Raise DefinitionError if `code` cannot take a context, or can return nothing that its saga takes.

    `context_type` is None where it is not known yet; `undo` says that it is a compensation, which returns None.
    """
    function = _function(code)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise DefinitionError(f"{what} is {_named(code)}, a generator; expected a function that returns: no `yield`")
    first = _first_parameter(code, what)
    if hasattr(function, "__wrapped__") or isinstance(function, type):
        return  # a decorator copies annotations that need not be its own, and those of a class are its fields'
    hints = _hints(function, context_type)
    if context_type is not None and first is not None and not _takes(hints.get(first, Any), context_type):
        raise DefinitionError(
            f"{what} is {_named(code)}, whose {first!r} is annotated {_shown(hints[first])}; expected the saga's "
            f"context, {_shown(context_type)}, or something wider"
        )
    expected = _expected(context_type, undo)
    if "return" in hints and not _may_return(hints["return"], expected):
        raise DefinitionError(
            f"{what} is {_named(code)}, which is annotated to return {_shown(hints['return'])}; "
            f"expected {' or '.join(_shown(each) for each in expected)}"
        )


def _expected(context_type: Any, undo: bool) -> tuple[type, ...]:
    if undo:
        return (type(None),)
    if context_type is None:
        return (type(None), object)
    return (type(None), Mapping if context_type is dict else _class(context_type))


def _first_parameter(code: Callable[..., Any], what: str) -> str | None:
    """The name of the parameter that gets the context, if it can be told."""
    try:
        signature = inspect.signature(code, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(None)
    except TypeError as error:
        raise DefinitionError(
            f"{what} is {_named(code)}, called with the context alone: {error}; expected a function of one argument"
        ) from None
    return next(iter(signature.parameters))


def _function(code: Any) -> Any:
    """The function that a call of `code` comes to."""
    while isinstance(code, functools.partial):
        code = code.func
    if inspect.isroutine(code) or isinstance(code, type):
        return code
    return type(code).__call__


def _hints(function: Any, context_type: Any) -> dict[str, Any]:
    """The annotations as far as they can be resolved; a name in a function's body may be that of a local class."""
    local = context_type is not None and "<locals>" in getattr(function, "__qualname__", "")
    names = {_class(context_type).__name__: context_type} if local else None
    try:
        return get_type_hints(function, localns=names)
    except Exception:  # an annotation is code, and can raise anything
        annotations = getattr(function, "__annotations__", {})
        return {name: hint for name, hint in annotations.items() if not isinstance(hint, str)}


def _takes(annotation: Any, context_type: Any) -> bool:
    return any(_is_wider(each, context_type) for each in _alternatives(annotation))


def _is_wider(annotation: Any, context_type: Any) -> bool:
    if _class(annotation) is not _class(context_type):
        return _is_subclass(_class(context_type), _class(annotation))
    return all(
        _may_be_same(one, other) for one, other in zip(get_args(annotation), _arguments(context_type), strict=False)
    )


def _arguments(context_type: Any) -> tuple[Any, ...]:
    return (str, Any) if context_type is dict else get_args(context_type)


def _may_be_same(one: Any, other: Any) -> bool:
    plain = isinstance(one, type) and isinstance(other, type) and Any not in (one, other)
    return not plain or _is_subclass(one, other) or _is_subclass(other, one)


def _may_return(annotation: Any, expected: tuple[type, ...]) -> bool:
    for each in _alternatives(annotation):
        returned = _class(each)
        if returned is not object and _is_subclass(returned, Awaitable):
            awaited = get_args(each)
            if not awaited or _may_return(awaited[-1], expected):
                return True
        elif any(_is_subclass(returned, one) or _is_subclass(one, returned) for one in expected):
            return True
    return False


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The classes, or generic ones, that `annotation` allows; `object` for whatever it does not tell."""
    origin = get_origin(annotation)
    if origin in _UNIONS:
        for each in get_args(annotation):
            yield from _alternatives(each)
    elif origin in _LITERALS:
        yield from {type(value) for value in get_args(annotation)}
    elif origin in _ANNOTATED:
        yield from _alternatives(get_args(annotation)[0])
    elif isinstance(annotation, typing.NewType):
        yield from _alternatives(annotation.__supertype__)
    else:
        yield _class_of(annotation, origin)


def _class_of(annotation: Any, origin: Any) -> Any:
    if annotation is None:
        return type(None)
    cls = annotation if origin is None else origin
    if annotation is Any or not isinstance(cls, type) or typing_extensions.is_protocol(cls):
        return object
    return dict if typing_extensions.is_typeddict(cls) else annotation


def _class(annotation: Any) -> Any:
    """The class, of a generic one with its arguments."""
    return get_origin(annotation) or annotation


def _is_subclass(cls: type, other: type) -> bool:
    try:
        return issubclass(cls, other)
    except TypeError:  # a class that does not say
        return True


def _named(code: Any) -> str:
    return str(getattr(code, "__qualname__", None) or repr(code))


def _shown(annotation: Any) -> str:
    if annotation is None or annotation is type(None):
        return "None"
    plain = isinstance(annotation, (type, TypeVar)) and get_origin(annotation) is None
    return annotation.__name__ if plain else str(annotation).replace("typing.", "")
