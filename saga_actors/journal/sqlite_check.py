"""Whether a journal's file is sound in what SQLite made of it: its pages, and the keys by which sagas are found.

What is inside a record is not asked here: each has a checksum, and a bad one is the matter of its saga alone (`chain`).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import apsw

from saga_actors.errors import CorruptionError
from saga_actors.journal import chain
from saga_actors.journal.sqlite_batch import RAW_SAGA
from saga_actors.journal.sqlite_prune import RAW_TOMBSTONE
from saga_actors.journal.tombstones import RawTombstone, checked_tombstone

LONGEST = 3.0
"""Seconds for all of it, some 2 GB of journal; of what is left over, damage is found only when it is met."""

STEPS = 20_000
"""Of SQLite's, between two looks at the clock."""

REMEDY = "restore a backup of it, or what `sqlite3 {} .recover` still reads"

NAMES_ITS_EPOCH = re.compile(r" of epoch (\d+)$")
IN_A_RECORD = re.compile(r"(NULL|NUMERIC|TEXT|BLOB|non-\w+) value in (saga|event|plan|tombstone)\.\w+")
MISSING = re.compile(r"row (\d+) missing from index (\w+)")
MISCOUNTED = re.compile(r"(wrong # of entries in|non-unique entry in) index \w+")

DAMAGE = (apsw.CorruptError, apsw.SQLError, UnicodeError, CorruptionError)
"""What is raised by looking into a file that is not sound."""

MOST_FLAWS = 1_000
SAGA_AT = f"SELECT {RAW_SAGA} FROM saga NOT INDEXED ORDER BY number LIMIT 1 OFFSET ?"
TOMBSTONE_AT = f"SELECT {RAW_TOMBSTONE} FROM tombstone NOT INDEXED ORDER BY saga_id LIMIT 1 OFFSET ?"
IS_DATED = "SELECT EXISTS (SELECT 1 FROM tombstone INDEXED BY tombstone_by_age WHERE CAST(saga_id AS BLOB) = ?)"
SCHEMA_NOW = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
OWNERS = "SELECT id, epoch, owner FROM owner"
POSITIONS = "SELECT coalesce(max(position), 0), (SELECT seq FROM sqlite_sequence WHERE name = 'event') FROM event"
LAST_POSITION = 2**62


def require_sound(db: apsw.Connection, path: Path, schema: Iterable[str]) -> bool:
    """Raise CorruptionError, which says what to do, unless the file is sound; reads all of it, and writes nothing.

    `schema` are the statements that made it. True: the state of some summary is not what the indexes of it say, and
    `mend` must be called before that saga can be held.
    """
    try:
        with _limited(db, path):
            if db.readonly("main"):
                raise CorruptionError("its first page says that it cannot be written")
            return _are_torn_only(db, schema)
    except apsw.InterruptError:
        return False
    except DAMAGE as error:
        raise damaged(path, error) from error


def flaw_of(db: apsw.Connection, schema: Iterable[str]) -> str | None:
    """What `require_sound` would raise, or have mended, for a reader; reads all of it, however long that takes."""
    try:
        return "the indexes of a summary do not know it as it is" if _are_torn_only(db, schema) else None
    except DAMAGE as error:
        return str(error)


def _are_torn_only(db: apsw.Connection, schema: Iterable[str]) -> bool:
    """Whether there is something to mend; raises one of `DAMAGE` if there is more than that."""
    made = {found[1]: _plain(sql) for sql in schema if (found := re.match(r"CREATE (?:TABLE|INDEX) (\w+)", sql))}
    _require_schema(db, made)
    _require_owner(db)
    torn = _are_torn(db)
    if "tombstone" in made:
        _require_tombstones(db)
    _require_pages(db)
    return torn


def mend(db: apsw.Connection) -> None:
    """Have the indexes say what the summaries say; those that are no more what was written are held by that."""
    db.execute("REINDEX saga_by_state")
    db.execute("REINDEX saga_unfinished")


def damaged(path: Path, why: object) -> CorruptionError:
    """What to say of a file in which SQLite itself is lost."""
    return CorruptionError(f"the journal {path} is damaged ({why}); nothing more is written to it: {remedy(path)}")


