"""What a coordinator is given, checked at the door."""

from __future__ import annotations

from typing import Any

import pytest

from saga_actors.arguments import ids_for
from saga_actors.errors import SagaActorsError


def test_ids_are_made_where_none_are_given() -> None:
    """One for each, or all as given."""
    assert ids_for(3, None) == [None] * 3
    assert ids_for(2, iter(["a", "b"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "why"),
    [("ab", "a list of ids"), (7, "a list of ids"), (["a"], "2 contexts and 1 saga_ids"), (["a", "a"], "'a' more")],
)
def test_ids_that_do_not_fit_are_refused(given: Any, why: str) -> None:
    """The message says what was given."""
    with pytest.raises(SagaActorsError, match=why):
        ids_for(2, given)
