"""The real engine among simulated workers, with messages lost, doubled, late and out of order, and with deaths.

Seeded: a failure names its seed, and `SAGA_ACTORS_SCHEDULES=5000` runs more of them.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Any

import pytest
from engine_rig import ORDER, Rig, Worker, start, succeed

from saga_actors.actors.protocol import CatchUp, Joined, Left, Order, Serve, Source
from saga_actors.events import (
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    Ending,
    Fault,
    Phase,
    SagaCompensated,
    WorkerId,
)
from saga_actors.execution import fold
from saga_actors.inputs import Failed, Report
from saga_actors.outcomes import SagaState

SCHEDULES = int(os.environ.get("SAGA_ACTORS_SCHEDULES", "150"))
SAGAS = 4


class Storm(Rig):
    """A rig whose messages wait in a pool, and are delivered as chance has it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pool: list[tuple[str, str, Any]] = []
        self.calm = False
        self.seen: Counter[str] = Counter()
        self.number = 0
        super().__init__()
        self.ledger: list[tuple[Worker, Order]] = []

    def _deliver(self, outgoing: list[tuple[Any, Any]]) -> None:
        self.pool += [("engine", to, message) for to, message in outgoing]

    def answer(self, order: Order) -> Report | None:
        """Mostly success, sometimes a failure, sometimes nothing yet."""
        drawn = self.chance.random()
        if drawn < 0.3 and not self.calm:
            return None
        key = order.key
        if drawn < 0.45 and key.phase is Phase.EXECUTE:
            fault = Fault("no", retryable=self.chance.random() < 0.5)
            ending = Ending.UNKNOWN if self.chance.random() < 0.3 else Ending.FAILED
            return Failed(key.phase, key.step, key.attempt, key.epoch, ending, fault)
        return succeed(order)

    def add_worker(self) -> None:
        self.number += 1
        worker = Worker(WorkerId(self.number, 100 + self.number, 1.0), f"worker-{self.number}", self.answer)
        self.workers[worker.address] = worker
        self.say_to_engine("root", Joined(worker.worker, worker.address))

    def say_to_engine(self, sender: str, message: Any) -> None:
        self.pool.append((sender, "engine", message))

    def step(self) -> None:
        """One thing happens."""
        drawn = self.chance.random()
        if self.pool and drawn < 0.75:
            self.deliver_one()
        elif drawn < 0.85:
            self.now += self.chance.choice([0.01, 0.6, 1.1])
            self._deliver(self.engine.tick())
            self.say_again()
        elif drawn < 0.97:
            for worker in self.workers.values():
                self.finish(worker)
        elif drawn < 0.985:
            self.new_supervisor()
        else:
            self.worker_dies()

    def clear_up(self) -> None:
        """The storm is over: all that is under way arrives, and a little time passes."""
        while self.pool:
            self.deliver_one()
        for worker in self.workers.values():
            self.finish(worker)
        self.now += 0.6
        self._deliver(self.engine.tick())
        self.say_again()

    @property
    def at_rest(self) -> bool:
        """Whether every saga has ended."""
        rows = [self.journal.find(f"s{n}") for n in range(SAGAS)]
        return all(row is not None and row.state.ended for row in rows)

    def deliver_one(self) -> None:
        """Any message of the pool; the root's are in order, for the root is one process away and asks again."""
        at = self.chance.randrange(len(self.pool))
        sender, to, message = self.pool[at]
        if sender == "root":
            at = next(i for i, (who, _, _) in enumerate(self.pool) if who == "root")
            sender, to, message = self.pool[at]
        drawn = self.chance.random()
        if sender != "root" and not self.calm and drawn < 0.06:
            del self.pool[at]
            self.seen["lost"] += 1
            return
        if sender == "root" or self.calm or drawn < 0.94:
            del self.pool[at]
        else:
            self.seen["doubled"] += 1
        self.deliver(sender, to, message)

    def deliver(self, sender: str, to: str, message: Any) -> None:
        if to == "engine":
            self._deliver(self.engine.handle(message, sender))
        elif to in self.workers:
            worker = self.workers[to]
            before = len(worker.ran)
            for said in worker.take(message):
                self.say_to_engine(to, said)
            self.seen["ran"] += len(worker.ran) - before
        elif isinstance(message, CatchUp):
            raise AssertionError("nobody drains here")

    def finish(self, worker: Worker) -> None:
        for said in worker.finish():
            self.say_to_engine(worker.address, said)

    def say_again(self) -> None:
        """What each would say again: clients have it served and start it, workers send what is not stored."""
        self.say_to_engine("client", Serve("serve", (Source(ORDER.saga, "shop"),)))
        for n in range(SAGAS):
            if self.journal.find(f"s{n}") is None:
                self.say_to_engine("client", start(f"s{n}"))
        for worker in self.workers.values():
            if worker.reports:
                self.say_to_engine(worker.address, worker.say(tuple(worker.reports.values())))
            else:
                self.say_to_engine(worker.address, worker.say(()))

    def new_supervisor(self) -> None:
        """The supervisor dies: what was on its way to it is lost, what it sent may still come (P8)."""
        self.seen["supervisors"] += 1
        self.pool = [letter for letter in self.pool if letter[1] != "engine"]
        self.begin()

    def worker_dies(self) -> None:
        if not self.workers:
            return
        worker = self.workers.pop(self.chance.choice(sorted(self.workers)))
        self.seen["interrupted"] += len(worker.running)
        self.ledger += [(worker, order) for order in worker.running]
        self.say_to_engine("root", Left(worker.worker))
        self.add_worker()


