"""What a node writes to its log, and what is read in it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from saga_actors import node_folder
from saga_actors.cli.foreground import Log
from saga_actors.node_folder import NodeFolder
from saga_actors.node_log import LAYOUT, Formatter, entries

AT = datetime(2026, 11, 23, 8, 5, 1, 42_000, tzinfo=UTC)


def written(text: str, level: int = logging.INFO, logger: str = "saga_actors.node") -> str:
    record = logging.LogRecord(logger, level, "", 0, text, None, None)
    record.created, record.msecs = AT.timestamp(), 42.0
    return Formatter(LAYOUT).format(record)


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/Chicago"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_moments_are_in_utc_wherever_they_are_written(zone: str) -> None:
    """One process of a node may have another zone than the others: Django sets that of who imports its settings."""
    line = written("life 1 serves on port 4711")
    assert line.startswith("2026-11-23 08:05:01,042Z ")
    (entry,) = entries(line)
    assert (entry.at, entry.level, entry.text) == (AT, "INFO", "life 1 serves on port 4711")


def test_up_goes_on_telling_when_the_log_was_put_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is at the beginning of the file is new then, also if the log had been long before the node began."""
    monkeypatch.setattr(node_folder, "LOG_LIMIT", 10)
    folder = NodeFolder.of(f"sqlite:///{tmp_path}/sagas.db")
    folder.make()
    folder.log.write_text(written("long ago, before it began") + "\n")
    with Log(folder, folder.log.stat().st_size, verbose=False) as log:
        for text in ("the first", "next"):
            folder.shorten_log()
            with folder.log.open("a") as file:
                file.write(written(text) + "\n")
            log.tell()
            log.tell()
    assert capsys.readouterr().err == "08:05:01 the first\n08:05:01 next\n"


def test_what_others_write_is_none_of_ours() -> None:
    """Steps print, other loggers log, and tracebacks have many lines."""
    log = "\n".join(["charged", written("no stock", logger="shop"), written("it hangs", logging.ERROR), "Traceback:"])
    (entry,) = entries(log)
    assert (entry.text, entry.is_error, entry.is_of_one_saga) == ("it hangs", True, False)
