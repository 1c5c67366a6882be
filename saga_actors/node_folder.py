"""The folder beside a journal that holds its node: the lock, the register of its processes, its present life, its log.

No process is ever judged by its pid alone: a pid comes with its start time, in clock ticks since boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from saga_actors.errors import NodeError
from saga_actors.journal.url import JournalUrl
from saga_actors.node_spec import Life

LOG_LIMIT = 10_000_000
"""A longer node.log is put aside; bytes."""

TAIL = 4_000


class LockTakenError(NodeError):
    """Another node, with a living watchdog, serves this journal."""


@attrs.frozen
class ProcessId:
    """One process of this host since its boot, and never its successor under the same pid."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The living process that has this pid now."""
        facts = ProcessFacts.read(pid)
        return cls(pid, facts.started) if facts is not None and facts.living else None

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return ProcessId.of(self.pid) == self

    def kill(self, group: bool = False) -> None:
        """SIGKILL it, and with `group` also the process group it leads; nothing happens to any other process."""
        with contextlib.suppress(ProcessLookupError, PermissionError), pidfd(self.pid) as handle:
            if not self.alive:
                return
            if group and os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, signal.SIGKILL)
            signal.pidfd_send_signal(handle, signal.SIGKILL)


@attrs.frozen
class ProcessFacts:
    """What /proc says of a process."""

    state: str
    parent: int
    group: int
    started: int

    @classmethod
    def read(cls, pid: int) -> ProcessFacts | None:
        try:
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        fields = text.rpartition(")")[2].split()
        return cls(fields[0], int(fields[1]), int(fields[2]), int(fields[19]))

    @property
    def living(self) -> bool:
        return self.state not in "ZXx"


@contextlib.contextmanager
def pidfd(pid: int) -> Iterator[int]:
    """A descriptor that means this process and no later one of the same pid."""
    handle = os.pidfd_open(pid)
    try:
        yield handle
    finally:
        os.close(handle)


def children_of(parent: int) -> dict[int, ProcessFacts]:
    """The living children of a process, by pid."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    found = ((pid, ProcessFacts.read(pid)) for pid in pids)
    return {pid: facts for pid, facts in found if facts is not None and facts.parent == parent and facts.living}


def kill_all(processes: Iterable[ProcessId], within: float) -> list[ProcessId]:
    """SIGKILL these and the groups they lead, wait until they are gone, and answer those that still are not."""
    deadline = time.monotonic() + within
    left = [process for process in processes if process.alive]
    for process in left:
        process.kill(group=True)
    for process in left:
        _await_end(process, deadline)
    return [process for process in left if process.alive]


def _await_end(process: ProcessId, deadline: float) -> None:
    with contextlib.suppress(ProcessLookupError), pidfd(process.pid) as handle:
        if process.alive:
            select.select([handle], [], [], max(0.0, deadline - time.monotonic()))


def boot_id() -> str:
    """This boot of the host: a start time means nothing in another."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@attrs.frozen
