"""Runs attempts, and says what became of them; it decides nothing about sagas.

User code runs on threads, or on the thread of one event loop, and nowhere else; the clock that times it out is on a
thread of its own. An attempt has one first report, and one last one if the first was that it timed out.

What timed out and is not quiet is *given up*. A thread is given up at once, for it cannot be stopped; a task is
cancelled first, and given up if it has not heeded that a moment later. While anything is given up the worker is
*retiring*: its supervisor gives it nothing more (what is already on its way is still run, for the journal says that it
was begun here). When all that was given up is quiet, the retirement is off; if it is not within `grace`, the worker
kills itself, and with it whatever it runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from saga_actors.actors.attempt import Attempt, Side
from saga_actors.actors.clock import Clock
from saga_actors.actors.fence import Fence
from saga_actors.actors.gathering import Gathering
from saga_actors.actors.kill_points import AFTER, BEFORE, passing
from saga_actors.actors.outbox import Batch, Outbox
from saga_actors.actors.protocol import AttemptKey, Order, ToWorker
from saga_actors.actors.threads import LoopThread, Threads, log
from saga_actors.actors.timers import Timer, Timers
from saga_actors.definition import Definition, saga_named
from saga_actors.errors import DefinitionError
from saga_actors.events import Ending, Fault, Phase, WorkerId
from saga_actors.inputs import Failed, Report, Succeeded
from saga_actors.journal.codec import DEFAULT_LIMIT
from saga_actors.step_context import begin_step

GRACE = 5.0
"""Seconds for which an attempt that timed out may still run before its worker is killed."""

HEED = 1.0
"""Seconds (a fifth of the grace, if that is less) after which a task that was cancelled and goes on is given up."""


def die() -> None:
    """Kill this process, with everything that its steps have started if it leads a process group."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def definition_of(saga: str) -> Definition | None:
    """The definition of a saga that this process has imported."""
    cls = saga_named(saga)
    return None if cls is None else cls.definition


