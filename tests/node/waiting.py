"""Waiting for something to come true; apart from `conftest`, of which there is more than one."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(claim: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until the claim holds; fails when the time is over."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)
