"""A foreign process sends whatever it likes, to every port of a node and of its client: nothing comes of it.

What only processes of this user can do, with packets of ours, is tried as well; `docs/security.md` says what it means.
"""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attacks
import psutil
import pytest
from attacks import NOBODY, Recorded, attack, executed, kin, listening, ports_of, recorded, replay, said
from flows import Trip
from station import Station
from thespian.actors import ActorExitRequest, ChildActorExited
from thespian.system.messages.admin import NewCapabilities, SystemShutdown
from thespian.system.messages.convention import ConventionInvite, ConventionRegister
from thespian.system.messages.logcontrol import SetLogging
from thespian.system.messages.multiproc import ChildMayHaveDied, EndpointConnected
from thespian.system.messages.status import Thespian_StatusReq
from waiting import eventually

from saga_actors import Compensated, CompensationFailed, Completed, Coordinator
from saga_actors.actors import peers, seal, transport
from saga_actors.actors.doorway import MOST_STRANGERS
from saga_actors.actors.mailbox import Mailbox
from saga_actors.actors.transport import address_of, port_of

pytestmark = pytest.mark.node

PACKETS = 1_000
"""To each port."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a moment")


def processes(sagas: Coordinator) -> list[psutil.Process]:
    """The node's family, as the kernel knows it, and not as it says itself."""
    return kin(sagas.locate()[0].watchdog_pid)


def megabytes(process: psutil.Process) -> int:
    return int(process.memory_info().rss) >> 20


def seconds_used(family: list[psutil.Process]) -> float:
    return float(sum(sum(process.cpu_times()[:2]) for process in family))


def trips(station: Station, sagas: Coordinator, names: range) -> None:
    """Run so many sagas to their end."""
    for name in names:
        assert isinstance(sagas.run(Trip, station.context(), saga_id=f"trip-{name}", timeout=20), Completed)


# From a foreign process, without the key.


def test_nothing_that_a_foreign_process_sends_is_executed_or_stops_anything(station: Station) -> None:
    """P11: a thousand packets of five kinds to each port; sagas complete meanwhile, and nobody was replaced."""
    sagas = station.coordinator()
    trips(station, sagas, range(3))
    family = processes(sagas)
    ports = ports_of([*family, psutil.Process()])
    assert len(ports) >= len(family)  # the client's own; the watchdog has none
    before = {process: (megabytes(process), process.num_fds()) for process in family}
    with attack(station.folder, "packets", PACKETS, ports) as attacker:
        trips(station, sagas, range(3, 23))
        assert attacker.poll() is None  # so they did complete meanwhile
        sent = said(attacker)
    assert sent == dict.fromkeys(attacks.KINDS, PACKETS * len(ports) // len(attacks.KINDS))
    assert executed(station.folder) == []
    trips(station, sagas, range(23, 26))
    assert processes(sagas) == family
    for process, (memory, descriptors) in before.items():
        assert megabytes(process) <= memory + 12
        eventually(lambda process=process, most=descriptors + 8: process.num_fds() <= most)
    logs = [station.log(), station.node.thespian_log.read_text()]
    assert not any(str(station.folder / "evidence") in log for log in logs)
    assert sum(map(len, logs)) < 40_000_000


def test_callers_that_never_prove_who_they_are_take_up_little(station: Station) -> None:
    """P11, P12: of any number of connections that say nothing, or half of something, few are kept; no loop spins."""
    sagas = station.coordinator(workers=1)
    trips(station, sagas, range(2))
    family = processes(sagas)
    ports = ports_of(family)
    before = {process: process.num_fds() for process in family}
    with attack(station.folder, "silence", 300, ports) as attacker:
        assert said(attacker) == 300 * len(ports)
        used, began = seconds_used(family), time.monotonic()
        trips(station, sagas, range(2, 12))
        assert [p for p in family if p.num_fds() > before[p] + MOST_STRANGERS + 8] == []
        time.sleep(max(0.0, began + 1.0 - time.monotonic()))  # a second in which a loop would have spun
        assert seconds_used(family) - used < 0.8
    assert processes(sagas) == family


def test_what_strangers_send_is_not_kept_beyond_one_packet(station: Station) -> None:
    """P12: twelve packets of 60 MB that never end, a quarter of each sent: 192 MB, and two thirds are let go of."""
    sagas = station.coordinator(workers=1)
    trips(station, sagas, range(2))
    supervisor = psutil.Process(sagas.locate()[1].supervisor.pid)
    before = megabytes(supervisor)
    with attack(station.folder, "bulk", 12, ports_of([supervisor])) as attacker:
        assert said(attacker) == 12
        trips(station, sagas, range(2, 4))
        assert megabytes(supervisor) < before + 130
    assert supervisor.is_running()


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """What is started now may have 256 descriptors for each process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_callers_do_not_use_up_the_descriptors_of_a_process_that_has_few(station: Station) -> None:
    """P11, P12: strangers have an eighth of them at most, and steps and sagas the rest."""
    sagas = station.coordinator(workers=1)
    trips(station, sagas, range(2))
    family = processes(sagas)
    with attack(station.folder, "silence", 200, ports_of(family)) as attacker:
        said(attacker)
        trips(station, sagas, range(2, 12))
    assert processes(sagas) == family


def test_nothing_of_a_node_or_a_client_listens_beyond_loopback(station: Station) -> None:
    """Every socket that the kernel has for them, found by it, listens on 127.0.0.1."""
    sagas = station.coordinator()
    trips(station, sagas, range(1))
    family = processes(sagas)
    assert len(listening(family)) == len(family) - 1
    assert {host for host, _ in listening([*family, psutil.Process()])} == {"127.0.0.1"}


def test_thespians_log_is_in_the_nodes_folder_and_nowhere_else(
    station: Station, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is no `$TMPDIR/thespian.log`; what there is, and all beside it, is for this user alone (trap 20)."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    before = os.umask(0)
    try:
        sagas = station.coordinator()
        trips(station, sagas, range(1))
        assert not replay(b"40>" + bytes(40), sagas.locate()[0].admin_port)  # of which it says a word
    finally:
        os.umask(before)
    assert list(elsewhere.iterdir()) == []
    station.until(lambda: station.node.thespian_log.stat().st_size > 0)
    modes = {path.name: path.stat().st_mode & 0o777 for path in station.node.path.rglob("*")}
    assert {mode for name, mode in modes.items() if (station.node.path / name).is_file()} == {0o600}
    assert station.node.path.stat().st_mode & 0o777 == 0o700


# From another user.


@as_root
def test_another_user_is_not_heard_even_with_a_packet_of_ours(station: Station) -> None:
    """It may have found one; the kernel says whose it is that calls, and nobody reads what it says."""
    with_key = seal.dumps((address_of(1), ActorExitRequest()))
    packet = b"%d>" % len(with_key) + with_key
    sagas = station.coordinator(workers=1)
    trips(station, sagas, range(1))
    family = processes(sagas)
    assert [replayed_by_nobody(packet, port) for port in ports_of(family)] == [b""] * (len(family) - 1)
    assert processes(sagas) == family
    trips(station, sagas, range(1, 2))


def replayed_by_nobody(packet: bytes, port: int) -> bytes:
    """What a process of another user hears when it sends this."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(write, b"1" if replay(packet, port) else b"0")
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read, "rb") as pipe:
        return pipe.read().replace(b"0", b"")


