"""Hung is not dead: whoever of a node is stopped is killed, waited for, and only then replaced; and if it wakes beside
its successor all the same, it writes nothing and is obeyed by nobody. With real processes, and SIGSTOP."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from flows import Trip
from station import Station, kinds

from saga_actors import Completed, Coordinator
from saga_actors.events import AttemptStarted
from saga_actors.node_folder import ProcessFacts, ProcessId

pytestmark = pytest.mark.node

IMPATIENT = {"ping_every": 0.2, "silence": 1.5}
"""A node that takes whoever is silent for hung sooner than after 10 s."""

CHILDREN = ["SagaSupervisor", "StepWorker", "StatusActor", "TelemetryActor"]
VITAL = ["RootSupervisor", "life", "admin"]
"""With one of these the life ends, and the next one begins."""

IN_A_LIFE = """
import os, signal, sys
from pathlib import Path
FOLDER = Path({folder!r})

def stop_once(name):
    if (FOLDER / name).exists():
        (FOLDER / name).rename(FOLDER / (name + "-" + str(os.getpid())))
        os.kill(os.getpid(), signal.SIGSTOP)

if "saga_actors.actors.life" in sys.orig_argv:
"""

STOPS_IN_A_TRANSACTION = """
    from saga_actors.journal.sqlite import SqliteJournal
    fence = SqliteJournal._fence

    def stopping(self, epoch):
        fence(self, epoch)
        if epoch is not None:
            stop_once("stop-in-transaction")

    SqliteJournal._fence = stopping
"""

IS_NOT_KILLED = """
    from saga_actors.node_folder import ProcessId
    kill, alive, spared = ProcessId.kill, ProcessId.alive, []

    def sparing(self, group=False):
        if (FOLDER / "spare").read_text() == str(self.pid):
            spared.append(self)
        else:
            kill(self, group)

    ProcessId.kill = sparing
    ProcessId.alive = property(lambda self: self not in spared and alive.__get__(self))
"""

STOPS_BEFORE_IT_SENDS = """
    from saga_actors.actors.supervisor import SagaSupervisor
    send = SagaSupervisor.send

    def stopping(self, address, message):
        if getattr(message, "orders", ()):
            stop_once("stop-before-sending")
        send(self, address, message)

    SagaSupervisor.send = stopping
