"""Marks that outlive the process that set them: whom the supervisor was busy with, and whether a worker had worked.

The supervisor marks each saga for as long as it folds it or decides about it, in a page of a file that is mapped into
memory: that costs a third of a microsecond, so every saga is marked by itself, and a batch that killed needs not be
split to find the one that did it. The page is the kernel's, and stays when the process is killed. When the machine
goes, nobody is blamed: nothing is ever synced, and what was written under another boot does not count.
"""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
from pathlib import Path
from typing import NamedTuple, Protocol

from saga_actors.node_folder import ProcessId, boot_id, open_private

MARK_FILE = "supervisor.mark"
SUSPECTS_FILE = "suspects.json"
WORKED = "worker-{}.worked"

SIZE = 4096
BODY = 128
"""Where in its page a mark begins; before that stands whose it is."""

SET, CLEAR = b"1"[0], b"0"[0]


class Mark(NamedTuple):
    """A saga that is being decided about when `applied` of its events are; 0: it is being read and folded."""

    saga_id: str
    applied: int = 0


class Suspect(NamedTuple):
    """In how many deaths, one after the other, a saga was marked just so."""

    applied: int
    deaths: int


class Marks(Protocol):
    """The mark of one supervisor, and what it has from those before it. Setting and clearing cost next to nothing."""

    left: Mark | None
    """Whom the predecessor was busy with when it died, if that was not counted yet."""

    suspects: dict[str, Suspect]
    """Whom its predecessors were busy with when they died, by saga id."""

    def keep(self) -> None:
        """Keep `suspects` for the successors, with `left` counted among them; the mark is ours from now on."""

    def set(self, saga_id: str, applied: int = 0) -> None:
        """From here to `clear` we are busy with this saga, and with no other."""

    def clear(self) -> None:
        """We are through with it, and alive."""


class MemoryMarks:
    """Marks that outlive an engine, and no process."""

    def __init__(self) -> None:
        self.left: Mark | None = None
        self.suspects: dict[str, Suspect] = {}

    def keep(self) -> None:
        self.left = None

    def set(self, saga_id: str, applied: int = 0) -> None:
        self.left = Mark(saga_id, applied)

    def clear(self) -> None:
        self.left = None


class FileMarks:
    """Marks in a node's folder; raises OSError if there is no room for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._page = _mapped(folder / MARK_FILE)
        self._left_by = _owner(bytes(self._page))
        counted, self.suspects = _stored(folder / SUSPECTS_FILE)
        self.left = _mark(bytes(self._page)) if self._left_by != counted else None

    def keep(self) -> None:
        """Keep them, unless the disk is full: then the next supervisor knows no more than this one did."""
        stored = {"boot": boot_id(), "counted": self._left_by, "suspects": self.suspects}
        draft = self._folder / f"{SUSPECTS_FILE}.new"
        try:
            file = open_private(draft, os.O_WRONLY | os.O_TRUNC)
            with open(file, "w") as text:
                json.dump(stored, text)
            draft.replace(self._folder / SUSPECTS_FILE)
        except OSError as error:
            log().error("%s cannot be written (%s)", SUSPECTS_FILE, error)
        self._sign()

    def _sign(self) -> None:
        me = ProcessId.of(os.getpid())
        assert me is not None
        self._page[BODY] = CLEAR
        self._page[:BODY] = _signature(me).encode().ljust(BODY)
        self.left = None

    def set(self, saga_id: str, applied: int = 0) -> None:
        text = b"%d %b\n" % (applied, saga_id.encode())
        page = self._page
        page[BODY + 1 : BODY + 1 + len(text)] = text
        page[BODY] = SET

    def clear(self) -> None:
        self._page[BODY] = CLEAR


def mark_of(folder: Path, process: ProcessId) -> Mark | None:
    """The saga that a supervisor, now dead, was busy with; None if it was with none."""
    with contextlib.suppress(OSError):
        page = (folder / MARK_FILE).read_bytes()
        return _mark(page) if _owner(page) == _signature(process) else None
    return None


def _mapped(path: Path) -> mmap.mmap:
    file = open_private(path, os.O_RDWR)
    try:
        os.posix_fallocate(file, 0, SIZE)  # or a full disk would kill us when we first write
        return mmap.mmap(file, SIZE)
    finally:
        os.close(file)


def _signature(process: ProcessId) -> str:
    return f"{boot_id()} {process.pid} {process.started}"


def _owner(page: bytes) -> str:
    return page[:BODY].rstrip(b" \0").decode(errors="replace")


def _mark(page: bytes) -> Mark | None:
    """The mark of this boot on a page; None if there is none, or none that can be read."""
    if page[BODY : BODY + 1] != bytes([SET]) or not _owner(page).startswith(boot_id()):
        return None
    with contextlib.suppress(ValueError):
        applied, _, saga_id = page[BODY + 1 : page.index(b"\n", BODY)].decode().partition(" ")
        return Mark(saga_id, int(applied))
    return None


def _stored(path: Path) -> tuple[str, dict[str, Suspect]]:
    """Whose mark was counted last, and the suspects; of this boot, and legible, or none at all."""
    try:
        stored = json.loads(path.read_text())
        if stored["boot"] == boot_id():
            suspects = {str(name): Suspect(int(at), int(deaths)) for name, (at, deaths) in stored["suspects"].items()}
            return str(stored["counted"]), suspects
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log().error("%s cannot be read (%s), and counts for nothing", path, error)
    return "", {}


# Workers.


def note_work(folder: Path, number: int) -> None:
    """Note that this worker was given a step."""
    try:
        os.close(open_private(folder / WORKED.format(number), os.O_WRONLY))
    except OSError as error:
        log().error("worker %d cannot note that it works (%s)", number, error)


def has_worked(folder: Path, number: int) -> bool:
    """Whether this worker, now dead, was ever given a step; it is asked once."""
    try:
        (folder / WORKED.format(number)).unlink()
    except OSError:
        return False
    return True


def forget_work(folder: Path) -> None:
    """Forget the workers of earlier lives, which had the same numbers."""
    for path in folder.glob(WORKED.format("*")):
        path.unlink(missing_ok=True)


def log() -> logging.Logger:
    """Looked up each time, for a child replaces all loggers when it is born."""
    return logging.getLogger("saga_actors.supervisor")
