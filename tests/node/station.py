"""A node with a journal of its own, the world its sagas act upon, and a way to lose any of its processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from flows import Call, Outside
from waiting import eventually

from saga_actors import Coordinator
from saga_actors.actors.clock import turn
from saga_actors.events import Event
from saga_actors.node_folder import NodeFolder, ProcessId

EFFECTIVE = 20.0
"""Seconds within which what must happen has happened, also on a busy machine."""


class Station:
    """A folder with a journal; coordinators are made on demand, and nothing of its nodes is left after `clear`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/sagas.db"
        self.node = NodeFolder.of(self.url)
        self.outside = Outside(folder)
        self.seen: set[ProcessId] = set()
        self._coordinators: list[Coordinator] = []
        self._ahead = 0.0

    def coordinator(self, *, spec: dict[str, Any] | None = None, **options: Any) -> Coordinator:
        """A coordinator on this journal; `spec` changes what a node that it starts is told."""
        options.setdefault("sagas", ["flows"])  # and not what other tests have defined
        made = Coordinator(self.url, **options)
        made._verbs._spec = attrs.evolve(made._verbs._spec, **(spec or {}))
        self._coordinators.append(made)
        return made

    def turned(self, seconds: float = 0.0) -> dict[str, Any]:
        """Turn the clocks of nodes that were started with this `spec`, which wait for clients however late it gets."""
        self._ahead += seconds
        turn(self.folder / "clock", self._ahead)
        return {"clock": str(self.folder / "clock"), "linger": 1e9}

    def context(self, **choices: Any) -> dict[str, Any]:
        return {"folder": str(self.folder), **choices}

    # Its processes.

    def pid(self, role: str) -> int:
        """The process that was registered last as this role (its actor's class, `life`, or `admin`)."""
        found = [process.pid for process, its_role in self.node.members() if its_role == role and process.alive]
        return found[-1]

    def replaced(self, role: str, after: ProcessId) -> bool:
        """Whether a living process of this role was registered after that one."""
        of_role = [process for process, its_role in self.node.members() if its_role == role]
        return any(process.alive for process in of_role[of_role.index(after) + 1 :])

    def family(self) -> set[ProcessId]:
        """Every living process of the node."""
        members = {process for process, _ in self.node.members()}
        life = self.node.present_life()
        if life is not None:
            members.add(ProcessId(life.watchdog_pid, life.watchdog_started))
        self.seen |= members
        return {process for process in members if process.alive}

    def kill(self, pid: int) -> None:
        """SIGKILL a process of this node."""
        self.family()
        os.kill(pid, signal.SIGKILL)

    def stop(self, pid: int) -> None:
        """SIGSTOP a process of this node."""
        self.family()
        os.kill(pid, signal.SIGSTOP)

    def clear(self) -> None:
        """End what is left, as `close` would or by force."""
        for coordinator in self._coordinators:
            coordinator.close(0.0)
        self.family()
        deadline = time.monotonic() + 5.0
        while any(process.alive for process in self.seen) and time.monotonic() < deadline:
            time.sleep(0.01)
        for process in self.seen:
            process.kill()

    # What it did.

    def until(self, claim: Callable[[], object]) -> None:
        eventually(claim, EFFECTIVE)

    def until_called(self, name: str, times: int = 1, saga_id: str | None = None) -> list[Call]:
        """Wait until a call has been made so often; the calls."""
        self.until(lambda: len(self.outside.calls(name, saga_id)) >= times)
        return self.outside.calls(name, saga_id)

    def log(self) -> str:
        return self.node.log.read_text()


def kinds(events: tuple[Event, ...], *of: type[Any]) -> list[Any]:
    """The events of these kinds."""
    return [event for event in events if isinstance(event, of)]
