"""A journal's SQLite file as its readers open it: nothing is written to it, and no file is made beside it.

Whoever reads a file in write-ahead mode makes the log and its index where there are none, and leaves them there. Where
there is no log, nobody writes: the file is then read as one that cannot be written at all, which needs neither. Whether
that was true is seen afterwards, for somebody may have begun to write meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import apsw
import attrs

from saga_actors.errors import JournalError
from saga_actors.journal.sqlite_file import BUSY_MILLISECONDS, require_file, set_pragmas, told, version_of

T = TypeVar("T")

READER_PRAGMAS: dict[str, str | int] = {"busy_timeout": BUSY_MILLISECONDS, "mmap_size": 0, "trusted_schema": 0}

LOOKS = 3
"""So often is something read before a journal that changes is given up."""


class StirredError(JournalError):
    """Somebody began to write the journal while it was read as one that nobody writes; read it again."""


Facts = tuple[int, int, int] | None


@attrs.frozen
class Still:
    """A journal's file, its log and its index as they were found, before anything of them was read."""

    path: Path
    file: Facts
    log: Facts
    index: Facts

    @classmethod
    def of(cls, path: Path) -> Still:
        """How they are now."""
        return cls(path, *(_facts(f"{path}{end}") for end in ("", "-wal", "-shm")))

    @property
    def has_log(self) -> bool:
        """Whether something is in the log, and so only there."""
        return self.log is not None and self.log[1] > 0

    @property
    def may_have_writer(self) -> bool:
        """Whether a writer may be there, or another reader; each of them makes a log and its index."""
        return self.has_log or (self.log is not None and self.index is not None)

    @property
    def holds(self) -> bool:
        """Whether all is as it was found."""
        return Still.of(self.path) == self

    def require(self) -> None:
        """Raise StirredError if it is not."""
        if not self.holds:
            raise StirredError(f"the journal {self.path} was written while it was read; ask again")


def _facts(name: str) -> Facts:
    try:
        found = os.stat(name)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def again(read: Callable[[], T]) -> T:
    """What `read` answers, tried again when it raises StirredError: the next look finds the writer and its log."""
    for _ in range(LOOKS - 1):
        with suppress(StirredError):
            return read()
    return read()


def open_reader(path: Path, vfs: str | None = None) -> tuple[apsw.Connection, Still | None]:
    """Open an existing journal read-only.

    With a `Still` it was opened as if nobody could write it: read it `undisturbed`, and open it anew if that does not
    hold any more.
    """
    require_file(path, os.R_OK)
    return again(lambda: _opened(path, vfs))


def _opened(path: Path, vfs: str | None) -> tuple[apsw.Connection, Still | None]:
    found = Still.of(path)
    with told(path):
        if found.may_have_writer:
            try:
                return _read_only(path, str(path), apsw.SQLITE_OPEN_READONLY, vfs), None
            except (apsw.ReadOnlyError, apsw.CantOpenError):  # the index is somebody else's, and not for us to use
                if found.has_log:
                    raise
        return _still(found, vfs), found


def _still(found: Still, vfs: str | None) -> apsw.Connection:
    uri = f"file:{quote(str(found.path))}?immutable=1"
    with undisturbed(found):
        return _read_only(found.path, uri, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, vfs)


def _read_only(path: Path, name: str, flags: int, vfs: str | None) -> apsw.Connection:
    db = apsw.Connection(name, flags=flags, vfs=vfs)
    try:
        set_pragmas(db, READER_PRAGMAS, path)
        if not version_of(db, path):
            raise JournalError(f"there is no journal in {path} yet: the file is empty; start its node, and ask again")
    except BaseException:
        db.close(True)
        raise
    return db


@contextmanager
def undisturbed(still: Still | None) -> Iterator[None]:
    """Raise StirredError if somebody began to write while the block read, also instead of what the block raises.

    What is read beside a writer, as if there were none, may look corrupt.
    """
    try:
        yield
    except Exception:
        if still is not None:
            still.require()
        raise
    if still is not None:
        still.require()


@contextmanager
def snapshot(path: Path) -> Iterator[apsw.Connection]:
    """One read transaction on a journal that is opened for it; for what is done `again` if somebody begins to write."""
    db, still = open_reader(path)
    try:
        with undisturbed(still), told(path):
            db.execute("BEGIN")
            yield db
    finally:
        db.close(True)
