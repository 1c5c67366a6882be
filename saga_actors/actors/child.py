"""What every child of the root does alike: pings, a timer, and no return into Thespian from an error."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]
from thespian.actors import Actor, ActorExitRequest, WakeupMessage

from saga_actors.actors.lifecycle import Ping, Pong
from saga_actors.actors.process import is_member
from saga_actors.actors.protocol import Address, Born
from saga_actors.actors.transport import more_has_come, send, send_noticed
from saga_actors.node_log import log_to_stderr
from saga_actors.node_spec import NodeSpec

SOON = 0.002
"""The shortest time to be woken in, in seconds: Thespian reads no messages while a timer has run out already."""

BROKEN = 70
"""The exit code of a child that met an exception it does not know; the root replaces it."""

EARLY = 0.001
"""Thespian's timers may fire some microseconds before their time, in seconds."""


class Child(Actor):  # type: ignore[misc]
    """A child of the root. An exception that escapes ends the process: a return would deliver the message again."""

    def __init__(self) -> None:
        super().__init__()
        self._wakes: list[float] = []
        if is_member():
            log_here()

    def receiveMessage(self, message: Any, sender: Address) -> Any:
        """Answer a ping, let time pass, or take what came."""
        try:
            return self._receive_one(message, sender)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(BROKEN)

    def _receive_one(self, message: Any, sender: Address) -> Any:
        if isinstance(message, Ping):
            self.send(sender, Pong(message.number))
        elif isinstance(message, WakeupMessage):
            now = time.monotonic()
            self._wakes = [at for at in self._wakes if at > now + EARLY]
            self.woken()
        elif not isinstance(message, ActorExitRequest):
            self.take(message, sender)
        if not more_has_come(self):
            self.settle()
        return self.watched()

    def take(self, message: Any, sender: Address) -> None:
        """One message that is not a ping."""
        raise NotImplementedError

    def settle(self) -> None:
        """All messages that had come together are taken, and the process would wait now."""

    def woken(self) -> None:
        """A time asked for with `wake_in` has come."""

    def watched(self) -> Any:
        """The `ThespianWatch` of a child that has threads; it must be answered to every message."""
        return None

    def wake_in(self, seconds: float) -> None:
        """Have `woken` called in so many seconds at the latest; Thespian's timers are costly, so few are set."""
        seconds = max(SOON, seconds)
        at = time.monotonic() + seconds
        if all(wake > at for wake in self._wakes):
            self._wakes.append(at)
            self.wakeupAfter(timedelta(seconds=seconds))

    def send(self, targetAddr: Address, msg: Any) -> None:
        """Send a message; Thespian's own way of it makes two log lines with the whole message in them."""
        send(self, targetAddr, msg)

    def send_noticed(self, address: Address, message: Any, patience: float, on_done: Callable[[bool], None]) -> None:
        """Send, and say whether the receipt was acknowledged within `patience` seconds."""
        send_noticed(self, address, message, patience, on_done)

    @staticmethod
    def born(role: str, number: int) -> Born:
        """What a child says when it serves."""
        return Born(role, number, os.getpid(), psutil.Process().create_time())


def log_here() -> None:
    """Log to node.log directly.

    Thespian sends records to a process of its own, on whichever thread they were made; and its root logger takes no
    handler, so that a user's module that sets up logging could not be imported.
    """
    logging.root = logging.Logger.root = logging.RootLogger(logging.WARNING)
    logging.Logger.manager = logging.Manager(logging.root)
    log_to_stderr()


def settle_in(spec: NodeSpec) -> None:
    """Be where the user's code expects to be: on its path, in the order that this has there, and in its directory."""
    sys.path[:] = [entry for entry in dict.fromkeys((*spec.sys_path, *sys.path)) if entry]
    os.chdir(spec.cwd)