@as_root
def test_another_user_that_takes_the_port_of_a_dead_client_is_told_nothing(station: Station) -> None:
    """What was meant for whoever had the port before is not sent; a signature would not say who reads it."""
    heard: list[bool] = []
    dead = Mailbox(lambda *_: None, lambda *_: None)
    port = port_of(dead.address)
    dead.close()
    with attack(station.folder, "listen", 2, [port], as_nobody=True) as attacker:
        assert said(attacker) == "listening"
        assert not peers.listener_is_ours(port)
        mailbox = Mailbox(lambda *_: None, lambda *_: heard.append(True))
        mailbox.post(address_of(port), "a secret")
        assert said(attacker) == 0
        mailbox.close()


def test_where_the_kernel_is_not_asked_the_signatures_are_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """On other systems a caller is judged by its packets; and a port where nobody listens is nobody's."""
    assert peers.can_ask()
    assert not peers.listener_is_ours(1)
    monkeypatch.setattr(peers, "can_ask", lambda: False)
    assert peers.listener_is_ours(1)
    assert peers.caller_is_ours(1, 2)


# From this user: packets of ours, sent again.


@pytest.fixture
def wiretapped(station: Station, monkeypatch: pytest.MonkeyPatch) -> list[Recorded]:
    """Have everything written down that a node's life sends; and this process, in the list."""
    site = station.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(attacks.RECORD.format(folder=str(station.folder)))
    monkeypatch.setenv("PYTHONPATH", str(site))
    sent: list[Recorded] = []
    transmit = transport.ClientTransport.transmit

    def noted(self: Any, address: Any, message: object, packet: memoryview, *args: Any) -> None:
        sent.append(Recorded(port_of(address), type(message).__name__, bytes(packet)))
        transmit(self, address, message, packet, *args)

    monkeypatch.setattr(transport.ClientTransport, "transmit", noted)
    return sent


THESPIANS_OWN = {
    "EndpointConnected",
    "LoggerConnected",
    "PendingActor",
    "PendingActorResponse",
    "QueryExists",
    "QueryAck",
}


