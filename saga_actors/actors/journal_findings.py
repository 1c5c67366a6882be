"""How a journal is: its file, its records, its sagas, and the disk that they are on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from saga_actors.actors.finding import Finding, found, in_bytes, several
from saga_actors.errors import JournalError
from saga_actors.journal import JournalUrl, open_reader
from saga_actors.journal.audit import audit
from saga_actors.journal.sqlite_check import LONGEST, remedy
from saga_actors.journal.sqlite_file import VERSION
from saga_actors.journal.sqlite_survey import Survey, remains, sqlite_version, survey
from saga_actors.outcomes import SagaState

LEAST_ROOM = 100_000_000
"""Bytes; with less on its disk, a journal is about to be full."""

MOST_TOLD = 10
"""So many flaws are told; more are counted."""


def journal_findings(url: JournalUrl, *, deep: bool) -> Iterator[Finding]:
    """All of them; if there is no journal, that and its disk alone."""
    path = url.path
    try:
        seen = survey(path, None if deep else LONGEST)
    except JournalError as error:
        yield Finding("journal", False, str(error))
    else:
        yield _file(path, seen)
        yield _pages(path, seen)
        if deep:
            yield found("records", lambda: _records(url))
        yield found("sagas", lambda: _sagas(url))
    yield found("disk", lambda: _disk(path))


def _file(path: Path, seen: Survey) -> Finding:
    log = f" and {in_bytes(seen.log_size)} of log" if seen.log_size else ""
    older = "" if seen.version == VERSION else f", which its next node makes {VERSION}"
    says = f"{path}, version {seen.version}{older}, {in_bytes(seen.size)}{log}; SQLite {sqlite_version()}"
    facts = {
        "path": str(path),
        "version": seen.version,
        "bytes": seen.size,
        "log_bytes": seen.log_size,
        "sqlite": sqlite_version(),
    }
    return Finding("journal", True, says, facts)


def _pages(path: Path, seen: Survey) -> Finding:
    facts = {"flaw": seen.flaw, "whole": seen.is_whole}
    if seen.flaw is not None:
        return Finding("pages", False, f"damaged ({seen.flaw}); end its node, and {remedy(path)}", facts)
    if seen.is_whole:
        return Finding("pages", True, "sound", facts)
    return Finding("pages", True, f"sound as far as {LONGEST:.0f} s went; --deep looks at all of them", facts)


def _records(url: JournalUrl) -> Finding:
    with closing(open_reader(url)) as reader:
        read = audit(reader)
    beside = remains(url.path)
    flaws = [*read.flaws, *beside.flaws]
    facts = {"sagas": read.sagas, "events": read.events, "tombstones": beside.tombstones, "flaws": flaws}
    sagas, stones = several(read.sagas, "saga"), several(beside.tombstones, "tombstone")
    sound = f"{several(read.events, 'event')} of {sagas}, and {stones}"
    if not flaws:
        return Finding("records", True, f"sound: {sound}", facts)
    more = (f"and {len(flaws) - MOST_TOLD:,} more",) if len(flaws) > MOST_TOLD else ()
    why = f"{len(flaws):,} damaged, beside {sound}; end such a saga by hand (saga-actors resolve), or restore a backup"
    return Finding("records", False, why, facts, (*flaws[:MOST_TOLD], *more))


def _sagas(url: JournalUrl) -> Finding:
    with closing(open_reader(url)) as reader:
        counts = reader.counts()
    facts = {str(state): count for state, count in counts.items()}
    says = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    if counts[SagaState.HELD] or counts[SagaState.FATAL]:
        says += "; saga-actors stuck says what would help"
    return Finding("sagas", True, says or "none", facts)


def _disk(path: Path) -> Finding:
    size = path.stat().st_size if path.exists() else 0
    free = shutil.disk_usage(path.parent).free
    facts = {"free_bytes": free}
    if free < max(LEAST_ROOM, size):
        return Finding("disk", False, f"only {in_bytes(free)} free; make room, or sagas will wait for it", facts)
    return Finding("disk", True, f"{in_bytes(free)} free", facts)
