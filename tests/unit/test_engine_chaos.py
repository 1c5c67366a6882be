"""The real engine among simulated workers, with messages lost, doubled, late and out of order, and with deaths.

Several classes of sagas, one with `max_running`, some steps async or at most once, are started one by one and many at
once, with several messages to a commit. Commits meet a full disk, leave a saga out, or are the death of the supervisor;
saga actors raise; operators cancel sagas, and retry held ones. After every turn the engine's books are checked.

Seeded: a failure names its seed, and `SAGA_ACTORS_SCHEDULES=5000` runs more of them.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from engine_books import check_books
from engine_fate import FatefulJournal, KilledError
from engine_rig import ORDER, OTHER, Rig, Worker, start, succeed

from saga_actors.actors import saga as saga_module
from saga_actors.actors.limits import Limits
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
from saga_actors.execution import Execution, fold
from saga_actors.inputs import Failed, Report
from saga_actors.messages import CancelSaga, NewSaga, Refusal, RetrySaga, SagasStarted, SagaStarted, StartSagas
from saga_actors.outcomes import SagaState
from saga_actors.plan import OnUnknown, SagaPlan, StepPlan

SCHEDULES = int(os.environ.get("SAGA_ACTORS_SCHEDULES", "150"))

LIMITED = SagaPlan(
    "shop:Limited",
    (StepPlan("hold", compensable=True, on_unknown=OnUnknown.HOLD), StepPlan("pay", compensable=True), StepPlan("go")),
    max_running=2,
)
MIXED = SagaPlan(
    "shop:Mixed",
    (
        StepPlan("call", compensable=True, is_async=True),
        StepPlan("write", compensable=True, compensate_is_async=True),
        StepPlan("wire", compensable=True, reruns=0),
        StepPlan("post", is_async=True),
    ),
)
PLANS = {plan.saga: plan for plan in (ORDER, OTHER, LIMITED, MIXED)}
SAGAS = {
    **{f"s{n}": ORDER for n in range(3)},
    **{f"o{n}": OTHER for n in range(3)},
    **{f"l{n}": LIMITED for n in range(5)},
    **{f"m{n}": MIXED for n in range(3)},
}
LIMITS = Limits(threads=2, max_unfinished=10)
ENDED = (SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.FATAL)


class Storm(Rig):
    """A rig whose messages wait in a pool, and are delivered as chance has it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pool: list[tuple[str, str, Any]] = []
        self.calm = False
        self.seen: Counter[str] = Counter()
        self.number = 0
        self.asked: dict[str, tuple[NewSaga, ...]] = {}
        self.retried: set[str] = set()
        super().__init__(FatefulJournal(self.chance, self.seen), limits=LIMITS)

    def _deliver(self, outgoing: list[tuple[Any, Any]]) -> None:
        for to, message in outgoing:
            if isinstance(message, SagaStarted):
                assert self.journal.find(message.saga_id) is not None, "accepted, and not written (P1)"
            elif isinstance(message, SagasStarted):
                self.is_true(message)
            self.pool.append(("engine", to, message))

    def is_true(self, answer: SagasStarted) -> None:
        """P1, P10: what is said to be accepted is written, and what is refused is not, or is somebody else's."""
        for new in self.asked[answer.correlation_id]:
            row, why = self.journal.find(new.saga_id), answer.refused.get(new.saga_id)
            if why is None:
                assert row is not None, f"{new.saga_id}: accepted, and not written (P1)"
                assert row.digest == new.digest, f"{new.saga_id}: accepted, and it is another's (P10)"
            else:
                self.seen[f"refused: {why[0]}"] += 1
                assert row is None or row.digest != new.digest, f"{new.saga_id}: refused ({why}), and it runs"
                assert row is None or why[0] == Refusal.ID_TAKEN

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
        name = WorkerId(self.number, 100 + self.number, 1.0)
        worker = Worker(name, f"worker-{self.number}", self.answer, dict(PLANS))
        self.workers[worker.address] = worker
        self.say_to_engine("root", Joined(worker.worker, worker.address))

    def say_to_engine(self, sender: str, message: Any) -> None:
        self.pool.append((sender, "engine", message))

    # The engine's turns.

    def turn(self, take: Callable[[], Any]) -> None:
        """Something in the engine that may be its last; what it sends, and its books afterwards."""
        try:
            outgoing = take()
        except KilledError:
            self.new_supervisor()
            return
        if outgoing is not None:
            self._deliver(outgoing)
            stand = {saga_id: self.journal.execution(saga_id) for saga_id in SAGAS}
            check_books(self.engine, stand, self.now)
            self.limits_are_kept(stand)

    def limits_are_kept(self, stand: dict[str, Execution | None]) -> None:
        """P12: of what nobody has retried by hand."""
        executions = [e for saga_id, e in stand.items() if e is not None and saga_id not in self.retried]
        unfinished = [e for e in executions if e.state.unfinished]
        assert len(unfinished) <= LIMITS.max_unfinished, "more are unfinished than may be"
        in_flight = [e for e in unfinished if e.plan.saga == LIMITED.saga and e.steps[0].forward.begun]
        assert len(in_flight) <= 2, f"more in flight than may be: {in_flight}"
        self.seen["as many in flight as may be"] += len(in_flight) == 2

    # What happens.

    def step(self) -> None:
        """One thing happens."""
        drawn = self.chance.random()
        if self.pool and drawn < 0.75:
            self.deliver_one()
        elif drawn < 0.83:
            self.passes(self.chance.choice([0.01, 0.6, 1.1]))
        elif drawn < 0.93:
            for worker in self.workers.values():
                self.finish(worker)
        elif drawn < 0.95:
            fates = ["disk full", "disk full", "killed before", "killed after", "one left out"]
            self.journal.fate = self.chance.choice(fates)
        elif drawn < 0.98:
            held = [saga_id for saga_id in SAGAS if self.state_of(saga_id) is SagaState.HELD]
            self.operate(self.chance.choice(held or sorted(SAGAS)))
        elif drawn < 0.99:
            self.new_supervisor()
        else:
            self.worker_dies()

    def operate(self, saga_id: str) -> None:
        """An operator retries a saga that is held, whatever comes of it, or cancels one."""
        request = f"request-{self.chance.random()}"
        message: Any = CancelSaga(correlation_id=request, saga_id=saga_id, reason="no longer wanted", by="ann")
        if self.state_of(saga_id) is SagaState.HELD:
            self.retried.add(saga_id)
            message = RetrySaga(correlation_id=request, saga_id=saga_id, reason="asked the bank", by="ann")
        self.seen["cancelled" if isinstance(message, CancelSaga) else "retried"] += 1
        self.say_to_engine("operator", message)
        self.journal.fate = self.chance.choice(["disk full", "", ""])

    def state_of(self, saga_id: str) -> SagaState | None:
        row = self.journal.find(saga_id)
        return None if row is None else row.state

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.turn(self.engine.tick)
        self.say_again()

    def clear_up(self) -> None:
        """The storm is over: all that is under way arrives, and a little time passes."""
        while self.pool:
            self.deliver_one()
        for worker in self.workers.values():
            self.finish(worker)
        self.passes(0.6)

    @property
    def at_rest(self) -> bool:
        """Whether every saga has ended, or is held."""
        states = [self.state_of(saga_id) for saga_id in SAGAS]
        return all(state is not None and not state.unfinished for state in states)

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
            engine, more = self.engine, self.chance.random() < 0.5
            self.seen["several in a turn"] += more
            self.turn(lambda: engine.take(message, sender) if more else engine.handle(message, sender))
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
        self.say_to_engine("client", Serve("serve", tuple(Source(name, "shop") for name in PLANS)))
        missing = [saga_id for saga_id in SAGAS if self.journal.find(saga_id) is None]
        for plan in PLANS.values():
            mine = [saga_id for saga_id in missing if SAGAS[saga_id] is plan]
            if self.chance.random() < 0.5 and mine:
                self.start_many(plan, mine)
            else:
                for saga_id in mine:
                    self.say_to_engine("client", start(saga_id, plan))
        for worker in self.workers.values():
            self.say_to_engine(worker.address, worker.say(tuple(worker.reports.values())))

    def start_many(self, plan: SagaPlan, missing: list[str]) -> None:
        """Those that are missing, some that are not, and somebody else's."""
        others = [saga_id for saga_id, its in SAGAS.items() if its is plan and saga_id not in missing]
        ids = [*missing, *others[:2]]
        new = [NewSaga(saga_id, "d", b'{"n":1}') for saga_id in ids]
        new += [NewSaga(saga_id, "another's", b'{"n":2}') for saga_id in others[2:]]
        self.chance.shuffle(new)
        message = StartSagas(
            correlation_id=f"many-{len(self.asked)}", saga=plan.saga, fingerprint=plan.fingerprint, sagas=tuple(new)
        )
        self.asked[message.correlation_id] = message.sagas
        self.say_to_engine("client", message)

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
    order = [plan.name for plan in SAGAS[saga_id].steps]
    assert undone == sorted(undone, key=order.index, reverse=True), "undone out of order (P3)"
    execution = fold(iter(events), storm.journal.plan)
    if any(isinstance(event, SagaCompensated) for event in events):
        assert not execution.left, "an undo is missing (P2)"
        storm.seen["unknown undone"] += sum(step.undone and step.forward.doubtful for step in execution.steps)
    if execution.state is SagaState.COMPLETED:
        assert not undone
    return execution.state


