"""One turn of the supervisor's loop: what was decided in it, and waits for the commit."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import attrs

from saga_actors.actors.clients import Waiter
from saga_actors.actors.protocol import AttemptKey, Order
from saga_actors.actors.saga import Decided
from saga_actors.events import Event, WorkerId
from saga_actors.journal.port import Entry
from saga_actors.messages import SagasStarted


@attrs.define(eq=False)
class Roll:
    """A message that starts several sagas: who is to hear of it, and which of them were refused, and why."""

    waiter: Waiter
    refused: dict[str, tuple[str, str]] = attrs.Factory(dict)

    @property
    def answer(self) -> SagasStarted:
        """What is said once the commit is durable."""
        return SagasStarted(self.waiter.correlation_id, self.refused)


@attrs.define
class Turn:
    """What goes into one commit, and what may go out after it.

    `answers` are due once the commit is durable, and so are those to the `rolls`; `enrolled` says on which of them a
    saga is; `disappointed` are those whose saga was withdrawn.
    """

    decided: dict[str, Decided] = attrs.Factory(dict)
    events: dict[str, list[Event]] = attrs.Factory(dict)
    orders: dict[WorkerId, list[Order]] = attrs.Factory(lambda: defaultdict(list))
    receipts: dict[WorkerId, list[tuple[int, str]]] = attrs.Factory(lambda: defaultdict(list))
    answers: list[tuple[str, Waiter, Any]] = attrs.Factory(list)
    disappointed: dict[str, list[Waiter]] = attrs.Factory(dict)
    rolls: list[Roll] = attrs.Factory(list)
    enrolled: dict[str, list[Roll]] = attrs.Factory(dict)

    def stage(self, saga_id: str, decided: Decided) -> None:
        """A saga's events go into the commit, and its order out after it."""
        if decided.events:
            self.decided[saga_id] = decided
            self.events.setdefault(saga_id, []).extend(decided.events)
        if decided.order is not None:
            worker, order = decided.order
            self.orders[worker].append(order)

    def entry(self, saga_id: str, durable: int) -> Entry:
        """A saga's share of the commit, behind so many events that are durable."""
        decided, events = self.decided[saga_id], tuple(self.events[saga_id])
        named = any(hasattr(event, "plan_id") for event in events)
        return Entry(saga_id, durable + 1, events, decided.state, decided.held_reason, decided.plan if named else None)

    def withdraw(self, saga_id: str) -> list[AttemptKey]:
        """A saga's share is off; the attempts whose orders do not go out."""
        self.decided.pop(saga_id, None)
        self.events.pop(saga_id, None)
        self.disappointed[saga_id] = [waiter for about, waiter, _ in self.answers if about == saga_id]
        self.answers = [answer for answer in self.answers if answer[0] != saga_id]
        dropped: list[AttemptKey] = []
        for orders in self.orders.values():
            dropped += [order.key for order in orders if order.key.saga_id == saga_id]
            orders[:] = [order for order in orders if order.key.saga_id != saga_id]
        for worker, receipts in self.receipts.items():
            self.receipts[worker] = [receipt for receipt in receipts if receipt[1] != saga_id]
        return dropped
