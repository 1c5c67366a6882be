"""Annotations of unions: what JSON tells apart is written as it is, the rest under the name of its type."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from cattrs.fns import identity

from saga_actors.journal.codec.hooks import Hooks, unsupported
from saga_actors.journal.codec.leaf import ANY
from saga_actors.journal.codec.misfit import mismatch
from saga_actors.journal.codec.native import NATIVE, sound
from saga_actors.journal.codec.scalar import SCALARS, scalar_tag
from saga_actors.journal.codec.type_name import name_of, shown


class _Tagged(NamedTuple):
    """A member that is written under a tag."""

    tag: str
    hooks: Hooks


def union_hooks(members: list[tuple[Any, Hooks]]) -> Hooks:
    """A union of plain annotations, each with its hooks."""
    if any(hooks is ANY for _, hooks in members):
        return ANY
    others = [(member, hooks) for member, hooks in members if member is not type(None)]
    if len(others) == 1:
        inner = others[0][1]
    else:
        inner = _told_apart(others, "one of " + ", ".join(shown(member) for member, _ in members))
    return inner if len(others) == len(members) else _optional(inner)


def _optional(inner: Hooks) -> Hooks:
    def dump(value: Any) -> Any:
        return None if value is None else inner.dump(value)

    def load(tree: Any, _: Any = None) -> Any:
        return None if tree is None else inner.load(tree)

    return Hooks(identity if inner.dump is identity else dump, load)


def _told_apart(members: list[tuple[Any, Hooks]], expected: str) -> Hooks:
    bare: set[type] = set()
    tagged: dict[type, _Tagged] = {}
    for member, hooks in members:
        kind = type(Path()) if member is Path else get_origin(member) or member
        if kind is Literal:
            bare |= {type(value) for value in get_args(member)}
        elif kind in NATIVE:
            bare |= NATIVE[kind]
        elif kind in tagged:
            return unsupported(
                f"a union with two kinds of {name_of(kind)}, which cannot be told apart",
                "wrap each of them in an attrs class",
            )
        else:
            tagged[kind] = _Tagged(_tag(kind, [each for each, _ in members]), hooks)
    return _bare_or_tagged(frozenset(bare), tagged, expected)


def _tag(kind: type, members: list[Any]) -> str:
    if kind in SCALARS:
        return scalar_tag(kind)
    names = [getattr(get_origin(member) or member, "__name__", "").lower() for member in members]
    short = names.count(kind.__name__.lower()) < 2
    return f"${kind.__name__}" if short else f"${kind.__module__}.{kind.__qualname__}"


def _bare_or_tagged(bare: frozenset[type], tagged: dict[type, _Tagged], expected: str) -> Hooks:
    by_tag = dict(tagged.values())

    def dump(value: Any) -> Any:
        if type(value) in bare:
            return value
        if (entry := tagged.get(type(value))) is None:
            return mismatch(value, expected)
        return {entry.tag: entry.hooks.dump(value)}

    def load(tree: Any, _: Any = None) -> Any:
        if type(tree) in bare:
            return sound(tree)
        if type(tree) is not dict or len(tree) != 1 or (tag := next(iter(tree))) not in by_tag:
            raise mismatch(tree, expected)
        return by_tag[tag].load(tree[tag])

    return Hooks(dump, load)
