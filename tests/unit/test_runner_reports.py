"""What a worker tells its supervisor, and whom it obeys."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
import pytest
from runner_rig import PATIENCE, Rig, nothing, nothing_async, raising, wait_for

from saga_actors.actors.outbox import BATCH_BYTES, RESEND
from saga_actors.actors.protocol import ToWorker
from saga_actors.actors.runner import Runner
from saga_actors.events import Ending
from saga_actors.inputs import Succeeded


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging steps wait for; open at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


class Clock:
    """A monotonic clock that the test sets forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


# Reports are kept until they are stored.


def test_reports_have_serials_and_are_sent_again_until_they_are_stored() -> None:
    """A report lost on its way comes again after a second, and no more once it is stored."""
    rig = Rig(nothing)
    rig.clock = clock = Clock()
    assert [rig.post(rig.order(attempt=attempt)).serial for attempt in (1, 2, 3)] == [1, 2, 3]
    assert rig.runner.unsent() == rig.runner.due_again() == []
    rig.runner.stored([2])
    clock.now += RESEND
    assert [[posted.serial for posted in batch] for batch in rig.runner.due_again()] == [[1, 3]]
    assert rig.runner.due_again() == []
    rig.runner.stored([1, 3, 3, 99])
    clock.now += RESEND
    assert rig.runner.due_again() == []
    assert not rig.runner.waits


def test_batches_of_reports_are_bounded() -> None:
    """A message ends at 256 kB, and a bigger context travels alone (P12)."""
    rig = Rig(lambda context: {"filler": "x" * context["size"]})
    half = BATCH_BYTES // 2 - 1_000
    sizes = [half, half, half, 2 * BATCH_BYTES, 10]
    for attempt, size in enumerate(sizes, 1):
        rig.runner.run(rig.order({"size": size}, attempt=attempt))
        wait_for(partial(rig.keeps, attempt))
    batches = rig.runner.unsent()
    assert [[posted.serial for posted in batch] for batch in batches] == [[1, 2], [3], [4], [5]]


def test_only_one_batch_is_sent_again_to_a_silent_supervisor() -> None:
    """What is sent to somebody who may be stopped is bounded (P11, P12)."""
    rig = Rig(lambda context: {"filler": "x" * BATCH_BYTES})
    rig.clock = clock = Clock()
    for attempt in (1, 2, 3):
        rig.play(rig.order(attempt=attempt))
    clock.now += RESEND
    assert [len(batch) for batch in rig.runner.due_again(one=True)] == [1]
    assert [len(batch) for batch in rig.runner.due_again()] == [1, 1]


def test_many_reports_wake_the_actor_once() -> None:
    """A wake is for all news until the actor takes them."""
    rig = Rig(nothing)
    for attempt in range(1, 21):
        rig.runner.run(rig.order(attempt=attempt))
    wait_for(partial(rig.keeps, 20))
    rig.news.get(timeout=PATIENCE)
    assert rig.news.empty()
    assert sum(len(batch) for batch in rig.runner.unsent()) == 20


@pytest.mark.parametrize("is_async", [False, True])
def test_short_steps_that_were_ordered_together_are_reported_together(is_async: bool) -> None:
    """The actor that gave them out waits a moment for all of them, and is not woken for any (P12)."""
    rig = Rig(nothing_async if is_async else nothing)
    rig.play(rig.order(saga_id="first"))  # makes the thread

    def reported_together() -> bool:
        rig.runner.run(*(rig.order(attempt=attempt, epoch=next(epochs)) for attempt in range(1, 33)))
        rig.runner.gather()
        together = [len(batch) for batch in rig.runner.unsent()] == [32]
        wait_for(lambda: not rig.runner.inventory(1)[0])  # type: ignore[index]
        rig.runner.unsent()
        return together

    epochs = itertools.count(1)
    wait_for(reported_together)


def test_a_long_step_is_not_waited_for(gate: threading.Event) -> None:
    """The wait ends without it, and its report wakes the actor when it comes (P11)."""
    rig = Rig(lambda context: gate.wait(PATIENCE) and None if context else None)
    rig.runner.run(rig.order({"hangs": True}, saga_id="long"), rig.order(saga_id="short"))
    rig.runner.gather()
    rig.posted.extend(posted for batch in rig.runner.unsent() for posted in batch)
    assert rig.take_posted().saga_id == "short"
    gate.set()
    assert rig.take_posted().saga_id == "long"


# One executor.


def test_an_attempt_that_is_held_is_not_run_again(gate: threading.Event) -> None:
    """Neither while it runs, nor while it is given up, nor while its report is not stored (P6)."""
    calls: list[int] = []

    def charge(_: dict[str, Any]) -> None:
        calls.append(1)
        gate.wait(PATIENCE)

    rig = Rig(charge)
    order = rig.order(timeout=0.05)
    rig.runner.run(order)
    rig.runner.run(order)
    late = rig.take_posted()
    rig.runner.stored([late.serial])
    rig.runner.run(order)
    gate.set()
    assert isinstance(rig.take(), Succeeded)
    rig.runner.run(order)
    rig.runner.stored([late.serial + 1])
    assert calls == [1]
    assert rig.runner.inventory(1) == ((), ())


