"""The system process of one life: starts the Thespian system, creates the root, and asks it each second if it is there.

`python -m saga_actors.actors.life` is started by the watchdog, which tells it on standard input who it is, and to
which it tells, on a pipe, that it is ready, that the root answers, and how it ends. It imports no user code.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from thespian.actors import PoisonMessage

from saga_actors.actors import thespian_log
from saga_actors.actors.lifecycle import FAILED, HOPELESS, Begin, Begun, DrainAndEnd, LifeOver, Ping, Pong
from saga_actors.actors.process import ADMIN, WATCHDOG_VARIABLE, die_with
from saga_actors.actors.transport import SealedActorSystem, port_of
from saga_actors.errors import NodeError, TransportError
from saga_actors.node_folder import NodeFolder
from saga_actors.node_log import LAYOUT, Formatter, log_to_stderr
from saga_actors.node_spec import LifeOrder

LOOK_EVERY = 0.2
"""Seconds after which a wait for the root is broken off, to see whether the node was told to end."""

PORTS = 5
"""How many ports are tried: between finding one free and listening on it, somebody else may take it."""

LOG_DEFS: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": Formatter, "format": LAYOUT}},
    "handlers": {"log": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "root": {"level": "INFO", "handlers": ["log"]},
}
"""What the actors log goes where their standard error goes: to node.log."""

log = logging.getLogger("saga_actors.life")


class Ending(Exception):
    """The life is over, with one of the codes of `LifeOver`."""

    def __init__(self, reason: str, code: int = FAILED) -> None:
        super().__init__(reason)
        self.code = code


class SystemProcess:
    """One life, from the start of its Thespian system until its root ends it or falls silent."""

    def __init__(self, order: LifeOrder) -> None:
        self.order = order
        self.spec = order.spec
        self.told_to_end = False
        self.begun = False
        self.heard = self.admin_heard = 0.0

    def run(self) -> int:
        """Live; the answer is the exit code, and the watchdog has been told why."""
        try:
            self._settle_in()
            self.system = start_system()
            self.root = self._create_root()
            self._report(made=self._whereabouts())
            self._begin()
            self._report(ready=True)
            self._keep_watch()
        except Ending as ending:
            self._report(over=str(ending), code=ending.code)
            return ending.code

    def _settle_in(self) -> None:
        """Be where the user's code expects to be; the actors are forked from here."""
        for descriptor in (self.order.lock, self.order.reports):
            os.set_inheritable(descriptor, False)  # forks share them; what a step executes does not
        signal.signal(signal.SIGTERM, self._on_told_to_end)
        try:
            os.chdir(self.spec.cwd)
        except OSError as error:
            raise Ending(f"the working directory {self.spec.cwd} cannot be entered: {error}", HOPELESS) from error
        sys.path += [entry for entry in dict.fromkeys(self.spec.sys_path) if entry and entry not in sys.path]

    def _create_root(self) -> Any:
        try:
            return self.system.createActor(self.spec.root)
        except Exception as error:
            raise Ending(f"the root {self.spec.root} could not be created: {error!r}") from error

    def _whereabouts(self) -> dict[str, int]:
        """How the admin and the root are reached, and who they are: both registered themselves when they were born."""
        pids = {role: member.pid for member, role in NodeFolder.of(self.spec.journal_url).members()}
        return {
            "admin_port": self.system.port,
            "admin_pid": pids[ADMIN],
            "root_port": port_of(self.root),
            "root_pid": pids[self.spec.root.rpartition(".")[2]],
        }

    def _begin(self) -> None:
        """Have the root begin; it may take as long as the watchdog lets it."""
        self._send(Begin(self.spec, self.order.life))
        while not self.begun:
            self._heed(self.system.listen(LOOK_EVERY))

    def _keep_watch(self) -> NoReturn:
        """Ping root and admin, and pass on that the node shall end, until it ends the life or one is silent."""
        self.heard = self.admin_heard = time.monotonic()
        number = 0
        while (silent := self._silent()) is None:
            number += 1
            self.system.knock(self.spec.silence, self._on_knock)
            told = self.told_to_end
            if told:
                self._send(DrainAndEnd())
            self._send(Ping(number))
            self._listen(time.monotonic() + self.spec.ping_every, told)
        raise Ending(f"the {silent} has not answered for {self.spec.silence:g} s")

    def _silent(self) -> str | None:
        now = time.monotonic()
        if now - self.heard >= self.spec.silence:
            return "root"
        return "admin" if now - self.admin_heard >= self.spec.silence else None

    def _on_knock(self, was_heard: bool) -> None:
        if was_heard:
            self.admin_heard = time.monotonic()

    def _listen(self, until: float, told: bool) -> None:
        while self.told_to_end == told and (left := until - time.monotonic()) > 0:
            self._heed(self.system.listen(min(LOOK_EVERY, left)))

    def _send(self, message: object) -> None:
        """Send to the root and heed what comes first; a `tell` would wait for a stopped root for minutes."""
        self._heed(self.system.ask(self.root, message, LOOK_EVERY))

    def _heed(self, message: object) -> None:
        match message:
            case Pong():
                self.heard = time.monotonic()
                self._report(pong=message.number)
            case Begun():
                self.begun = True
            case LifeOver():
                raise Ending(message.reason, message.code)
            case PoisonMessage():
                raise Ending(f"the root fails on {message.poisonMessage!r}: {message.details}")
            case None:
                pass
            case _:
                log.warning("a %s came, and means nothing here", type(message).__name__)

    def _report(self, **report: object) -> None:
        os.write(self.order.reports, json.dumps(report).encode() + b"\n")

    def _on_told_to_end(self, *_: object) -> None:
        self.told_to_end = True


def start_system() -> SealedActorSystem:
    """A Thespian system on a port of this host that is free."""
    for _ in range(PORTS):
        try:
            return SealedActorSystem.start(free_port(), LOG_DEFS)
        except TransportError as error:
            raise Ending(str(error), HOPELESS) from error
        except NodeError as error:
            log.warning("the system did not start: %s", error)
    raise Ending(f"the system did not start on any of {PORTS} ports")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Live the life that standard input describes."""
    die_with(int(os.environ[WATCHDOG_VARIABLE]))
    log_to_stderr()
    thespian_log.begin()
    return SystemProcess(LifeOrder.from_json(sys.stdin.buffer.read())).run()


if __name__ == "__main__":
    sys.exit(main())