class Runner:
    """The attempts of one worker. `wake` is called, from any thread, when there is something new to send.

    All times are in seconds.
    """

    def __init__(
        self,
        worker: WorkerId,
        *,
        wake: Callable[[], None],
        threads: int = 32,
        grace: float = GRACE,
        limit: int = DEFAULT_LIMIT,
        find: Callable[[str], Definition | None] = definition_of,
        die: Callable[[], None] = die,
        clock: Clock | None = None,
    ) -> None:
        self.worker = worker
        self._wake = wake
        self._grace = grace
        self._limit = limit
        self._find = find
        self._die = die
        clock = clock or Clock.of(None)
        self._clock, self._now = clock.monotonic, clock.now
        self._sides: dict[tuple[str, str, Phase], Side] = {}
        self._threads = Threads(threads, self._run_on_thread)
        self._loop = LoopThread()
        self._timers = Timers(clock.monotonic, clock.longest_wait)
        self._lock = threading.Lock()  # over all that follows, and what attempts say belongs to the runner
        self._fence = Fence()
        self._running: dict[AttemptKey, Attempt] = {}
        self._given_up: set[AttemptKey] = set()
        self._outbox = Outbox()
        self._gathering = Gathering()
        self._woken = False
        self._late_news = False

    # What the supervisor says. All of this returns at once.

    def take(self, message: ToWorker) -> bool:
        """Run the orders and forget the stored reports of a message; False if its epoch is an older one (P8)."""
        with self._lock:
            if not self._fence.admits(message.epoch):
                return False
            self._outbox.stored(message.stored)
            accepted = self._fence.accept(message.epoch, message.number)
        if accepted and message.orders:
            self.run(*message.orders)
        return True

    def admits(self, epoch: int) -> bool:
        """Whether this epoch is obeyed; from now on no older one is."""
        with self._lock:
            return self._fence.admits(epoch)

    def accept(self, message: ToWorker) -> bool:
        """Whether this message is of the highest epoch heard of, and was not had before."""
        with self._lock:
            return self._fence.accept(message.epoch, message.number)

    def run(self, *orders: Order) -> None:
        """Run these attempts, but those that are held: still running, or reported and not stored."""
        with self._lock:
            new = {o.key: o for o in orders if not (o.key in self._running or self._outbox.holds(o.key))}
        attempts = {key: attempt for key, order in new.items() if (attempt := self._attempt(order)) is not None}
        with self._lock:
            self._running.update(attempts)
            self._gathering.began(attempts)
        blocking = [attempt for attempt in attempts.values() if not attempt.is_async]
        if blocking:
            self._threads.submit(blocking)
        if len(blocking) < len(attempts):
            self._loop.call(partial(self._or_die, self._start_tasks, [*attempts.values()]))

    def stored(self, serials: Iterable[int]) -> None:
        """These reports are in the journal."""
        with self._lock:
            self._outbox.stored(serials)

    # What the supervisor is told.

    @property
    def epoch(self) -> int:
        """The highest epoch heard of; 0 before the first."""
        return self._fence.epoch

    @property
    def received(self) -> int:
        """All messages of this epoch up to this number have come."""
        return self._fence.received

    @property
    def retiring(self) -> bool:
        """Whether an attempt was given up and is not quiet; the supervisor then gives no orders."""
        return bool(self._given_up)

    @property
    def waits(self) -> bool:
        """Whether a report is not known to be stored."""
        return bool(len(self._outbox))

    def gather(self) -> None:
        """Wait a moment for the reports of what was run last, and wake nobody for them; then ask for what is `unsent`.

        Short steps that were ordered together are so reported together, and long ones are not waited for.
        """
        self._gathering.waits = True
        self._gathering.wait()
        self._gathering.waits = False

    @property
    def has_late_news(self) -> bool:
        """Whether a report is new that an attempt was not over in time: its saga is to know at once."""
        return self._late_news

    def unsent(self) -> list[Batch]:
        """The reports that were never handed out, in batches."""
        with self._lock:
            self._woken = self._late_news = False
            return self._outbox.unsent(self._clock())

    def due_again(self, *, one: bool = False) -> list[Batch]:
        """What was handed out at least a second ago and is not stored; with `one`, the first batch of it."""
        with self._lock:
            return self._outbox.due_again(self._clock(), one=one)

    def inventory(self, epoch: int) -> tuple[tuple[AttemptKey, ...], Batch] | None:
        """All attempts held here: those that run, and reports not stored; None if the epoch is an older one (P8).

        Reports beyond one batch are handed out by `unsent` afterwards, and meanwhile count as running.
        """
        with self._lock:
            if not self._fence.admits(epoch):
                return None
            reports, others = self._outbox.inventory(self._clock())
            return tuple(self._running.keys() | others), reports

    # How an attempt runs.

    def _attempt(self, order: Order) -> Attempt | None:
        """The attempt for this order; None if there cannot be one here, which is then reported."""
        definition = self._find(order.saga)
        if definition is None:
            self._refuse(order.key, f"worker {self.worker.number} has not loaded the saga {order.saga}")
            return None
        try:
            side = self._side(order, definition)
        except DefinitionError as error:
            self._refuse(order.key, str(error))
            return None
        return Attempt(order, side, self._limit, side.is_async)

    def _side(self, order: Order, definition: Definition) -> Side:
        name = (order.saga, order.key.step, order.key.phase)
        side = self._sides.get(name)
        if side is None or side.definition is not definition:
            side = self._sides[name] = Side.of(definition, order.key.step, order.key.phase)
        return side

    def _refuse(self, key: AttemptKey, why: str) -> None:
        """It never began: that is the machinery's fault and not the step's, so it is to be run again."""
        report = Failed(key.phase, key.step, key.attempt, key.epoch, Ending.UNBEGUN, Fault(why))
        with self._lock:
            wakes = self._keep(key, report)
        self._wake_if(wakes)

    def _run_on_thread(self, attempt: Attempt) -> None:
        try:
            self._call_or_fail(attempt)
        except BaseException:
            self._perish()

    def _call_or_fail(self, attempt: Attempt) -> None:
        report: Report | None
        try:
            report = contextvars.copy_context().run(self._call, attempt)
        except BaseException as error:  # SystemExit too: it would end this thread, and nobody would hear of the attempt
            report = attempt.failed(error)
        if report is not None:
            self._end(attempt, report)

    def _call(self, attempt: Attempt) -> Report | None:
        """Call a blocking function; None if it gave an awaitable, which is then waited for on the loop."""
        context = attempt.context()
        self._begin(attempt)
        result = attempt.side.code(context)
        if result is not None and type(result) is not dict and inspect.isawaitable(result):
            self._hand_over(attempt, context, result)
            return None
        return attempt.succeeded(context, result)

    def _hand_over(self, attempt: Attempt, context: Any, result: Awaitable[Any]) -> None:
        with self._lock:
            attempt.is_async = not attempt.late
        if attempt.late:
            if inspect.iscoroutine(result):
                result.close()
            raise asyncio.CancelledError
        self._loop.call(partial(self._or_die, self._start_task, attempt, self._wait(attempt, context, result)))

    def _start_tasks(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            if attempt.side.is_async:
                self._start_task(attempt, self._call_async(attempt))

    def _start_task(self, attempt: Attempt, coroutine: Coroutine[Any, Any, Report]) -> None:
        attempt.task = asyncio.get_running_loop().create_task(coroutine)
        attempt.task.add_done_callback(partial(self._or_die, self._end_task, attempt))

    async def _call_async(self, attempt: Attempt) -> Report:
        try:
            context = attempt.context()
            self._begin(attempt)
            return attempt.succeeded(context, await attempt.side.code(context))
        except BaseException as error:
            return attempt.failed(error)

    async def _wait(self, attempt: Attempt, context: Any, result: Awaitable[Any]) -> Report:
        try:
            return attempt.succeeded(context, await result)
        except BaseException as error:
            return attempt.failed(error)

    def _end_task(self, attempt: Attempt, task: asyncio.Task[Report]) -> None:
        cancelled_unbegun = task.cancelled()
        self._end(attempt, attempt.failed(asyncio.CancelledError()) if cancelled_unbegun else task.result())

    # The time of an attempt.

    def _begin(self, attempt: Attempt) -> None:
        """Its code begins now, in the `contextvars.Context` or the task of the caller."""
        begin_step(attempt.step_context(self._now()))
        attempt.thread = threading.get_ident()
        attempt.timers = (self._after(attempt.order.timeout, self._time_out, attempt),)
        passing(BEFORE, "effect-call", attempt.key.phase)

    def _end(self, attempt: Attempt, report: Report) -> None:
        """It is quiet."""
        passing(BEFORE, "effect-return", attempt.key.phase)
        with self._lock:
            attempt.ended = True
            del self._running[attempt.key]
            self._given_up.discard(attempt.key)
            self._gathering.ended(attempt.key)
            late_failure = attempt.late and not isinstance(report, Succeeded)
            wakes = self._keep(attempt.key, attempt.quieted() if late_failure else report)
            passing(AFTER, "effect-return", attempt.key.phase)
        for timer in attempt.timers:
            self._timers.cancel(timer)
        self._wake_if(wakes)

    def _time_out(self, attempt: Attempt) -> None:
        with self._lock:
            if attempt.ended:
                return
            attempt.late = self._late_news = True
            attempt.timers = (self._after(self._grace, self._kill, attempt),)
            if attempt.is_async:
                attempt.timers += (self._after(min(HEED, self._grace / 5), self._give_up, attempt),)
            else:
                self._given_up.add(attempt.key)
            self._woken = False  # an actor that came for other news may be keeping them back, and comes again for this
            wakes = self._keep(attempt.key, attempt.timed_out())
        if attempt.is_async:
            self._loop.call(partial(self._or_die, self._cancel, attempt))
        self._wake_if(wakes)

    def _cancel(self, attempt: Attempt) -> None:
        if attempt.task is not None:
            attempt.task.cancel()

    def _give_up(self, attempt: Attempt) -> None:
        """The task has not heeded that it was cancelled."""
        with self._lock:
            if attempt.ended:
                return
            self._given_up.add(attempt.key)
            self._woken = False
            wakes = self._is_first()
        self._wake_if(wakes)

    def _kill(self, attempt: Attempt) -> None:
        with self._lock:
            if attempt.ended:
                return
        stack = sys._current_frames().get(attempt.thread or 0)
        log().critical(
            "worker %d is killed: step %r of saga %r timed out %g s ago and still runs\n%s",
            self.worker.number,
            attempt.key.step,
            attempt.key.saga_id,
            self._grace,
            "".join(traceback.format_stack(stack)) if stack else "",
        )
        self._die()

    # How it is told.

    def _keep(self, key: AttemptKey, report: Report) -> bool:
        """Under the lock: keep a report; whether the actor must be woken for it."""
        self._outbox.add(key, report)
        return self._is_first()

    def _is_first(self) -> bool:
        """Under the lock: whether this is the first news since the actor last took what there was.

        An actor that gathers needs not be woken: it will take it.
        """
        first, self._woken = not self._woken, True
        return first and not self._gathering.waits

    def _wake_if(self, wakes: bool) -> None:
        if wakes:
            self._wake()

    def _after(self, seconds: float, action: Callable[[Attempt], None], attempt: Attempt) -> Timer:
        return self._timers.after(seconds, partial(self._or_die, action, attempt))

    def _or_die(self, action: Callable[..., None], *args: Any) -> None:
        """Ours are the errors that arrive here: an attempt would be lost without a word, so the worker ends instead."""
        try:
            action(*args)
        except BaseException:
            self._perish()

    def _perish(self) -> None:
        log().critical("worker %d has failed, and kills itself", self.worker.number, exc_info=True)
        self._die()
