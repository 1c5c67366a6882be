"""The runner of a worker: real threads and a real loop, and a `die` that only takes notes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any

import attrs
import pytest

from saga_actors.actors.outbox import BATCH_BYTES, RESEND
from saga_actors.actors.protocol import AttemptKey, Order, Posted, ToWorker
from saga_actors.actors.runner import Runner
from saga_actors.definition import Definition, step
from saga_actors.errors import Abort, OutcomeUnknown
from saga_actors.events import Ending, Phase, WorkerId
from saga_actors.inputs import Failed, Quieted, Report, Succeeded
from saga_actors.journal.codec import decode_context, encode_context
from saga_actors.retry import Retry
from saga_actors.step_context import StepContext, current_step, idempotency_key

PATIENCE = 10.0
WORKER = WorkerId(number=1, pid=100, started=1.0)
FOREVER = 1_000.0


class Clock:
    """A monotonic clock that the test sets forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A runner with one saga of one step, and what it has reported."""

    def __init__(self, execute: Callable[..., Any], undo: Callable[..., Any] | None = None, **options: Any) -> None:
        self.runner_options = {name: options.pop(name) for name in ("grace", "threads", "limit") if name in options}
        self.context_type = options.pop("context_type", dict)
        self.step = attrs.evolve(step(execute, compensate=undo, **options), name="charge")
        self.definition = Definition("shop", self.context_type, (self.step,))
        self.clock: Callable[[], float] = time.monotonic
        self.deaths: SimpleQueue[float] = SimpleQueue()
        self.news: SimpleQueue[None] = SimpleQueue()
        self.posted: deque[Posted] = deque()
        self._runner: Runner | None = None

    @property
    def runner(self) -> Runner:
        if self._runner is None:
            self._runner = Runner(
                WORKER,
                wake=lambda: self.news.put(None),
                find=lambda saga: self.definition if saga == "shop" else None,
                die=lambda: self.deaths.put(time.monotonic()),
                clock=self.clock,
                **self.runner_options,
            )
        return self._runner

    def order(self, context: Any = None, saga_id: str = "s1", timeout: float = FOREVER, **key: Any) -> Order:
        outcome = key.pop("outcome", None)
        whole = {"phase": Phase.EXECUTE, "step": "charge", "attempt": 1, "epoch": 1, **key}
        data = encode_context({} if context is None else context, self.context_type)
        return Order(AttemptKey(saga_id, **whole), "shop", data, timeout, outcome)

    def undo(self, context: Any = None, **more: Any) -> Order:
        return self.order(context, phase=Phase.COMPENSATE, outcome=more.pop("outcome", "completed"), **more)

    def take_posted(self) -> Posted:
        """The next report, in the order of serials."""
        while not self.posted:
            self.news.get(timeout=PATIENCE)
            self.posted.extend(posted for batch in self.runner.unsent() for posted in batch)
        return self.posted.popleft()

    def take(self) -> Report:
        return self.take_posted().report

    def failure(self) -> Failed:
        report = self.take()
        assert isinstance(report, Failed), report
        return report

    def success(self) -> Succeeded:
        report = self.take()
        assert isinstance(report, Succeeded), report
        return report

    def play(self, order: Order | None = None) -> Report:
        self.runner.run(order or self.order())
        return self.take()

    def fails(self, order: Order | None = None) -> Failed:
        self.runner.run(order or self.order())
        return self.failure()

    def all_unstored(self) -> Any:
        held = self.runner.inventory(self.runner.epoch)
        assert held is not None
        return held[1]

    def outlives(self, seconds: float) -> bool:
        """Whether it does not kill itself within so many seconds."""
        try:
            self.deaths.get(timeout=seconds)
        except Empty:
            return True
        return False


def wait_for(claim: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.001)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging steps wait for; open at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def nothing(_: dict[str, Any]) -> None:
    return None


async def nothing_async(_: dict[str, Any]) -> None:
    return None


def raising(error: BaseException) -> Callable[[Any], None]:
    def fail(_: Any) -> None:
        raise error

    return fail


def returning(result: Any) -> Callable[[Any], Any]:
    return lambda _: result


@attrs.frozen
class Parcel:
    weight: int


# What comes out of a step.


def test_a_step_that_returns_none_leaves_the_context_unchanged() -> None:
    """None is reported as no new context, whether the step is blocking or async."""
    assert Rig(nothing).play() == Succeeded(Phase.EXECUTE, "charge", 1, 1, None)
    assert Rig(nothing_async).play() == Succeeded(Phase.EXECUTE, "charge", 1, 1, None)


def test_what_a_step_returns_is_merged_into_the_whole_context() -> None:
    """The report has the saga's whole context, old keys included."""
    rig = Rig(returning({"charge_id": "c1"}))
    rig.runner.run(rig.order({"total": 5}))
    assert decode_context(rig.success().context or b"", dict) == {"total": 5, "charge_id": "c1"}


