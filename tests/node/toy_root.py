"""Roots that do next to nothing, for tests of the life around them."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from thespian.actors import Actor

from saga_actors.actors.lifecycle import HOPELESS, Begin, Begun, DrainAndEnd, LifeOver, Ping, Pong


class ToyChild(Actor):  # type: ignore[misc]
    """Leads a process group, as a worker does, and starts a program when it is told to."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        match message:
            case "join":
                os.setpgid(0, 0)
                self.send(sender, ("joined", os.getcwd()))
            case ("start", command, session, client):
                program = subprocess.Popen(command, start_new_session=session)
                self.send(client, program.pid)


class ToyRoot(Actor):  # type: ignore[misc]
    """Begins by making `workers` children, and drains at once."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        match message:
            case Begin():
                self.life, self.joined, self.wanted = sender, [], message.spec.workers
                for _ in range(self.wanted):
                    self.send(self.createActor(ToyChild), "join")
            case ("joined", folder):
                self.joined.append((sender, folder))
                if len(self.joined) == self.wanted:
                    self.send(self.life, Begun(os.getpid()))
            case Ping():
                self.send(sender, Pong(message.number))
            case DrainAndEnd():
                self.drain()
            case _:
                self.answer(message, sender)

    def drain(self) -> None:
        self.send(self.life, LifeOver("drained"))

    def answer(self, message: Any, sender: Any) -> None:
        match message:
            case "where":
                self.send(sender, self.joined[0][1])
            case ("start", command, session):
                self.send(self.joined[0][0], ("start", command, session, sender))
            case "end":
                self.send(self.life, LifeOver("nobody needs it"))


class StubbornRoot(ToyRoot):
    """Never has drained."""

    def drain(self) -> None: ...


class HopelessRoot(Actor):  # type: ignore[misc]
    """Says that no life could do better."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, Begin):
            self.send(sender, LifeOver("the journal is of a newer version", HOPELESS))


class DyingRoot(Actor):  # type: ignore[misc]
    """Is dead before it has begun."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, Begin):
            os._exit(3)