def test_an_older_epoch_is_refused() -> None:
    """Once epoch 2 is heard of, by an order, an inventory or a load, nobody runs anything under epoch 1 (P8)."""
    hearings: list[Callable[[Runner], object]] = [
        lambda runner: runner.take(ToWorker(2, 1)),
        lambda runner: runner.inventory(2),
        lambda runner: runner.admits(2),
    ]
    for hear in hearings:
        rig = Rig(nothing)
        assert rig.runner.accept(ToWorker(1, 1))
        assert hear(rig.runner)
        assert not rig.runner.take(ToWorker(1, 2, (rig.order(),)))
        assert not rig.runner.accept(ToWorker(1, 2))
        assert rig.runner.inventory(1) is None
        assert not rig.runner.admits(1)
        assert rig.runner.inventory(2) == ((), ())


def test_receipts_of_an_older_epoch_are_refused() -> None:
    """A deposed supervisor cannot have a report forgotten (P8)."""
    rig = Rig(nothing)
    posted = rig.post(rig.order())
    rig.runner.inventory(2)
    rig.runner.take(ToWorker(1, 1, stored=(posted.serial,)))
    assert rig.runner.waits
    rig.runner.take(ToWorker(2, 1, stored=(posted.serial,)))
    assert not rig.runner.waits


def test_a_message_that_was_had_is_dropped_but_its_receipts_count() -> None:
    """A message sent twice runs nothing twice (P8); forgetting twice harms nobody."""
    rig = Rig(nothing)
    message = ToWorker(1, 1, (rig.order(),))
    assert rig.runner.take(message)
    posted = rig.take_posted()
    assert rig.runner.take(attrs.evolve(message, stored=(posted.serial,)))
    assert rig.runner.inventory(1) == ((), ())


def test_received_is_what_has_come_without_a_gap() -> None:
    """The watermark waits for the missing one, and a new epoch starts anew (P8)."""
    runner = Rig(nothing).runner
    seen = []
    for number in (1, 3, 4, 3, 2, 2, 5):
        runner.accept(ToWorker(1, number))
        seen.append(runner.received)
    assert seen == [1, 1, 1, 1, 4, 4, 5]
    assert runner.accept(ToWorker(2, 1))
    assert (runner.epoch, runner.received) == (2, 1)


def test_an_inventory_has_what_runs_and_what_is_not_stored(gate: threading.Event) -> None:
    """A new supervisor hears of every attempt that is here, given-up ones twice (P1)."""
    rig = Rig(lambda context: gate.wait(PATIENCE) and None if context else None)
    rig.play(rig.order(saga_id="ended"))
    rig.runner.run(rig.order({"hangs": True}, saga_id="running"))
    rig.fails(rig.order({"hangs": True}, saga_id="late", timeout=0.01))
    held = rig.runner.inventory(7)
    assert held
    running, reports = held
    assert {key.saga_id for key in running} == {"running", "late"}
    assert [(posted.serial, posted.saga_id) for posted in reports] == [(1, "ended"), (2, "late")]


def test_a_big_inventory_is_told_in_parts() -> None:
    """Reports beyond one batch count as running in the inventory, and follow it (P12)."""
    rig = Rig(lambda context: {"filler": "x" * BATCH_BYTES})
    for attempt in (1, 2):
        rig.play(rig.order(attempt=attempt))
    assert rig.runner.unsent() == []
    held = rig.runner.inventory(2)
    assert held
    assert [key.attempt for key in held[0]] == [2]
    assert [posted.serial for posted in held[1]] == [1]
    assert [[posted.serial for posted in batch] for batch in rig.runner.unsent()] == [[2]]


@pytest.mark.parametrize(("saga", "name"), [("other", "charge"), ("shop", "ship")])
def test_what_is_not_loaded_here_never_begins(saga: str, name: str) -> None:
    """A worker that was sent to by mistake says so, and the attempt is run again elsewhere (P6)."""
    rig = Rig(nothing)
    report = rig.fails(attrs.evolve(rig.order(step=name), saga=saga))
    assert report.ending is Ending.UNBEGUN
    assert (saga if saga == "other" else "'ship'") in report.fault.reason


def test_a_mistake_of_our_own_ends_the_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An attempt is never lost without a word: its worker dies, and it counts as interrupted (P1)."""
    rig = Rig(nothing)
    monkeypatch.setattr(rig.runner, "_end", raising(RuntimeError("a bug")))
    rig.runner.run(rig.order())
    assert rig.deaths.get(timeout=PATIENCE)
    assert "kills itself" in caplog.text
