"""A journal's SQLite file: made, recognised, and opened for its writer. What is not a journal is not written to.

The write-ahead log and its index stay beside the file when it is closed (empty), so that a reader finds them and makes
nothing of its own, and so that a folder in which one may not write can be read from.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from saga_actors.errors import CorruptionError, JournalError, SchemaError
from saga_actors.journal.sqlite_check import damaged, mend, remedy, require_sound

APPLICATION_ID = 0x53414741  # "SAGA"
VERSION = 3
OLDEST = 2
"""The writer makes a journal of this version, or of one since, into one of today; readers read all of them."""
BUSY_MILLISECONDS = 5_000
LOG_CHUNK = 64 * 1024  # SQLite writes no more than 128 kB at once

PRAGMAS: dict[str, str | int] = {
    "busy_timeout": BUSY_MILLISECONDS,
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: a commit is durable when it returns
    "wal_autocheckpoint": 1_000,
    "journal_size_limit": 16 * 1024 * 1024,
    "mmap_size": 0,  # with a map, a failing disk is a SIGBUS and no error
    "cell_size_check": 1,
    "trusted_schema": 0,
}

SET_VERSION = f"PRAGMA user_version = {VERSION}"
TOMBSTONES = (
    """CREATE TABLE tombstone (
        saga_id TEXT PRIMARY KEY, saga TEXT NOT NULL, state TEXT NOT NULL, digest TEXT NOT NULL,
        created_at REAL NOT NULL, ended_at REAL NOT NULL, pruned_at REAL NOT NULL, checksum INTEGER NOT NULL)
        WITHOUT ROWID""",
    "CREATE INDEX tombstone_by_age ON tombstone (pruned_at)",
)
OWNER = """CREATE TABLE owner (
        id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL, owner TEXT NOT NULL,
        last_number INTEGER NOT NULL DEFAULT 0)"""
SCHEMA = (
    OWNER,
    "INSERT INTO owner (id, epoch, owner) VALUES (1, 0, '')",
    "CREATE TABLE plan (plan_id TEXT PRIMARY KEY, body BLOB NOT NULL, checksum INTEGER NOT NULL)",
    """CREATE TABLE saga (
        number INTEGER PRIMARY KEY, saga_id TEXT NOT NULL UNIQUE, saga TEXT NOT NULL, plan_id TEXT NOT NULL,
        state TEXT NOT NULL, digest TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL,
        last_seq INTEGER NOT NULL, held_reason TEXT, checksum INTEGER NOT NULL)""",
    "CREATE INDEX saga_by_state ON saga (state)",
    """CREATE INDEX saga_unfinished ON saga (number)
        WHERE state NOT IN ('completed', 'compensated', 'fatal', 'held')""",
    """CREATE TABLE event (
        position INTEGER PRIMARY KEY AUTOINCREMENT, saga INTEGER NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL,
        kind TEXT NOT NULL, body BLOB NOT NULL, context BLOB, checksum INTEGER NOT NULL, UNIQUE (saga, seq))""",
    """CREATE VIEW history AS
        SELECT saga.saga_id, event.seq, strftime('%Y-%m-%d %H:%M:%f', event.at, 'unixepoch') AS at, event.kind,
               CAST(event.body AS TEXT) AS body, CAST(event.context AS TEXT) AS context, event.position
        FROM event JOIN saga ON saga.number = event.saga""",
    *TOMBSTONES,
    f"PRAGMA application_id = {APPLICATION_ID}",
    SET_VERSION,
)
UPGRADE = ("ALTER TABLE owner ADD COLUMN last_number INTEGER NOT NULL DEFAULT 0", *TOMBSTONES, SET_VERSION)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What SQLite raises, in the words of the journal."""
    try:
        yield
    except apsw.NotADBError as error:
        raise SchemaError(
            f"{path} is no SQLite file ({error}); expected a journal, or a new path. If it was one: {remedy(path)}"
        ) from error
    except apsw.CorruptError as error:
        raise damaged(path, error) from error
    except (apsw.Error, UnicodeError) as error:
        raise JournalError(f"the journal {path} could not be used ({type(error).__name__}: {error})") from error


