"""The sealed transport in real processes: loopback only, signed, beside other Thespian systems."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import HERE, BareSystem, started_bare
from thespian.actors import Actor, ActorSystem
from thespian.system.transport import TransmitIntent
from waiting import eventually

from saga_actors.actors import seal, transport
from saga_actors.actors.exchange import Envelope, Intent
from saga_actors.actors.mailbox import Mailbox
from saga_actors.actors.transport import SealedActorSystem, address_of, port_of
from saga_actors.errors import DefinitionError, NodeError, NodeUnreachableError, TransportError

pytestmark = pytest.mark.node


@pytest.fixture
def attached(bare_system: BareSystem) -> Iterator[SealedActorSystem]:
    system = SealedActorSystem.attach(bare_system.admin)
    yield system
    system.close()


@pytest.fixture
def silent_mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox(lambda *_: None, lambda *_: None)
    yield mailbox
    mailbox.close()


class Evil:
    """Makes a folder where it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.evidence),)


def framed(data: bytes) -> bytes:
    return b"%d>" % len(data) + data


def hostile_packets(evidence: Path) -> list[bytes]:
    evil = pickle.dumps((address_of(1), Evil(evidence)))
    wrongly_signed = hashlib.blake2b(evil, key=b"k" * 32, digest_size=32).digest() + evil
    unkeyed = hashlib.blake2b(evil, digest_size=32).digest() + evil
    shuffled = random.Random(1).randbytes(200)
    return [
        framed(evil),
        framed(wrongly_signed),
        framed(unkeyed),
        framed(bytes(32) + evil),
        framed(pickle.dumps(("a", "b"))),
        framed(wrongly_signed)[:-10],
        b"99999999999999>x",
        b"-5>xxxxx",
        b"0>",
        b"9" * 4096,
        b"",
        shuffled,
    ]