"""


def customize(station: Station, monkeypatch: pytest.MonkeyPatch, *hooks: str) -> None:
    """Have the processes of a node's lives begin with these."""
    folder = station.folder / "site"
    folder.mkdir()
    (station.folder / "spare").touch()
    code = IN_A_LIFE.format(folder=str(station.folder)) + "".join(hooks)
    (folder / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def living(pid: int) -> ProcessId:
    """A process that is there now."""
    found = ProcessId.of(pid)
    assert found is not None
    return found


def of_role(station: Station, role: str) -> list[ProcessId]:
    """The living processes of this role."""
    return [process for process, its_role in station.node.members() if its_role == role and process.alive]


def until_replaced(station: Station, role: str, stopped: ProcessId) -> None:
    """Wait for the death of the one and then for the birth of another; never are there more than there were."""
    most = len(of_role(station, role))

    def is_replaced() -> bool:
        there = of_role(station, role)
        assert len(there) <= most
        return stopped not in there and len(there) == most

    station.until(is_replaced)


def is_stopped(process: ProcessId) -> bool:
    facts = ProcessFacts.read(process.pid)
    return facts is not None and facts.state == "T"


def test_children_that_are_stopped_while_nothing_runs_are_killed_and_replaced(station: Station) -> None:
    """P11: each by itself, and the life goes on (one of them alone is stopped in `test_restart`)."""
    sagas = station.coordinator(workers=1, spec=IMPATIENT)
    assert isinstance(sagas.run(Trip, station.context()), Completed)
    stopped = {role: living(station.pid(role)) for role in CHILDREN}
    for process in stopped.values():
        station.stop(process.pid)
    for role, process in stopped.items():
        until_replaced(station, role, process)
    assert isinstance(sagas.run(Trip, station.context(), timeout=20), Completed)
    assert "life 2" not in station.log()


def test_with_an_admin_that_is_stopped_while_nothing_runs_the_life_is_replaced(station: Station) -> None:
    """P11: all of it is killed, and the next saga ends well in the next life (root and life: see `test_node`)."""
    sagas = station.coordinator(workers=1, spec=IMPATIENT)
    assert isinstance(sagas.run(Trip, station.context()), Completed)
    family, stopped = station.family(), living(station.pid("admin"))
    station.stop(stopped.pid)
    until_replaced(station, "admin", stopped)
    assert isinstance(sagas.run(Trip, station.context(), timeout=20), Completed)
    assert "life 2" in station.log()
    assert [process for process in family if process.alive] == [
        process for process in family if process.pid == sagas.locate()[0].watchdog_pid
    ]


@pytest.mark.parametrize("roles", [CHILDREN[:1], CHILDREN[1:2], CHILDREN[2:], *([role] for role in VITAL)], ids=str)
def test_two_hundred_sagas_outlive_whoever_is_stopped_among_them(station: Station, roles: list[str]) -> None:
    """P1, P6, P11: all of them complete; a step is called twice only if its worker was killed."""
    sagas = station.coordinator(workers=2, threads=16, spec=IMPATIENT)
    context = station.context(gates=["hotel"], gate="all")
    ids = [sagas.start(Trip, context, saga_id=f"trip-{n}") for n in range(200)]
    station.until_called("hotel", times=32)
    stopped = {role: living(station.pid(role)) for role in roles}
    for process in stopped.values():
        station.stop(process.pid)
    station.outside.open("all")
    assert all(isinstance(sagas.result(saga_id, Trip, timeout=40), Completed) for saga_id in ids)
    for role, process in stopped.items():
        until_replaced(station, role, process)
    calls = [(call.saga_id, call.name, call.key) for call in station.outside.calls()]
    assert len(set(calls)) == 800
    assert (len(calls) == 800) or roles[0] in ("StepWorker", *VITAL)
    assert isinstance(sagas.run(Trip, station.context(), timeout=20), Completed)


def test_a_supervisor_that_is_stopped_inside_a_transaction_keeps_nobody_out(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P8, P11: its death frees SQLite's write lock; what it had not committed never was, and is decided again."""
    customize(station, monkeypatch, STOPS_IN_A_TRANSACTION)
    sagas = station.coordinator(workers=1, spec=IMPATIENT)
    ids = [sagas.start(Trip, station.context(gates=["hotel"], gate="all"), saga_id=f"trip-{n}") for n in range(20)]
    station.until_called("hotel", times=20)
    stopped = living(station.pid("SagaSupervisor"))
    (station.folder / "stop-in-transaction").touch()
    station.outside.open("all")
    station.until(lambda: is_stopped(stopped))
    until_replaced(station, "SagaSupervisor", stopped)
    assert all(isinstance(sagas.result(saga_id, Trip, timeout=20), Completed) for saga_id in ids)
    assert (station.folder / f"stop-in-transaction-{stopped.pid}").exists()
    calls = [(call.saga_id, call.name) for call in station.outside.calls()]
    assert len(calls) == len(set(calls)) == 80
    assert "life 2" not in station.log()


def beside_its_successor(station: Station, sagas: Coordinator, stopped: ProcessId) -> None:
    """Wait until a stopped supervisor that nobody could kill has a successor, which serves."""
    station.until(lambda: is_stopped(stopped))
    station.until(lambda: "epoch 2 begins" in station.log())
    station.until(lambda: sagas.locate()[1].supervisor.pid != stopped.pid)
    assert stopped.alive
    assert len(of_role(station, "SagaSupervisor")) == 2


def wake(process: ProcessId) -> None:
    os.kill(process.pid, signal.SIGCONT)


def spare(folder: Path, process: ProcessId) -> None:
    """From now on this one cannot be killed by its node, which believes that it did."""
    (folder / "spare").write_text(str(process.pid))


def test_a_supervisor_that_wakes_beside_its_successor_cannot_append_and_ends(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P8: its epoch is refused inside the transaction, and it exits; the journal has its successor's word alone."""
    customize(station, monkeypatch, IS_NOT_KILLED)
    sagas = station.coordinator(workers=1, spec=IMPATIENT)
    saga_id = sagas.start(Trip, station.context(gates=["hotel"]), saga_id="trip")
    station.until_called("hotel")
    stopped = living(station.pid("SagaSupervisor"))
    spare(station.folder, stopped)
    station.stop(stopped.pid)
    station.outside.open("trip-hotel")
    beside_its_successor(station, sagas, stopped)
    assert isinstance(sagas.result(saga_id, Trip, timeout=20), Completed)
    wake(stopped)
    station.until(lambda: not stopped.alive)
    assert "EpochError" in station.log()
    assert station.outside.names(saga_id) == ["flight", "hotel", "car", "mail"]
    assert [e.epoch for e in kinds(sagas.history(saga_id), AttemptStarted)] == [1, 1, 2, 2]


def test_workers_refuse_what_a_supervisor_sends_that_wakes_beside_its_successor(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P8: its orders are journalled under its own epoch, and still nobody obeys: the successor sent them again."""
    customize(station, monkeypatch, IS_NOT_KILLED, STOPS_BEFORE_IT_SENDS)
    sagas = station.coordinator(workers=1, spec=IMPATIENT)
    sagas.run(Trip, station.context())
    stopped = living(station.pid("SagaSupervisor"))
    spare(station.folder, stopped)
    (station.folder / "stop-before-sending").touch()
    saga_id = sagas.start(Trip, station.context(), saga_id="trip")
    beside_its_successor(station, sagas, stopped)
    assert isinstance(sagas.result(saga_id, Trip, timeout=20), Completed)
    wake(stopped)
    station.until(lambda: not stopped.alive)
    assert station.outside.names(saga_id) == ["flight", "hotel", "car", "mail"]
    assert [e.epoch for e in kinds(sagas.history(saga_id), AttemptStarted)] == [1, 2, 2, 2]
