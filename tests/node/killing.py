"""Sagas for tests in which processes are killed: they write down all that is needed to find out what went wrong.

The context has `folder`, where the ledger is, beside the journal; `ways`, what a call does that does not simply work,
by its name (`two`, or `undo-two`); and `gate`, the name of a call that waits until the file `open` is there. A way is
`fail` (each time), `once` (the first time that it comes to its end, in whatever process), `slow`, `doubt`, `give-up`.
Each call writes a line when it begins, which is its effect, and one when it ends; a call without the second was cut
short. The first one says whether the journal had what it must have before a call may begin (P5).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import attrs

from saga_actors import Abort, OutcomeUnknown, Retry, Saga, current_step, step
from saga_actors.actors.kill_points import AFTER, passing
from saga_actors.actors.process import start_time
from saga_actors.events import AttemptStarted, AttemptSucceeded, Phase
from saga_actors.journal import open_reader

GATE_LIMIT = 60.0
SLOW = 0.7
LEDGER = "effects"

SOON = Retry(3, first_delay=0.01, jitter=0.0)

BEGUN, WORKED, FAILED = "begun", "worked", "failed"


@attrs.frozen
class Line:
    """One line of the ledger; the process is named by its pid and its start."""

    what: str
    saga_id: str
    call: str
    attempt: int
    key: str
    undoes: str | None
    outcome: str | None
    done: tuple[str, ...]
    process: tuple[int, int]
    at: float
    is_ahead: bool


def ledger(folder: Path) -> list[Line]:
    """All lines, in the order in which they were written."""
    path = folder / LEDGER
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [Line(**{**line, "done": tuple(line["done"]), "process": tuple(line["process"])}) for line in lines]


class Call:
    """One call of a step or an undo; it begins when this is made."""

    def __init__(self, context: dict[str, Any]) -> None:
        here = current_step()
        self.folder = Path(context["folder"])
        self.name = here.step if here.phase == "execute" else f"undo-{here.step}"
        self.way = context["ways"].get(self.name)
        self.waits = context.get("gate") == self.name
        self._line = Line(
            BEGUN,
            here.saga_id,
            self.name,
            here.attempt,
            here.idempotency_key,
            here.undoes_key,
            here.outcome,
            tuple(key.removeprefix("did_") for key in context if key.startswith("did_")),
            (os.getpid(), start_time(os.getpid()) or 0),
            time.time(),
            self._is_ahead(context),
        )
        self._write(self._line)
        passing(AFTER, "effect-call", Phase(here.phase))

    def _is_ahead(self, context: dict[str, Any]) -> bool:
        """Whether the journal says that this attempt was begun, and what the context says to be done is done."""
        here = current_step()
        with contextlib.closing(open_reader(f"sqlite:///{self.folder}/sagas.db")) as reader:
            events = [stored.event for stored in reader.load(here.saga_id)]
        begun = {(e.phase, e.step, e.attempt) for e in events if isinstance(e, AttemptStarted)}
        done = {f"did_{e.step}" for e in events if isinstance(e, AttemptSucceeded) and e.phase is Phase.EXECUTE}
        return (here.phase, here.step, here.attempt) in begun and {k for k in context if k.startswith("did_")} <= done

    @property
    def is_free(self) -> bool:
        """Whether it may go on, which it may not for ever be kept from."""
        late = time.time() - self._line.at > GATE_LIMIT
        return late or not self.waits or (self.folder / "open").exists()

    def end(self) -> None:
        """As it was told to."""
        if self.way == "doubt":
            raise OutcomeUnknown(f"{self.name} does not know, as it was told to")
        if self.way in ("fail", "give-up") or (self.way == "once" and self._is_first()):
            self._write(attrs.evolve(self._line, what=FAILED, at=time.time()))
            error = Abort if self.way == "give-up" else RuntimeError
            raise error(f"{self.name} failed, as it was told to")
        self._write(attrs.evolve(self._line, what=WORKED, at=time.time()))

    def _is_first(self) -> bool:
        with contextlib.suppress(FileExistsError):
            (self.folder / f"{self._line.saga_id}-{self.name}.failed").touch(exist_ok=False)
            return True
        return False

    def _write(self, line: Line) -> None:
        descriptor = os.open(self.folder / LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, json.dumps(attrs.asdict(line)).encode() + b"\n")
        finally:
            os.close(descriptor)


def act(context: dict[str, Any]) -> dict[str, Any]:
    """A step, on a thread."""
    call = Call(context)
    if call.way == "slow":
        time.sleep(SLOW)
    while not call.is_free:
        time.sleep(0.005)
    call.end()
    return {f"did_{call.name}": True}


async def act_async(context: dict[str, Any]) -> dict[str, Any]:
    """A step, on the loop."""
    call = Call(context)
    if call.way == "slow":
        await asyncio.sleep(SLOW)
    while not call.is_free:
        await asyncio.sleep(0.005)
    call.end()
    return {f"did_{call.name}": True}


def undo(context: dict[str, Any]) -> None:
    """An undo, on a thread."""
    act(context)


async def undo_async(context: dict[str, Any]) -> None:
    """An undo, on the loop."""
    await act_async(context)


class Journey(Saga):
    """Three steps with undos that are tried four times, on threads and on the loop, and one that may fail."""

    one = step(act, compensate=undo, compensate_retries=SOON)
    two = step(act_async, compensate=undo_async, compensate_retries=SOON)
    three = step(act, compensate=undo, compensate_retries=SOON)
    last = step(act)


class Delicate(Saga):
    """Its second step is called once at most."""

    before = step(act, compensate=undo)
    once = step(act, compensate=undo, reruns=0)
    after = step(act, compensate=undo)


class Careless(Saga):
    """Its second step may fail."""

    before = step(act, compensate=undo)
    extra = step(act_async, compensate=undo_async, on_failure="ignore")
    after = step(act_async, compensate=undo_async)
    last = step(act)