def remedy(path: Path) -> str:
    """What to do about a damaged file."""
    return REMEDY.format(path)


@contextmanager
def _limited(db: apsw.Connection, path: Path) -> Iterator[None]:
    """An end to looking, for a supervisor that says nothing for ten seconds is killed."""
    until = time.monotonic() + LONGEST
    db.set_progress_handler(lambda: time.monotonic() > until, STEPS)
    try:
        yield
    except apsw.InterruptError:
        log().warning("%s is too big to be looked through in %.0f s; damage is found when it is met", path, LONGEST)
        raise
    finally:
        db.set_progress_handler(None)


def _require_schema(db: apsw.Connection, made: Mapping[str, str]) -> None:
    found = {name: _plain(sql) for name, sql in db.execute(SCHEMA_NOW)}
    for name, sql in made.items():
        if found.get(name) != sql:
            raise CorruptionError(f"its schema has {name!r} as {found.get(name)!r}")


def _plain(sql: str) -> str:
    return re.sub(r"\s+", " ", sql)


def _require_owner(db: apsw.Connection) -> None:
    """What has no checksum: the epoch is written twice, and the last position is not before the last event."""
    owners = db.execute(OWNERS).fetchall()
    if len(owners) != 1 or not isinstance(owners[0][1], int):
        raise CorruptionError(f"it has the owners {owners!r}, expected one and its epoch")
    named = NAMES_ITS_EPOCH.search(str(owners[0][2]))
    if named and int(named[1]) != owners[0][1]:
        raise CorruptionError(f"its epoch is {owners[0][1]}, and its owner {owners[0][2]!r}")
    last, given = db.execute(POSITIONS).get
    if last and not (isinstance(given, int) and last <= given < LAST_POSITION):
        raise CorruptionError(f"its last event has position {last}, and the last that was given is {given!r}")


def _are_torn(db: apsw.Connection) -> bool:
    """Whether there are summaries that the indexes do not know as they are; CorruptionError if one of these was sound.

    Of a sound one it is the index that is damaged, and the saga would be forgotten, or begun once more.
    """
    torn = False
    for flaw in _flaws(db, "integrity_check", "saga"):
        missing = MISSING.fullmatch(flaw)
        if missing and not _is_sound_saga(db, int(missing[1]) - 1):
            torn = True
        elif not (torn and MISCOUNTED.fullmatch(flaw)):
            raise CorruptionError(flaw)
    return torn


def _require_tombstones(db: apsw.Connection) -> None:
    """Each is found by its key, or its saga would be begun once more."""
    odd = False
    for flaw in _flaws(db, "integrity_check", "tombstone"):
        missing = MISSING.fullmatch(flaw)
        if missing and _is_found_tombstone(db, int(missing[1]) - 1):
            odd = True
        elif not (odd and MISCOUNTED.fullmatch(flaw)):
            raise CorruptionError(flaw)


def _require_pages(db: apsw.Connection) -> None:
    for flaw in _flaws(db, "quick_check"):
        raise CorruptionError(flaw)


def _flaws(db: apsw.Connection, pragma: str, what: str | int = MOST_FLAWS) -> Iterator[str]:
    """What SQLite finds amiss, in this table or so often, without what is amiss inside records."""
    flaws = [str(flaw) for (flaw,) in db.execute(f"PRAGMA {pragma}({what})")]
    return (flaw for flaw in flaws if flaw != "ok" and not IN_A_RECORD.match(flaw))


def _is_sound_saga(db: apsw.Connection, ordinal: int) -> bool:
    try:
        chain.checked_row(chain.RawSaga(*db.execute(SAGA_AT, (ordinal,)).get))
        return True
    except CorruptionError:
        return False


def _is_found_tombstone(db: apsw.Connection, ordinal: int) -> bool:
    """Whether it is damaged beside its key, so that whoever asks for its saga hears of that."""
    raw = RawTombstone(*db.execute(TOMBSTONE_AT, (ordinal,)).get)
    try:
        checked_tombstone(raw)
        return False
    except CorruptionError:
        return bool(db.execute(IS_DATED, (raw.saga_id,)).get)


def log() -> logging.Logger:
    """Looked up each time, for a child replaces all loggers when it is born."""
    return logging.getLogger("saga_actors.supervisor")
