"""What the disk and the database can do by themselves."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from saga_actors.bench.figure import Figures
from saga_actors.bench.sagas import BenchSaga
from saga_actors.events import Accepted
from saga_actors.journal import Entry, SqliteJournal
from saga_actors.messages import new_id
from saga_actors.outcomes import SagaState

PAGE = bytes(4_096)
ENTRIES = 50
"""So many entries make a group."""


def measure(figures: Figures, folder: Path, saga: BenchSaga, seconds: float) -> None:
    """Take a round of the figures of the disk that `folder` is on, each for so many seconds."""
    figures.add("disk.fdatasync_per_s", "1/s", _syncs(folder / "page", seconds))
    journal = SqliteJournal(folder / "commits.db")
    try:
        epoch = journal.take_epoch("the bench")
        one = _rate(lambda: journal.append(epoch, [_entry(saga)]), seconds)
        group = _rate(lambda: journal.append(epoch, [_entry(saga) for _ in range(ENTRIES)]), seconds)
    finally:
        journal.close()
    figures.add("disk.commits_per_s", "1/s", one, of="disk.fdatasync_per_s")
    figures.add("disk.group_commits_per_s", "1/s", group, of="disk.fdatasync_per_s")
    figures.add("disk.grouped_entries_per_s", "1/s", group * ENTRIES, of="disk.commits_per_s")


def _syncs(path: Path, seconds: float) -> float:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return _rate(lambda: _append(file), seconds)
    finally:
        os.close(file)
        path.unlink()


def _append(file: int) -> None:
    os.write(file, PAGE)
    os.fdatasync(file)


def _rate(what: Callable[[], object], seconds: float) -> float:
    """How often this can be done per second; it is done once at least."""
    began, times = time.perf_counter(), 0
    while True:
        what()
        times += 1
        took = time.perf_counter() - began
        if took >= seconds:
            return times / took


def _entry(saga: BenchSaga) -> Entry:
    plan, saga_id = saga.definition.plan, new_id()
    accepted = Accepted(time.time(), saga_id, plan.saga, plan.plan_id, "0" * 32, b'{"order":"ord_1","total":101}')
    return Entry(saga_id, 1, (accepted,), SagaState.RUNNING, plan=plan)
