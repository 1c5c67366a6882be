"""Traps of Thespian that a whole node shows; the others are where what falls into them is tested (docs/security.md)."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil
import pytest
from attacks import kin
from flows import Trip
from station import Station
from thespian.actors import ActorExitRequest

from saga_actors import Completed
from saga_actors.actors.transport import SealedActorSystem
from saga_actors.node import MAX_PENDING_TRANSMITS

pytestmark = pytest.mark.node

WITHOUT_THREADS = {"life", "admin", "logger", "RootSupervisor"}
"""Those that create processes, or stay out of the way of all that does."""


def opened_by(pid: int) -> set[tuple[int, int]]:
    """What this process has open, as device and inode."""
    found = (os.stat(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.exists() or path.is_symlink())
    return {(status.st_dev, status.st_ino) for status in found}


def test_a_node_has_nothing_open_that_its_starter_had(station: Station, tmp_path: Path) -> None:
    """A captured pipe closes and a port is free when the starter is done with them, though the node lives (trap 9)."""
    read, write = os.pipe()
    with (tmp_path / "notes").open("w") as file, socket.create_server(("127.0.0.1", 0)) as server:
        ours = [write, read, file.fileno(), server.fileno()]
        for descriptor in ours:
            os.set_inheritable(descriptor, True)
        sagas = station.coordinator(workers=1)
        assert isinstance(sagas.run(Trip, station.context()), Completed)
        mine = {(os.fstat(d).st_dev, os.fstat(d).st_ino) for d in ours}
        family = kin(sagas.locate()[0].watchdog_pid)
        assert len(family) > 7
        assert [process for process in family if mine & opened_by(process.pid)] == []
    os.close(write)
    assert os.read(read, 1) == b""
    os.close(read)


def test_whoever_creates_processes_has_no_threads(station: Station) -> None:
    """A fork beside threads can deadlock; those with threads, workers and telemetry, fork nothing (trap 12)."""
    sagas = station.coordinator(workers=1)
    assert isinstance(sagas.run(Trip, station.context()), Completed)
    threads = {role: psutil.Process(process.pid).num_threads() for process, role in station.node.members()}
    assert threads.keys() > WITHOUT_THREADS
    assert {role: threads[role] for role in WITHOUT_THREADS} == dict.fromkeys(WITHOUT_THREADS, 1)
    assert threads["StepWorker"] > 1


def test_the_processes_of_a_life_may_have_many_messages_unacknowledged(station: Station) -> None:
    """At Thespian's limit of 20 one stopped client would freeze whoever writes to it (trap 5); all are forks of one."""
    sagas = station.coordinator(workers=1)
    assert isinstance(sagas.run(Trip, station.context()), Completed)
    setting = f"THESPIAN_MAX_PENDING_TRANSMITS={MAX_PENDING_TRANSMITS}".encode()
    assert setting in Path(f"/proc/{station.pid('life')}/environ").read_bytes().split(b"\0")


def test_a_child_whose_end_is_told_twice_is_replaced_once(station: Station) -> None:
    """One that ends when it is asked to says so itself, and Thespian says it again (trap 2)."""
    sagas = station.coordinator(workers=1)
    assert isinstance(sagas.run(Trip, station.context()), Completed)
    life, located = sagas.locate()
    before = sorted(role for _, role in station.node.members())
    system = SealedActorSystem.attach(life.admin_port)
    system.tell(located.status.address, ActorExitRequest())
    system.close()
    station.until(lambda: sum(role == "StatusActor" for _, role in station.node.members()) == 2)
    assert isinstance(sagas.run(Trip, station.context()), Completed)
    assert sorted(role for _, role in station.node.members()) == sorted([*before, "StatusActor"])
    station.until(lambda: "is dead; it is replaced" in station.log())
    assert station.log().count("is dead; it is replaced") == 1
