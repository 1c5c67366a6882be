"""Where a journal lies, as a URL says it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

import attrs

from saga_actors.errors import JournalUrlError

EXPECTED = "expected sqlite:///relative.db or sqlite:////absolute.db (or memory:// in tests)"


@attrs.frozen
class JournalUrl:
    """A journal's place: a file, or None for this process's memory. `str()` of it means the same in every process."""

    file: Path | None

    @classmethod
    def parse(cls, url: str | JournalUrl) -> JournalUrl:
        """Read a URL; a relative path is taken from the working directory of this moment, symbolic links are resolved.

        Percent escapes are decoded, `~` is not expanded. Raises JournalUrlError.
        """
        if isinstance(url, JournalUrl):
            return url
        if not isinstance(url, str):
            raise JournalUrlError(f"the journal is {url!r}; {EXPECTED}, as text")
        scheme, separator, rest = url.partition("://")
        if not separator:
            raise JournalUrlError(f"the journal {url!r} is no URL; {EXPECTED}")
        match scheme.lower():
            case "sqlite":
                return cls(_file(url, rest))
            case "memory" if rest in ("", "/"):
                return cls(None)
            case "memory":
                raise JournalUrlError(f"the journal {url!r} has a path; memory:// has none, leave it away")
            case _:
                raise JournalUrlError(f"the journal {url!r} has the unknown scheme {scheme!r}; {EXPECTED}")

    @property
    def path(self) -> Path:
        """The journal's file, absolute; raises JournalUrlError for memory://."""
        if self.file is None:
            raise JournalUrlError("memory:// has no file; use sqlite:/// for whatever more than one process shares")
        return self.file

    @property
    def node_folder(self) -> Path:
        """The folder beside the file in which its node keeps what belongs to it (lock, log, address)."""
        return self.path.with_name(self.path.name + ".node")

    def __str__(self) -> str:
        return "memory://" if self.file is None else f"sqlite:///{quote(str(self.file))}"


def _file(url: str, rest: str) -> Path:
    text = _decoded(url, rest)
    if text in (":memory:", "/:memory:"):
        raise JournalUrlError(f"the journal {url!r} would be lost with its process; use a file (or memory:// in tests)")
    if not text.startswith("/"):
        raise JournalUrlError(
            f"the journal {url!r} names the host {text.partition('/')[0]!r}; a file takes three slashes and its path, "
            f"{EXPECTED}"
        )
    name = text[1:]
    if not name.strip("/"):
        raise JournalUrlError(f"the journal {url!r} has no path; {EXPECTED}")
    path = os.path.realpath(name)
    if name.endswith(("/", "/.", "/..")) or os.path.isdir(path):
        raise JournalUrlError(f"the journal {url!r} is a directory; name a file in it, such as {path}/sagas.db")
    return Path(path)


def _decoded(url: str, rest: str) -> str:
    if "?" in rest or "#" in rest:
        raise JournalUrlError(f"the journal {url!r} has options, and there are none; write %3F for ? and %23 for #")
    if re.search("%(?![0-9A-Fa-f]{2})", rest):
        raise JournalUrlError(f"the journal {url!r} has a % that escapes nothing; write %25 for %")
    try:
        text = unquote(rest, errors="strict")
        text.encode()
    except UnicodeError as error:
        raise JournalUrlError(f"the journal {url!r} is not UTF-8 ({error}); expected a path that is") from None
    if re.search("[\x00-\x1f\x7f]", text):
        raise JournalUrlError(f"the journal {url!r} has a control character in its path; expected a plain file name")
    return text
