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

Side = tuple[str, Phase, str]
"""Saga, phase and step."""


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
        self._of: dict[Side, list[Call]] = defaultdict(list)
        self._orders: dict[Side, dict[int, tuple[int, Order]]] = defaultdict(dict)
        self.keys: dict[Side, set[str]] = defaultdict(set)
        self.effects: dict[str, set[Side]] = defaultdict(set)
        self.heard: dict[Name, int] = {}
        self.heard_late: dict[Name, int] = {}
        self.done: dict[Side, int] = {}
        self.unbegun: set[Name] = set()
        self.dead: dict[WorkerId, int] = {}

    def tick(self) -> int:
        self.time += 1
        return self.time

    def begins(self, order: Order, worker: WorkerId) -> Call:
        """Its code begins, once in all workers and for all supervisors (P6, P8)."""
        name = order.key[:4]
        assert name not in self.calls, f"{name} was called twice"
        self.calls[name] = call = Call(order, worker, self.tick())
        self._of[name[:3]].append(call)
        seen = StepContext(order.key.saga_id, order.saga, *_three(order), None, 0.0)
        key, undoes = seen.idempotency_key, seen.undoes_key
        self.effects[key].add(name[:3])
        self.keys[name[:3]].add(key)
        if undoes is not None:
            self.keys[name[0], EXECUTE, name[2]].add(undoes)
        return call

    def dies(self, worker: WorkerId) -> list[Call]:
        """A worker is dead; the calls that it cut short, at rest now."""
        self.dead[worker] = self.tick()
        cut = [call for call in self.calls.values() if call.rested is None and call.worker == worker]
        for call in cut:
            call.rests(self.time, "died")
        return cut

    def goes_out(self, message: ToWorker, told: dict[int, Posted]) -> int:
        """An engine lets orders and receipts go; of how many reports on the attempts of an earlier one it heard."""
        at, adopted = self.tick(), 0
        for order in message.orders:
            self._orders[order.key[:3]].setdefault(order.key.attempt, (at, order))
        for posted in (told[serial] for serial in message.stored):
            report = posted.report
            name = (posted.saga_id, report.phase, report.step, report.attempt)
            last = not (isinstance(report, Failed) and report.ending is Ending.TIMED_OUT)
            (self.heard if last else self.heard_late)[name] = at
            if isinstance(report, Succeeded):
                self.done.setdefault(name[:3], at)
            adopted += report.epoch < message.epoch
        return adopted

    def of(self, saga_id: str, phase: Phase, step: str) -> list[Call]:
        """The calls of one side of a step, by attempt."""
        found = self._of.get((saga_id, phase, step), [])
        return sorted(found, key=lambda call: call.order.key.attempt) if len(found) > 1 else found

    def orders_of(self, saga_id: str, phase: Phase, step: str) -> list[tuple[int, Order]]:
        """The orders for one side of a step, and when each first left an engine."""
        return [*self._orders.get((saga_id, phase, step), {}).values()]

    def running(self, saga_id: str) -> list[Call]:
        return [call for name, call in self.calls.items() if call.rested is None and name[0] == saga_id]

    def happened(self, saga_id: str, step: str) -> bool:
        """Whether the step had its effect, undone since or not: what an operator finds who asks the bank."""
        return any(call.effect is not None for call in self.of(saga_id, EXECUTE, step))

    def lost(self, call: Call) -> bool:
        """Whether its worker died before the engine had stored what it said last."""
        return call.worker in self.dead and call.order.key[:4] not in self.heard


def _three(order: Order) -> tuple[str, Phase, int]:
    return order.key.step, order.key.phase, order.key.attempt