def check_file(path: Path, vfs: str | None = None) -> None:
    """Raise what `open_writer` would, as far as it shows without making or changing anything."""
    _require_folder(path)
    if os.path.lexists(path):
        require_file(path, os.R_OK | os.W_OK)
        if path.stat().st_size:
            _recognise(path, vfs)


def open_writer(path: Path, vfs: str | None = None) -> apsw.Connection:
    """Open the journal for its one writer, making it (0600, whatever the umask) if there is none.

    It is looked through first. What the last writer's log holds is durable, in the file, before anything is made of it.
    """
    _require_folder(path)
    if not _made(path):
        require_file(path, os.R_OK | os.W_OK)
        if path.stat().st_size:
            _recognise(path, vfs)
    with told(path):
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
        try:
            set_pragmas(db, PRAGMAS, path)
            _keep_log(db, path)
            must_mend = bool(version_of(db, path)) and require_sound(db, path, expected_schema(db))
            _write_log_again(db, path, vfs)
            _complete_log(db, path)
            _make_schema(db, path)
            if must_mend:
                mend(db)
        except BaseException:
            db.close(True)
            raise
    return db


def _require_folder(path: Path) -> None:
    folder = path.parent
    if not os.path.exists(folder):
        raise JournalError(f"the journal {path} cannot be made: there is no folder {folder}; make it first")
    if not os.path.isdir(folder):
        raise JournalError(f"the journal {path} cannot be made: {folder} is no folder; name a file in a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise JournalError(f"the journal {path} cannot be written: no right to write in {folder}; allow it, or move it")


def _made(path: Path) -> bool:
    """Whether this call made the file."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise JournalError(f"the journal {path} cannot be made ({error}); expected a path for a new file") from error
    try:
        os.fchmod(file, 0o600)
        os.fsync(file)
    finally:
        os.close(file)
    sync_folder(path.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Make durable what was made in a folder, or renamed."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def require_file(path: Path, rights: int) -> None:
    """Raise JournalError unless this is a file that may be used so."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise JournalError(f"there is no journal at {path}; check the path, or start its node first") from None
    except OSError as error:
        raise JournalError(f"the journal {path} cannot be reached ({error}); check the path") from error
    if not stat.S_ISREG(mode):
        raise JournalError(f"the journal {path} is no regular file; name another")
    if not os.access(path, rights):
        wanted = "written" if rights & os.W_OK else "read"
        raise JournalError(f"the journal {path} cannot be {wanted}: its mode is {stat.filemode(mode)}; allow it")


def _recognise(path: Path, vfs: str | None) -> None:
    """Raise SchemaError if the file is not ours to write to; looks without writing."""
    with told(path):
        try:
            _look(path, apsw.SQLITE_OPEN_READONLY, vfs)
        except apsw.ReadOnlyError:  # whoever was making it died of that; SQLite takes back what was half done
            _look(path, apsw.SQLITE_OPEN_READWRITE, vfs)


def _look(path: Path, flags: int, vfs: str | None) -> None:
    db = apsw.Connection(str(path), flags=flags, vfs=vfs)
    try:
        db.set_busy_timeout(BUSY_MILLISECONDS)  # somebody may be making it this moment
        version_of(db, path)
    finally:
        db.close(True)


def has_tombstones(db: apsw.Connection) -> bool:
    """Whether the journal is of a version that knows of them; the writer may have made it so meanwhile."""
    return bool(db.execute("PRAGMA user_version").get > OLDEST)


def version_of(db: apsw.Connection, path: Path) -> int:
    """That of a journal, 0 for an empty database; raises SchemaError for anything else."""
    application_id = db.execute("PRAGMA application_id").get
    version = db.execute("PRAGMA user_version").get
    if application_id == APPLICATION_ID:
        if not OLDEST <= version <= VERSION:
            raise SchemaError(
                f"{path} has journal version {version}, expected {OLDEST} to {VERSION}; use the release that wrote it, "
                f"or a later. If none did: {remedy(path)}"
            )
        return int(version)
    if application_id or db.execute("SELECT count(*) FROM sqlite_schema").get:
        raise SchemaError(
            f"{path} is a database of something else (application id {application_id}, expected {APPLICATION_ID}); "
            f"name another file for the journal. If it was one: {remedy(path)}"
        )
    return 0


def set_pragmas(db: apsw.Connection, pragmas: dict[str, str | int], path: Path) -> None:
    """Set these, and see that they are; raises JournalError."""
    for name, value in pragmas.items():
        db.execute(f"PRAGMA {name} = {value}").fetchall()
        read = db.execute(f"PRAGMA {name}").get
        if read != value:
            raise JournalError(f"the journal {path} has {name} = {read!r}, expected {value!r}; put it on a local disk")


def _keep_log(db: apsw.Connection, path: Path) -> None:
    kept = ctypes.c_int(1)
    db.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, ctypes.addressof(kept))
    read = ctypes.c_int(-1)
    db.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, ctypes.addressof(read))
    if read.value != 1:
        raise JournalError(f"the journal {path} does not keep its log; this build of SQLite cannot be used")


