"""What docs/architecture.md shows: the life of a saga as an engine is overheard at it, and every module of `actors`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from engine_rig import Answer, Rig, fail_at, run, succeed

from saga_actors.actors.protocol import FromWorker, Loaded, Source, ToWorker
from saga_actors.events import Event, Phase
from saga_actors.journal import Entry, MemoryJournal
from saga_actors.journal.port import Appended
from saga_actors.plan import SagaPlan, StepPlan

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text()
PLAN = SagaPlan("shop:Order", (StepPlan("reserve", compensable=True), StepPlan("charge", compensable=True)))


class OverheardJournal(MemoryJournal):
    """A journal that notes each commit."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self.notes = notes

    def append(self, epoch: int, entries: Sequence[Entry]) -> Appended:
        appended = super().append(epoch, entries)
        self.notes += [f"             commit: {', '.join(map(_event, entry.events))}" for entry in entries]
        return appended


class Overheard(Rig):
    """A rig that notes what its supervisor hears, commits and says; what telemetry is told is left out."""

    def __init__(self, answer: Answer) -> None:
        self.notes: list[str] = []
        super().__init__(OverheardJournal(self.notes))
        worker = self.worker(answer=answer).worker
        self.send(Loaded(worker, {PLAN.saga: PLAN}, {}, (Source(PLAN.saga, "shop"),)), "worker-1")
        self._hear, self.engine.handle = self.engine.handle, self._overhear

    def _overhear(self, message: Any, sender: Any) -> list[tuple[Any, Any]]:
        self.notes.append(f"{_who(sender)} ──▶   {_message(message)}")
        said: list[tuple[Any, Any]] = self._hear(message, sender)
        self.notes += [f"{_who(to)} ◀──   {_message(each)}" for to, each in said if to != "telemetry"]
        return said


def _who(address: str) -> str:
    return f"{address.partition('-')[0]:<6}"


def _message(message: Any) -> str:
    name = type(message).__name__
    if isinstance(message, FromWorker):
        return f"{name}: " + ", ".join(f"{type(each.report).__name__} {_step(each.report)}" for each in message.reports)
    if isinstance(message, ToWorker):
        receipt = ["receipt"] * bool(message.stored)
        return f"{name}: " + ", ".join(receipt + [f"Order {_step(order.key)}" for order in message.orders])
    return name


def _event(event: Event) -> str:
    return f"{type(event).__name__} {_step(event)}".rstrip()


def _step(what: Any) -> str:
    undo = "undo of " if getattr(what, "phase", None) is Phase.COMPENSATE else ""
    return undo + str(getattr(what, "step", ""))


@pytest.mark.parametrize("answer", [succeed, fail_at("charge")], ids=["forward", "back"])
def test_a_saga_lives_as_the_document_shows(answer: Answer) -> None:
    """Message by message, commit by commit: nothing is said before what it rests on is durable (P5)."""
    rig = Overheard(answer)
    rig.notes.clear()
    rig.send(run("ord_123", PLAN))
    overheard = "\n".join(rig.notes)
    assert f"```text\n{overheard}\n```" in DOCUMENT


def test_every_module_of_actors_has_its_place() -> None:
    """The table of parts has each of them, and no other."""
    table = DOCUMENT.partition("## What is in `actors/`")[2].partition("\n## ")[0]
    there = {path.stem for path in (ROOT / "saga_actors" / "actors").glob("*.py")} - {"__init__"}
    rows = re.findall(r"^\| [^`|]+ \| (.+?) \|$", table, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(there)