class NodeFolder:
    """`<journal>.node`: 0700, its files 0600, whatever the umask."""

    path: Path

    @classmethod
    def of(cls, journal_url: str) -> NodeFolder:
        """The folder of this journal's node; one journal has one, also when it is reached through a symbolic link."""
        folder = JournalUrl.parse(journal_url).node_folder
        if not journal_url.partition(":///")[2].startswith(("/", "%2F", "%2f")):
            raise NodeError(f"a node needs a journal at an absolute path, sqlite:////path/sagas.db: {journal_url!r}")
        return cls(folder)

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def family(self) -> Path:
        return self.path / "family.jsonl"

    @property
    def life(self) -> Path:
        return self.path / "life.json"

    @property
    def end(self) -> Path:
        return self.path / "ending"

    @property
    def log(self) -> Path:
        return self.path / "node.log"

    @property
    def earlier_log(self) -> Path:
        return self.path / "node.log.1"

    @property
    def thespian_log(self) -> Path:
        return self.path / "thespian.log"

    def make(self) -> None:
        """Make the folder and its files, or take over what is there; raises NodeError if it cannot be ours alone."""
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            found = self.path.lstat()
            if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
                raise NodeError(f"{self.path} belongs to somebody else or is a link; move it away")
            self.path.chmod(0o700)
            for file in (self.lock, self.family, self.log, self.thespian_log):
                os.close(open_private(file, os.O_WRONLY))
        except OSError as error:
            raise NodeError(
                f"a node keeps its lock and log in {self.path}, which cannot be made ({error.strerror}); "
                "put the journal in a folder this user may write to"
            ) from error

    # the register of processes

    def register(self, process: ProcessId, role: str) -> None:
        """Note a member of the family, so that whoever ends the node can find it."""
        line = json.dumps({"pid": process.pid, "start_time": process.started, "role": role}) + "\n"
        file = open_private(self.family, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def members(self) -> list[tuple[ProcessId, str]]:
        """Every process that was registered in this life, dead or alive, with its role."""
        try:
            lines = self.family.read_text().splitlines()
        except FileNotFoundError:
            return []
        return [member for line in lines if (member := _member(line)) is not None]

    def forget_members(self) -> None:
        os.truncate(self.family, 0)

    # the present life

    def publish(self, life: Life) -> None:
        """Let clients find this life, all of it at once."""
        draft = self.path / "life.json.new"
        file = open_private(draft, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(file, life.to_json().encode())
        finally:
            os.close(file)
        draft.replace(self.life)

    def withdraw(self) -> None:
        self.life.unlink(missing_ok=True)

    def announce_end(self) -> None:
        """Say that the node drains: it serves until it has ended, and will not begin anew."""
        os.close(open_private(self.end, os.O_WRONLY))

    def retract_end(self) -> None:
        """Another node has begun."""
        self.end.unlink(missing_ok=True)

    @property
    def is_ending(self) -> bool:
        return self.end.exists()

    def present_life(self) -> Life | None:
        """The life that is ready now, if its watchdog lives."""
        try:
            life = Life.from_json(self.life.read_text())
        except (OSError, TypeError, ValueError):
            return None
        return life if ProcessId(life.watchdog_pid, life.watchdog_started).alive else None

    # the log

    def open_log(self) -> int:
        """A descriptor that appends to node.log."""
        return open_private(self.log, os.O_WRONLY | os.O_APPEND)

    def shorten_log(self) -> None:
        """Put the end of a long node.log aside, in place of what was there; all go on writing to the same file."""
        size = self.log.stat().st_size
        if size > LOG_LIMIT:
            with contextlib.suppress(OSError):  # a full disk gets room all the same
                self._keep_log(size - LOG_LIMIT)
            os.truncate(self.log, 0)

    def _keep_log(self, since: int) -> None:
        draft = self.path / "node.log.new"
        with self.log.open("rb") as log, open(open_private(draft, os.O_WRONLY | os.O_TRUNC), "wb") as copy:
            log.seek(since)
            while os.sendfile(copy.fileno(), log.fileno(), None, 1_000_000):
                pass
        draft.replace(self.earlier_log)

    def log_tail(self, since: int = 0) -> str:
        """The last lines of node.log, of what was written after its first `since` bytes."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - TAIL, since if since <= size else 0))
            return log.read().decode(errors="replace").strip()
        return ""


def open_private(path: Path, flags: int) -> int:
    """Open, or make, a file for this user alone; never inherited by a program that is executed."""
    file = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.fchmod(file, 0o600)
    return file


def _member(line: str) -> tuple[ProcessId, str] | None:
    try:
        entry = json.loads(line)
        return ProcessId(int(entry["pid"]), int(entry["start_time"])), str(entry["role"])
    except (KeyError, TypeError, ValueError):  # a line cut short by a full disk
        return None


# the lock


def holder(folder: NodeFolder) -> ProcessId | None:
    """The watchdog that last took the lock, if it lives."""
    try:
        entry = json.loads(folder.lock.read_text())
        process = ProcessId(int(entry["pid"]), int(entry["started"]))
        return process if entry["boot"] == boot_id() and process.alive else None
    except (OSError, KeyError, TypeError, ValueError):
        return None


def take_lock(folder: NodeFolder, patience: float = 10.0) -> int:
    """Become the watchdog of this folder, and answer the descriptor that holds the lock for the whole family.

    Raises LockTakenError if a living watchdog has it. If its watchdog is dead, what is left of that family is killed,
    by pid and start time; raises NodeError if the lock is not free after `patience` seconds all the same.
    """
    deadline = time.monotonic() + patience
    while (lock := _try_lock(folder)) is None:
        family = [process for process, _ in folder.members()]  # read before the holder: of no later node than its
        if (watchdog := holder(folder)) is not None:
            raise LockTakenError(f"process {watchdog.pid} serves this journal")
        kill_all(family, deadline - time.monotonic())
        if time.monotonic() > deadline:
            raise NodeError(f"{folder.lock} is held, but not by a node; end process {_named(holders(folder))}")
        time.sleep(0.01)
    if left := kill_all((process for process, _ in folder.members()), patience):
        os.close(lock)
        raise NodeError(f"some of the last node's processes do not die: {_named({each.pid for each in left})}")
    folder.forget_members()
    return lock


def _named(pids: set[int]) -> str:
    return ", ".join(map(str, sorted(pids)))


def _try_lock(folder: NodeFolder) -> int | None:
    lock = open_private(folder.lock, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(lock).st_ino != folder.lock.stat().st_ino:
            raise BlockingIOError("the folder was replaced meanwhile")
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError | FileNotFoundError):
            return None
        raise NodeError(f"{folder.lock} cannot be locked ({error.strerror}); put it on a local file system") from error
    return lock


def sign_lock(lock: int) -> None:
    """Write into the lock whose it is: this process."""
    me = ProcessId.of(os.getpid())
    assert me is not None
    text = json.dumps({"pid": me.pid, "started": me.started, "boot": boot_id()})
    os.pwrite(lock, text.ljust(160).encode(), 0)
    os.ftruncate(lock, 160)


def holders(folder: NodeFolder) -> set[int]:
    """The pids of this user's processes that have the lock's file open."""
    wanted = folder.lock.stat()
    return {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if has_open(pid, wanted)} - {os.getpid()}


def has_open(pid: int, wanted: os.stat_result) -> bool:
    """Whether a process has this file open; False where /proc does not let us look."""
    with contextlib.suppress(OSError):
        return any(is_open_at(pid, fd, wanted) for fd in os.listdir(f"/proc/{pid}/fd"))
    return False


def is_open_at(pid: int, descriptor: int | str, wanted: os.stat_result) -> bool:
    """Whether this descriptor of a process is this file."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.stat(f"/proc/{pid}/fd/{descriptor}"), wanted)
    return False
