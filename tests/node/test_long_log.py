"""A node that goes on for long: its log is kept short while all its processes write to it."""

from __future__ import annotations

from typing import Any

import pytest
from premises import Premises

from saga_actors import Completed
from saga_actors.node_folder import LOG_LIMIT

pytestmark = pytest.mark.node

CHATTY = """
    from saga_actors import Saga, step

    def talk(context):
        for _ in range(context["lines"]):
            print("x" * 999)

    class Chatty(Saga):
        talk = step(talk)
"""


def test_what_steps_print_does_not_fill_the_disk(premises: Premises, monkeypatch: pytest.MonkeyPatch) -> None:
    """P12: of more than the limit the end is kept, and what is written afterwards is at the beginning of node.log."""
    premises.write("chatty.py", CHATTY)
    monkeypatch.syspath_prepend(premises.folder)
    import chatty  # type: ignore[import-not-found, unused-ignore]

    saga: Any = chatty.Chatty
    sagas = premises.coordinator(sagas=[saga])
    assert isinstance(sagas.run(saga, {"lines": LOG_LIMIT // 1_000 + 1_000}), Completed)
    premises.until(premises.node.earlier_log.exists)
    premises.until(lambda: premises.node.log.stat().st_size < LOG_LIMIT)
    assert premises.node.earlier_log.stat().st_size <= LOG_LIMIT + 1_000_000
    assert isinstance(sagas.run(saga, {"lines": 1}, saga_id="later"), Completed)
    premises.until(lambda: "later" in premises.log())
