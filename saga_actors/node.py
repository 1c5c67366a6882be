"""The watchdog of a node: holds the journal's lock, begins one life after another, leaves nothing of one that is over.

`python -m saga_actors.node` reads a NodeSpec from its standard input. It imports no Thespian: what may hang or die is
in the processes it watches. These tell it on a pipe that they are ready, and with every answer of the root that they
live; a process descriptor each for the life, the admin and the root tells it of their death.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import attrs

from saga_actors.actors.process import FOLDER_VARIABLE, WATCHDOG_VARIABLE, adopt_orphans, end_with
from saga_actors.errors import SagaActorsError
from saga_actors.node_folder import (
    LockTakenError,
    NodeFolder,
    ProcessId,
    children_of,
    is_open_at,
    kill_all,
    sign_lock,
    take_lock,
)
from saga_actors.node_log import log_to_stderr
from saga_actors.node_spec import Life, LifeOrder, NodeSpec

# Exit codes.
ENDED = 0
"""Drained, or nobody needed it any more."""
FAILED = 1
"""Told to end, and ended before all was done."""
GAVE_UP = 70
"""Too many lives, or one that could not be killed."""
TAKEN = 75
"""Another node serves this journal."""
HOPELESS = 78
"""Nothing will be better if it is tried again as it is."""

LIVES = 5
LIVES_WITHIN = 60.0
"""So many lives in so many seconds, and the node gives up."""

KILL_LIMIT = 10.0
"""How long the processes of a life may take to be gone after SIGKILL, in seconds."""

MAX_PENDING_TRANSMITS = "900"
"""At Thespian's default of 20, one stopped client freezes a node; it is read when Thespian is imported."""

log = logging.getLogger("saga_actors.node")


@attrs.frozen
class Over:
    """How a life ended; `code` is None when the next one shall begin."""

    reason: str
    code: int | None = None


