"""What really happened, kept outside the engine: each call of user code and its effects, in order.

Its clock counts entries. It does not know what the engine thinks, only what left it and what it said it had stored.
"""

from __future__ import annotations

from collections import defaultdict

import attrs

from saga_actors.actors.protocol import Order, Posted, ToWorker
from saga_actors.events import Ending, Phase, WorkerId
from saga_actors.inputs import Failed, Succeeded
from saga_actors.step_context import StepContext

EXECUTE, COMPENSATE = Phase.EXECUTE, Phase.COMPENSATE

Name = tuple[str, Phase, str, int]
"""Saga, phase, step and attempt."""


@attrs.define(eq=False)
class Call:
    """One call of user code. `how` it came to rest: succeeded, failed, unknown, unusable, silent or died."""

    order: Order
    worker: WorkerId
    began: int
    effect: int | None = None
    timed_out: int | None = None
    rested: int | None = None
    how: str = "runs"
    after: bytes = b""
    retryable: bool = True

    @property
    def doubtful(self) -> bool:
        """Whether it may have had its effect, for all that one knows who hears every word it says (P7)."""
        return self.effect is not None or self.timed_out is not None or self.how != "failed"

    def rests(self, at: int, how: str, *, retryable: bool = True) -> None:
        self.rested, self.how, self.retryable = at, how, retryable

    def has_effect(self, at: int) -> None:
        self.effect = self.effect or at


class Ledger:
    """All calls, all orders that went out, all reports that the engine said it had stored, and all deaths."""

    def __init__(self) -> None:
        self.time = 0
        self.calls: dict[Name, Call] = {}
        self.orders: dict[Name, tuple[int, Order, WorkerId]] = {}
        self.keys: dict[str, set[str]] = defaultdict(set)
        self.heard: dict[Name, int] = {}
        self.heard_late: dict[Name, int] = {}
        self.done: dict[tuple[str, Phase, str], int] = {}
        self.unbegun: set[Name] = set()
        self.dead: dict[WorkerId, int] = {}

    def tick(self) -> int:
        self.time += 1
        return self.time

    def begins(self, order: Order, worker: WorkerId) -> Call:
        """Its code begins, once in all workers and for all supervisors (P6)."""
        name = order.key[:4]
        assert name not in self.calls, f"{name} was called twice"
        self.calls[name] = call = Call(order, worker, self.tick())
        seen = StepContext(order.key.saga_id, order.saga, *_three(order), None, 0.0)
        self.keys[seen.idempotency_key].add(str(name[:3]))
        self.keys[str(name[:3])].add(seen.idempotency_key)
        if seen.undoes_key is not None:
            self.keys[str((name[0], EXECUTE, name[2]))].add(seen.undoes_key)
        return call

    def dies(self, worker: WorkerId) -> list[Call]:
        """A worker is dead; the calls that it cut short, at rest now."""
        self.dead[worker] = self.tick()
        cut = [call for call in self.calls.values() if call.worker == worker and call.rested is None]
        for call in cut:
            call.rests(self.time, "died")
        return cut

    def goes_out(self, worker: WorkerId, message: ToWorker, told: dict[int, Posted]) -> None:
        """The engine lets orders and receipts go."""
        at = self.tick()
        for order in message.orders:
            self.orders.setdefault(order.key[:4], (at, order, worker))
        for posted in (told[serial] for serial in message.stored):
            report = posted.report
            name = (posted.saga_id, report.phase, report.step, report.attempt)
            last = not (isinstance(report, Failed) and report.ending is Ending.TIMED_OUT)
            (self.heard if last else self.heard_late)[name] = at
            if isinstance(report, Succeeded):
                self.done.setdefault(name[:3], at)

    def of(self, saga_id: str, phase: Phase, step: str) -> list[Call]:
        """The calls of one side of a step, by attempt."""
        found = [call for name, call in self.calls.items() if name[:3] == (saga_id, phase, step)]
        return sorted(found, key=lambda call: call.order.key.attempt)

    def running(self, saga_id: str) -> list[Call]:
        return [call for name, call in self.calls.items() if name[0] == saga_id and call.rested is None]

    def happened(self, saga_id: str, step: str) -> bool:
        """Whether the step had its effect, undone since or not: what an operator finds who asks the bank."""
        return any(call.effect is not None for call in self.of(saga_id, EXECUTE, step))

    def lost(self, call: Call) -> bool:
        """Whether its worker died before the engine had stored what it said last."""
        return call.worker in self.dead and call.order.key[:4] not in self.heard


def _three(order: Order) -> tuple[str, Phase, int]:
    return order.key.step, order.key.phase, order.key.attempt
