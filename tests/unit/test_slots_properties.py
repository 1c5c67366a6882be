"""Whatever comes and goes, the rules by which slots are given out hold; against a model that looks at everything."""

from __future__ import annotations

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from saga_actors.actors.protocol import AttemptKey
from saga_actors.actors.slots import TASKS, Slots, Waiting, reserve
from saga_actors.events import Phase, WorkerId

THREADS = 2
WORKERS = [WorkerId(number, 100 + number, float(number)) for number in range(2)]
LIMITS: dict[str, int | None] = {"orders": None, "refunds": 2, "mails": 3}
IDS = [f"{saga}-{number}" for saga in LIMITS for number in range(6)]
RARELY = st.sampled_from([False] * 4 + [True])


def key(saga_id: str, number: int = 1) -> AttemptKey:
    return AttemptKey(saga_id, Phase.EXECUTE, "a", number, 1)


@attrs.define
class Worker:
    """What is known of a worker."""

    serves: set[str] = attrs.Factory(set)
    open: bool = True


class Model(RuleBasedStateMachine):
    """Sagas of three classes, two of them with limits, on up to two workers of two threads."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(THREADS)
        self.slots.recovered()
        self.workers: dict[WorkerId, Worker] = {}
        self.waiting: dict[str, Waiting] = {}
        self.runs: dict[str, tuple[WorkerId, Waiting]] = {}
        self.keys: dict[str, AttemptKey] = {}
        self.in_flight: set[str] = set()

    # Workers.

    @rule(worker=st.sampled_from(WORKERS))
    def join(self, worker: WorkerId) -> None:
        self.workers.setdefault(worker, Worker())
        self.slots.join(worker)

    @rule(worker=st.sampled_from(WORKERS), sagas=st.sets(st.sampled_from(sorted(LIMITS)), min_size=1))
    def serve(self, worker: WorkerId, sagas: set[str]) -> None:
        self.slots.serves(worker, {saga: LIMITS[saga] for saga in sagas})
        if worker in self.workers:
            self.workers[worker].serves |= sagas

    @rule(worker=st.sampled_from(WORKERS), retiring=st.booleans())
    def retire(self, worker: WorkerId, retiring: bool) -> None:
        self.slots.retire(worker, retiring)
        if worker in self.workers:
            self.workers[worker].open = not retiring

    @rule(worker=st.sampled_from(WORKERS))
    def leave(self, worker: WorkerId) -> None:
        gone = {saga_id for saga_id, (where, _) in self.runs.items() if where == worker}
        assert {each.saga_id for each in self.slots.leave(worker)} == gone
        self.workers.pop(worker, None)
        for saga_id in gone:
            del self.runs[saga_id]

    # Sagas.

    @rule(saga_id=st.sampled_from(IDS), is_async=RARELY, urgent=st.booleans(), alone=RARELY)
    def want(self, saga_id: str, is_async: bool, urgent: bool, alone: bool) -> None:
        if saga_id in self.runs:
            return
        new = saga_id not in self.in_flight
        waiting = Waiting(saga_id, saga_id.partition("-")[0], is_async, urgent and not new, alone, new)
        if self.waiting.get(saga_id) != waiting:
            self.waiting.pop(saga_id, None)
            self.waiting[saga_id] = waiting
        self.slots.want(waiting)

    @rule(saga_id=st.sampled_from(IDS))
    def drop(self, saga_id: str) -> None:
        self.waiting.pop(saga_id, None)
        self.slots.drop(saga_id)

    @rule(saga_id=st.sampled_from(IDS))
    def end(self, saga_id: str) -> None:
        self.waiting.pop(saga_id, None)
        self.in_flight.discard(saga_id)
        self.slots.end(saga_id)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        saga_id = data.draw(st.sampled_from(sorted(self.runs)))
        del self.runs[saga_id]
        self.slots.release(self.keys[saga_id])

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """An attempt ends, and the next one of its saga takes its slot if that is offered."""
        saga_id = data.draw(st.sampled_from(sorted(self.runs)))
        before, (worker, waiting) = self.keys[saga_id], self.runs[saga_id]
        kept = self.slots.keep(before)
        if kept is None:
            return
        assert (kept.worker, kept.is_async) == (worker, waiting.is_async)
        assert all(each.new and each.saga == waiting.saga for each in self.waiting.values())
        assert self.workers[worker].open
        assert not waiting.alone
        assert self.used(worker, waiting.is_async) <= (TASKS if waiting.is_async else THREADS)
        self.keys[saga_id] = key(saga_id, before.attempt + 1)
        self.runs[saga_id] = worker, waiting._replace(new=False)
        self.slots.pass_on(before, self.keys[saga_id])
        assert not self.slots.holds(before)

    @rule()
    def give(self) -> None:
        while (found := self.slots.next()) is not None:
            self._check(*found)
            waiting, worker = found
            self.keys[waiting.saga_id] = key(waiting.saga_id)
            self.slots.occupy(self.keys[waiting.saga_id], worker, waiting)
            del self.waiting[waiting.saga_id]
            self.runs[waiting.saga_id] = worker, waiting
            self.in_flight.add(waiting.saga_id)
        self._check_nobody_was_forgotten()

    # What must hold.

    def _check(self, waiting: Waiting, worker: WorkerId) -> None:
        assert self.waiting.get(waiting.saga_id) == waiting
        assert self.may_begin(waiting)
        here = self.running(worker)
        assert self.workers[worker].open
        assert waiting.saga in self.workers[worker].serves
        assert not here if waiting.alone else not any(each.alone for each in here)
        assert self.used(worker, waiting.is_async) < self.room(waiting)
        peers = [each for each in self.waiting.values() if self.like(each, waiting) and self.may_begin(each)]
        begun = [each for each in peers if not each.new]
        assert waiting.saga_id == (begun or peers)[0].saga_id
        if not any(each.alone for each in self.waiting.values()):
            assert not self.over_share(waiting)
        if not waiting.urgent and not waiting.alone:
            urgent = [each for each in self.waiting.values() if each.urgent and not each.alone]
            assert not any(self.fits(each, worker) for each in urgent if each.is_async is waiting.is_async)

    def _check_nobody_was_forgotten(self) -> None:
        """With nobody who must run alone, every one who waits does so for want of a slot, a place or a fair share."""
        if any(each.alone for each in self.waiting.values()):
            return
        for waiting in self.waiting.values():
            if self.may_begin(waiting) and any(self.fits(waiting, worker) for worker in self.workers):
                assert self.over_share(waiting), waiting

    @invariant()
    def limits_hold(self) -> None:
        for saga, limit in LIMITS.items():
            count = sum(saga_id.startswith(saga) for saga_id in self.in_flight)
            assert limit is None or count <= limit

    # The model.

    def like(self, one: Waiting, other: Waiting) -> bool:
        return (one.saga, one.is_async, one.urgent, one.alone) == (
            other.saga,
            other.is_async,
            other.urgent,
            other.alone,
        )

    def may_begin(self, waiting: Waiting) -> bool:
        limit = LIMITS[waiting.saga]
        if limit is None or not waiting.new or waiting.saga_id in self.in_flight:
            return True
        return sum(saga_id.startswith(waiting.saga) for saga_id in self.in_flight) < limit

    def running(self, worker: WorkerId) -> list[Waiting]:
        return [waiting for where, waiting in self.runs.values() if where == worker]

    def used(self, worker: WorkerId, is_async: bool) -> int:
        return sum(each.is_async is is_async for each in self.running(worker))

    def fits(self, waiting: Waiting, worker: WorkerId) -> bool:
        there = self.workers[worker]
        if not there.open or waiting.saga not in there.serves or any(each.alone for each in self.running(worker)):
            return False
        return self.used(worker, waiting.is_async) < self.room(waiting)

    def room(self, waiting: Waiting) -> int:
        """How many a worker may run, with the reserve for those who may have it."""
        slots = TASKS if waiting.is_async else THREADS
        next_to_nothing = self.in_use(waiting) < max(1, slots * len(self.workers) // 8)
        return slots + reserve(slots) if waiting.urgent or next_to_nothing else slots

    def in_use(self, waiting: Waiting) -> int:
        saga, is_async = waiting.saga, waiting.is_async
        return sum(each.saga == saga and each.is_async is is_async for _, each in self.runs.values())

    def over_share(self, waiting: Waiting) -> bool:
        able = [each for each in self.workers.values() if each.open and waiting.saga in each.serves]
        others = any(
            other.saga != waiting.saga
            and other.is_async is waiting.is_async
            and self.may_begin(other)
            and any(other.saga in each.serves for each in able)
            for other in self.waiting.values()
        )
        in_use = self.in_use(waiting)
        total = (TASKS if waiting.is_async else THREADS) * len(able)
        return not waiting.urgent and others and in_use >= max(1, total * 3 // 4)


TestSlots = Model.TestCase
TestSlots.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
