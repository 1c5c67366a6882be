"""A changed copy of a frozen value."""

from __future__ import annotations

import attrs
import pytest

from saga_actors.evolve import derived, evolve


@attrs.frozen(slots=False)
class Point:
    x: int
    y: int = 0

    @derived
    def sum(self) -> int:
        return self.x + self.y


def test_a_copy_has_the_changes_and_the_original_has_not() -> None:
    """It is what `attrs.evolve` gives."""
    point = Point(1, 2)
    assert evolve(point, {"y": 5}) == attrs.evolve(point, y=5) == Point(1, 5)
    assert point == Point(1, 2)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        evolve(point, {"y": 5}).y = 6  # type: ignore[misc]


def test_what_was_worked_out_for_the_original_is_worked_out_anew() -> None:
    """It lies among the fields of an instance, and is no field."""
    point = Point(1, 2)
    assert point.sum == 3
    assert evolve(point, {"y": 5}).sum == 6
    assert evolve(evolve(point, {}), {"x": 2}).sum == 4
