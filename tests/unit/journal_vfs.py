"""A disk that fails the nth thing that is asked of it, and remembers what a loss of power would leave.

Every write is noted with whether a sync has made it durable since. What a failed sync was to make durable never is by a
later one, as on Linux: it has to be written again.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from itertools import count
from pathlib import Path

import apsw
import attrs

from saga_actors.journal import SqliteJournal

SECTOR = 512
_numbers = count(1)


class Fault(StrEnum):
    """What happens at the nth operation. After a crash nothing works any more, until the disk is `mended`."""

    EIO = "an I/O error"
    FULL = "no room"
    SYNC = "a failed sync"
    TORN = "half a write, and a crash"
    POWER = "a loss of power"

    @property
    def is_a_crash(self) -> bool:
        return self in (Fault.TORN, Fault.POWER)

    def befalls(self, operation: str) -> bool:
        """Whether it can happen there."""
        what = operation.split()[0]
        match self:
            case Fault.EIO:
                return True
            case Fault.FULL | Fault.TORN:
                return what == "write"
            case Fault.SYNC:
                return what == "sync"
            case Fault.POWER:
                return what in ("write", "sync", "truncate")


@attrs.define
class Write:
    """Bytes that were written somewhere, or with None for them a new end of the file."""

    at: int
    data: bytes | None
    durable: bool = False
    given_up: bool = False


class Disk(apsw.VFS):
    """See the module; one for each journal that is to fail, by `with disk() as name_of_a_vfs`."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.name = name
        self.operations: list[str] = []
        self.fault: Fault | None = None
        self.nth = 0
        self.has_happened = False
        self.crashed = False
        self.full = False
        self.written: dict[str, list[Write]] = defaultdict(list)

    def fail(self, fault: Fault | None, nth: int) -> None:
        """Have this happen at that operation, counted from 1 and from now on."""
        self.operations.clear()
        self.fault, self.nth, self.has_happened = fault, nth, False

    def mended(self) -> None:
        """Nothing fails any more."""
        self.fault, self.crashed, self.full = None, False, False

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = str(name.filename() if isinstance(name, apsw.URIFilename) else name)
        self.meet("open", path)
        return _File(self, path, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.meet("delete", filename)
        super().xDelete(filename, syncdir)
        self.written.pop(filename, None)

    def meet(self, what: str, path: str) -> Fault | None:
        """Count one more operation, and raise if it fails; the fault itself if it is to be made at this one."""
        if self.crashed:
            raise apsw.IOError("the disk is gone")
        self.operations.append(f"{what} {path.rpartition('sagas.db')[2].lstrip('-') or 'file'}")
        if what == "write" and self.full:
            raise apsw.FullError("no space left")
        if self.fault is None or len(self.operations) != self.nth:
            return None
        self.has_happened = True
        self.crashed = self.fault.is_a_crash
        match self.fault:
            case Fault.FULL:
                raise apsw.FullError("no space left")
            case Fault.TORN:
                return self.fault
            case Fault.SYNC if what == "sync":
                for write in self.written[path]:
                    write.given_up = write.given_up or not write.durable
        raise apsw.IOError("input/output error")

    def lose_power(self, chance: Callable[[], float]) -> None:
        """Leave of what no sync has made durable a part: some writes, and of some only the first sectors."""
        for path, writes in self.written.items():
            left = bytearray()
            for write in writes:
                _apply(left, write, write.durable, chance)
            Path(path).write_bytes(left)
            writes[:] = [Write(0, bytes(left), durable=True)]
            Path(f"{path}-shm").unlink(missing_ok=True)


def _apply(left: bytearray, write: Write, durable: bool, chance: Callable[[], float]) -> None:
    if not durable and chance() < 0.5:
        return
    if write.data is None:
        del left[write.at :]
        return
    data = write.data
    if not durable and chance() < 0.3:
        data = data[: int(chance() * len(data)) // SECTOR * SECTOR]
    left.extend(bytes(max(0, write.at + len(data) - len(left))))
    left[write.at : write.at + len(data)] = data


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, path: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._path = path
        self._is_read_only = bool(flags[0] & apsw.SQLITE_OPEN_READONLY)
        super().__init__("", name, flags)

    def xLock(self, level: int) -> None:
        """Say of a lock that is not to be had what SQLite makes nothing of: apsw would raise it when it is closed."""
        if self._is_read_only and level == apsw.SQLITE_LOCK_EXCLUSIVE:
            raise apsw.BusyError("read only")
        super().xLock(level)

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.meet("read", self._path)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._disk.meet("write", self._path) is Fault.TORN:
            half = bytes(data[: len(data) // 2])
            super().xWrite(half, offset)
            self._disk.written[self._path].append(Write(offset, half))
            raise apsw.IOError("input/output error")
        super().xWrite(data, offset)
        self._disk.written[self._path].append(Write(offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        self._disk.meet("truncate", self._path)
        super().xTruncate(size)
        self._disk.written[self._path].append(Write(size, None))

    def xSync(self, flags: int) -> None:
        self._disk.meet("sync", self._path)  # and nothing else: it is this disk that says what is durable
        for write in self._disk.written[self._path]:
            write.durable = write.durable or not write.given_up

    def xFileSize(self) -> int:
        self._disk.meet("size", self._path)
        return super().xFileSize()


@contextmanager
def disk() -> Iterator[Disk]:
    """A disk on which nothing fails yet."""
    made = Disk(f"disk-{next(_numbers)}")
    try:
        yield made
    finally:
        made.unregister()


def abandon(disk: Disk, journal: SqliteJournal) -> None:
    """Leave the writer as its process's death would: nothing more is written by it. The disk is mended then."""
    disk.crashed = True
    with suppress(apsw.Error):
        journal._db.close(True)
    disk.mended()


def chance_of(seed: int) -> Callable[[], float]:
    """Numbers from 0 to 1."""
    return random.Random(seed).random