def test_an_attrs_context_is_given_as_an_instance_and_replaced_by_one() -> None:
    """The step works on its own class, not on a dict."""
    rig = Rig(lambda parcel: attrs.evolve(parcel, weight=parcel.weight + 1), context_type=Parcel)
    rig.runner.run(rig.order(Parcel(1)))
    assert decode_context(rig.success().context or b"", Parcel) == Parcel(2)


def test_an_async_step_may_await() -> None:
    """Async steps run on a loop, and what they return counts like any other result."""

    async def charge(_: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"charge_id": "c1"}

    rig = Rig(charge)
    rig.runner.run(rig.order())
    assert decode_context(rig.success().context or b"", dict) == {"charge_id": "c1"}


def test_a_plain_function_may_return_an_awaitable() -> None:
    """A lambda around an async function is waited for, as the same attempt."""

    async def charge(_: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"attempt": current_step().attempt}

    rig = Rig(lambda context: charge(context))
    rig.runner.run(rig.order(attempt=3))
    assert decode_context(rig.success().context or b"", dict) == {"attempt": 3}


@pytest.mark.parametrize(
    ("result", "told"),
    [(5, "step 'charge' returned int"), ({"at": object()}, "result of step 'charge': at is object")],
)
def test_a_result_that_is_no_context_fails_for_good(result: Any, told: str) -> None:
    """The reason has the step and the path, and no retry would help."""
    report = Rig(returning(result)).fails()
    assert (report.ending, report.fault.retryable) == (Ending.FAILED, False)
    assert told in report.fault.reason


def test_a_result_above_the_limit_fails_for_good() -> None:
    """A context is bounded where it is made (P12)."""
    report = Rig(returning({"big": "x" * 200}), limit=100).fails()
    assert not report.fault.retryable
    assert "the limit is 100" in report.fault.reason


def test_a_context_changed_in_place_is_not_lost_silently() -> None:
    """Changing the context and returning None fails with what to do."""

    def charge(context: dict[str, Any]) -> None:
        context["charge_id"] = "c1"

    report = Rig(charge).fails()
    assert not report.fault.retryable
    assert "return the changes" in report.fault.reason


def test_a_context_that_cannot_be_read_fails_for_good() -> None:
    """Bytes of another type fail the attempt, with the step's name."""
    rig = Rig(nothing, context_type=Parcel)
    report = rig.fails(attrs.evolve(rig.order(Parcel(1)), context=b"{}"))
    assert (report.ending, report.fault.retryable) == (Ending.FAILED, False)
    assert report.fault.reason.startswith("step 'charge': stored context")


def test_a_mapping_that_raises_while_it_is_read_fails_for_good() -> None:
    """A result may be of a class of the user's own; its errors fail the attempt and nothing else."""

    class Broken(dict[str, Any]):
        def __iter__(self) -> Iterator[str]:
            raise RuntimeError("no")

        keys = __iter__  # type: ignore[assignment]

    report = Rig(returning(Broken(a=1))).fails()
    assert not report.fault.retryable
    assert "step 'charge'" in report.fault.reason


def test_a_compensation_returns_none() -> None:
    """Anything else is refused for good."""
    rig = Rig(nothing, returning({"refunded": True}))
    report = rig.fails(rig.undo())
    assert (report.phase, report.ending, report.fault.retryable) == (Phase.COMPENSATE, Ending.FAILED, False)
    assert "a compensation returns None" in report.fault.reason


def test_a_compensation_may_use_up_its_context() -> None:
    """What an undo does to its context in place harms nobody, and does not fail it."""
    rig = Rig(nothing, lambda context: context.clear())
    assert rig.play(rig.undo({"charge_id": "c1"})) == Succeeded(Phase.COMPENSATE, "charge", 1, 1, None)


# How a step fails.


def test_an_abort_is_told_word_for_word_and_not_retried() -> None:
    """`Abort` fails the attempt for good, with its own reason."""
    fault = Rig(raising(Abort("card declined: no funds")), retries=3).fails().fault
    assert (fault.reason, fault.error_type, fault.retryable) == (
        "card declined: no funds",
        "saga_actors.errors.Abort",
        False,
    )


