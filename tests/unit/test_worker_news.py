"""When a worker tells its supervisor what is new, on the actor itself; the supervisor does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from runner_rig import FOREVER, PATIENCE, WORKER, Rig, wait_for
from thespian.actors import WatchMessage

from saga_actors.actors.protocol import FromWorker, Order, TakeInventory, ToWorker
from saga_actors.actors.runner import Runner
from saga_actors.actors.worker import StepWorker
from saga_actors.events import Ending, WorkerId

PROMPTLY = 0.1
"""Seconds within which a timeout is to be known."""


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging steps wait for; open at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


class Actor(StepWorker):
    """It sends into a list, and nothing wakes it but its own socket: no look half a second later finds what it kept."""

    def __init__(self, sent: list[FromWorker]) -> None:
        super().__init__()
        self._sent = sent

    def send(self, targetAddr: Any, msg: Any) -> None:
        self._sent.append(msg)

    def wake_in(self, seconds: float) -> None:
        """Never."""


class Worker:
    """The actor with a real runner, and what it has sent."""

    def __init__(self, rig: Rig, grace: float = FOREVER) -> None:
        self.rig = rig
        self.sent: list[FromWorker] = []
        self.actor = Actor(self.sent)
        self.runner = self.actor._runner = Runner(
            WORKER, wake=self.actor._wake, grace=grace, die=lambda: None, find=lambda _: rig.definition
        )
        self._messages = 0

    def close(self) -> None:
        self.actor._wake_in.close()
        self.actor._wake_out.close()

    def give(self, order: Order) -> None:
        self._messages += 1
        self.actor.take(ToWorker(1, self._messages, orders=(order,)), "supervisor")

    def is_woken(self, seconds: float) -> bool:
        """Whether its socket wakes it within so many seconds; it then does what it does."""
        socket = self.actor._wake_in
        if not select.select([socket], [], [], seconds)[0]:
            return False
        self.actor.take(WatchMessage([socket.fileno()]), None)
        return True

    @property
    def reported(self) -> list[str]:
        return [posted.saga_id for message in self.sent for posted in message.reports]

    @property
    def endings(self) -> list[Ending]:
        reports = [posted.report for message in self.sent for posted in message.reports]
        return [report.ending for report in reports if hasattr(report, "ending")]


@pytest.fixture
def loaded(gate: threading.Event) -> Worker:
    """A worker that keeps a report back, so that it has company: an earlier one is not answered."""
    worker = Worker(Rig(lambda context: gate.wait(PATIENCE) and None if context else None))
    worker.actor._unanswered = True
    worker.give(worker.rig.order(saga_id="first"))
    assert worker.is_woken(PATIENCE)
    assert not worker.reported
    return worker


def test_a_timeout_is_told_at_once_while_other_reports_wait_for_company(loaded: Worker) -> None:
    """The actor is woken for it, though it has been woken for what it keeps back; what waits goes with it."""
    loaded.give(loaded.rig.order({"hangs": True}, saga_id="late", timeout=0.05))
    assert loaded.is_woken(0.05 + PROMPTLY)
    assert loaded.reported == ["first", "late"]
    assert loaded.endings == [Ending.TIMED_OUT]
    assert loaded.sent[-1].retiring


def test_a_task_that_does_not_heed_its_cancellation_is_told_of_at_once() -> None:
    """Its supervisor gives the worker nothing more from then on, though the timeout was told before."""
    gate = asyncio.Event()

    async def stubborn(_: Any) -> None:
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()

    worker = Worker(Rig(stubborn), grace=1.0)
    worker.give(worker.rig.order(saga_id="late", timeout=0.05))
    assert worker.is_woken(PATIENCE)
    assert worker.reported == ["late"]
    worker.runner._woken = True  # it has come for other news since, and keeps them back
    assert worker.is_woken(PATIENCE)
    assert worker.sent[-1].retiring
    worker.runner._loop.call(gate.set)
    wait_for(lambda: not worker.runner.retiring)


def test_a_report_that_is_in_time_wakes_nobody_again(loaded: Worker) -> None:
    """It is kept back with the others, and found with them."""
    loaded.give(loaded.rig.order(saga_id="second"))
    wait_for(lambda: len(loaded.runner._outbox) == 2)
    assert not loaded.is_woken(0.05)
    loaded.actor.woken()
    assert loaded.reported == ["first", "second"]


def test_what_is_meant_for_a_worker_of_another_node_is_not_obeyed() -> None:
    """P6, P8: the port of a dead worker was dealt to this one; not even the epoch is taken up."""
    rig = Rig(lambda _: None)
    worker = Worker(rig)
    stranger = WorkerId(1, 4_711, 47.0)
    worker.actor.take(TakeInventory(9, stranger), "elsewhere")
    worker.actor.take(ToWorker(9, 1, (rig.order(epoch=9),), worker=stranger), "elsewhere")
    assert worker.runner.epoch == 0
    assert worker.runner.inventory(1) == ((), ())
    assert worker.sent == []
    worker.close()
