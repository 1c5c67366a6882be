"""Which saga runs next, and where: the slots of the workers, and the sagas that wait for one (P11).

Compensations and reruns first, then round robin over saga classes, first come first served within one: a saga that has
begun came before those that have not, so that what is begun gets done, and each of many that start at once does not end
with the last of them. No class takes more than three quarters of the slots while another waits. An attempt that must
run alone gets a worker to itself.

With nobody else waiting a class may have all slots, and if its steps take 30 s, whoever comes then would wait so long.
So each worker has a quarter more in reserve, for compensations, reruns, and classes that have next to nothing.

A class with `max_running=N` has at most N sagas in flight: one counts from when its first attempt begins until it ends
or is held. Only that first attempt waits for a place; later steps and compensations never do, and sagas that had begun
before a restart, or before the limit was lowered, go on.

This is asked often, with thousands waiting: nothing here sorts, or looks at more than the classes and the workers.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import attrs

from saga_actors.actors.protocol import AttemptKey
from saga_actors.events import WorkerId

TASKS = 1_000
"""How many async attempts one worker runs at a time."""


def reserve(slots: int) -> int:
    """How many more there are for those who would else wait for others' long steps."""
    return max(1, slots // 4)


class Waiting(NamedTuple):
    """A saga that wants a slot; `new`: no attempt of it has begun yet."""

    saga_id: str
    saga: str
    is_async: bool = False
    urgent: bool = False
    alone: bool = False
    new: bool = False


class KeptSlot(NamedTuple):
    """The slot of an attempt that has just ended, for the next one of the same saga."""

    worker: WorkerId
    epoch: int
    is_async: bool


@attrs.define(eq=False)
class _Room:
    """One worker, as far as slots go. `serves` has the limit of each class.

    What there are several of is by kind, threads and tasks; `free` is less than zero while some of `reserve` is taken.
    `kept`: it is to become empty, for an attempt that must run alone; `alone`: such an attempt runs in it.
    """

    worker: WorkerId
    slots: tuple[int, int]
    reserve: tuple[int, int]
    free: list[int]
    serves: dict[str, int | None] = attrs.Factory(dict)
    running: int = 0
    open: bool = True
    kept: bool = False
    alone: bool = False


@attrs.define(eq=False)
class _Queue:
    """The sagas of one class that wait for one kind of slot: those in flight, and those of which none has begun.

    Both may name sagas that wait no more; those are passed over.
    """

    begun: deque[Waiting] = attrs.Factory(deque)
    new: deque[Waiting] = attrs.Factory(deque)


class _Ring(OrderedDict[str, _Queue]):
    """The queues of one kind by class, whoever was served last at the end."""


class _Held(NamedTuple):
    """The slot of one attempt."""

    room: _Room
    waiting: Waiting


class Slots:
    """The slots of all workers, and who waits for one. Until `recovered`, classes with a limit begin no sagas."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._rooms: dict[WorkerId, _Room] = {}
        self._held: dict[AttemptKey, _Held] = {}
        self._rings = {
            (urgent, alone, is_async): _Ring()
            for urgent in (True, False)
            for alone in (False, True)
            for is_async in (False, True)
        }
        self._in_turn = [(ring, *kind) for kind, ring in self._rings.items()]
        self._queued: dict[str, Waiting] = {}
        self._new: dict[str, int] = defaultdict(int)
        self._free = [0, 0]
        self._next_to_nothing = [1, 1]
        self._in_use: tuple[dict[str, int], dict[str, int]] = (defaultdict(int), defaultdict(int))
        self._limits: dict[str, int] = {}
        self._begun: dict[str, str] = {}
        self._in_flight: dict[str, int] = defaultdict(int)
        self._recovered = False

    # Workers.

    def join(self, worker: WorkerId) -> None:
        """A worker is there; it serves nothing yet."""
        if worker not in self._rooms:
            slots = (self._threads, TASKS)
            self._rooms[worker] = _Room(worker, slots, (reserve(self._threads), reserve(TASKS)), list(slots))
            self._count_again()

    def serves(self, worker: WorkerId, sagas: Mapping[str, int | None]) -> None:
        """The worker has loaded these sagas; each with its `max_running`."""
        if worker in self._rooms:
            self._rooms[worker].serves |= sagas
            self._count_again()

    def retire(self, worker: WorkerId, retiring: bool) -> None:
        """The worker takes nothing more; or it does again, if it is not retiring."""
        room = self._rooms.get(worker)
        if room is not None and room.open is retiring:
            room.open = not retiring
            self._count_again()

    def leave(self, worker: WorkerId) -> list[AttemptKey]:
        """The worker is dead; the attempts that were in it."""
        room = self._rooms.pop(worker, None)
        keys = [key for key, held in self._held.items() if held.room is room]
        for key in keys:
            self.release(key)
        self._count_again()
        return keys

    def _count_again(self) -> None:
        """Something else has changed than an attempt begun or ended."""
        self._limits = {}
        self._free = [0, 0]
        for kind in (False, True):
            self._next_to_nothing[kind] = max(1, sum(room.slots[kind] for room in self._rooms.values()) // 8)
        for room in self._rooms.values():
            for saga, limit in room.serves.items():
                if limit is not None and self._served(saga) is room:
                    self._limits[saga] = limit
            if room.open and not room.kept and not room.alone:
                self._free[0] += max(0, room.free[0])
                self._free[1] += max(0, room.free[1])

    def _served(self, saga: str) -> _Room | None:
        """The worker whose definition of this class is in force."""
        return next((room for room in self._rooms.values() if saga in room.serves), None)

    # Sagas.

    def want(self, waiting: Waiting) -> None:
        """Queue a saga, once."""
        saga_id, saga, is_async, urgent, alone, _ = waiting
        before = self._queued.get(saga_id)
        if before is not None:
            if before == waiting:
                return
            self.drop(saga_id)
        self._queued[saga_id] = waiting
        self._new[saga] += waiting.new
        ring = self._rings[urgent, alone, is_async]
        queue = ring.get(saga)
        if queue is None:
            queue = ring[saga] = _Queue()
        (queue.new if waiting.new and saga_id not in self._begun else queue.begun).append(waiting)

    def drop(self, saga_id: str) -> None:
        """A saga waits no more (its place in the queue is skipped when it comes up)."""
        waiting = self._queued.pop(saga_id, None)
        if waiting is None:
            return
        self._new[waiting.saga] -= waiting.new
        if waiting.alone:
            self._keep_none()

    def _keep_none(self) -> None:
        """Whoever waits to run alone has another worker kept for it, when its turn comes."""
        for room in self._rooms.values():
            room.kept = False
        self._count_again()

    def take_back(self, key: AttemptKey) -> None:
        """The attempt has not begun after all."""
        held = self._held.get(key)
        self.release(key)
        if held is not None and held.waiting.new:
            self._end(held.waiting.saga_id)

    def begun(self, saga_id: str, saga: str) -> None:
        """An attempt of this saga has begun: it is in flight, and counts towards its class's limit."""
        if saga_id not in self._begun:
            self._begun[saga_id] = saga
            self._in_flight[saga] += 1

    def recovered(self) -> None:
        """All that are in flight are known."""
        self._recovered = True

    def end(self, saga_id: str) -> None:
        """The saga has ended, or is held: it waits no more, and is not in flight."""
        self.drop(saga_id)
        self._end(saga_id)

    def _end(self, saga_id: str) -> None:
        saga = self._begun.pop(saga_id, None)
        if saga is not None:
            self._in_flight[saga] -= 1
            if not self._in_flight[saga]:
                del self._in_flight[saga]

    def next(self) -> tuple[Waiting, WorkerId] | None:
        """The saga that runs next, and the worker for it; None if nobody waits or nothing is free."""
        for ring, urgent, alone, is_async in self._in_turn:
            if ring:
                found = self._next_of(ring, is_async, urgent or alone or self._free[is_async] > 0)
                if found is not None:
                    return found
        return None

    def occupy(self, key: AttemptKey, worker: WorkerId, waiting: Waiting) -> None:
        """The attempt takes a slot, until it is quiet."""
        room = self._rooms.get(worker)
        if room is None or key in self._held:
            return
        self._held[key] = _Held(room, waiting)
        kind = waiting.is_async
        self._in_use[kind][waiting.saga] += 1
        if waiting.new:
            self.begun(waiting.saga_id, waiting.saga)
        room.running += 1
        room.free[kind] -= 1
        if waiting.alone or room.kept:
            room.alone, room.kept = room.alone or waiting.alone, False
            self._count_again()
        elif room.open and not room.alone and room.free[kind] >= 0:
            self._free[kind] -= 1

    def release(self, key: AttemptKey) -> None:
        """The attempt is quiet."""
        held = self._held.pop(key, None)
        if held is None:
            return
        room, waiting = held.room, held.waiting
        kind, in_use = waiting.is_async, self._in_use[waiting.is_async]
        in_use[waiting.saga] -= 1
        if not in_use[waiting.saga]:
            del in_use[waiting.saga]
        room.running -= 1
        room.free[kind] += 1
        if room.alone and not room.running:
            room.alone = False
            self._count_again()
        elif room.open and not room.kept and not room.alone and room.free[kind] > 0:
            self._free[kind] += 1

    def keep(self, key: AttemptKey) -> KeptSlot | None:
        """The slot of this attempt, if it would be its saga's turn again: nobody waits but new ones of its class."""
        held = self._held.get(key)
        if held is None:
            return None
        room, waiting = held
        waits = len(self._queued)
        if waits and waits != self._new.get(waiting.saga, 0):
            return None
        if not room.open or room.kept or room.alone or waiting.saga not in room.serves:
            return None
        if room.free[waiting.is_async] < 0:  # the reserve is not kept
            return None
        return KeptSlot(room.worker, key.epoch, waiting.is_async)

    def pass_on(self, key: AttemptKey, following: AttemptKey) -> None:
        """The attempt is quiet, and the next one of its saga has its slot."""
        room, waiting = self._held.pop(key)
        if waiting.new:
            waiting = waiting._replace(new=False)
        self._held[following] = _Held(room, waiting)

    def holds(self, key: AttemptKey) -> bool:
        """Whether the attempt has a slot."""
        return key in self._held

    @property
    def busy(self) -> int:
        """How many attempts have a slot."""
        return len(self._held)

    # How.

    def _next_of(self, ring: _Ring, kind: bool, for_all: bool) -> tuple[Waiting, WorkerId] | None:
        """Whoever of these is first and finds room, class by class; classes of which nobody waits are forgotten.

        If only the reserve is left, which is not `for_all`, only those are looked at that may have it.
        """
        idle: list[str] = []
        found: tuple[Waiting, WorkerId] | None = None
        for saga, queue in ring.items():
            if not for_all and self._in_use[kind].get(saga, 0) >= self._next_to_nothing[kind]:
                continue
            line = self._first(queue)
            if line is None:
                if not queue.new:
                    idle.append(saga)
                continue
            room = self._room_for(line[0])
            if room is not None:
                found = line.popleft(), room.worker
                del self._queued[found[0].saga_id]
                self._new[saga] -= found[0].new
                ring.move_to_end(saga)
                if found[0].alone:
                    self._keep_none()
                break
        for saga in idle:
            del ring[saga]
        return found

    def _first(self, queue: _Queue) -> deque[Waiting] | None:
        """Where whoever is first stands at the front: who waits no more is passed over, and who may not begin waits."""
        queued = self._queued
        for line in (queue.begun, queue.new):
            while line and queued.get(line[0].saga_id) is not line[0]:
                line.popleft()
            if line:
                return line if line is queue.begun or self._may_begin(line[0]) else None
        return None

    def _may_begin(self, waiting: Waiting) -> bool:
        limit = self._limits.get(waiting.saga)
        if limit is None or waiting.saga_id in self._begun:
            return True
        return self._recovered and self._in_flight.get(waiting.saga, 0) < limit

    def _room_for(self, waiting: Waiting) -> _Room | None:
        """The worker with the most free slots, if it has one, and the class may have it."""
        if waiting.alone:  # no worker is known to be empty before all that run are known
            return self._empty_room(waiting.saga) if self._recovered else None
        saga, kind = waiting.saga, waiting.is_async
        in_use = self._in_use[kind].get(saga, 0)
        favoured = waiting.urgent or in_use < self._next_to_nothing[kind]
        best, most, slots = None, 0, 0
        for room in self._rooms.values():
            if room.open and not room.kept and saga in room.serves:
                slots += room.slots[kind]
                free = room.free[kind] + room.reserve[kind] if favoured else room.free[kind]
                if free > most and not room.alone:
                    best, most = room, free
        if best is None or favoured or in_use < max(1, slots * 3 // 4):
            return best
        return None if self._another_waits(saga, kind) else best

    def _able(self, saga: str) -> Iterator[_Room]:
        for room in self._rooms.values():
            if room.open and saga in room.serves:
                yield room

    def _empty_room(self, saga: str) -> _Room | None:
        """A worker that runs nothing; if there is none, the least busy one is kept free from now on."""
        able = list(self._able(saga))
        if not able:
            return None
        room = next((r for r in able if r.kept), None) or min(able, key=lambda r: r.running)
        if room.kept is not (room.running > 0):
            room.kept = room.running > 0
            self._count_again()
        return None if room.running else room

    def _another_waits(self, saga: str, kind: bool) -> bool:
        """Whether another class waits for slots of this kind in the workers that are able to run this one."""
        for ring, _, _, is_async in self._in_turn:
            if is_async is kind and len(ring) > (saga in ring):
                for other, queue in ring.items():
                    if other != saga and self._first(queue) is not None and self._meets(other, saga):
                        return True
        return False

    def _meets(self, one: str, other: str) -> bool:
        return any(one in room.serves for room in self._able(other) if not room.kept)