def damage_of(db: apsw.Connection, path: Path) -> CorruptionError | None:
    """What is wrong with the file, beyond some record that SQLite cannot read."""
    try:
        require_sound(db, path, expected_schema(db))
    except CorruptionError as damage:
        return damage
    return None


def expected_schema(db: apsw.Connection) -> Iterator[str]:
    """What made the tables and indexes of this journal; the owner's may be an older one, made newer."""
    is_older = not has_tombstones(db)
    return (statement for statement in SCHEMA if statement != OWNER and not (is_older and statement in TOMBSTONES))


def _write_log_again(db: apsw.Connection, path: Path, vfs: str | None) -> None:
    """Make what is in the log durable, before any of it is moved.

    If the last writer died of a sync that failed, a part may be in the system's memory only, and is taken for clean
    there: another sync does nothing for it (https://wiki.postgresql.org/wiki/Fsync_Errors). Moved into the file it
    would be durable, but not so in the log; and after a loss of power old pages in the log would go before newer ones.
    """
    log = Path(f"{path}-wal")
    if not log.exists() or not log.stat().st_size:
        return
    db.execute("BEGIN IMMEDIATE")  # whoever writes beside us against all rules, waits
    try:
        file = apsw.VFSFile(vfs or "", str(log), [apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_WAL, 0])
        try:
            size = file.xFileSize()
            for at in range(0, size, LOG_CHUNK):
                file.xWrite(file.xRead(min(LOG_CHUNK, size - at), at), at)
            file.xSync(apsw.SQLITE_SYNC_NORMAL)
        finally:
            file.xClose()
    finally:
        db.execute("ROLLBACK")


def _complete_log(db: apsw.Connection, path: Path) -> None:
    """Move all of the log into the file; raises JournalError if somebody who reads an old state of it does not end."""
    try:
        db.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        frames, moved = db.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_PASSIVE)
        if moved < frames:
            raise JournalError(
                f"{frames - moved} pages of the log of {path} cannot be moved into it, for some process has been "
                f"reading it for {BUSY_MILLISECONDS / 1_000:.0f} s; find that (`fuser {path}`), and end it"
            ) from None


def _make_schema(db: apsw.Connection, path: Path) -> None:
    """All of it or nothing: what a crash leaves half made is an empty database, or the journal that it was."""
    db.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(db, path)
        if version < VERSION:
            for statement in UPGRADE if version else SCHEMA:
                db.execute(statement).fetchall()
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
