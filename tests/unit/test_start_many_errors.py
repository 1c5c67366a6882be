"""What `start_many` says when it breaks off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saga_actors import Coordinator, NodeError, NodeUnreachableError, Saga, StartManyError, step
from saga_actors.messages import SagasStarted


def go(_: dict[str, Any]) -> None:
    """Nothing."""


class Some(Saga):
    """One step."""

    go = step(go)


def breaking_off(path: Path, after: int) -> Coordinator:
    """A coordinator whose node is lost after so many messages."""
    sagas, told = Coordinator(f"sqlite:///{path}/journal.db"), []

    async def ask_served(message: Any, *_: Any) -> SagasStarted:
        if len(told) == after:
            raise NodeUnreachableError("the node has gone")
        told.append(message)
        return SagasStarted(message.correlation_id)

    sagas._verbs._attachment.ask_served = ask_served  # type: ignore[method-assign]
    return sagas


def test_what_was_accepted_before_an_error_is_named(tmp_path: Path) -> None:
    """P1: nobody else knows the ids that were made for them; of the others it says that nobody answered."""
    sagas = breaking_off(tmp_path, after=1)
    with pytest.raises(StartManyError, match="the node has gone") as raised:
        sagas.start_many(Some, [{"n": n} for n in range(1_500)])
    assert (len(raised.value.accepted), len(raised.value.unanswered)) == (1_000, 500)
    assert isinstance(raised.value.__cause__, NodeUnreachableError)


def test_an_error_before_anything_was_accepted_is_raised_as_it_is(tmp_path: Path) -> None:
    """There is nothing to name."""
    with pytest.raises(NodeError, match="has gone"):
        breaking_off(tmp_path, after=0).start_many(Some, [{"n": n} for n in range(1_500)])
