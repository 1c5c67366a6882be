"""An engine with simulated workers and clients: messages go where and when the test says, on a clock that it turns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import attrs

from saga_actors.actors.engine import Engine
from saga_actors.actors.fence import Fence
from saga_actors.actors.inquiry import Inquiry
from saga_actors.actors.limits import Limits
from saga_actors.actors.protocol import (
    AttemptKey,
    CatchUp,
    CaughtUp,
    FromWorker,
    Inventory,
    Joined,
    Load,
    Loaded,
    Neighbours,
    Order,
    Posted,
    Source,
    TakeInventory,
    ToWorker,
)
from saga_actors.events import Ending, Fault, Phase, WorkerId
from saga_actors.inputs import Failed, Report, Succeeded
from saga_actors.journal import Journal, MemoryJournal
from saga_actors.messages import AwaitSaga, RunSaga, StartSaga
from saga_actors.plan import OnFailure, SagaPlan, StepPlan
from saga_actors.retry import Backoff

ORDER = SagaPlan(
    "shop:PlaceOrder",
    (
        StepPlan("reserve", compensable=True),
        StepPlan("charge", compensable=True, retries=Backoff(times=1, first_delay=10.0, jitter=0.0)),
        StepPlan("ship"),
        StepPlan("notify", on_failure=OnFailure.IGNORE),
    ),
)
OTHER = SagaPlan("shop:Refund", (StepPlan("refund"),))

Answer = Callable[[Order], Report | None]


def succeed(order: Order) -> Report | None:
    """Every attempt succeeds, and says so in the context."""
    key = order.key
    context = order.context.rstrip(b"}") + b',"%s":1}' % key.step.encode() if key.phase is Phase.EXECUTE else None
    return Succeeded(key.phase, key.step, key.attempt, key.epoch, context)


def fail_at(*steps: str, retryable: bool = False) -> Answer:
    """These steps fail, and the others succeed."""

    def answer(order: Order) -> Report | None:
        key = order.key
        if key.step in steps and key.phase is Phase.EXECUTE:
            fault = Fault("no", retryable=retryable)
            return Failed(key.phase, key.step, key.attempt, key.epoch, Ending.FAILED, fault)
        return succeed(order)

    return answer


def hang(_: Order) -> Report | None:
    """No attempt answers."""
    return None


@attrs.define
class Worker:
    """A simulated worker: it keeps what it runs, and its reports until they are stored."""

    worker: WorkerId
    address: str
    answer: Answer = succeed
    plans: dict[str, SagaPlan] = attrs.Factory(lambda: {p.saga: p for p in (ORDER, OTHER)})
    ran: list[AttemptKey] = attrs.Factory(list)
    running: list[Order] = attrs.Factory(list)
    reports: dict[int, Posted] = attrs.Factory(dict)
    fence: Fence = attrs.Factory(Fence)
    serial: int = 0

    @property
    def epoch(self) -> int:
        """The highest epoch it has heard of."""
        return self.fence.epoch

    @property
    def received(self) -> int:
        """All messages of that epoch up to this number have come."""
        return self.fence.received

    def take(self, message: Any) -> list[Any]:
        """One message from the supervisor; what the worker says to it."""
        match message:
            case TakeInventory() if self.fence.admits(message.epoch):
                return [self.inventory()]
            case Load():
                known = {s.saga: self.plans[s.saga] for s in message.sources if s.saga in self.plans}
                return [Loaded(self.worker, known, {}, tuple(Source(name, "shop") for name in known))]
            case ToWorker() if self.fence.accept(message.epoch, message.number):
                for serial in message.stored:
                    self.reports.pop(serial, None)
                for order in message.orders:
                    if self.holds(order.key):
                        continue
                    self.ran.append(order.key)
                    self.running.append(order)
                return self.finish()
        return []

    def holds(self, key: AttemptKey) -> bool:
        """Whether the attempt runs, or its report is not stored."""
        reported = [(p.saga_id, p.report.phase, p.report.step, p.report.attempt) for p in self.reports.values()]
        name = (key.saga_id, key.phase, key.step, key.attempt)
        return name in reported or any(order.key == key for order in self.running)

    def inventory(self) -> Inventory:
        """What it holds."""
        loaded = Loaded(self.worker, {}, {}, tuple(Source(name, "shop") for name in self.plans))
        running = tuple(order.key for order in self.running)
        return Inventory(self.worker, self.epoch, running, tuple(self.reports.values()), loaded)

    def finish(self) -> list[Any]:
        """Let what runs come to its answer."""
        new: list[Posted] = []
        for order in list(self.running):
            report = self.answer(order)
            if report is not None:
                self.running.remove(order)
                self.serial += 1
                new.append(Posted(self.serial, order.key.saga_id, report))
        self.reports |= {posted.serial: posted for posted in new}
        return [self.say(tuple(new))] if new else []

    def say(self, reports: tuple[Posted, ...]) -> FromWorker:
        """Reports, as a message."""
        return FromWorker(self.worker, self.epoch, self.received, reports)


class Rig:
    """One supervisor's engine at a time, over a journal that outlives it, with workers that may too."""

    def __init__(self, journal: Any = None, *, limits: Limits | None = None) -> None:
        self.journal: Any = journal or MemoryJournal()
        self.limits = limits or Limits()
        self.now = 1_000.0
        self.workers: dict[str, Worker] = {}
        self.dead: set[str] = set()
        self.inbox: dict[str, list[Any]] = defaultdict(list)
        self.telemetry_listens = True
        self.lost: Callable[[str, Any], bool] = lambda _to, _message: False
        self.engine: Any = None
        self.begin()

    def begin(self) -> None:
        """A new supervisor takes the journal over; the workers that live are known to it."""
        self.engine = Engine(
            self.journal,
            Inquiry(self.journal),
            epoch=self.journal.take_epoch("rig"),
            limits=self.limits,
            clock=lambda: self.now,
            roll=lambda: 0.5,
            took_over=self.engine is not None,
        )
        self.send(Neighbours("root", "status", "telemetry"))
        for worker in self.workers.values():
            self.send(Joined(worker.worker, worker.address))

    def worker(self, number: int = 1, answer: Answer = succeed) -> Worker:
        """A worker joins, and serves both sagas."""
        worker = Worker(WorkerId(number, 100 + number, float(number)), f"worker-{number}", answer)
        self.workers[worker.address] = worker
        self.send(Joined(worker.worker, worker.address))
        return worker

    def kill(self, worker: Worker) -> None:
        """The worker is gone; the root has not said so yet."""
        del self.workers[worker.address]

    def send(self, message: Any, sender: str = "client") -> list[Any]:
        """A message to the engine, and all that follows from it at once; what `sender` was answered."""
        before = len(self.inbox[sender])
        self._deliver(self.engine.handle(message, sender))
        return self.inbox[sender][before:]

    def tick(self, seconds: float = 0.0) -> None:
        """Turn the clock, and let the engine see it."""
        self.now += seconds
        self._deliver(self.engine.tick())

    def settle(self, seconds: float = 60.0) -> None:
        """Let time pass in steps that show every timer."""
        for _ in range(int(seconds / 0.5)):
            self.tick(0.5)

    def _deliver(self, outgoing: list[tuple[Any, Any]]) -> None:
        queue = list(outgoing)
        while queue:
            to, message = queue.pop(0)
            if self.lost(to, message):
                continue
            self.inbox[to].append(message)
            if isinstance(message, CatchUp) and self.telemetry_listens:
                queue += self.engine.handle(CaughtUp(message.position), to)
            if to in self.workers:
                for said in self.workers[to].take(message):
                    queue += self.engine.handle(said, to)

    def events(self, saga_id: str) -> list[str]:
        """The saga's history, in short."""
        return [_short(stored.event) for stored in self.journal.load(saga_id)]


def _short(event: Any) -> str:
    parts = [type(event).__name__, str(getattr(event, "step", "")), str(getattr(event, "attempt", ""))]
    return " ".join(part for part in parts if part)


def run(saga_id: str, plan: SagaPlan = ORDER, context: bytes = b'{"n":1}', digest: str = "d") -> RunSaga:
    """A client's message."""
    return RunSaga(
        correlation_id=f"run-{saga_id}",
        saga_id=saga_id,
        saga=plan.saga,
        fingerprint=plan.fingerprint,
        digest=digest,
        context=context,
    )


def start(saga_id: str, plan: SagaPlan = ORDER, digest: str = "d") -> StartSaga:
    """A client's message that waits for no end."""
    return StartSaga(
        correlation_id=f"start-{saga_id}",
        saga_id=saga_id,
        saga=plan.saga,
        fingerprint=plan.fingerprint,
        digest=digest,
        context=b'{"n":1}',
    )


def wait(saga_id: str) -> AwaitSaga:
    """A client's question."""
    return AwaitSaga(f"wait-{saga_id}", saga_id)


__all__ = ["ORDER", "OTHER", "Journal", "Rig", "Worker", "fail_at", "hang", "run", "start", "succeed", "wait"]
