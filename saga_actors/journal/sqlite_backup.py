"""A copy of a journal as it was at one moment, taken beside its writer, which goes on."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

import apsw
import attrs

from saga_actors.errors import CorruptionError, JournalError, SagaActorsError
from saga_actors.journal.sqlite_check import flaw_of
from saga_actors.journal.sqlite_file import expected_schema, require_file, sync_folder
from saga_actors.journal.sqlite_reading import again, snapshot

PAGES = 1_000
"""So many of 4 kB are copied at a time."""

BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file that is in use, and takes for a part of whatever file has that name."""


class BackupError(SagaActorsError):
    """No copy was made, and nothing was changed; the message says why."""


@attrs.frozen
class Copied:
    """What is in a copy; `size` is in bytes."""

    sagas: int
    size: int


def back_up(journal: Path, file: Path, *, replace: bool = False) -> Copied:
    """Copy a journal to a file of mode 0600; it is checked, complete and durable when this returns, or not there.

    The writer is not held up; its log cannot be emptied until this is done. Raises BackupError and JournalError.
    """
    draft = file.parent / f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        _require_place(journal, file, replace)
        again(lambda: _copy(journal, draft))
        copied = _checked(draft)
        _sync(draft)
        _require_place(journal, file, replace)  # it took a while
        draft.replace(file)
        sync_folder(file.parent)
    except OSError as error:
        raise BackupError(f"{file} could not be written ({error.strerror}); name another place") from error
    finally:
        with suppress(OSError):
            draft.unlink()
    return copied


def _require_place(journal: Path, file: Path, replace: bool) -> None:
    if not file.parent.is_dir():
        raise BackupError(f"there is no folder {file.parent}; make it first")
    if file.is_dir():
        raise BackupError(f"{file} is a folder; name a file in it")
    if journal.exists() and file.exists() and journal.samefile(file):
        raise BackupError(f"{file} is the journal itself; name another file")
    if file.name.endswith(BESIDE):
        raise BackupError(f"{file} would be taken for a part of another file, by its end; name it otherwise")
    if found := [f"{file}{end}" for end in BESIDE if os.path.lexists(f"{file}{end}")]:
        raise BackupError(f"{file} is, or was, in use as a journal: {found[0]} is beside it; name another file")
    if os.path.lexists(file):
        _require_replaceable(file, replace)


def _require_replaceable(file: Path, replace: bool) -> None:
    """What is there may be replaced if that was said, and if it is an earlier copy, or empty."""
    if not replace:
        raise BackupError(f"{file} is there already; name another file, or replace it with --force")
    try:
        require_file(file, os.R_OK)
        if file.stat().st_size:
            again(lambda: _version(file))
    except (OSError, JournalError) as error:
        raise BackupError(
            f"{file} is not replaced, for it is no journal ({error}); remove it, if you mean it"
        ) from None


def _version(file: Path) -> int:
    with snapshot(file) as db:
        return int(db.execute("PRAGMA user_version").get)


def _copy(journal: Path, draft: Path) -> None:
    _make(draft)
    with snapshot(journal) as source:
        source.execute("SELECT epoch FROM owner").fetchall()  # from here on it is this snapshot
        try:
            _copy_pages(source, draft)
        except apsw.FullError as error:
            size = journal.stat().st_size / 1e6
            raise BackupError(f"no room in {draft.parent} for a copy of {size:,.0f} MB; make some") from error


def _make(draft: Path) -> None:
    """Empty, and 0600 whatever the umask."""
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(file, 0o600)
    finally:
        os.close(file)


def _copy_pages(source: apsw.Connection, draft: Path) -> None:
    target = apsw.Connection(str(draft), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        target.execute("PRAGMA journal_mode = off").fetchall()  # a copy that breaks off is thrown away
        target.execute("PRAGMA synchronous = 0").fetchall()
        with target.backup("main", source, "main") as copying:
            while not copying.step(PAGES):
                pass  # in steps, so that Ctrl-C is heard
    finally:
        target.close(True)


def _checked(draft: Path) -> Copied:
    """What is in the copy; CorruptionError if it is damaged."""
    with snapshot(draft) as db:
        if (flaw := flaw_of(db, list(expected_schema(db)))) is not None:
            why = f"the copy is damaged ({flaw}), as the journal itself must be; see saga-actors doctor"
            raise CorruptionError(why)
        return Copied(int(db.execute("SELECT count(*) FROM saga").get), draft.stat().st_size)


def _sync(draft: Path) -> None:
    file = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
