"""The step workers as the supervisor sees them: who is there, what each holds and can run, what is on its way to it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import attrs

from saga_actors.actors.kill_points import AFTER, BEFORE, passing
from saga_actors.actors.protocol import (
    Address,
    AttemptKey,
    FromWorker,
    Inventory,
    Load,
    Loaded,
    LoadFailure,
    Order,
    Source,
    TakeInventory,
    ToWorker,
)
from saga_actors.events import WorkerId
from saga_actors.plan import SagaPlan

RESEND = 1.0
"""Seconds after which a message that a worker has not confirmed is sent to it again."""

RELOAD = 10.0
"""Seconds after which a worker is asked once more to load what it has said nothing of."""

OTHER = "another_definition"
"""The code of a `LoadFailure`: the worker has it, and has it otherwise than those before it."""

BATCH_BYTES = 256_000
"""A message to a worker is ended at so many bytes of contexts; a bigger context travels alone."""

Sent = tuple[Address, object]


@attrs.define
class Colleague:
    """One worker. `holds` is None until its inventory has come; `sent` are messages that it has not confirmed."""

    worker: WorkerId
    address: Address
    asked_at: float
    loading_since: float = 0.0
    holds: set[AttemptKey] | None = None
    plans: dict[str, SagaPlan] = attrs.Factory(dict)
    failures: dict[str, LoadFailure] = attrs.Factory(dict)
    number: int = 0
    sent: dict[int, tuple[float, ToWorker]] = attrs.Factory(dict)


class Team:
    """All workers of one supervisor, under its epoch."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._colleagues: dict[WorkerId, Colleague] = {}
        self.sources: dict[str, Source] = {}
        self._served: dict[str, SagaPlan] = {}

    def join(self, worker: WorkerId, address: Address, now: float) -> list[Sent]:
        """A worker is there: ask what it holds, which also makes it refuse older epochs."""
        if worker in self._colleagues:
            return []
        self._colleagues[worker] = Colleague(worker, address, now)
        return [(address, TakeInventory(self._epoch, worker))]

    def leave(self, worker: WorkerId) -> None:
        """A worker is dead."""
        self._colleagues.pop(worker, None)
        self._served = {}
        for colleague in self._colleagues.values():  # those whose definition nobody else is in the way of any more
            for saga in [saga for saga, failure in colleague.failures.items() if failure.code == OTHER]:
                if self.served(saga) is None:
                    del colleague.failures[saga]

    @property
    def workers(self) -> set[WorkerId]:
        """All that are there."""
        return set(self._colleagues)

    def has(self, worker: WorkerId) -> bool:
        """Whether the worker is alive, as far as the root has told."""
        return worker in self._colleagues

    def holdings(self, worker: WorkerId) -> set[AttemptKey] | None:
        """The attempts of earlier epochs that the worker was found to hold, or given; None until it has answered."""
        return self._colleagues[worker].holds

    def took(self, inventory: Inventory) -> list[Sent]:
        """An inventory has come; the worker is asked to load what is served."""
        colleague = self._colleagues.get(inventory.worker)
        if colleague is None or inventory.epoch != self._epoch or colleague.holds is not None:
            return []
        passing(BEFORE, "inventory")
        reports = {
            AttemptKey(p.saga_id, p.report.phase, p.report.step, p.report.attempt, p.report.epoch)
            for p in inventory.reports
        }
        colleague.holds = set(inventory.running) | reports
        for source in inventory.loaded.sources:
            self.sources.setdefault(source.saga, source)
        passing(AFTER, "inventory")
        return self._load(colleague, self.sources.values())

    def not_given(self, key: AttemptKey) -> None:
        """The order for this attempt of an earlier epoch does not go out now after all."""
        for colleague in self._colleagues.values():
            if colleague.holds is not None:
                colleague.holds.discard(key)

    def confirmed(self, message: FromWorker) -> None:
        """The worker has had every message up to that number."""
        colleague = self._colleagues.get(message.worker)
        if colleague is not None and message.epoch == self._epoch:
            for number in [n for n in colleague.sent if n <= message.received]:
                del colleague.sent[number]

    # What is served.

    def serve(self, sources: Sequence[Source]) -> list[Sent]:
        """Have every worker load these sagas; what is served stays as it is, whatever other source is named now."""
        for source in sources:
            if self.served(source.saga) is None:
                self.sources[source.saga] = source
        named = [self.sources[source.saga] for source in sources]
        return [sent for c in self._colleagues.values() if c.holds is not None for sent in self._load(c, named)]

    def loaded(self, message: Loaded) -> dict[str, int | None]:
        """A worker has answered a `Load`: what it is to run, each saga with its `max_running`.

        A worker that was born after the code had been changed may have another definition than the others. It is not
        to run that saga, as long as one of those others lives (P14).
        """
        colleague = self._colleagues.get(message.worker)
        if colleague is None:
            return {}
        colleague.failures |= message.failures
        runs: dict[str, int | None] = {}
        for saga, plan in message.plans.items():
            if (others := self.served(saga)) is not None and saga not in colleague.plans and not _alike(plan, others):
                why = f"worker {message.worker.number} has another definition of it than the others; restart the node"
                log().error("%s: %s", saga, why)
                colleague.failures[saga] = LoadFailure(OTHER, why)
                continue
            colleague.plans[saga] = plan
            colleague.failures.pop(saga, None)
            runs[saga] = plan.max_running
        self._served = {}
        return runs

    def answered(self, saga: str) -> bool:
        """Whether every worker has said whether it can run this saga, and there is one."""
        asked = list(self._colleagues.values())
        return bool(asked) and all(saga in c.plans or saga in c.failures for c in asked)

    def served(self, saga: str) -> SagaPlan | None:
        """The plan of a saga that some worker can run."""
        plan = self._served.get(saga)
        if plan is None:
            plan = next((c.plans[saga] for c in self._colleagues.values() if saga in c.plans), None)
            if plan is not None:
                self._served[saga] = plan
        return plan

    def failure(self, saga: str) -> LoadFailure | None:
        """Why a saga cannot be run, as one worker has it."""
        return next((c.failures[saga] for c in self._colleagues.values() if saga in c.failures), None)

    @property
    def all_served(self) -> frozenset[str]:
        """The sagas that some worker can run."""
        return frozenset(saga for c in self._colleagues.values() for saga in c.plans)

    def _load(self, colleague: Colleague, sources: Iterable[Source]) -> list[Sent]:
        wanted = tuple(s for s in sources if s.saga not in colleague.plans)
        for source in wanted:
            colleague.failures.pop(source.saga, None)
        return [(colleague.address, Load(self._epoch, wanted, colleague.worker))] if wanted else []

    # What is on its way.

    def tell(self, orders: dict[WorkerId, list[Order]], stored: dict[WorkerId, list[int]], now: float) -> list[Sent]:
        """The messages that carry these orders and receipts."""
        sent: list[Sent] = []
        for worker in dict.fromkeys([*orders, *stored]):
            colleague = self._colleagues.get(worker)
            if colleague is None:
                continue
            receipts = tuple(stored.get(worker, ()))
            for batch in _batches(orders.get(worker, [])) or [()]:
                colleague.number += 1
                message = ToWorker(self._epoch, colleague.number, batch, receipts, worker)
                receipts = ()
                colleague.sent[colleague.number] = (now, message)
                sent.append((colleague.address, message))
        return sent

    def overdue(self, now: float) -> list[Sent]:
        """What was not confirmed or answered in time, to be sent again."""
        again: list[Sent] = []
        for colleague in self._colleagues.values():
            if colleague.holds is None and now - colleague.asked_at >= RESEND:
                colleague.asked_at = now
                again.append((colleague.address, TakeInventory(self._epoch, colleague.worker)))
            elif colleague.holds is not None and now - colleague.loading_since >= RELOAD:
                colleague.loading_since = now
                again += self._load(colleague, (s for s in self.sources.values() if s.saga not in colleague.failures))
            for number, (at, message) in list(colleague.sent.items()):
                if now - at >= RESEND:
                    colleague.sent[number] = (now, message)
                    again.append((colleague.address, message))
        return again


def _alike(one: SagaPlan, other: SagaPlan) -> bool:
    """Whether a worker with one of these plans can run what was planned by the other."""
    kinds = [[(step.is_async, step.compensate_is_async) for step in plan.steps] for plan in (one, other)]
    return one.fingerprint == other.fingerprint and kinds[0] == kinds[1]


def log() -> logging.Logger:
    """Looked up each time, for a child replaces all loggers when it is born."""
    return logging.getLogger("saga_actors.supervisor")


def _batches(orders: list[Order]) -> list[tuple[Order, ...]]:
    batches: list[tuple[Order, ...]] = []
    batch: list[Order] = []
    size = 0
    for order in orders:
        if batch and size + len(order.context) > BATCH_BYTES:
            batches.append(tuple(batch))
            batch, size = [], 0
        batch.append(order)
        size += len(order.context)
    return [*batches, tuple(batch)] if batch else batches
