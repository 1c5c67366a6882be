"""Sagas whose every effect is a line in a ledger outside, and which wait, fail and hang as their context says.

The context has `folder` (where ledger and gates are), `gates` (calls that wait for a file to appear), `failing` (calls
that raise), `failing_first` (at their first attempt) and `aborting` (calls that give up). A call is named `step`, or
for its undo `undo-step`.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import attrs

from saga_actors import Abort, Saga, current_step, step
from saga_actors.retry import Retry
from saga_actors.telemetry import EventName, TelemetryEvent

GATE_LIMIT = 60.0


@attrs.frozen
class Call:
    """One line of the ledger: a call of a step or an undo, and what it was given."""

    saga_id: str
    name: str
    attempt: int
    key: str
    pid: int
    at: float
    done: tuple[str, ...]


class Outside:
    """The world that the steps act upon: a folder with the ledger and the gates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def note(self, call: Call) -> None:
        """Append a line, in one write so that lines never mix."""
        self._append("ledger", attrs.asdict(call))

    def calls(self, name: str | None = None, saga_id: str | None = None) -> list[Call]:
        """The calls so far: all, or those of this name or saga."""
        calls = [Call(**{**line, "done": tuple(line["done"])}) for line in self.lines("ledger")]
        return [c for c in calls if name in (None, c.name) and saga_id in (None, c.saga_id)]

    def names(self, saga_id: str) -> list[str]:
        """The calls of a saga in order, by name."""
        return [call.name for call in self.calls(saga_id=saga_id)]

    def ended(self, name: str) -> None:
        """Note that a call is through its gate, and about to end."""
        self._append("ended", {"name": name})

    def open(self, name: str) -> None:
        """Let the calls go on that wait here."""
        (self.folder / f"{name}.open").touch()

    def wait(self, name: str) -> None:
        """Wait until somebody opens this gate."""
        deadline = time.monotonic() + GATE_LIMIT
        while not (self.folder / f"{name}.open").exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody opened {name}")
            time.sleep(0.005)

    def lines(self, file: str) -> list[dict[str, Any]]:
        path = self.folder / file
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _append(self, file: str, line: dict[str, Any]) -> None:
        descriptor = os.open(self.folder / file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
        finally:
            os.close(descriptor)


def act(context: dict[str, Any]) -> dict[str, Any]:
    """Note the call, then do as the context says."""
    here = current_step()
    name = here.step if here.phase == "execute" else f"undo-{here.step}"
    outside = Outside(Path(context["folder"]))
    done = tuple(sorted(key.removeprefix("did_") for key in context if key.startswith("did_")))
    outside.note(Call(here.saga_id, name, here.attempt, here.idempotency_key, os.getpid(), time.time(), done))
    if name in context.get("gates", ()):
        outside.wait(context.get("gate", f"{here.saga_id}-{name}"))
    outside.ended(name)
    if name in context.get("failing", ()) or (here.attempt == 1 and name in context.get("failing_first", ())):
        raise RuntimeError(f"{name} failed, as it was told to; it had {context.get('secret', 'nothing')}")
    if name in context.get("aborting", ()):
        raise Abort(f"{name} gave up, as it was told to; it had {context.get('secret', 'nothing')}")
    return {f"did_{here.step}": context.get("secret", True)}


def undo(context: dict[str, Any]) -> None:
    """As `act`, for a compensation."""
    act(context)


async def act_async(context: dict[str, Any]) -> dict[str, Any]:
    """As `act`, on the loop; no gates."""
    return act(context)


class Trip(Saga):
    """Three steps with undos, and one without."""

    flight = step(act, compensate=undo)
    hotel = step(act, compensate=undo)
    car = step(act, compensate=undo)
    mail = step(act_async)


class Late(Saga):
    """Its second step has half a second."""

    first = step(act, compensate=undo)
    slow = step(act, compensate=undo, timeout=0.5)


class Stubborn(Saga):
    """Is tried twice more, each time after two seconds."""

    call = step(act, retries=Retry(2, first_delay=2.0, factor=1.0, jitter=0.0))


class Once(Saga):
    """Its step may not be run again after a crash, and so is in doubt then."""

    call = step(act, compensate=undo, reruns=0)


def start_program(context: dict[str, Any]) -> dict[str, Any]:
    """Start a program that would outlive the step, and wait."""
    folder = Path(context["folder"])
    if not (folder / "program").exists():
        program = subprocess.Popen(["sleep", "600"])
        (folder / "program.new").write_text(str(program.pid))
        (folder / "program.new").replace(folder / "program")
    return act(context)


class Program(Saga):
    """Its step leaves a program running."""

    begin = step(start_program)


# Listeners of telemetry.


def on_event(event: TelemetryEvent) -> None:
    """Write down what is told."""
    folder = Path(os.environ["FLOWS_EVENTS"])
    told = {**attrs.asdict(event), "name": str(event.name), "at": event.at.isoformat()}
    Outside(folder)._append("events", told)


def raising(event: TelemetryEvent) -> None:
    """Breaks over every event."""
    raise RuntimeError(f"no {event.name} for me")


def hanging(_: TelemetryEvent) -> None:
    """Never returns."""
    Outside(Path(os.environ["FLOWS_EVENTS"])).wait("never")


def slow(event: TelemetryEvent) -> None:
    """Takes its time over the first event of each saga."""
    if event.name is EventName.STARTED:
        time.sleep(0.5)
