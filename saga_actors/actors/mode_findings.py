"""Whether anybody else can get at a journal, its node's folder, or this user's key."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from saga_actors.actors.finding import Finding
from saga_actors.actors.key import key_path
from saga_actors.journal import JournalUrl

BY_OTHERS = 0o077


def mode_finding(url: JournalUrl) -> Finding:
    """How it is with all of them."""
    seen = {path: path.lstat() for path in _files(url) if os.path.lexists(path)}
    facts = {"files": [{"path": str(path), "mode": f"{stat.S_IMODE(one.st_mode):04o}"} for path, one in seen.items()]}
    strange = [path for path, one in seen.items() if one.st_uid != os.geteuid()]
    if strange:
        return Finding("modes", False, f"{strange[0]} is not this user's; make it so: chown {_quoted(strange)}", facts)
    opened = [path for path, one in seen.items() if one.st_mode & BY_OTHERS]
    if opened:
        why = f"others can get at {len(opened)} of {len(seen)} files; chmod go= {_quoted(opened)}"
        return Finding("modes", False, why, facts)
    return Finding("modes", True, "nobody else can get at the journal, its folder or the key", facts)


def _files(url: JournalUrl) -> Iterator[Path]:
    for end in ("", "-wal", "-shm"):
        yield Path(f"{url.path}{end}")
    folder = url.node_folder
    yield folder
    if folder.is_dir():
        yield from sorted(folder.rglob("*"))
    yield key_path()


def _quoted(paths: list[Path]) -> str:
    return " ".join(shlex.quote(str(path)) for path in paths)
