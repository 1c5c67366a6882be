"""A runner with real threads and a real loop, for tests; its `die` only takes notes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import attrs

from saga_actors.actors.clock import Clock
from saga_actors.actors.protocol import AttemptKey, Order, Posted
from saga_actors.actors.runner import Runner
from saga_actors.definition import Definition, step
from saga_actors.events import Phase, WorkerId
from saga_actors.inputs import Failed, Report, Succeeded
from saga_actors.journal.codec import encode_context

PATIENCE = 10.0
WORKER = WorkerId(number=1, pid=100, started=1.0)
FOREVER = 1_000.0


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
                clock=Clock(monotonic=self.clock),
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

    def post(self, order: Order) -> Posted:
        self.runner.run(order)
        return self.take_posted()

    def fails(self, order: Order | None = None) -> Failed:
        self.runner.run(order or self.order())
        return self.failure()

    def all_unstored(self) -> Any:
        held = self.runner.inventory(self.runner.epoch)
        assert held is not None
        return held[1]

    def keeps(self, reports: int) -> bool:
        """Whether there are so many that are not stored."""
        return len(self.runner._outbox) == reports

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
