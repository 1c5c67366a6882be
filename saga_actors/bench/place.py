"""Where the bench keeps its journals."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import attrs

from saga_actors.bench.errors import BenchError
from saga_actors.journal import JournalUrl


@attrs.frozen
class Place:
    """A folder that is removed afterwards, and the journal of the node that is loaded; it may lie elsewhere."""

    folder: Path
    journal: str

    def fresh(self, name: str) -> Path:
        """A new folder of this name, for a journal of its own."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))


@contextmanager
def place(journal: str | None) -> Iterator[Place]:
    """Beside the given journal; without one in $TMPDIR, if that is set, or in the working directory."""
    where = Path(os.environ.get("TMPDIR") or Path.cwd()) if journal is None else _vacant(journal).parent
    with _folder_in(where) as folder:
        yield Place(Path(folder), url_of(Path(folder) / "sagas.db") if journal is None else journal)


def _folder_in(where: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="saga-bench-", dir=where)
    except OSError as error:
        raise BenchError(f"no folder can be made in {where}: {error.strerror}; name another place") from None


def _vacant(journal: str) -> Path:
    path = JournalUrl.parse(journal).path
    if path.exists():
        raise BenchError(f"there is a file {path} already, and the bench fills a journal with sagas; name a new one")
    return path


def url_of(path: Path) -> str:
    """The URL of a journal in this file."""
    return f"sqlite:///{quote(str(path.resolve()))}"