@pytest.mark.parametrize("error", [OutcomeUnknown("no answer"), TimeoutError("read timeout")])
def test_an_unknown_outcome_is_not_called_failed(error: Exception) -> None:
    """What the step calls unknown, or its `unknown_on`, is reported so, and may be retried (P7)."""
    report = Rig(raising(error), unknown_on=TimeoutError, retries=Retry(1, on=(KeyError,))).fails()
    assert (report.ending, report.fault.reason, report.fault.retryable) == (Ending.UNKNOWN, str(error), True)


@pytest.mark.parametrize("error", [OutcomeUnknown("no answer"), TimeoutError("read timeout")])
def test_an_unknown_outcome_of_a_compensation_is_a_failure_to_retry(error: Exception) -> None:
    """There is nothing to undo about an undo: it is tried again with the same key."""
    rig = Rig(nothing, raising(error), unknown_on=TimeoutError, compensate_retries=Retry(1, on=(KeyError,)))
    report = rig.fails(rig.undo())
    assert (report.ending, report.fault.retryable) == (Ending.FAILED, True)


@pytest.mark.parametrize(("error", "retryable"), [(KeyError("x"), False), (ConnectionResetError("gone"), True)])
def test_only_errors_of_retry_on_are_retryable(error: Exception, retryable: bool) -> None:
    """`Retry(on=…)` of the phase decides, subclasses included."""
    rig = Rig(
        raising(error),
        raising(error),
        retries=Retry(1, on=(ConnectionError,)),
        compensate_retries=Retry(1, on=(KeyError,)),
    )
    assert rig.fails().fault.retryable is retryable
    assert rig.fails(rig.undo()).fault.retryable is not retryable


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
@pytest.mark.parametrize("is_async", [False, True])
def test_no_exception_ends_the_worker(error: BaseException, is_async: bool) -> None:
    """Even what would end an interpreter only fails its attempt, and the next one runs."""

    async def leave(_: dict[str, Any]) -> None:
        raise error

    rig = Rig(leave if is_async else raising(error))
    report = rig.fails()
    assert (report.ending, report.fault.error_type, report.fault.retryable) == (
        Ending.FAILED,
        type(error).__name__,
        True,
    )
    assert rig.fails(rig.order(attempt=2)).attempt == 2


def test_a_cancellation_that_is_not_ours_is_unknown() -> None:
    """A task that was cancelled from within may have been anywhere (P7)."""

    async def cancelled(_: dict[str, Any]) -> None:
        raise asyncio.CancelledError

    async def cancels_itself(_: dict[str, Any]) -> None:
        task = asyncio.current_task()
        assert task
        task.cancel()
        await asyncio.sleep(FOREVER)

    for code in (cancelled, cancels_itself, raising(asyncio.CancelledError())):
        report = Rig(code).fails()
        assert (report.ending, report.fault.reason) == (Ending.UNKNOWN, "CancelledError")


def test_the_loop_survives_an_exit_in_a_task_left_behind() -> None:
    """A SystemExit where nobody waits for it stops the loop, which goes on."""

    async def leaves(_: dict[str, Any]) -> None:
        async def exits() -> None:
            raise SystemExit

        task = asyncio.create_task(exits())
        await asyncio.wait([task])
        task.exception()

    rig = Rig(leaves)
    assert isinstance(rig.play(), Succeeded)
    assert isinstance(rig.play(rig.order(attempt=2)), Succeeded)


def test_a_traceback_shows_the_users_frames_only() -> None:
    """What is above the step's own code helps nobody, and what is behind it is kept."""

    def charge(_: dict[str, Any]) -> None:
        try:
            {}["nothing"]
        except KeyError as error:
            raise ValueError("no such thing") from error

    fault = Rig(charge).fails().fault
    assert fault.error_type == "ValueError"
    assert fault.traceback
    assert "in charge" in fault.traceback
    assert "KeyError: 'nothing'" in fault.traceback
    assert "saga_actors/actors" not in fault.traceback


def test_reasons_and_tracebacks_are_bounded() -> None:
    """A fault is at most 10 kB, and says where it was cut (P12)."""
    fault = Rig(raising(ValueError("é" * 50_000))).fails().fault
    assert fault.traceback
    assert len(fault.reason.encode()) <= 2_000
    assert len(fault.traceback.encode()) <= 8_000
    assert "[cut]" in fault.reason
    assert fault.traceback.startswith("Traceback")


