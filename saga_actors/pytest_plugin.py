"""A plugin for pytest, found by itself where saga_actors is installed: the fixture `rehearse`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from saga_actors.definition import Saga
    from saga_actors.testing.rehearsal import Rehearsal


@pytest.fixture
def rehearse() -> Callable[..., Rehearsal]:
    """Makes rehearsals: `rehearse(PlaceOrder)`."""

    def made(*sagas: type[Saga[Any]]) -> Rehearsal:
        from saga_actors.testing.rehearsal import Rehearsal

        return Rehearsal(*sagas)

    return made
