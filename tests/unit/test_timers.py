"""Timers of attempts."""

from __future__ import annotations

import threading
import time
from functools import partial
from queue import Empty, SimpleQueue

import pytest

from saga_actors.actors.timers import Timers

PATIENCE = 10.0
FAR = 1_000.0


def test_timers_come_in_the_order_of_their_times() -> None:
    """Whatever the order in which they were set; and not before their time."""
    came: SimpleQueue[tuple[float, float]] = SimpleQueue()
    timers = Timers()
    began = time.monotonic()

    def note(seconds: float) -> None:
        came.put((seconds, time.monotonic() - began))

    for seconds in (FAR, 0.06, 0.02, 0.04):
        timers.after(seconds, partial(note, seconds))
    seen = [came.get(timeout=PATIENCE) for _ in range(3)]
    assert [seconds for seconds, _ in seen] == [0.02, 0.04, 0.06]
    assert all(seconds <= after for seconds, after in seen)


def test_a_cancelled_timer_does_not_come_and_holds_up_no_other() -> None:
    """The thread looks in vain at its time, and goes on to the next."""
    came: SimpleQueue[str] = SimpleQueue()
    timers = Timers()
    cancelled = timers.after(0.01, lambda: came.put("cancelled"))
    timers.after(0.03, lambda: came.put("kept"))
    timers.cancel(cancelled)
    timers.cancel(cancelled)
    assert came.get(timeout=PATIENCE) == "kept"
    with pytest.raises(Empty):
        came.get(timeout=0.02)


def test_a_sooner_timer_wakes_the_thread() -> None:
    """It does not sleep until the time of one that was set before."""
    came: SimpleQueue[str] = SimpleQueue()
    timers = Timers()
    timers.after(FAR, lambda: came.put("far"))
    for _ in range(3):
        timers.after(0.01, lambda: came.put("near"))
        assert came.get(timeout=PATIENCE) == "near"


def test_what_was_cancelled_is_not_kept() -> None:
    """Timers are as many as attempts that run (P12)."""
    timers = Timers()
    for _ in range(100):
        timers.cancel(timers.after(FAR, lambda: None))
    assert not timers._set


def test_a_host_without_threads_left_does_not_silence_the_timers_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets one then is told; the next one, though its time is later, starts the thread, and comes (P11)."""
    came: SimpleQueue[str] = SimpleQueue()
    timers = Timers()

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError, match="new thread"):
            timers.after(0.01, lambda: came.put("lost"))
    timers.after(0.02, lambda: came.put("next"))
    assert came.get(timeout=PATIENCE) == "next"
