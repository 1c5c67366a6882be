"""What a node writes to its log, and what is read in it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

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


def test_what_others_write_is_none_of_ours() -> None:
    """Steps print, other loggers log, and tracebacks have many lines."""
    log = "\n".join(["charged", written("no stock", logger="shop"), written("it hangs", logging.ERROR), "Traceback:"])
    (entry,) = entries(log)
    assert (entry.text, entry.is_error, entry.is_of_one_saga) == ("it hangs", True, False)
