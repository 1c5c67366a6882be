"""What becomes of an attempt: results, failures, and what a step sees of itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from runner_rig import FOREVER, PATIENCE, Rig, nothing, nothing_async, raising, returning

from saga_actors.errors import Abort, OutcomeUnknown
from saga_actors.events import Ending, Phase
from saga_actors.inputs import Succeeded
from saga_actors.journal.codec import decode_context
from saga_actors.retry import Retry
from saga_actors.step_context import StepContext, current_step, idempotency_key


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging steps wait for; open at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


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
    """The reason has the step and the path, and no retry would help; but the code has run, and had its effect (P7)."""
    report = Rig(returning(result)).fails()
    assert (report.ending, report.fault.retryable) == (Ending.UNUSABLE, False)
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
    assert (report.ending, report.fault.retryable) == (Ending.UNUSABLE, False)
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


def test_another_definition_of_a_saga_is_heeded_at_once() -> None:
    """What the runner remembers of a step is of the definition that it found, and of no other."""
    rig = Rig(returning({"by": "old"}))
    rig.play()
    rig.definition = Rig(returning({"by": "new"})).definition
    rig.runner.run(rig.order(attempt=2))
    assert decode_context(rig.success().context or b"", dict) == {"by": "new"}


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
            empty: dict[str, str] = {}
            empty["nothing"]
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
    assert step_context.idempotency_key == idempotency_key("shop", "s1", "charge", Phase.EXECUTE)
    assert (step_context.phase, step_context.undoes_key, step_context.outcome) == (Phase.EXECUTE, None, None)


def test_a_compensation_sees_the_key_and_the_outcome_of_its_step() -> None:
    """It can undo by the step's key when nobody knows whether the step happened (P7)."""
    seen: list[StepContext] = []
    rig = Rig(nothing, lambda _: seen.append(current_step()))
    rig.play(rig.undo(outcome="unknown"))
    assert seen[0].idempotency_key == idempotency_key("shop", "s1", "charge", Phase.COMPENSATE)
    assert seen[0].undoes_key == idempotency_key("shop", "s1", "charge", Phase.EXECUTE)
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
