"""An order during which first a worker and then the whole node is killed. Run it: `python crash_and_resume.py`.

What was completed is not done again. What was cut short is called again, each time with the same key.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from saga_actors import Coordinator, Saga, current_step, step

PATIENCE = 30.0
"""Seconds within which what must come has come, also on a slow machine."""


class Ledger:
    """A file outside the node, with a line for each call: its step, its key, and its process."""

    def __init__(self) -> None:
        self._file = Path(os.environ["LEDGER"])

    def note(self) -> None:
        here = current_step()
        with self._file.open("a") as file:
            file.write(f"{here.step} {here.idempotency_key} {os.getpid()}\n")

    def calls(self, name: str) -> list[list[str]]:
        """The calls of a step: of each its key and its process."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return [line.split()[1:] for line in lines if line.startswith(f"{name} ")]


def note(order: dict[str, Any]) -> None:
    Ledger().note()


def ship(order: dict[str, Any]) -> None:
    """Wait for a carrier who does not come, before the third call."""
    Ledger().note()
    if len(Ledger().calls("ship")) < 3:
        time.sleep(PATIENCE)


class PlaceOrder(Saga):
    reserve = step(note, compensate=note)
    charge = step(note, compensate=note)
    ship = step(ship, timeout=60, reruns=5)


def shipped_by(ledger: Ledger, number: int) -> int:
    """The process that ships, once that was called so often; the file of another tells nobody when it grows."""
    deadline = time.monotonic() + PATIENCE
    while len(ledger.calls("ship")) < number:
        assert time.monotonic() < deadline, "it was not called in time"
        time.sleep(0.01)
    return int(ledger.calls("ship")[-1][1])


def main(sagas: Coordinator) -> None:
    ledger = Ledger()
    sagas.start(PlaceOrder, {}, saga_id="ord_1")
    for number, victim in enumerate(("worker", "watchdog"), 1):
        worker = shipped_by(ledger, number)
        kill(sagas, victim, worker)
    outcome = sagas.result("ord_1", PlaceOrder, timeout=PATIENCE)
    print(f"{type(outcome).__name__}")
    for name in ("reserve", "charge", "ship"):
        calls = ledger.calls(name)
        print(f"{name}: {len(calls)} calls, {len({key for key, _ in calls})} key")


def kill(sagas: Coordinator, victim: str, worker: int) -> None:
    """The worker that ships now; or the node's first process, with which all the others end."""
    pid = worker if victim == "worker" else sagas.locate()[0].watchdog_pid
    os.kill(pid, signal.SIGKILL)
    print(f"the {victim} was killed while the order was shipped")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LEDGER"] = f"{folder}/ledger"
        with Coordinator(f"sqlite:///{folder}/sagas.db") as sagas:
            main(sagas)
