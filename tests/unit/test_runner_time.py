"""Attempts that take too long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from runner_rig import FOREVER, PATIENCE, Rig, wait_for

from saga_actors.errors import Abort, OutcomeUnknown
from saga_actors.events import Ending, Phase
from saga_actors.inputs import Quieted, Succeeded
from saga_actors.journal.codec import decode_context


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging steps wait for; open at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_thread_that_is_late_is_reported_in_time_and_given_up(gate: threading.Event) -> None:
    """TIMED_OUT comes within 100 ms of the timeout, and the worker retires (P7)."""
    rig = Rig(lambda _: gate.wait(PATIENCE) and None)
    began = time.monotonic()
    report = rig.fails(rig.order(timeout=0.05))
    assert 0.05 <= time.monotonic() - began < 0.15
    assert (report.ending, report.fault.retryable) == (Ending.TIMED_OUT, True)
    assert report.fault.reason == "timed out after 0.05 s"
    assert rig.runner.retiring
    assert rig.runner.inventory(1) == ((rig.order().key,), rig.all_unstored())


def test_it_is_known_that_somebody_is_to_be_told_of_a_timeout_at_once(gate: threading.Event) -> None:
    """Until it has been handed out; other news may wait for company."""
    rig = Rig(lambda _: gate.wait(PATIENCE) and None)
    rig.runner.run(rig.order(timeout=0.01))
    wait_for(lambda: rig.runner.has_late_news)
    assert rig.runner.unsent()
    assert not rig.runner.has_late_news
    gate.set()
    wait_for(lambda: not rig.runner.retiring)
    assert not rig.runner.has_late_news


def test_a_late_success_is_the_last_report_and_calls_the_retirement_off(gate: threading.Event) -> None:
    """A success before quiet is the step's result; nothing given up is left, so the worker goes on."""

    def charge(_: dict[str, Any]) -> dict[str, Any]:
        gate.wait(PATIENCE)
        return {"charge_id": "c1"}

    rig = Rig(charge, grace=0.2)
    assert rig.fails(rig.order(timeout=0.01)).ending is Ending.TIMED_OUT
    gate.set()
    assert decode_context(rig.success().context or b"", dict) == {"charge_id": "c1"}
    assert not rig.runner.retiring
    assert rig.outlives(0.3)


@pytest.mark.parametrize("end", [Abort("no"), OutcomeUnknown("hm"), SystemExit(), None])
def test_a_late_failure_is_only_quiet(gate: threading.Event, end: BaseException | None) -> None:
    """After a timeout, anything but a success says no more than that nothing runs any more."""

    def charge(_: dict[str, Any]) -> Any:
        gate.wait(PATIENCE)
        if end is None:
            return "nonsense"
        raise end

    rig = Rig(charge)
    assert rig.fails(rig.order(timeout=0.01)).ending is Ending.TIMED_OUT
    gate.set()
    assert rig.take() == Quieted(Phase.EXECUTE, "charge", 1, 1)


def test_a_late_task_is_cancelled_and_the_worker_does_not_retire() -> None:
    """An async attempt that heeds its cancellation is quiet at once."""
    ends: list[str] = []

    async def charge(_: dict[str, Any]) -> None:
        try:
            await asyncio.sleep(FOREVER)
        finally:
            ends.append("cleaned up")

    rig = Rig(charge)
    assert rig.fails(rig.order(timeout=0.02)).ending is Ending.TIMED_OUT
    assert rig.take() == Quieted(Phase.EXECUTE, "charge", 1, 1)
    assert ends == ["cleaned up"]
    assert not rig.runner.retiring


def test_a_task_that_succeeds_all_the_same_is_believed() -> None:
    """A step that finishes its work when it is cancelled has a result."""

    async def charge(_: dict[str, Any]) -> dict[str, Any]:
        try:
            await asyncio.sleep(FOREVER)
        except asyncio.CancelledError:
            return {"charge_id": "c1"}
        raise AssertionError

    rig = Rig(charge)
    assert rig.fails(rig.order(timeout=0.02)).ending is Ending.TIMED_OUT
    assert decode_context(rig.success().context or b"", dict) == {"charge_id": "c1"}


