"""The processes of a node: what they are, and what they cost."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil  # type: ignore[import-untyped, unused-ignore]

from saga_actors.node_folder import NodeFolder, ProcessId, kill_all

ROLES = {
    "SagaSupervisor": "supervisor",
    "StepWorker": "workers",
    "TelemetryActor": "telemetry",
    "StatusActor": "status",
    "RootSupervisor": "root",
}
REST = "rest"
CLIENT = "client"
ALL_ROLES = (CLIENT, *ROLES.values(), REST)

QUIET = 0.05
"""A family is at rest when it has used no more of a core than this."""
LOOK_EVERY = 0.05

MB = 1e6


class Family:
    """The watchdog of one node and all below it, as they are at each moment."""

    def __init__(self, folder: NodeFolder, watchdog: int) -> None:
        self._folder = folder
        self._watchdog = watchdog

    def roles(self) -> dict[int, str]:
        """The living processes by pid, each with its role."""
        registered = {process.pid: role for process, role in self._folder.members()}
        return {pid: ROLES.get(registered.get(pid, ""), REST) for pid in self._pids()}

    def _pids(self) -> list[int]:
        try:
            watchdog = psutil.Process(self._watchdog)
            return [watchdog.pid, *(child.pid for child in watchdog.children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    def memory(self) -> float:
        """MB (10^6 bytes) of all, what they share counted once."""
        return sum(_memory(pid) for pid in self._pids()) / MB

    def cpu(self) -> Mapping[str, float]:
        """Seconds of CPU that each role has used, this process as the client."""
        used = defaultdict(float, {CLIENT: time.process_time()})
        for pid, role in self.roles().items():
            used[role] += cpu_seconds(pid)
        return used

    def settle(self, patience: float = 3.0) -> None:
        """Wait until they do nothing to speak of: telemetry, say, comes after the end of a saga."""
        deadline = time.monotonic() + patience
        before = self._own_cpu()
        while time.monotonic() < deadline:
            time.sleep(LOOK_EVERY)
            now = self._own_cpu()
            if now - before < QUIET * LOOK_EVERY:
                return
            before = now

    def _own_cpu(self) -> float:
        return sum(cpu_seconds(pid) for pid in self._pids())

    @contextmanager
    def peak(self) -> Iterator[list[float]]:
        """Look at the memory again and again while the block runs; the last of the list is the highest, after it."""
        samples = [self.memory()]
        over = threading.Event()

        def sample() -> None:
            while not over.wait(LOOK_EVERY):
                samples.append(self.memory())

        thread = threading.Thread(target=sample, name="saga_actors-bench-memory", daemon=True)
        thread.start()
        try:
            yield samples
        finally:
            over.set()
            thread.join()
            samples.sort()

    def identities(self) -> list[ProcessId]:
        """All of them, so that they can be ended and nobody else can."""
        found = (ProcessId.of(pid) for pid in self._pids())
        return [each for each in found if each is not None]


def end(processes: list[ProcessId]) -> None:
    """Kill what is left of these."""
    kill_all(processes, within=10.0)


def used_since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Seconds of CPU by role; a process that has gone meanwhile takes its share with it."""
    return {role: max(0.0, after.get(role, 0.0) - before.get(role, 0.0)) for role in ALL_ROLES}


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used so far, of all its threads.

    By its CPU clock (`clock_getcpuclockid(3)`), which Python has for threads only: psutil counts in steps of 10 ms.
    """
    if pid == os.getpid():
        return time.process_time()
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        pass
    try:
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    except psutil.Error:
        return 0.0


def _memory(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_full_info().pss)
    except psutil.Error:
        return 0.0
