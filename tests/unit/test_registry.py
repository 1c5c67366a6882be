"""The registry: one class per name in a process."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from saga_actors.definition import (
    Saga,
    registered_sagas,
    saga_named,
    step,
)
from saga_actors.errors import DefinitionError


def nothing(order: Any) -> None:
    """A step, or an undo, that does nothing."""


def test_two_classes_with_one_name_are_refused() -> None:
    """A registered name means one class per process; the message names both."""

    class First(Saga, name="test-taken"):
        charge = step(nothing)

    with pytest.raises(DefinitionError, match=r"Second has the name 'test-taken', which .*First has already"):

        class Second(Saga, name="test-taken"):
            charge = step(nothing)

    assert saga_named("test-taken") is First


def test_a_class_that_nobody_has_gives_its_name_back() -> None:
    """The registry holds classes weakly, and one in a cycle is collected before its name is called taken."""

    def define() -> None:
        class First(Saga, name="test-forgotten"):
            charge = step(nothing)

    gc.disable()
    try:
        define()

        class Second(Saga, name="test-forgotten"):
            charge = step(nothing)
    finally:
        gc.enable()
    assert saga_named("test-forgotten") is Second


def test_a_redefined_class_replaces_the_old_one() -> None:
    """The same module and qualname, as after a reload, is the same saga in its newest form."""

    def define(timeout: float) -> type[Saga]:
        class PlaceOrder(Saga, name="test-redefined"):
            charge = step(nothing, timeout=timeout)

        return PlaceOrder

    old, new = define(1), define(2)
    assert saga_named("test-redefined") is new is not old


def test_a_refused_class_is_not_registered() -> None:
    """A class that is refused leaves nothing behind."""
    with pytest.raises(DefinitionError):

        class Bad(Saga, name="test-refused"):
            charge = step(lambda: None)  # type: ignore[misc, arg-type]

    assert saga_named("test-refused") is None


def test_registered_sagas_are_listed_by_name() -> None:
    """All sagas that are alive are listed in the order of their names."""

    class Later(Saga, name="test-listed-b"):
        charge = step(nothing)

    class Sooner(Saga, name="test-listed-a"):
        charge = step(nothing)

    listed = registered_sagas()
    assert [each for each in listed if each in (Sooner, Later)] == [Sooner, Later]
    assert Saga not in listed
