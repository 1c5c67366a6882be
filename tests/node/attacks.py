"""An attacker without the key; run as a program, in a process of its own, and if it is told to, as another user.

It knows how our packets look and which classes are in them. Whoever unpickled one of its messages would leave a file.

`attacks.py packets FOLDER COUNT PORT...` sends so many packets to each port, and prints how many of each kind;
`silence FOLDER COUNT PORT...` opens so many connections to each, sends half a header or half a packet, and waits for
its standard input to end; `bulk FOLDER COUNT PORT...` fills so many with 16 MB each of packets that never end;
`listen FOLDER COUNT PORT` takes a port as soon as it is free, and prints how many bytes it was sent within two seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import random
import resource
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from thespian.actors import ActorAddress, ActorExitRequest, ChildActorExited
from thespian.system.messages.admin import SystemShutdown

from saga_actors.actors.key import KEY_FILE_VARIABLE
from saga_actors.actors.lifecycle import DrainAndEnd, LifeOver
from saga_actors.actors.loopback import TCPv4ActorAddress
from saga_actors.actors.protocol import NodeDone

HERE = Path(__file__)
KINDS = ("malformed", "truncated", "oversized", "wrongly signed", "unsigned")
NOBODY = 65534
BULK = 16_000_000


# What a test does.


@contextlib.contextmanager
def attack(
    folder: Path, what: str, count: int, ports: list[int], *, as_nobody: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """An attacker at work on these ports; what it makes others execute leaves files in `folder`/evidence."""
    (folder / "evidence").mkdir(exist_ok=True)
    attacker = subprocess.Popen(
        [sys.executable, str(HERE), what, str(folder / "evidence"), str(count), *map(str, ports)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, KEY_FILE_VARIABLE: str(folder / "another-key"), "AS_NOBODY": "1" if as_nobody else ""},
    )
    with attacker:
        try:
            yield attacker
        finally:
            attacker.kill()


def said(attacker: subprocess.Popen[str]) -> Any:
    """What an attacker has said in its next line, as JSON."""
    assert attacker.stdout
    line = attacker.stdout.readline()
    assert line, "the attacker has died"
    return json.loads(line)


def executed(folder: Path) -> list[str]:
    """What an attacker has had executed, so far."""
    return sorted(path.name for path in (folder / "evidence").iterdir())


def kin(watchdog: int) -> list[psutil.Process]:
    """A watchdog and all that has come of it, as the kernel knows them."""
    return [psutil.Process(watchdog), *psutil.Process(watchdog).children(recursive=True)]


def listening(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """The addresses at which these can be called."""
    found = (c for process in processes for c in process.net_connections("inet"))
    return {(c.laddr.ip, c.laddr.port) for c in found if c.status == psutil.CONN_LISTEN}


def ports_of(processes: list[psutil.Process]) -> list[int]:
    """The ports at which these can be called."""
    return sorted(port for _, port in listening(processes))


# Packets of ours, recorded and sent again.

RECORD = """
import os, pickle, sys
if "saga_actors.actors.life" in sys.orig_argv:
    from saga_actors.actors import transport

    def serializer(self, intent):
        packet = self.packet(intent.message)
        if hasattr(intent.targetAddr.addressDetails, "port"):
            line = intent.targetAddr.addressDetails.port, type(intent.message).__name__, bytes(packet)
            with open({folder!r} + "/recorded-" + str(os.getpid()), "ab") as file:
                file.write(pickle.dumps(line))
        return packet

    transport.SealedTransport.serializer = serializer
"""
"""For a `sitecustomize`: the processes of a life write down each packet that they send."""


class Recorded(NamedTuple):
    """A packet that was sent to a port, and what was in it."""

    port: int
    message: str
    packet: bytes


def recorded(folder: Path) -> Iterator[Recorded]:
    """What the processes of a node have sent so far."""
    for path in sorted(folder.glob("recorded-*")):
        with path.open("rb") as file, contextlib.suppress(EOFError):
            while True:
                yield Recorded(*pickle.load(file))


def replay(packet: bytes, port: int) -> bool:
    """Send it; whether whoever listens there has acknowledged it."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(packet)
        heard = connection.recv(1000)  # what it has to say to the sender may follow at once
        return b"ACK" in heard and b"DATAERR" not in heard
    return False