def check_saga(storm: Storm, saga_id: str) -> SagaState:
    """The promises, against the history of one saga."""
    events = [stored.event for stored in storm.journal.load(saga_id)]
    started = [(e.phase, e.step, e.attempt) for e in events if isinstance(e, AttemptStarted)]
    assert len(started) == len(set(started)), "an attempt was begun twice"
    done: set[tuple[Phase, str]] = set()
    undone: list[str] = []
    for event in events:
        if isinstance(event, AttemptStarted):
            assert (event.phase, event.step) not in done, f"{event.step} was run again after its success (P6)"
        elif isinstance(event, AttemptSucceeded):
            done.add((event.phase, event.step))
            if event.phase is Phase.COMPENSATE:
                undone.append(event.step)
        elif isinstance(event, AttemptFailed) and event.ending is Ending.INTERRUPTED:
            storm.seen["reruns"] += 1
    order = [plan.name for plan in ORDER.steps]
    assert undone == sorted(undone, key=order.index, reverse=True), "undone out of order (P3)"
    execution = fold(iter(events), storm.journal.plan)
    if any(isinstance(event, SagaCompensated) for event in events):
        assert not execution.left, "an undo is missing (P2)"
        storm.seen["unknown undone"] += sum(step.undone and step.forward.doubtful for step in execution.steps)
    if execution.state is SagaState.COMPLETED:
        assert not undone
    return execution.state


@pytest.mark.slow
def test_whatever_is_lost_doubled_late_or_killed_every_saga_ends() -> None:
    """P1, P2, P3, P6, P8: after the storm every saga comes to an end, and its history keeps the promises."""
    seen: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        storm = Storm(seed)
        storm.calm = True
        storm.add_worker()
        storm.add_worker()
        storm.clear_up()
        storm.calm = False
        for _ in range(250):
            storm.step()
        storm.calm = True
        for _ in range(300):
            storm.clear_up()
            if storm.at_rest:
                break
        states = [check_saga(storm, f"s{n}") for n in range(SAGAS)]
        assert all(state.ended for state in states), (seed, states, [storm.events(f"s{n}") for n in range(SAGAS)])
        keys = [key for worker in storm.workers.values() for key in worker.ran]
        assert len(keys) == len(set(keys)), f"seed {seed}: a worker ran an attempt twice"
        seen += storm.seen
        seen.update(str(state) for state in states)
    for what in (
        "lost",
        "doubled",
        "supervisors",
        "interrupted",
        "reruns",
        "unknown undone",
        "completed",
        "compensated",
    ):
        assert seen[what], f"no schedule met: {what}"
