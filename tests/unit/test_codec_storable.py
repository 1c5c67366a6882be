"""Whether contexts of a type can be stored, told from its annotations alone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

import attrs
import pytest
from codec_cases import Node, NumberPage, Order, Page, Status, WidePage

from saga_actors.journal.codec.storable import unstorable

T = TypeVar("T")


@attrs.frozen
class Plain:
    when: datetime
    what: list[dict[str, int | None]]
    any: Any = None


@attrs.frozen
class Holder(Generic[T]):
    it: T
    next: Holder[T] | None = None


@attrs.frozen
class Odd:
    wire: socket.socket
    deep: list[dict[str, tuple[Callable[[], None], ...]]]
    fine: int = 0


@pytest.mark.parametrize("kind", [dict, Plain, Holder[int], Node, NumberPage, Order, Page[Status], WidePage[int]])
def test_what_can_be_stored_has_no_flaw(kind: Any) -> None:
    """Plain, nested and generic ones, and one that holds itself."""
    assert unstorable(kind) == ()


def test_each_field_that_cannot_be_stored_is_named() -> None:
    """By its path, as the refusal of a value would."""
    wire, deep = unstorable(Odd)
    assert wire == "context.wire is annotated as socket.socket, which a context cannot hold; use an attrs class for it"
    assert deep.startswith("context.deep[...][...][...] is annotated as collections.abc.Callable")
    assert unstorable(Holder[socket.socket])[0].startswith("context.it is annotated as socket.socket")
