"""What there is to say of a journal's file as a whole, for whoever looks it over; nothing of it is changed."""

from __future__ import annotations

import time
from pathlib import Path

import apsw
import attrs

from saga_actors.errors import CorruptionError
from saga_actors.journal.sqlite_check import LONGEST, STEPS, flaw_of
from saga_actors.journal.sqlite_file import expected_schema, has_tombstones
from saga_actors.journal.sqlite_prune import RAW_TOMBSTONE
from saga_actors.journal.sqlite_reading import again, snapshot
from saga_actors.journal.tombstones import RawTombstone, checked_tombstone

ALL_TOMBSTONES = f"SELECT {RAW_TOMBSTONE} FROM tombstone NOT INDEXED"
STRAYS = "SELECT count(*) FROM event WHERE saga NOT IN (SELECT number FROM saga)"


def sqlite_version() -> str:
    """That of the SQLite which journals are read and written with."""
    return apsw.sqlite_lib_version()


@attrs.frozen
class Survey:
    """A journal's file: its version, the bytes of it and of its log, and what is wrong with what SQLite made of it.

    `is_whole` is False if there was no time to look at all of it.
    """

    version: int
    size: int
    log_size: int
    flaw: str | None
    is_whole: bool


def survey(path: Path, longest: float | None = LONGEST) -> Survey:
    """Look at the file for so many seconds; its writer may go on, but cannot empty its log meanwhile."""
    return again(lambda: _survey(path, longest))


def _survey(path: Path, longest: float | None) -> Survey:
    log = Path(f"{path}-wal")
    with snapshot(path) as db:
        version = int(db.execute("PRAGMA user_version").get)
        flaw, is_whole = _flaw(db, longest)
        return Survey(version, path.stat().st_size, log.stat().st_size if log.exists() else 0, flaw, is_whole)


def _flaw(db: apsw.Connection, longest: float | None) -> tuple[str | None, bool]:
    """What is wrong, and whether all of it was looked at."""
    schema = list(expected_schema(db))
    if longest is not None:
        until = time.monotonic() + longest
        db.set_progress_handler(lambda: time.monotonic() > until, STEPS)
    try:
        return flaw_of(db, schema), True
    except apsw.InterruptError:
        return None, False
    finally:
        db.set_progress_handler(None)


@attrs.frozen
class Remains:
    """What is there beside sagas: how many tombstones of those that were pruned, and what is wrong with any."""

    tombstones: int
    flaws: tuple[str, ...]


def remains(path: Path) -> Remains:
    """Read all tombstones, and look for events that belong to nobody."""
    return again(lambda: _remains(path))


def _remains(path: Path) -> Remains:
    flaws: list[str] = []
    count = 0
    with snapshot(path) as db:
        if strays := int(db.execute(STRAYS).get):
            flaws.append(f"there are {strays:,} events that belong to no saga")
        for columns in db.execute(ALL_TOMBSTONES) if has_tombstones(db) else ():
            count += 1
            try:
                checked_tombstone(RawTombstone(*columns))
            except CorruptionError as error:
                flaws.append(str(error))
    return Remains(count, tuple(flaws))
