"""An application with a plain Thespian system of its own, beside ours; a script, prints "fine" at its end."""

from __future__ import annotations

import logging
import pickle
import queue
import sys
from typing import Any

from bare import free_port
from thespian.actors import Actor, ActorSystem


class Plain(Actor):
    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, str):
            self.send(sender, f"plain {message}")


def use_plain() -> None:
    plain = ActorSystem("multiprocTCPBase", {"Admin Port": PLAIN_PORT})
    assert plain.ask(plain.createActor(Plain), "one", 10) == "plain one"


def use_ours(admin: int, echo: int) -> None:
    from saga_actors.actors.mailbox import Mailbox
    from saga_actors.actors.transport import SealedActorSystem, address_of

    ours = SealedActorSystem.attach(admin)
    assert ours.ask(address_of(echo), ("one",), 10) == ("one",)
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    mailbox = Mailbox(lambda message, _: answers.put(message), lambda *_: None)
    mailbox.post(address_of(echo), ("two",))
    assert answers.get(timeout=10) == ("two",)
    KEPT.extend([ours, mailbox])


def check_untouched() -> None:
    import thespian.system.transport.IPBase as addresses
    import thespian.system.transport.TCPTransport as plain_transport

    assert plain_transport.serializer is pickle
    assert plain_transport.TCPv4ActorAddress is addresses.TCPv4ActorAddress
    assert plain_transport.ackMsg.endswith(pickle.dumps("ACK"))
    assert type(ActorSystem.systemBase).__module__ == "thespian.system.multiprocTCPBase"
    assert logging.root is ROOT
    assert logging.root.handlers == HANDLERS


def main() -> None:
    order, admin, echo = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    steps = [use_plain, lambda: use_ours(admin, echo)]
    try:
        for step in [*(steps if order == "plain-first" else reversed(steps)), *steps]:
            step()
        check_untouched()
    finally:
        ActorSystem("multiprocTCPBase", {"Admin Port": PLAIN_PORT}).shutdown()
    use_ours(admin, echo)
    for ours in KEPT:
        ours.close()
    print("fine")


if __name__ == "__main__":
    PLAIN_PORT = free_port()
    KEPT: list[Any] = []
    logging.basicConfig(level=logging.ERROR)
    ROOT, HANDLERS = logging.root, list(logging.root.handlers)
    main()
