"""The key of this user, with which every message between our processes is signed; one per user of the host."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import stat
from pathlib import Path

from saga_actors.errors import TransportError

KEY_BYTES = 32
KEY_FILE_VARIABLE = "SAGA_ACTORS_KEY_FILE"


@functools.cache
def load_key() -> bytes:
    """The key, read once per process and made by whoever needs it first; raises TransportError if it is not safe."""
    return read_or_make(key_path())


def key_path() -> Path:
    """Where the key lies: `$SAGA_ACTORS_KEY_FILE`, else below `$XDG_STATE_HOME`, else below `~/.local/state`."""
    if chosen := os.environ.get(KEY_FILE_VARIABLE):
        return Path(chosen)
    return _state_folder() / "saga_actors" / "key"


def _state_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):  # the XDG standard says to ignore a relative one
        return Path(state)
    try:
        return Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise TransportError(f"this user has no home to keep the key in; set {KEY_FILE_VARIABLE}") from error


def read_or_make(path: Path) -> bytes:
    """The key in this file; if there is none, make it, and if another process was faster, take that one's."""
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            _make(path)
            return _read(path)
    except OSError as error:
        raise TransportError(
            f"the key {path} cannot be read or made ({error.strerror}); make its folder yours, "
            f"or set {KEY_FILE_VARIABLE} to a file that only you can read"
        ) from error


def _read(path: Path) -> bytes:
    # O_NONBLOCK: a pipe in its place is refused, not waited for.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        _refuse_shared(path, os.fstat(file.fileno()))
        key = file.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise TransportError(f"the key {path} is not {KEY_BYTES} bytes long; stop every node and delete it")
    return key


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise TransportError(f"the key {path} is not a file; move it away")
    if status.st_uid != os.geteuid():
        raise TransportError(
            f"the key {path} is user {status.st_uid}'s and not user {os.geteuid()}'s; "
            f"set {KEY_FILE_VARIABLE} to your own"
        )
    if status.st_mode & 0o077:
        raise TransportError(
            f"the key {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}); stop every node "
            f"and delete it, or `chmod 600` it if you are sure that nobody has read it"
        )


def _make(path: Path) -> None:
    """Put 32 random bytes there in one step: a link appears whole or not at all, and never replaces another's."""
    _make_folder(path.parent)
    draft = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}"
    try:
        _write(draft, secrets.token_bytes(KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Make what is missing of this path, each part 0700 whatever the umask; what exists is left as it is."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
        folder.chmod(0o700)


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
