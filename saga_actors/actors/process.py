"""What a process of a node owes the others: to be known by its pid, and to die with its parent. Imports no Thespian."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import time
import weakref
from pathlib import Path
from typing import NoReturn, Protocol

import attrs
import psutil  # type: ignore[import-untyped, unused-ignore]

FOLDER_VARIABLE = "SAGA_ACTORS_NODE_FOLDER"
WATCHDOG_VARIABLE = "SAGA_ACTORS_WATCHDOG_PID"
FAMILY_FILE = "family.jsonl"
ADMIN = "admin"
LOGGER = "logger"

ADOPTION_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_born_in = 0


@attrs.frozen
class Member:
    """One process of a node's family; the start time tells it from a later process with the same pid."""

    pid: int
    start_time: int
    role: str

    @property
    def lives(self) -> bool:
        """Whether this very process is there and not a zombie."""
        return start_time(self.pid) == self.start_time and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE


def on_birth(role: str) -> None:
    """Register this process in the node's folder and tie it to its parent; once per process, and only inside a node."""
    global _born_in
    if _born_in == os.getpid():
        return
    _born_in = os.getpid()
    if folder := os.environ.get(FOLDER_VARIABLE):
        register(Path(folder), role)
    if watchdog := os.environ.get(WATCHDOG_VARIABLE):
        die_with(_adopted_by(int(watchdog)) if role == ADMIN else _creator())


def is_member() -> bool:
    """Whether this process was born into a node, or forked from one that was."""
    return _born_in != 0


def register(folder: Path, role: str) -> None:
    """Append this process to the family's file, in one write so that lines never mix."""
    member = Member(os.getpid(), start_time(os.getpid()) or 0, role)
    file = os.open(folder / FAMILY_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, json.dumps(attrs.asdict(member)).encode() + b"\n")
    finally:
        os.close(file)


def family(folder: Path) -> list[Member]:
    """Every process that was registered in this folder, in order, living or not."""
    try:
        lines = (folder / FAMILY_FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [Member(**json.loads(line)) for line in lines]


def start_time(pid: int) -> int | None:
    """When this process began, in clock ticks since boot, which unlike a date never shifts; None if there is none."""
    if sys.platform != "linux":
        return _start_time_elsewhere(pid)
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(status.rpartition(b")")[2].split()[19])  # the name before the bracket may contain anything


def _start_time_elsewhere(pid: int) -> int | None:
    try:
        return int(psutil.Process(pid).create_time() * 1000)
    except psutil.NoSuchProcess:
        return None


def adopt_orphans() -> None:
    """Become the parent of every descendant whose parent ends; for the watchdog, before it starts anything."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Be killed by the kernel when this parent ends (or its thread that made us does); exit if it has already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        _exit_orphaned()


def end_with(parent: int) -> None:
    """Be told to end (SIGTERM) by the kernel when this parent ends; now, if it has already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _creator() -> int:
    made_by = multiprocessing.parent_process()
    return made_by.pid if made_by and made_by.pid else os.getppid()


def _adopted_by(watchdog: int) -> int:
    """Wait until the watchdog has adopted this daemon, whose first parent ends once it is made; no event tells."""
    deadline = time.monotonic() + ADOPTION_SECONDS
    while os.getppid() != watchdog:
        if time.monotonic() > deadline:
            _exit_orphaned()
        time.sleep(0.001)
    return watchdog


def _exit_orphaned() -> NoReturn:
    os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":  # elsewhere the watchdog's registered family is all there is
        return
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Inherited(Protocol):
    """What must not be used in a forked child, because the parent goes on using it."""

    def abandon(self) -> None: ...


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()


def abandon_after_fork(thing: Inherited) -> None:
    """Have `thing.abandon()` called in every child that is forked while the thing exists."""
    _inherited.add(thing)


def _abandon_all() -> None:
    things = list(_inherited)
    _inherited.clear()
    for thing in things:
        thing.abandon()


os.register_at_fork(after_in_child=_abandon_all)