def test_an_awaitable_of_a_plain_function_is_cancelled_too() -> None:
    """Its time runs from the call of the function, and goes on on the loop."""

    async def charge(_: dict[str, Any]) -> None:
        await asyncio.sleep(FOREVER)

    rig = Rig(lambda context: charge(context))
    assert rig.fails(rig.order(timeout=0.02)).ending is Ending.TIMED_OUT
    assert rig.take() == Quieted(Phase.EXECUTE, "charge", 1, 1)


def test_an_awaitable_that_comes_too_late_is_never_begun(gate: threading.Event) -> None:
    """A function that timed out has nothing started on the loop for it."""
    begun: list[str] = []

    async def charge() -> None:
        begun.append("charged")

    def late(_: dict[str, Any]) -> Any:
        gate.wait(PATIENCE)
        return charge()

    rig = Rig(late)
    assert rig.fails(rig.order(timeout=0.01)).ending is Ending.TIMED_OUT
    gate.set()
    assert rig.take() == Quieted(Phase.EXECUTE, "charge", 1, 1)
    assert not begun


def test_a_task_that_ignores_its_cancellation_counts_like_a_thread(gate: threading.Event) -> None:
    """It is given up a moment later, and its worker killed when the grace is over."""

    async def stubborn(_: dict[str, Any]) -> None:
        while not gate.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    rig = Rig(stubborn, grace=0.2)
    assert rig.fails(rig.order(timeout=0.01)).ending is Ending.TIMED_OUT
    wait_for(lambda: rig.runner.retiring)
    rig.news.get(timeout=PATIENCE)  # the actor is woken for it, though there is no report
    assert rig.runner.unsent() == []
    assert rig.deaths.get(timeout=PATIENCE)
    gate.set()
    assert isinstance(rig.take(), Succeeded)


def test_a_loop_that_is_blocked_holds_up_nobodys_timeout(gate: threading.Event) -> None:
    """A blocking call in an async step: its own timeout and those of others come in time all the same (P11)."""
    waiting = threading.Event()

    async def charge(context: dict[str, Any]) -> None:
        if context["blocks"]:
            gate.wait(PATIENCE)
        waiting.set()
        await asyncio.sleep(FOREVER)

    rig = Rig(charge)
    rig.runner.run(rig.order({"blocks": False}, saga_id="patient", timeout=0.2))
    assert waiting.wait(PATIENCE)
    rig.runner.run(rig.order({"blocks": True}, saga_id="blocker", timeout=0.05))
    began = time.monotonic()
    first, second = rig.take_posted(), rig.take_posted()
    assert time.monotonic() - began < 0.3
    assert [first.saga_id, second.saga_id] == ["blocker", "patient"]
    gate.set()
    assert {type(rig.take()), type(rig.take())} == {Quieted}


def test_a_worker_that_is_not_quiet_when_the_grace_ends_is_killed(
    gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """`grace` after the first timeout that is not quiet; the log says where it hangs, and no value of the context."""

    def hangs(context: dict[str, Any]) -> None:
        gate.wait(PATIENCE)

    rig = Rig(hangs, grace=0.1)
    began = time.monotonic()
    rig.fails(rig.order({"card": "4111"}, timeout=0.02))
    assert 0.12 <= rig.deaths.get(timeout=PATIENCE) - began < 0.3
    assert "in hangs" in caplog.text
    assert "4111" not in caplog.text


def test_what_is_on_its_way_to_a_retiring_worker_is_still_run(gate: threading.Event) -> None:
    """Its journal says that it was begun here, so it is run rather than left to count as interrupted (P6)."""
    rig = Rig(lambda context: gate.wait(PATIENCE) and None if context else None)
    assert rig.fails(rig.order({"hangs": True}, timeout=0.01)).ending is Ending.TIMED_OUT
    assert rig.runner.retiring
    assert rig.play(rig.order(saga_id="s2")) == Succeeded(Phase.EXECUTE, "charge", 1, 1, None)
