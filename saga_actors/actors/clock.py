"""What time it is in a node; a test may turn its clocks forward, and the journal, workers and supervisors go with it.

What judges processes (root, life, watchdog, clients) goes by real time, for a process that hangs does so really.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import attrs

LOOK_EVERY = 0.02
"""Seconds between two looks at a clock that is turned by somebody; what waits for it waits no longer at once."""

_OFFSET = struct.Struct("d")


@attrs.frozen
class Clock:
    """POSIX seconds, monotonic seconds, and how long one may wait before looking again (both wholly real: for ever)."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    longest_wait: float = math.inf

    @classmethod
    def of(cls, path: str | None) -> Clock:
        """The real one, or with a path one that is ahead of it by what `turn` has written there."""
        if path is None:
            return cls()
        with open(path, "r+b") as file:
            ahead = mmap.mmap(file.fileno(), _OFFSET.size)

        def offset() -> float:
            return float(_OFFSET.unpack_from(ahead)[0])

        return cls(lambda: time.time() + offset(), lambda: time.monotonic() + offset(), LOOK_EVERY)


def turn(path: Path, seconds: float) -> None:
    """Have all clocks that were made with this path be so many seconds ahead; before the first, the file is made."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(file, _OFFSET.pack(seconds), 0)
    finally:
        os.close(file)
