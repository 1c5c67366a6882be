"""The worker of a rehearsal: calls the code of steps here and now, or does what a script says."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs

from saga_actors.actors.attempt import Attempt, Side, UnusableError
from saga_actors.actors.fence import Fence
from saga_actors.actors.protocol import (
    FromWorker,
    Inventory,
    Load,
    Loaded,
    Order,
    Posted,
    Source,
    TakeInventory,
    ToWorker,
)
from saga_actors.definition import Saga
from saga_actors.events import Phase, WorkerId
from saga_actors.inputs import Report
from saga_actors.step_context import StepContext, begin_step
from saga_actors.testing.scripts import Act, Course

GRACE = 5.0
"""Seconds for which an attempt that timed out may still run before its worker is killed, as in a node."""


@attrs.frozen
class Call:
    """One call of user code. `context` is what it was given, `key` the idempotency key of its effect."""

    saga_id: str
    step: str
    undo: bool
    attempt: int
    key: str
    context: Any = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"undo of {self.step}" if self.undo else self.step


class Death(Exception):
    """The worker's process is gone."""


class Hand:
    """One worker. `later` is told what happens after so many seconds; `calls` has every call of user code."""

    def __init__(
        self,
        number: int,
        sagas: Mapping[str, type[Saga[Any]]],
        calls: list[Call],
        act_of: Callable[[Order], Act | None],
        witness: Callable[[Call, bool], None],
        clock: Callable[[], float],
    ) -> None:
        self.worker = WorkerId(number, 100 + number, clock())
        self.address = f"worker-{number}"
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.dead = False
        self._sagas, self._calls, self._act_of, self._witness, self._clock = sagas, calls, act_of, witness, clock
        self._fence = Fence()
        self._running: dict[Any, Order] = {}
        self._reports: dict[int, Posted] = {}
        self._given_up: set[Any] = set()
        self._serial = 0
        self._said: list[Any] = []

    def take(self, message: Any) -> list[Any]:
        """One message of the supervisor; what the worker says to it."""
        match message:
            case TakeInventory() if self._fence.admits(message.epoch):
                return [self._inventory()]
            case Load():
                wanted = [source for source in message.sources if source.saga in self._sagas]
                return [self._loaded(wanted)]
            case ToWorker() if self._fence.accept(message.epoch, message.number):
                for serial in message.stored:
                    self._reports.pop(serial, None)
                for order in message.orders:
                    if not self.dead and not self._holds(order):
                        self._run(order)
        return self.news()

    def news(self) -> list[Any]:
        """What there is to say since the last time."""
        said, self._said = self._said, []
        return [] if self.dead else said

    # Running.

    def _run(self, order: Order) -> None:
        self._running[order.key] = order
        act = self._act_of(order) or Act(Course.RETURNS, ran=True)
        side = Side.of(self._sagas[order.saga].definition, order.key.step, order.key.phase)
        attempt = Attempt(order, side)
        report = self._called(attempt) if act.ran else None
        match act.course:
            case Course.RETURNS:
                self._ends(attempt, report or self._returned(attempt, act.value))
            case Course.RAISES:
                assert act.error is not None
                self._ends(attempt, attempt.failed(act.error))
            case Course.DIES:
                self.dead = True
            case course:
                self._after(order.timeout, lambda: self._times_out(attempt, report, course))

    def _called(self, attempt: Attempt) -> Report:
        """Call the code, and say what became of it."""
        key = attempt.key
        try:
            context = attempt.context()
        except UnusableError as unusable:
            return attempt.failed(unusable)
        here = attempt.step_context(self._clock())
        is_undo = key.phase is Phase.COMPENSATE
        call = Call(key.saga_id, key.step, is_undo, key.attempt, here.idempotency_key, attempt.context())
        self._calls.append(call)
        self._witness(call, False)
        try:
            return attempt.succeeded(context, contextvars.copy_context().run(_call, here, attempt.side, context))
        except Exception as error:
            return attempt.failed(error)
        finally:
            self._witness(call, True)

    def _returned(self, attempt: Attempt, value: Any) -> Report:
        try:
            return attempt.succeeded(attempt.context(), value)
        except UnusableError as unusable:
            return attempt.failed(unusable)

    def _times_out(self, attempt: Attempt, report: Report | None, course: Course) -> None:
        self._given_up.add(attempt.key)
        self._post(attempt, attempt.timed_out())
        if course is Course.HANGS:
            self._after(GRACE, self._die)
        else:
            last = report if course is Course.LATE and report is not None else attempt.quieted()
            self._after(GRACE / 2, lambda: self._ends(attempt, last))

    def _ends(self, attempt: Attempt, report: Report) -> None:
        del self._running[attempt.key]
        self._given_up.discard(attempt.key)
        self._post(attempt, report)

    def _die(self) -> None:
        self.dead = True

    def _after(self, seconds: float, what: Callable[[], None]) -> None:
        self.later.append((self._clock() + seconds, what))

    # Saying.

    def _post(self, attempt: Attempt, report: Report) -> None:
        self._serial += 1
        posted = self._reports[self._serial] = Posted(self._serial, attempt.key.saga_id, report)
        self._said.append(self._message((posted,)))

    def _message(self, reports: tuple[Posted, ...]) -> FromWorker:
        return FromWorker(self.worker, self._fence.epoch, self._fence.received, reports, bool(self._given_up))

    def _holds(self, order: Order) -> bool:
        name = order.key[:4]
        reported = {(p.saga_id, p.report.phase, p.report.step, p.report.attempt) for p in self._reports.values()}
        return name in reported or any(key[:4] == name for key in self._running)

    def _inventory(self) -> Inventory:
        running, reports = tuple(self._running), tuple(self._reports.values())
        retiring = bool(self._given_up)
        return Inventory(self.worker, self._fence.epoch, running, reports, self._loaded(self.sources()), retiring)

    def sources(self) -> list[Source]:
        """The sagas that it can run."""
        return [Source(saga, cls.__module__) for saga, cls in self._sagas.items()]

    def _loaded(self, sources: Iterable[Source]) -> Loaded:
        found = tuple(sources)
        plans = {source.saga: self._sagas[source.saga].definition.plan for source in found}
        return Loaded(self.worker, plans, {}, found)


def _call(here: StepContext, side: Side, context: Any) -> Any:
    begin_step(here)
    result = side.code(context)
    return _awaited(result) if side.is_async else result


def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """On a loop of its own, and a thread: the test may be on a loop itself."""
    here = contextvars.copy_context()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(here.run, asyncio.run, coroutine).result()