def test_what_was_sent_and_is_sent_again_has_no_effect_on_sagas(station: Station, wiretapped: list[Recorded]) -> None:
    """P10, P8: a start, a retry, a cancel, orders, reports and all the rest, thrice, to whom they were sent."""
    sagas = station.coordinator(workers=1)
    ids = sagas_of_all_kinds(station, sagas)
    family = processes(sagas)
    ports = ports_of([*family, psutil.Process()])
    station.until(lambda: {"Ping", "Pong"} <= {each.message for each in recorded(station.folder)})
    packets = [each for each in [*wiretapped, *recorded(station.folder)] if each.port in ports]
    kinds = {each.message for each in packets}
    assert {"Bundle", "ToWorker", "FromWorker", "Born", "Birth", "Committed", "Inventory", "Loaded"} <= kinds
    histories = {saga_id: sagas.history(saga_id) for saga_id in ids}
    calls = station.outside.calls()
    for each in packets * 3:
        if each.message not in THESPIANS_OWN:
            assert replay(each.packet, each.port), each.message
    trips(station, sagas, range(2))
    assert {saga_id: sagas.history(saga_id) for saga_id in ids} == histories
    assert [call for call in station.outside.calls() if not call.saga_id.startswith("trip-")] == calls
    assert processes(sagas) == family
    station.outside.open("open-hotel")
    assert isinstance(sagas.result("open", Trip), Completed)
    assert station.outside.names("open") == ["flight", "hotel", "car", "mail"]


def sagas_of_all_kinds(station: Station, sagas: Coordinator) -> list[str]:
    """One that has completed, one that was cancelled, one that was retried in vain, and one whose step still runs."""
    assert isinstance(sagas.run(Trip, station.context(), saga_id="done"), Completed)
    sagas.start(Trip, station.context(failing=["mail"], aborting=["undo-hotel"]), saga_id="stuck")
    assert isinstance(sagas.result("stuck", Trip), CompensationFailed)
    sagas.retry("stuck", by="me", reason="once more")
    station.until(lambda: len(station.outside.calls("undo-hotel", "stuck")) == 2)
    assert isinstance(sagas.result("stuck", Trip), CompensationFailed)
    sagas.start(Trip, station.context(gates=["hotel"]), saga_id="gone")
    station.until_called("hotel", saga_id="gone")
    sagas.cancel("gone", by="me", reason="not wanted")
    station.outside.open("gone-hotel")
    assert isinstance(sagas.result("gone", Trip), Compensated)
    sagas.start(Trip, station.context(gates=["hotel"]), saga_id="open")
    station.until_called("hotel", saga_id="open")
    return ["done", "stuck", "gone", "open"]


CONTROLS: dict[str, tuple[str, ...]] = {
    "harmless": ("admin", "logger", "life", "RootSupervisor", "SagaSupervisor", "StepWorker"),
    "exit": ("SagaSupervisor", "StepWorker", "StatusActor"),
    "exit of all": ("RootSupervisor",),
    "end of the system": ("admin",),
}


def controls(what: str, ports: dict[str, int]) -> list[Any]:
    """Thespian's own control messages that do this, wherever they come to."""
    admin = address_of(ports["admin"])
    match what:
        case "exit" | "exit of all":
            return [ActorExitRequest()]
        case "end of the system":
            return [SystemShutdown()]
        case _:
            return [
                NewCapabilities({"Admin Port": 1}, admin),
                ConventionInvite(),
                ConventionRegister(address_of(1234), {}, True),
                Thespian_StatusReq(),
                SetLogging(0, logging.DEBUG, 0),
                ChildMayHaveDied(),
                ChildActorExited(address_of(1)),
                EndpointConnected(10_000),
            ]


@pytest.mark.parametrize("what", CONTROLS)
def test_thespians_own_messages_end_processes_at_most_and_no_saga_is_the_worse(station: Station, what: str) -> None:
    """P1, P6: with the key one can end processes, as one could by a signal; each saga ends as it should."""
    sagas = station.coordinator(workers=1)
    sagas.start(Trip, station.context(gates=["hotel"]), saga_id="open")
    station.until_called("hotel")
    family = processes(sagas)
    roles = {process.pid: role for process, role in station.node.members()}
    ports = {roles[process.pid]: port for process in family for _, port in listening([process])}
    for role in CONTROLS[what]:
        for message in controls(what, ports):
            sealed = seal.dumps((address_of(ports["logger"]), message))
            replay(b"%d>" % len(sealed) + sealed, ports[role])
    if what != "harmless":
        station.until(lambda: not any(p.is_running() for p in family if roles.get(p.pid) in CONTROLS[what]))
    station.outside.open("open-hotel")
    assert isinstance(sagas.result("open", Trip, timeout=20), Completed)
    trips(station, sagas, range(2))
    calls = station.outside.calls(saga_id="open")
    assert len({(call.name, call.key) for call in calls}) == 4
    assert (len(calls) == 4) == (what == "harmless")
    assert (processes(sagas) == family) == (what == "harmless")