@contextmanager
def actors_that_raise(storm: Storm, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    decide: Callable[..., Any] = vars(saga_module)["decide"]

    def raising(*given: Any) -> Any:
        if not storm.calm and storm.chance.random() < 0.003:
            storm.seen["an actor raised"] += 1
            raise RuntimeError("no")
        return decide(*given)

    with monkeypatch.context() as patch:
        patch.setattr(saga_module, "decide", raising)
        yield


def weather(storm: Storm) -> None:
    """A storm, and the calm after it."""
    storm.calm = True
    storm.add_worker()
    storm.add_worker()
    storm.clear_up()
    storm.calm = False
    for _ in range(300):
        storm.step()
    storm.calm, storm.journal.fate = True, ""
    for _ in range(300):
        storm.clear_up()
        if storm.at_rest:
            return


@pytest.mark.slow
def test_whatever_is_lost_doubled_late_or_killed_every_saga_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """P1, P2, P3, P6, P8, P12: every saga ends, or is held if it was left out, and its history keeps the promises."""
    seen: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        storm = Storm(seed)
        try:
            with actors_that_raise(storm, monkeypatch):
                weather(storm)
            states = {saga_id: check_saga(storm, saga_id) for saga_id in SAGAS}
            assert all(state in (*ENDED, SagaState.HELD) for state in states.values()), states
            keys = [key for worker in storm.workers.values() for key in worker.ran]
            assert len(keys) == len(set(keys)), "a worker ran an attempt twice"
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        seen += storm.seen
        seen.update(str(state) for state in states.values())
    for what in (
        "lost",
        "doubled",
        "supervisors",
        "interrupted",
        "reruns",
        "unknown undone",
        "completed",
        "compensated",
        "held",
        "went on at once",
        "as many in flight as may be",
        "refused: overloaded",
        "refused: id_taken",
        "an actor raised",
        "cancelled",
        "retried",
        "a commit: disk full",
        "a commit: killed before",
        "a commit: killed after",
    ):
        assert seen[what], f"no schedule met: {what}"
