"""A sealed system with two actors and no node around it; run as a script it lives until its standard input ends."""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

from thespian.actors import Actor

from saga_actors.actors import process
from saga_actors.actors.transport import SealedActorSystem, port_of


class Echo(Actor):
    """Sends back what it gets, but for the orders ("pid",) and ("answer", whom)."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if message == ("pid",):
            self.send(sender, os.getpid())
        elif isinstance(message, tuple) and message and message[0] == "answer":
            self.send(message[1], (os.getpid(), self.myAddress))
        elif isinstance(message, tuple | str | bytes | int | dict):
            self.send(sender, message)


class Parent(Actor):
    """Makes an Echo for everyone who says anything, which then answers with its pid and address."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, tuple):
            self.send(self.createActor(Echo), ("answer", sender))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    if "watched" in sys.argv:
        process.adopt_orphans()
        os.environ[process.WATCHDOG_VARIABLE] = str(os.getpid())
    system = SealedActorSystem.start(free_port())
    actors = {name: port_of(system.createActor(cls)) for name, cls in (("echo", Echo), ("parent", Parent))}
    print(json.dumps({"admin": system.port, **actors}), flush=True)
    sys.stdin.read()
    system.shutdown()


if __name__ == "__main__":
    main()
