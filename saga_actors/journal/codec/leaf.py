"""Annotations that hold no other."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

from cattrs.fns import identity

from saga_actors.journal.codec.hooks import Hooks, unsupported
from saga_actors.journal.codec.misfit import Misfit, mismatch
from saga_actors.journal.codec.native import NATIVE, sound, sound_text
from saga_actors.journal.codec.scalar import SCALARS, read_scalar
from saga_actors.journal.codec.tagged import lift, lower
from saga_actors.journal.codec.type_name import name_of

_LITERAL = (*NATIVE, type(None))


def literal_hooks(values: tuple[Any, ...]) -> Hooks:
    """One of some values that JSON knows."""
    allowed = {(type(value), value) for value in values}
    if not all(kind in _LITERAL for kind, _ in allowed):
        return unsupported("a Literal of enum members or bytes", "use the enum itself")

    def load(tree: Any, _: Any = None) -> Any:
        if type(tree) not in _LITERAL or (type(tree), tree) not in allowed:
            raise mismatch(tree, "one of the values of its Literal")
        return tree

    return Hooks(identity, load)


def enum_hooks(cls: type[Enum]) -> Hooks:
    """A member by its value where JSON writes that exactly, else by its name."""
    by_value = all(type(member.value) in (str, int) for member in cls)
    expected = name_of(cls)

    def dump(value: Any) -> Any:
        if type(value) is not cls:
            return mismatch(value, expected)
        return value.value if by_value else value.name

    def load(tree: Any, _: Any = None) -> Any:
        if type(tree) not in (str, int):
            raise mismatch(tree, expected)
        try:
            return cls(tree) if by_value else cls[tree]
        except (ValueError, KeyError):
            raise Misfit(f"is not a member of {expected}") from None

    return Hooks(dump, load)


def _native_hooks(kind: type) -> Hooks:
    allowed, expected = NATIVE[kind], name_of(kind)

    def load(tree: Any, _: Any = None) -> Any:
        if type(tree) not in allowed:
            raise mismatch(tree, expected)
        return sound(tree)

    return Hooks(identity, load)


def _scalar_hooks(kind: type) -> Hooks:
    write, expected = SCALARS[kind].dump, name_of(kind)

    def dump(value: Any) -> Any:
        if type(value) is not kind:
            return mismatch(value, expected)
        try:
            return write(value)
        except Misfit as misfit:
            return misfit

    return Hooks(dump, lambda tree, _=None: read_scalar(kind, tree))


def _dump_any(value: Any) -> Any:
    try:
        return lower(value)
    except Misfit as misfit:
        return misfit


def _dump_path(value: Any) -> Any:
    return str(value) if type(value) is type(Path()) else mismatch(value, "Path")


def _load_path(tree: Any, _: Any = None) -> Path:
    if type(tree) is not str:
        raise mismatch(tree, "Path")
    return Path(sound_text(tree))


def _load_none(tree: Any, _: Any = None) -> None:
    if tree is not None:
        raise mismatch(tree, "None")


ANY = Hooks(_dump_any, lambda tree, _=None: lift(tree))
LEAVES: dict[Any, Hooks] = {
    Any: ANY,
    Path: Hooks(_dump_path, _load_path),
    type(None): Hooks(identity, _load_none),
    **{kind: _native_hooks(kind) for kind in NATIVE},
    **{kind: _scalar_hooks(kind) for kind in SCALARS},
}
