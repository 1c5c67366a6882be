"""The clock of a node, which a test may turn."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from saga_actors.actors.clock import Clock, turn
from saga_actors.actors.timers import Timers

HOUR = 3_600.0


def test_without_a_file_it_is_the_real_time() -> None:
    """It costs nothing then, and nobody looks at it more often."""
    clock = Clock.of(None)
    assert (clock.now, clock.monotonic, clock.longest_wait) == (time.time, time.monotonic, float("inf"))


def test_it_is_turned_for_all_who_look_at_the_file(tmp_path: Path) -> None:
    """Both of its faces, also of those that were made before."""
    path = tmp_path / "clock"
    turn(path, 0.0)
    clocks = [Clock.of(str(path)) for _ in range(2)]
    assert all(abs(clock.now() - time.time()) < 1 for clock in clocks)
    turn(path, HOUR)
    for clock in clocks:
        assert abs(clock.now() - time.time() - HOUR) < 1
        assert abs(clock.monotonic() - time.monotonic() - HOUR) < 1


def test_a_timer_comes_when_the_clock_is_turned(tmp_path: Path) -> None:
    """Whoever waits looks again soon."""
    path, came = tmp_path / "clock", threading.Event()
    turn(path, 0.0)
    clock = Clock.of(str(path))
    Timers(clock.monotonic, clock.longest_wait).after(HOUR, came.set)
    assert not came.is_set()
    turn(path, HOUR)
    assert came.wait(5.0)