class RunningLife:
    """A life as the watchdog sees it: its system process, and our end of the pipe on which that tells of itself."""

    def __init__(self, number: int, name: str, process: subprocess.Popen[bytes], reports: int) -> None:
        self.number = number
        self.name = name
        self.process = process
        self.watched: dict[int, str] = {reports: "reports"}
        self.whereabouts: dict[str, int] = {}
        self.draining = False
        self._reports = reports
        self._unread = b""

    def watch(self, pid: int, role: str) -> int:
        """A descriptor that becomes readable when this process ends; raises ProcessLookupError if it has."""
        handle = os.pidfd_open(pid)
        self.watched[handle] = role
        return handle

    def reports(self) -> list[dict[str, Any]]:
        """What it has told since the last time."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._reports, 65_536):
                self._unread += chunk
        *lines, self._unread = self._unread.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        for descriptor in self.watched:
            os.close(descriptor)


class Watchdog:
    """Begins lives until one ends well, the node is told to end, or too many were needed."""

    def __init__(self, spec: NodeSpec, folder: NodeFolder, lock: int) -> None:
        self.spec = spec
        self.folder = folder
        self.lock = lock
        self.number = 0
        self.told_to_end = 0
        self._selector = selectors.DefaultSelector()
        self._wakeups, self._waking = socket.socketpair()

    def run(self) -> int:
        """Serve until the end; the answer is the exit code."""
        begun: deque[float] = deque(maxlen=LIVES)
        with self._signals_as_events():
            if self.spec.parent is not None:
                end_with(self.spec.parent)
            while not self.told_to_end:
                begun.append(time.monotonic())
                over = self._live_once()
                if over.code is not None:
                    return over.code
                if len(begun) == LIVES and time.monotonic() - begun[0] < LIVES_WITHIN:
                    log.critical("gave up after %d lives in %.0f s; the last: %s", LIVES, LIVES_WITHIN, over.reason)
                    return GAVE_UP
        return FAILED

    def _live_once(self) -> Over:
        life = self._begin()
        try:
            over = self._watch(life)
            log.log(_gravity(over), "life %d is over: %s", life.number, over.reason)
        finally:
            gone = self._end(life)
        return over if gone else Over("a life could not be killed", GAVE_UP)

    # a life begins

    def _begin(self) -> RunningLife:
        self.number += 1
        reports, reporting = os.pipe()
        os.set_blocking(reports, False)
        order = LifeOrder(secrets.token_hex(8), self.spec, self.lock, reporting)
        try:
            process = self._start_process(order)
        finally:
            os.close(reporting)
        life = RunningLife(self.number, order.life, process, reports)
        self._selector.register(reports, selectors.EVENT_READ, "reports")
        self._watch_process(life, process.pid, "system process")
        return life

    def _start_process(self, order: LifeOrder) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "saga_actors.actors.life"],
            stdin=subprocess.PIPE,
            pass_fds=(order.lock, order.reports),
            start_new_session=True,
            env=self._environment(),
        )
        if (identity := ProcessId.of(process.pid)) is not None:
            self.folder.register(identity, "life")
        hand_over(process, order.to_json())
        return process

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "THESPIAN_MAX_PENDING_TRANSMITS": MAX_PENDING_TRANSMITS,
            "THESPLOG_FILE": str(self.folder.thespian_log),
            FOLDER_VARIABLE: str(self.folder.path),
            WATCHDOG_VARIABLE: str(os.getpid()),
        }

    def _watch_process(self, life: RunningLife, pid: int, role: str) -> None:
        self._selector.register(life.watch(pid, role), selectors.EVENT_READ, role)

    # a life goes on

    def _watch(self, life: RunningLife) -> Over:
        """Wait until the life is over, however it ends."""
        deadline = time.monotonic() + self.spec.start_limit
        while True:
            events = self._selector.select(max(0.0, deadline - time.monotonic()))
            self.folder.shorten_log()
            now = time.monotonic()
            for report in life.reports():
                if "made" not in report:
                    deadline = now + self.spec.silence
                if (over := self._heed(life, report)) is not None:
                    return over
            if (over := self._heed_events(life, {str(key.data) for key, _ in events})) is not None:
                return over
            if self.told_to_end and life.whereabouts and not life.draining:
                self._have_it_drain(life)
            if now > deadline + self.spec.ping_every:  # we were stopped ourselves, and may judge nobody
                deadline = now + self.spec.silence
            elif now >= deadline:
                return Over("its root or system process does not answer")

    def _heed(self, life: RunningLife, report: dict[str, Any]) -> Over | None:
        if "over" in report:
            return self._conclude(int(report["code"]), str(report["over"]))
        if "made" in report:
            return self._get_to_know(life, report["made"])
        if "ready" in report:
            self._publish(life)
        return None

    def _heed_events(self, life: RunningLife, events: set[str]) -> Over | None:
        if "signals" in events:
            self._wakeups.recv(4096)
            self._reap(life)
            if self.told_to_end > 1:
                return Over("told to end at once", FAILED)
        if "system process" in events:
            return self._conclude(life.process.wait(), f"its system process ended with {life.process.returncode}")
        gone = events - {"signals", "reports"}
        return self._conclude(FAILED, f"its {gone.pop()} is gone") if gone else None

    def _have_it_drain(self, life: RunningLife) -> None:
        log.info("told to end; life %d drains", life.number)
        life.draining = True
        self.folder.announce_end()
        life.process.send_signal(signal.SIGTERM)

    def _conclude(self, code: int, reason: str) -> Over:
        if code in (ENDED, HOPELESS):
            return Over(reason, code)
        return Over(reason, FAILED if self.told_to_end else None)

    def _get_to_know(self, life: RunningLife, whereabouts: dict[str, int]) -> Over | None:
        life.whereabouts = whereabouts
        try:
            self._watch_process(life, whereabouts["admin_pid"], "admin")
            self._watch_process(life, whereabouts["root_pid"], "root")
        except ProcessLookupError:
            return self._conclude(FAILED, "its admin or root was gone at once")
        return None

    def _publish(self, life: RunningLife) -> None:
        me = ProcessId.of(os.getpid())
        assert me is not None
        at = datetime.now(UTC).isoformat()
        where, modules = life.whereabouts, self.spec.modules
        self.folder.publish(Life(life.name, life.number, me.pid, me.started, started_at=at, modules=modules, **where))
        log.info("life %d serves on port %d", life.number, life.whereabouts["admin_port"])

    # a life is over

    def _end(self, life: RunningLife) -> bool:
        """Kill all of it; the answer is whether nothing is left."""
        self.folder.withdraw()
        for descriptor in life.watched:
            self._selector.unregister(descriptor)
        life.close()
        deadline = time.monotonic() + KILL_LIMIT
        while (family := self._family()) and time.monotonic() < deadline:
            kill_all(family, within=1.0)
            self._reap(life)
        if family:
            log.critical("these do not die, and no life may begin beside them: %s", [each.pid for each in family])
            return False
        life.process.wait()
        self.folder.forget_members()
        return True

    def _family(self) -> list[ProcessId]:
        """Who is left of a life: the registered, our children in a group of theirs, and those forked with the lock.

        What a step has started in a session of its own is not ours to end.
        """
        members = [process for process, _ in self.folder.members()]
        groups = {process.pid for process in members}
        lock = os.stat(self.lock)
        adopted = (
            ProcessId(pid, facts.started)
            for pid, facts in children_of(os.getpid()).items()
            if facts.group in groups or is_open_at(pid, self.lock, lock)
        )
        return [process for process in {*members, *adopted} if process.alive]

    def _reap(self, life: RunningLife) -> None:
        """Collect every child that has ended, our own and adopted ones."""
        with contextlib.suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid == life.process.pid:
                    life.process.wait()
                else:
                    os.waitpid(ended.si_pid, 0)

    # signals

    @contextlib.contextmanager
    def _signals_as_events(self) -> Iterator[None]:
        self._wakeups.setblocking(False)
        self._waking.setblocking(False)
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_told_to_end)
        signal.signal(signal.SIGINT, self._on_told_to_end)
        self._selector.register(self._wakeups, selectors.EVENT_READ, "signals")
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            self._selector.close()

    def _on_told_to_end(self, *_: object) -> None:
        self.told_to_end += 1


def _gravity(over: Over) -> int:
    return logging.INFO if over.code == ENDED else logging.ERROR


def hand_over(process: subprocess.Popen[bytes], text: str) -> None:
    """Give a new process its order on its standard input; if it is dead already, its exit will say so."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(text.encode())


def main() -> int:
    """Read a NodeSpec from standard input and serve its journal until the end."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    log_to_stderr()
    try:
        spec = NodeSpec.from_json(sys.stdin.buffer.read())
        folder = NodeFolder.of(spec.journal_url)
        folder.make()
        lock = take_lock(folder)
    except LockTakenError:
        return TAKEN
    except SagaActorsError as error:
        log.critical("no node: %s", error)
        return HOPELESS
    sign_lock(lock)
    folder.withdraw()
    folder.retract_end()
    folder.shorten_log()
    adopt_orphans()
    return Watchdog(spec, folder, lock).run()


if __name__ == "__main__":
    sys.exit(main())
