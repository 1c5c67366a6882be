"""One turn of the supervisor's loop: what was decided in it, and waits for the commit."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import attrs

from saga_actors.actors.clients import Waiter
from saga_actors.actors.protocol import AttemptKey, Order
from saga_actors.actors.sagas import Tracked
from saga_actors.events import Accepted, Event, PlanAdopted, WorkerId
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


@attrs.define(eq=False)
class Share:
    """What one saga adds to a commit; `names_plan`: its events name the plan that it runs on."""

    tracked: Tracked
    events: list[Event] = attrs.Factory(list)
    names_plan: bool = False

    def entry(self, saga_id: str) -> Entry:
        """As the journal takes it."""
        tracked = self.tracked
        execution = tracked.decided.execution
        plan = execution.plan if self.names_plan else None
        held = tracked.decided.held_reason
        return Entry(saga_id, tracked.durable + 1, tuple(self.events), execution.state, held, plan)


@attrs.define(eq=False)
class Turn:
    """What goes into one commit, and what may go out after it.

    `answers` are due once the commit is durable, and so are those to the `rolls`; `enrolled` says on which of them a
    saga is; `disappointed` are those whose saga was withdrawn; `accepted` counts the sagas that begin in it.
    """

    shares: dict[str, Share] = attrs.Factory(dict)
    orders: dict[WorkerId, list[Order]] = attrs.Factory(lambda: defaultdict(list))
    receipts: dict[WorkerId, list[tuple[int, str]]] = attrs.Factory(lambda: defaultdict(list))
    answers: list[tuple[str, Waiter, Any]] = attrs.Factory(list)
    disappointed: dict[str, list[Waiter]] = attrs.Factory(dict)
    rolls: list[Roll] = attrs.Factory(list)
    enrolled: dict[str, list[Roll]] = attrs.Factory(dict)
    accepted: int = 0

    def stage(self, saga_id: str, tracked: Tracked) -> None:
        """The events that a saga has just decided on go into the commit, and its order out after it."""
        decided = tracked.decided
        if decided.events:
            share = self.shares.get(saga_id)
            if share is None:
                share = self.shares[saga_id] = Share(tracked)
                self.accepted += not tracked.durable
            share.events += decided.events
            share.names_plan = share.names_plan or isinstance(decided.events[0], (Accepted, PlanAdopted))
        if decided.order is not None:
            worker, order = decided.order
            self.orders[worker].append(order)

    def withdraw(self, saga_id: str) -> list[AttemptKey]:
        """A saga's share is off; the attempts whose orders do not go out."""
        share = self.shares.pop(saga_id, None)
        if share is not None:
            self.accepted -= not share.tracked.durable
        self.disappointed[saga_id] = [waiter for about, waiter, _ in self.answers if about == saga_id]
        self.answers = [answer for answer in self.answers if answer[0] != saga_id]
        dropped: list[AttemptKey] = []
        for orders in self.orders.values():
            dropped += [order.key for order in orders if order.key.saga_id == saga_id]
            orders[:] = [order for order in orders if order.key.saga_id != saga_id]
        for worker, receipts in self.receipts.items():
            self.receipts[worker] = [receipt for receipt in receipts if receipt[1] != saga_id]
        return dropped
