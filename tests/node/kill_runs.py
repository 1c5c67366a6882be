"""Runs in which a process of a node kills itself at a named point, while sagas of every kind are in flight."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
from accounts import Account, sightings
from killing import Delicate, Journey, ledger
from station import Station

from saga_actors import Compensated, Completed, Coordinator, Outcome, Saga
from saga_actors.actors.key import KEY_FILE_VARIABLE, load_key
from saga_actors.actors.kill_points import KILL_VARIABLE, passage
from saga_actors.node_folder import ProcessId

AT_BIRTH = {"epoch": (1, 2), "inventory": (1, 3, 4), "recovery": (1, 2)}
"""At which passages to die; from the second on (of inventories, from the third) it is a successor that dies."""

AT_THE_END = {"drain": (1, 2), "checkpoint": (1, 2)}

ON_THE_WAY = (1, 2, 3, 5)

WAYS: dict[str, dict[str, str]] = {
    "completes": {},
    "goes-back": {"last": "fail"},
    "undo-fails-once": {"last": "fail", "undo-two": "once"},
}
"""The kinds of saga."""

GATES = ("two", "once")
"""Calls at which sagas wait, if they are to be unfinished for a while."""


@attrs.frozen
class Cell:
    """One run: at the nth passage of a point, with most sagas of one kind; `whole`: the node dies with that process."""

    point: str
    kind: str
    nth: int
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.point}:{self.nth} {self.kind}{', and the node' if self.whole else ''}"

    @property
    def what(self) -> str:
        return self.point.partition("-")[2]


class Run:
    """One run, on a journal of its own."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        folder.mkdir()
        self.cell = cell
        self.station = Station(folder)
        self.sagas: dict[str, type[Saga]] = {}

    def run(self) -> list[str]:
        """Let it happen; what was wrong."""
        try:
            self._live()
            return [f"{self.cell}: {fault}" for fault in self._faults()]
        except BaseException as error:
            return [f"{self.cell}: {error!r} {self.station.node.log_tail()[-1500:]}"]
        finally:
            os.environ.pop(KILL_VARIABLE, None)
            self.station.clear()

    def _live(self) -> None:
        sagas = self._coordinator()
        late = self.cell.what in (*AT_BIRTH, *AT_THE_END)
        self._start(sagas, gate="two" if late else None)
        if self.cell.what in AT_THE_END:
            sagas = self._come_and_go(sagas)
        elif self.cell.what in AT_BIRTH and not self.has_fired():
            self._until_waiting()
            self.station.kill(self.station.pid("SagaSupervisor"))
        self.station.until(self.has_fired)
        if self.cell.whole:
            self._end_node()
        (self.station.folder / "open").touch()
        self.outcomes = {saga_id: sagas.result(saga_id, saga, timeout=40) for saga_id, saga in self.sagas.items()}
        self.histories = {saga_id: sagas.history(saga_id) for saga_id in self.sagas}

    def _coordinator(self) -> Coordinator:
        """With a node that dies where it is told to."""
        sagas = self.station.coordinator(sagas=["killing"], threads=8)
        if not self.has_fired():
            os.environ[KILL_VARIABLE] = f"{self.cell.point}:{self.cell.nth}"
        sagas.have_served()
        return sagas

    def _start(self, sagas: Coordinator, gate: str | None) -> None:
        """Three of the kind that it is about, and one each of the others; first one that wants a worker to itself."""
        context = self.station.context(ways={}, gate=gate and "once")
        self.sagas[sagas.start(Delicate, context, saga_id="delicate")] = Delicate
        if gate:
            self._until_waiting()
        kinds = [*WAYS, self.cell.kind, self.cell.kind]
        for number, kind in enumerate(kinds):
            context = self.station.context(ways=WAYS[kind], gate=gate)
            self.sagas[sagas.start(Journey, context, saga_id=f"{kind}-{number}")] = Journey
        if gate:
            self._until_waiting()

    def _until_waiting(self) -> None:
        """Wait until all have come to where they wait, or gone back."""
        self.station.until(
            lambda: {line.saga_id for line in ledger(self.station.folder) if line.call in GATES} == {*self.sagas}
        )

    def _come_and_go(self, sagas: Coordinator) -> Coordinator:
        """End the node with all sagas unfinished, as often as it takes; the last coordinator, which goes on."""
        for _ in range(self.cell.nth):
            self._until_waiting()
            sagas.close(0.0)
            sagas = self._coordinator()
        return sagas

    def has_fired(self) -> bool:
        return passage(self.station.node.path, self.cell.nth).exists()

    def _end_node(self) -> None:
        life = self.station.node.present_life()
        if life is not None and (watchdog := ProcessId.of(life.watchdog_pid)) is not None:
            self.station.family()
            watchdog.kill()

    # What came of it.

    def _faults(self) -> list[str]:
        lines = ledger(self.station.folder)
        seen = sightings(lines)
        faults = [
            fault
            for saga_id, saga in self.sagas.items()
            for fault in Account(
                saga_id,
                saga.definition,
                self.outcomes[saga_id],
                [line for line in lines if line.saga_id == saga_id],
                self.histories[saga_id],
                seen,
            ).faults()
        ]
        return faults + [f"{saga_id} ended as {o}" for saga_id, o in self.outcomes.items() if not as_told(saga_id, o)]


def as_told(saga_id: str, outcome: Outcome[dict[str, object]]) -> bool:
    """Whether a saga of this kind is to end so."""
    match outcome:
        case Completed():
            return saga_id.startswith(("completes", "delicate"))
        case Compensated(failure):
            steps = {"goes-back": ("last",), "undo-fails-once": ("last",), "delicate": ("once",)}
            return failure.step in steps.get(saga_id.rpartition("-")[0] or saga_id, ())
        case _:
            return False


def have_own_key(folder: Path) -> None:
    """Have a key of this process's own, so that nodes of other processes do not listen to it."""
    os.environ[KEY_FILE_VARIABLE] = str(folder / f"key-{os.getpid()}")
    load_key.cache_clear()


def run(cell: Cell, folder: Path) -> list[str]:
    """One run; what was wrong."""
    return Run(cell, folder).run()
