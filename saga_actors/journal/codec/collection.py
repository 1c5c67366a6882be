"""Annotations of collections, made of the hooks of what is in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from saga_actors.journal.codec.hooks import Hooks
from saga_actors.journal.codec.misfit import Misfit, mismatch, segment_of
from saga_actors.journal.codec.native import sound_text
from saga_actors.journal.codec.refusal import blamed
from saga_actors.journal.codec.tree import canonical_text
from saga_actors.journal.codec.type_name import name_of, type_name


def items_hooks(kind: Any, item: Hooks) -> Hooks:
    """A list, tuple, set or frozenset of any length."""
    ordered = kind in (list, tuple)
    expected = name_of(kind)

    def dump(value: Any) -> Any:
        if type(value) is not kind:
            return mismatch(value, expected)
        dumped = list(map(item.dump, value))
        return dumped if ordered else _in_order(dumped)

    def load(tree: Any, _: Any = None) -> Any:
        loaded = _load_items(tree, item.load, expected, ordered=ordered)
        return loaded if kind is list else kind(loaded)

    return Hooks(dump, load)


def tuple_hooks(items: list[Hooks]) -> Hooks:
    """A tuple with a place for each of `items`."""
    expected = f"a tuple of {len(items)}"

    def dump(value: Any) -> Any:
        if type(value) is not tuple or len(value) != len(items):
            return mismatch(value, expected)
        return [item.dump(each) for item, each in zip(items, value, strict=True)]

    def load(tree: Any, _: Any = None) -> Any:
        if type(tree) is not list or len(tree) != len(items):
            raise mismatch(tree, expected)
        turn = iter(items)
        return tuple(_load_items(tree, lambda each: next(turn).load(each), expected))

    return Hooks(dump, load)


def mapping_hooks(item: Hooks) -> Hooks:
    """A dict whose keys are str."""

    def dump(value: Any) -> Any:
        if type(value) is not dict:
            return mismatch(value, "dict")
        dumped = {}
        for key, each in value.items():
            if type(key) is not str:
                return Misfit(f"has a key of type {type_name(key)}; expected str")
            dumped[key if key[:1] != "$" else "$" + key] = item.dump(each)
        return dumped

    def load(tree: Any, _: Any = None) -> Any:
        if type(tree) is not dict:
            raise mismatch(tree, "dict")
        loaded = {}
        key = ""
        try:
            for key, each in tree.items():
                name = key if key[:1] != "$" else key[1:]
                loaded[sound_text(name)] = item.load(each)
        except Exception as error:
            raise blamed(error).under(segment_of(key)) from None
        return loaded

    return Hooks(dump, load)


def pairs_hooks(key: Hooks, item: Hooks) -> Hooks:
    """A dict whose keys are something else."""

    def dump(value: Any) -> Any:
        if type(value) is not dict:
            return mismatch(value, "dict")
        return {"$dict": [[key.dump(name), item.dump(each)] for name, each in value.items()]}

    def load(tree: Any, _: Any = None) -> Any:
        if type(tree) is not dict or tree.keys() != {"$dict"}:
            raise mismatch(tree, "dict")
        loaded = {}
        segment = ".<key>"
        try:
            for name, each in tree["$dict"]:
                segment = ".<key>"
                loaded_name = key.load(name)
                segment = segment_of(loaded_name)
                loaded[loaded_name] = item.load(each)
        except Exception as error:
            raise blamed(error).under(segment) from None
        return loaded

    return Hooks(dump, load)


def _in_order(dumped: list[Any]) -> list[Any]:
    """What a set was written as, in an order of its own; with a misfit in it, it is not written anyway."""
    try:
        return sorted(dumped, key=canonical_text)
    except (TypeError, ValueError):
        return dumped


def _load_items(tree: Any, load: Callable[..., Any], expected: str, *, ordered: bool = True) -> list[Any]:
    if type(tree) is not list:
        raise mismatch(tree, expected)
    loaded: list[Any] = []
    try:
        for item in tree:
            loaded.append(load(item))
    except Exception as error:
        raise blamed(error).under(f"[{len(loaded)}]" if ordered else "[*]") from None
    return loaded
