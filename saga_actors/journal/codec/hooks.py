"""The pair of functions by which the values of one annotation are written and read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from saga_actors.journal.codec.misfit import Misfit


class Hooks(NamedTuple):
    """How values of one annotation are written and read.

    `dump` never raises for a value that does not fit: it puts a misfit in its place, or writes it as it is. `load` is
    strict, and comes to the path of it; the second argument, which cattrs gives, says nothing that it does not know.
    """

    dump: Callable[[Any], Any]
    load: Callable[..., Any]


def unsupported(what: str, remedy: str) -> Hooks:
    """Refused when it is used and not before, so that the message has a path."""
    reason = f"is {what}; {remedy}"

    def load(tree: Any, _: Any = None) -> NoReturn:
        raise Misfit(reason)

    return Hooks(lambda value: Misfit(reason), load)
