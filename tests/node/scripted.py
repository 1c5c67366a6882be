"""A script that makes an actor of a class of its own; prints under which name it was imported over there."""

from __future__ import annotations

import sys
from typing import Any

from thespian.actors import Actor

from saga_actors.actors.transport import SealedActorSystem


class Native(Actor):
    def receiveMessage(self, message: Any, sender: Any) -> None:
        if message == "where from":
            self.send(sender, type(self).__module__)


if __name__ == "__main__":
    system = SealedActorSystem.attach(int(sys.argv[1]))
    print(system.ask(system.createActor(Native), "where from", 10))
    system.close()
