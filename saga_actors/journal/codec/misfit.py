"""A value that is refused, and where it is."""

from __future__ import annotations

import json

from saga_actors.journal.codec.type_name import type_name

MAX_DEPTH = 64


class Misfit(Exception):
    """A value that is refused: why, and its path, innermost first.

    It is raised, or stands in a tree in the place of what cannot be written.
    """

    def __init__(self, reason: str, *, deep: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.deep = deep
        self.path: list[tuple[str, int]] = []

    def under(self, segment: str, container: object = None) -> Misfit:
        """The same, one level further out."""
        self.path.append((segment, id(container)))
        return self

    def described(self) -> tuple[str, str]:
        """The path and the reason, as they are told."""
        path = self.path[::-1]
        if self.deep:
            outermost: dict[int, int] = {}
            for level, (_, container) in enumerate(path):
                if container in outermost:
                    return _joined(path[:level]), "contains itself; store a reference (a key or an id) in its place"
                outermost[container] = level
        return _joined(path), self.reason


def _joined(path: list[tuple[str, int]]) -> str:
    segments = [segment for segment, _ in path]
    if len(segments) > 16:
        segments[8:-8] = ["…"]
    return "".join(segments).removeprefix(".")


def segment_of(key: object) -> str:
    """How a path goes through a key of a dict."""
    if type(key) is str:
        short = key if len(key) <= 60 else key[:60] + "…"
        return f".{short}" if short.isidentifier() else f"[{json.dumps(short)}]"
    if type(key) is bool or (type(key) is int and abs(key) < 10**12):
        return f"[{key}]"
    return f"[<{type_name(key)}>]"


def mismatch(value: object, expected: str) -> Misfit:
    """That `value` is of another type; if it is a misfit that stands in a tree, then itself."""
    return value if isinstance(value, Misfit) else Misfit(f"is {type_name(value)}; expected {expected}")


def check_depth(depth: int) -> None:
    """Raise a misfit for a container at `depth` if that is too deep."""
    if depth >= MAX_DEPTH:
        raise Misfit(f"is nested deeper than {MAX_DEPTH} levels; store it flatter", deep=True)