# What the attacker does.


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, evidence: str, number: int) -> None:
        self.path = f"{evidence}/{number}"

    def __reduce__(self) -> Any:
        return os.open, (self.path, os.O_CREAT | os.O_WRONLY, 0o600)


def framed(data: bytes) -> bytes:
    return b"%d>" % len(data) + data


def packet(kind: str, dice: random.Random, evidence: str) -> bytes:
    """A packet of this kind; each is another one."""
    evil = pickle.dumps(_message(dice, evidence))
    match kind:
        case "malformed":
            shuffled = dice.randbytes(dice.randrange(300))
            return dice.choice([shuffled, b"", b"0>", b"-5>xxxxx", b">", b"9" * 4096, b"1e3>" + evil, b"\xff>" + evil])
        case "truncated":
            whole = framed(bytes(32) + evil)
            return whole[: dice.randrange(1, len(whole))]
        case "oversized":
            announced = dice.choice([67_108_865, 2**31, 2**63, 10**17, 10**40])
            return b"%d>" % announced + evil * dice.randrange(1, 20)
        case "wrongly signed":
            digest = hashlib.blake2b(evil, key=dice.choice([b"", bytes(32), dice.randbytes(32)]), digest_size=32)
            return framed(dice.choice([digest.digest(), bytes(32), dice.randbytes(32)]) + evil)
        case _:
            return framed(evil)


def _message(dice: random.Random, evidence: str) -> Any:
    sender = ActorAddress(TCPv4ActorAddress(None, dice.randrange(1, 60_000)))
    evil = Evil(evidence, dice.randrange(10**9))
    plain = [ActorExitRequest(), SystemShutdown(), DrainAndEnd(), NodeDone("over"), LifeOver("over"), "ACK"]
    return dice.choice([evil, (sender, evil), (evil, sender), (sender, dice.choice(plain)), (sender, _exit(sender))])


def _exit(address: ActorAddress) -> ChildActorExited:
    return ChildActorExited(address)


def send_packets(evidence: str, count: int, ports: list[int]) -> None:
    """So many to each port, of each kind in turn; some wait for an answer, some hang up, some reset the connection."""
    dice, sent, waiting = random.Random(count), Counter[str](), list[socket.socket]()
    for number in range(count):
        for port in ports:
            kind = KINDS[number % len(KINDS)]
            connection = send(port, packet(kind, dice, evidence))
            sent[kind] += 1
            waiting.append(connection)
            if len(waiting) > 40:
                end(waiting.pop(0), dice)
    for connection in waiting:
        end(connection, dice)
    print(json.dumps(sent), flush=True)


def send(port: int, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    with contextlib.suppress(OSError):  # it has hung up on us already
        connection.sendall(data)
    return connection


def end(connection: socket.socket, dice: random.Random) -> None:
    with connection, contextlib.suppress(OSError):
        if dice.random() < 0.3:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif dice.random() < 0.3:
            connection.setblocking(False)
            connection.recv(1000)


def be_silent(_: str, count: int, ports: list[int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    halves = (b"1000>half", b"10", b"")
    kept = [send(port, halves[number % 3]) for number in range(count) for port in ports]
    print(json.dumps(len(kept)), flush=True)
    sys.stdin.read()


def fill(_: str, count: int, ports: list[int]) -> None:
    filled = [send(port, b"60000000>" + bytes(BULK)) for _ in range(count) for port in ports]
    print(json.dumps(len(filled)), flush=True)
    sys.stdin.read()


def listen(_: str, count: int, ports: list[int]) -> None:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    while True:
        with contextlib.suppress(OSError):
            server.bind(("127.0.0.1", ports[0]))
            break
        time.sleep(0.001)
    server.listen()
    server.settimeout(count)
    print(json.dumps("listening"), flush=True)
    heard = 0
    with contextlib.suppress(TimeoutError):
        while True:
            connection, _who = server.accept()
            connection.settimeout(0.5)
            with contextlib.suppress(OSError):
                heard += len(connection.recv(1000))
    print(json.dumps(heard), flush=True)


def main() -> None:
    if os.environ.get("AS_NOBODY"):
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    what, evidence, count, *ports = sys.argv[1:]
    does = {"packets": send_packets, "silence": be_silent, "bulk": fill, "listen": listen}
    does[what](evidence, int(count), [int(port) for port in ports])


if __name__ == "__main__":
    main()