def send_raw(port: int, packet: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(packet)


def listening_on(pid: int) -> set[str]:
    listeners = (c for c in psutil.Process(pid).net_connections("inet") if c.status == psutil.CONN_LISTEN)
    return {listener.laddr.ip for listener in listeners}


def test_every_process_of_the_family_listens_on_loopback_only(
    bare_system: BareSystem, attached: SealedActorSystem, silent_mailbox: Mailbox
) -> None:
    """Admin, logger, actors, launcher and clients cannot be reached from another host."""
    members = bare_system.family()
    assert {member.role for member in members} == {"admin", "logger", "Echo", "Parent"}
    pids = [*(member.pid for member in members), bare_system.launcher.pid, os.getpid()]
    assert [listening_on(pid) for pid in pids] == [{"127.0.0.1"}] * len(pids)


@pytest.mark.parametrize("target", ["admin", "echo"])
def test_a_hostile_packet_runs_nothing_and_stops_nothing(
    bare_system: BareSystem, attached: SealedActorSystem, tmp_path: Path, target: str
) -> None:
    """Whatever is not signed is refused unread, by admin and actors, which then go on serving."""
    pid = attached.ask(address_of(bare_system.echo), ("pid",), 10)
    for _ in range(10):
        for packet in hostile_packets(tmp_path / "evidence"):
            send_raw(getattr(bare_system, target), packet)
    assert attached.ask(address_of(bare_system.echo), ("pid",), 10) == pid
    created = attached.createActor("bare.Echo")
    assert attached.ask(created, ("new",), 10) == ("new",)
    assert not (tmp_path / "evidence").exists()
    assert not (tmp_path / "thespian.log").exists() or "evidence" not in (tmp_path / "thespian.log").read_text()


def test_a_hostile_packet_to_a_client_runs_nothing_and_stops_nothing(bare_system: BareSystem, tmp_path: Path) -> None:
    """Clients listen too, and refuse the same."""
    heard: list[Any] = []
    mailbox = Mailbox(lambda message, _: heard.append(message), lambda *_: None)
    for packet in hostile_packets(tmp_path / "evidence"):
        send_raw(port_of(mailbox.address), packet)
    mailbox.post(address_of(bare_system.echo), ("still", "here"))
    eventually(lambda: heard == [("still", "here")])
    mailbox.close()
    assert not (tmp_path / "evidence").exists()


def test_connections_that_stay_open_and_silent_hold_up_nobody(
    bare_system: BareSystem, attached: SealedActorSystem
) -> None:
    """A torn packet occupies a descriptor and nothing more."""
    torn = [socket.create_connection(("127.0.0.1", bare_system.echo)) for _ in range(50)]
    for connection in torn:
        connection.sendall(b"1000>half")
    assert attached.ask(address_of(bare_system.echo), ("on",), 5) == ("on",)
    for connection in torn:
        connection.close()


def test_attaching_to_a_dead_port_fails_at_once_and_starts_nothing() -> None:
    """A client never starts an admin; trap 8."""
    children = psutil.Process().children(recursive=True)
    threads = threading.enumerate()
    began = time.monotonic()
    with pytest.raises(NodeUnreachableError):
        SealedActorSystem.attach(free_port())
    assert time.monotonic() - began < 1
    assert psutil.Process().children(recursive=True) == children
    assert threading.enumerate() == threads


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("answer", [b"", framed(pickle.dumps("ACK")), b"99999999999999>x", None])
def test_attaching_to_an_impostor_fails_in_time(answer: bytes | None, tmp_path: Path) -> None:
    """Who has not the key is not the node, whether it answers, hangs up or says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        impostor = threading.Thread(target=impersonate, args=(server, answer))
        impostor.start()
        began = time.monotonic()
        with pytest.raises(NodeUnreachableError):
            SealedActorSystem.attach(server.getsockname()[1], timeout=0.5)
        assert time.monotonic() - began < 1.5
        impostor.join(5)


def impersonate(server: socket.socket, answer: bytes | None) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(20)
        if answer is not None:
            connection.sendall(answer)
        else:
            while connection.recv(1000):
                pass


def test_a_second_admin_on_a_port_is_refused(bare_system: BareSystem) -> None:
    """A launcher never takes another's system for its own."""
    with pytest.raises(NodeError, match="taken"):
        SealedActorSystem.start(bare_system.admin)


@pytest.mark.parametrize(
    "name", ["Convention Address.IPv4", "Admin Port", "Process Startup Method", "Admin Routing", "Outbound Only"]
)
def test_capabilities_that_would_open_the_system_are_refused(name: str) -> None:
    """No routing, no conventions, no other way of making processes."""
    with pytest.raises(TransportError, match=name):
        SealedActorSystem.start(free_port(), capabilities={name: "10.0.0.1"})


def test_an_address_is_never_of_another_host() -> None:
    """Neither made here nor received in a message."""
    with pytest.raises(TransportError, match="another host"):
        transport.loopback.TCPv4ActorAddress("10.0.0.1", 80)
    there = pickle.loads(pickle.dumps(address_of(1234)))
    assert there == address_of(1234)
    assert there.addressDetails.connectArgs == (("127.0.0.1", 1234),)
    assert port_of(there) == 1234


@pytest.mark.parametrize(("name", "value"), [("serializer", pickle), ("ReceiveBuffer", object), ("ackMsg", b"")])
def test_what_is_not_in_force_is_noticed(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """An unsealed transport is refused when a system is started or attached to."""
    transport.assert_in_force()
    if name == "ackMsg":
        monkeypatch.setattr(transport, "_seal_acknowledgements", lambda: None)
    monkeypatch.setattr(transport._tcp, name, value)
    with pytest.raises(TransportError, match="not in force"):
        SealedActorSystem.attach(1)
    with pytest.raises(TransportError, match="not in force"):
        SealedActorSystem.start(1)


def test_another_thespian_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport can be sealed in one version only."""
    monkeypatch.setattr(transport, "THESPIAN", "4.0.2")
    with pytest.raises(TransportError, match=r"4\.0\.1 is installed"):
        transport._check_version()


@pytest.mark.parametrize("order", ["plain-first", "ours-first"])
def test_a_plain_thespian_system_lives_beside_ours(bare_system: BareSystem, tmp_path: Path, order: str) -> None:
    """An application's own system works before, beside and after ours, unpatched, with its logging as it was."""
    with (tmp_path / "out").open("w") as out:
        done = subprocess.run(
            [sys.executable, str(HERE / "beside.py"), order, str(bare_system.admin), str(bare_system.echo)],
            env={**os.environ, "THESPLOG_FILE": str(tmp_path / "beside.log")},
            stdin=subprocess.DEVNULL,
            stdout=out,  # a file: the plain system's processes keep what they inherit open
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
    assert (done.returncode, (tmp_path / "out").read_text()) == (0, "fine\n")


def test_attaching_leaves_the_process_as_it_was(bare_system: BareSystem) -> None:
    """No singleton, no threads, no logging, no environment; and several at once."""
    before = (
        threading.enumerate(),
        list(logging.root.handlers),
        dict(os.environ),
        getattr(ActorSystem, "systemBase", 0),
    )
    systems = [SealedActorSystem.attach(bare_system.admin) for _ in range(3)]
    for number, system in enumerate(systems):
        assert system.port == bare_system.admin
        assert system.ask(address_of(bare_system.echo), (number,), 10) == (number,)
        system.close()
        system.close()
    after = (
        threading.enumerate(),
        list(logging.root.handlers),
        dict(os.environ),
        getattr(ActorSystem, "systemBase", 0),
    )
    assert before == after


def test_threads_with_private_ends_get_their_own_answers(bare_system: BareSystem, attached: SealedActorSystem) -> None:
    """One system serves many threads, each over an end of its own (trap 4)."""
    wrong: list[object] = []

    def ask(thread: int) -> None:
        with attached.private() as mine:
            wrong.extend(n for n in range(50) if mine.ask(address_of(bare_system.echo), (thread, n), 10) != (thread, n))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


@pytest.mark.parametrize("how", [[str(HERE / "scripted.py")], ["-m", "scripted"]])
def test_an_actor_of_a_script_is_imported_by_its_stem(bare_system: BareSystem, how: list[str]) -> None:
    """What is __main__ here has a name of its own over there."""
    done = subprocess.run(
        [sys.executable, *how, str(bare_system.admin)],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "scripted\n", "")


def test_an_actor_that_nobody_else_can_import_is_refused() -> None:
    """A class inside another or inside a function has no name that another process could use."""

    class Inner(Actor):  # type: ignore[misc]
        pass

    with pytest.raises(DefinitionError, match="function"):
        transport.importable_name(Inner)
    with pytest.raises(DefinitionError, match="top of its module"):
        transport.importable_name(Outer.Nested)
    assert transport.importable_name("package.module.Class") == "package.module.Class"


class Outer:
    class Nested(Actor):  # type: ignore[misc]
        pass


def test_an_actor_dies_with_its_parent(bare_system: BareSystem, attached: SealedActorSystem) -> None:
    """A killed parent leaves no orphans, and its own parent lives on (trap 7)."""
    pid, _ = attached.ask(address_of(bare_system.parent), ("make",), 10)
    child = next(member for member in bare_system.family() if member.pid == pid)
    assert child.lives
    os.kill(bare_system.member("Parent").pid, signal.SIGKILL)
    eventually(lambda: not child.lives)
    assert bare_system.member("admin").lives
    assert bare_system.member("Echo").lives


@pytest.mark.parametrize("victim", ["admin", "watchdog"])
def test_the_whole_family_dies_with_its_head(bare_system: BareSystem, attached: SealedActorSystem, victim: str) -> None:
    """The admin is tied to the watchdog that adopted it, and everyone else to the admin (traps 7 and 8)."""
    attached.ask(address_of(bare_system.parent), ("make",), 10)
    assert len(bare_system.living()) == 5
    head = bare_system.launcher.pid if victim == "watchdog" else bare_system.member("admin").pid
    os.kill(head, signal.SIGKILL)
    eventually(lambda: not bare_system.living())


def test_a_family_without_a_watchdog_registers_and_is_not_tied(tmp_path: Path) -> None:
    """The two settings of a node are independent."""
    with started_bare(tmp_path) as system:
        assert len(system.living()) == 4
        system.launcher.kill()
        system.launcher.wait(10)
        assert len(system.living()) == 4


def test_what_is_logged_about_a_message_is_not_the_message() -> None:
    """Thespian's log gets no contents, whatever goes wrong with them (trap 20); nor is each message put into words."""
    intent = TransmitIntent(address_of(1), {"card": "4111"})
    with_closed = transport.ClientTransport()
    with_closed.close()
    with_closed.scheduleTransmit(None, intent)
    assert "4111" not in str(intent)
    assert intent.result == transport.SendStatus.Failed
    assert "4111" not in str(Envelope(address_of(1), "4111")) + str(Intent(address_of(1), "4111"))


def test_acknowledgements_are_signed_with_the_key(silent_mailbox: Mailbox) -> None:
    """An acknowledgement cannot be forged either."""
    buffer = seal.PacketBuffer()
    buffer.addMore(transport._tcp.ackMsg)
    assert buffer.completed() == ("ACK", b"")
