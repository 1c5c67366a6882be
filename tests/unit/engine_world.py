"""Simulated user code: classes of sagas, and workers whose attempts do what chance has them do, with a ledger of it.

Attempts succeed, fail, `Abort`, leave it unknown, hang, time out and then succeed or come to rest, die before or after
their effect, return what cannot be used, or cannot be taken at all.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import attrs
from engine_ledger import COMPENSATE, EXECUTE, Call, Ledger
from engine_rig import Worker

from saga_actors.actors.outbox import RESEND
from saga_actors.actors.protocol import FromWorker, Order, Posted
from saga_actors.events import Ending, Fault
from saga_actors.inputs import Failed, Quieted, Report, Succeeded
from saga_actors.journal.codec import apply_result, decode_context
from saga_actors.plan import OnFailure, OnUnknown, SagaPlan, StepPlan
from saga_actors.retry import Backoff

MOODS = {
    "kind": ("success",) * 9 + ("fail", "timeout"),
    "doubtful": ("timeout", "unknown", "unusable", "success", "success", "success", "fail", "hang"),
    "failing": ("fail", "fail", "abort", "unbegun", "success", "success", "success", "timeout"),
    "slow": ("timeout", "timeout", "timeout", "success", "success", "success", "fail", "hang"),
    "deadly": ("die", "die", "success", "success", "success", "fail", "unknown"),
    "murderous": ("die",) * 30 + ("success",),
}
FORWARD_MOODS = ("kind", "kind", "doubtful", "failing", "slow", "slow", "deadly")
BACK_MOODS = ("kind", "kind", "failing", "failing", "failing", "slow", "deadly") * 3 + ("murderous",)
LATE = ("success", "success", "silent", "die")


CLASSES = 1_000


@lru_cache(CLASSES)
def any_plan(number: int) -> SagaPlan:
    """A class of sagas, of three to five steps that are declared in any way; the same for all schedules."""
    chance = random.Random(number)
    steps = []
    for place in range(chance.choice([3, 3, 4, 5])):
        retries = [Backoff(chance.choice([0, 0, 1, 2]), chance.choice([0.0, 0.5, 3.0]), jitter=0.5) for _ in range(2)]
        steps.append(
            StepPlan(
                f"step{place}",
                compensable=chance.random() < 0.8,
                retries=retries[0],
                reruns=chance.choice([0, 3, 3]),
                on_failure=chance.choice([OnFailure.ROLLBACK] * 3 + [OnFailure.IGNORE]),
                on_unknown=chance.choice([OnUnknown.COMPENSATE] * 3 + [OnUnknown.HOLD, OnUnknown.ASSUME_FAILED]),
                compensate_retries=retries[1],
                is_async=chance.random() < 0.3,
                compensate_is_async=chance.random() < 0.3,
            )
        )
    return SagaPlan(f"shop:Class{number}", tuple(steps))


@attrs.define
class Hand(Worker):
    """A worker whose attempts do what their world draws for them. `told` are all its reports, also those stored.

    `where` is the supervisor that it obeys.
    """

    world: Any = None
    dies: bool = False
    told: dict[int, Posted] = attrs.Factory(dict)
    where: str = ""
    said: tuple[int, int, bool] = (0, 0, False)
    said_at: float = 0.0

    def hears(self, message: Any, sender: str) -> list[Any]:
        """What it says to a message; one of an epoch that is over it does not heed (P8)."""
        if message.epoch < self.epoch:
            self.world.seen["epoch refused by a worker"] += 1
        said = self.take(message)
        if message.epoch == self.epoch:
            self.where = sender
        return said

    def repeats(self, now: float) -> list[Any]:
        """What is not stored is said again after a second, and what has come is confirmed."""
        stands = (self.epoch, self.received, self.retiring)
        if (not self.reports or now - self.said_at < RESEND) and self.said == stands:
            return []
        self.said_at = now
        return [self.say(tuple(self.reports.values()))]

    def finish(self) -> list[Any]:
        """Let each attempt do something; a death takes what was not said yet with it."""
        new: list[Posted] = []
        for order in list(self.running):
            report = self.world.act(self, order)
            if self.dies:
                return []
            if report is not None:
                self.serial += 1
                new.append(Posted(self.serial, order.key.saga_id, report))
                if not (isinstance(report, Failed) and report.ending is Ending.TIMED_OUT):
                    self.running.remove(order)
        self.reports |= {posted.serial: posted for posted in new}
        self.told |= {posted.serial: posted for posted in new}
        return [self.say(tuple(new))] if new else []

    @property
    def retiring(self) -> bool:
        """Whether an attempt that timed out is not quiet."""
        calls = (self.world.ledger.calls.get(order.key[:4]) for order in self.running)
        return any(call is not None and call.timed_out is not None for call in calls)

    def say(self, reports: tuple[Posted, ...]) -> FromWorker:
        self.said = epoch, received, retiring = (self.epoch, self.received, self.retiring)
        return FromWorker(self.worker, epoch, received, reports, retiring)


class World:
    """What user code does, each saga in moods of its own.

    `calm`: all of it ends; `healed`: mostly well; `haste`: how soon what has timed out comes to rest.
    """

    def __init__(self, chance: random.Random, sagas: Iterable[str], may_begin: Callable[[Call], None]) -> None:
        self.chance = chance
        self.may_begin = may_begin
        self.ledger = Ledger()
        self.seen: Counter[str] = Counter()
        self.calm = self.healed = False
        self.haste = chance.choice([0.5, 0.1, 0.02])
        self.moods = {
            saga_id: {EXECUTE: chance.choice(FORWARD_MOODS), COMPENSATE: chance.choice(BACK_MOODS)} for saga_id in sagas
        }

    def act(self, hand: Hand, order: Order) -> Report | None:
        """Something, or nothing yet, of a call in a worker."""
        name = order.key[:4]
        call = self.ledger.calls.get(name)
        mood = MOODS["kind" if self.healed else self.moods[name[0]][name[1]]]
        if call is None:
            drawn = self.chance.choice(mood)
            if drawn == "unbegun":
                self.ledger.unbegun.add(name)
                return self._failed(order, Ending.UNBEGUN)
            call = self.ledger.begins(order, hand.worker)
            self.may_begin(call)
        if self.chance.random() < (0.2 if self.calm else 0.4):
            return None
        if self.chance.random() < 0.2 and not self.calm:
            call.has_effect(self.ledger.tick())
            return None
        if call.timed_out is not None:
            return self.does(hand, call, self.chance.choice(LATE)) if self.chance.random() < self.haste else None
        return self.does(hand, call, self.chance.choice(mood))

    def does(self, hand: Hand, call: Call, what: str) -> Report | None:
        """The call does this; an honest step that has had its effect does not say that it failed."""
        key, at, forward = call.order.key, self.ledger.tick(), call.order.key.phase is EXECUTE
        if what in ("unknown", "silent", "die") and self.chance.random() < 0.5:
            call.has_effect(at)
        if forward and call.effect is not None and what in ("fail", "abort", "unbegun"):
            what = "unknown"
        if what == "hang" and not self.calm:
            self.seen["hung"] += 1
            return None
        if what == "die":
            hand.dies = True
            return None
        if what in ("timeout", "hang"):
            call.timed_out = at
            return self._failed(call.order, Ending.TIMED_OUT)
        if what == "success":
            call.has_effect(at)
            call.rests(at, "succeeded")
            after = self._after(call.order)
            call.after = after or call.order.context
            return Succeeded(*key[1:], after)
        if what == "silent":
            self.seen["timed out, then silent"] += 1
            call.rests(at, "silent")
            return Quieted(*key[1:])
        if what == "unusable" and forward:
            call.has_effect(at)
        how = what if what in ("unknown", "unusable") and forward else "failed"
        retryable = what not in ("abort", "unusable")
        call.rests(at, how, retryable=retryable)
        if how == "unknown":
            self.seen["unknown with" + ("" if call.effect else "out") + " its effect"] += 1
        return self._failed(call.order, Ending(how), retryable)

    def _after(self, order: Order) -> bytes | None:
        """The context with what the step returned, by the product's own codec; None if it returned nothing."""
        key, context = order.key, decode_context(order.context, dict)
        if key.phase is COMPENSATE or self.chance.random() < 0.2:
            return None
        return apply_result(order.context, context, {key.step: key.attempt}, dict, step=key.step)

    def _failed(self, order: Order, ending: Ending, retryable: bool = True) -> Failed:
        self.seen[{Ending.TIMED_OUT: "timed out"}.get(ending, str(ending))] += 1
        return Failed(*order.key[1:], ending, Fault(str(ending), retryable=retryable))