def test_a_reason_can_be_stored_whatever_it_is() -> None:
    """Lone surrogates, an empty text, and an exception that cannot be shown all come to text."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    def reason(error: Exception) -> str:
        fault = Rig(raising(error)).fails().fault
        assert (fault.reason + (fault.traceback or "")).encode()
        return fault.reason

    assert reason(ValueError("a\udc80")) == "a\\udc80"
    assert reason(ValueError()) == "ValueError"
    assert reason(Mute()).endswith("Mute")


# What a step sees.


@pytest.mark.parametrize("is_async", [False, True])
def test_a_step_sees_its_attempt(is_async: bool) -> None:
    """`current_step()` answers in threads and on the loop, with the key of the effect (P6)."""
    seen: list[StepContext] = []

    async def look(_: dict[str, Any]) -> None:
        seen.append(current_step())

    rig = Rig(look if is_async else lambda _: seen.append(current_step()))
    before = datetime.now(UTC)
    rig.play(rig.order(timeout=60, attempt=2))
    (step_context,) = seen
    assert step_context.deadline.tzinfo is UTC
    assert 60 <= (step_context.deadline - before).total_seconds() <= 60 + PATIENCE
    assert (step_context.saga_id, step_context.saga, step_context.step, step_context.attempt) == (
        "s1",
        "shop",
        "charge",
        2,
    )
    assert step_context.idempotency_key == idempotency_key("s1", "charge", Phase.EXECUTE)
    assert (step_context.phase, step_context.undoes_key, step_context.outcome) == (Phase.EXECUTE, None, None)


def test_a_compensation_sees_the_key_and_the_outcome_of_its_step() -> None:
    """It can undo by the step's key when nobody knows whether the step happened (P7)."""
    seen: list[StepContext] = []
    rig = Rig(nothing, lambda _: seen.append(current_step()))
    rig.play(rig.undo(outcome="unknown"))
    assert seen[0].idempotency_key == idempotency_key("s1", "charge", Phase.COMPENSATE)
    assert seen[0].undoes_key == idempotency_key("s1", "charge", Phase.EXECUTE)
    assert (seen[0].phase, seen[0].outcome) == (Phase.COMPENSATE, "unknown")


def test_steps_run_on_named_daemon_threads_that_are_used_again() -> None:
    """An idle thread takes the next step; none keeps the process alive."""
    seen: list[threading.Thread] = []
    rig = Rig(lambda _: seen.append(threading.current_thread()), threads=1)
    rig.play()
    rig.play(rig.order(attempt=2))
    assert seen[0] is seen[1]
    assert seen[0].daemon
    assert seen[0].name == "saga_actors-step-1"


def test_blocking_steps_run_side_by_side_up_to_the_limit(gate: threading.Event) -> None:
    """As many as there are threads run at once; one more waits, and its time does not run meanwhile."""
    running = threading.Semaphore(0)

    def charge(_: dict[str, Any]) -> None:
        running.release()
        gate.wait(PATIENCE)

    rig = Rig(charge, threads=2)
    rig.runner.run(rig.order(saga_id="s1"))
    rig.runner.run(rig.order(saga_id="s2"))
    assert running.acquire(timeout=PATIENCE)
    assert running.acquire(timeout=PATIENCE)
    rig.runner.run(rig.order(saga_id="s3", timeout=0.001))
    assert not running.acquire(timeout=0.05)
    assert not rig.runner.unsent()
    gate.set()
    reports = {rig.take_posted().saga_id for _ in range(3)}
    assert reports == {"s1", "s2", "s3"}


# Timeouts.


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
    rig.news.get(timeout=PATIENCE)
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


# Reports are kept until they are stored.


def test_reports_have_serials_and_are_sent_again_until_they_are_stored() -> None:
    """A report lost on its way comes again after a second, and no more once it is stored."""
    rig = Rig(nothing)
    rig.clock = clock = Clock()
    serials = [rig.take_posted().serial for attempt in (1, 2, 3) if rig.runner.run(rig.order(attempt=attempt)) is None]
    assert serials == [1, 2, 3]
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
        wait_for(lambda seen=attempt: rig.runner.waits and kept(rig) == seen)
    batches = rig.runner.unsent()
    assert [[posted.serial for posted in batch] for batch in batches] == [[1, 2], [3], [4], [5]]


def kept(rig: Rig) -> int:
    return len(rig.runner._outbox)


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
    wait_for(lambda: kept(rig) == 20)
    rig.news.get(timeout=PATIENCE)
    assert rig.news.empty()
    assert sum(len(batch) for batch in rig.runner.unsent()) == 20


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
    for hear in (
        lambda runner: runner.take(ToWorker(2, 1)),
        lambda runner: runner.inventory(2),
        lambda runner: runner.admits(2),
    ):
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
    posted = rig.take_posted() if rig.runner.run(rig.order()) is None else None
    assert posted
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
    assert report.ending is Ending.INTERRUPTED
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
