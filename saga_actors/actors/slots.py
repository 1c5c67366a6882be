"""Which saga runs next, and where: the slots of the workers, and the sagas that wait for one (P11).

Compensations and reruns first, then round robin over saga classes, first come first served within one; no class takes
more than three quarters of the slots while another waits. An attempt that must run alone gets a worker to itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import attrs

from saga_actors.actors.protocol import AttemptKey
from saga_actors.events import WorkerId

TASKS = 1_000
"""How many async attempts one worker runs at a time."""


@attrs.frozen
class Waiting:
    """A saga that wants a slot."""

    saga_id: str
    saga: str
    is_async: bool = False
    urgent: bool = False
    alone: bool = False


@attrs.define
class _Room:
    """One worker, as far as slots go."""

    worker: WorkerId
    threads: int
    serves: set[str]
    open: bool = True
    kept: bool = False
    running: dict[AttemptKey, Waiting] = attrs.Factory(dict)
    used: list[int] = attrs.Factory(lambda: [0, 0])
    alone: bool = False

    def free(self, is_async: bool) -> int:
        if not self.open or self.alone:
            return 0
        return (TASKS if is_async else self.threads) - self.used[is_async]


class Slots:
    """The slots of all workers, and who waits for one."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._rooms: dict[WorkerId, _Room] = {}
        self._where: dict[AttemptKey, WorkerId] = {}
        self._queues: dict[tuple[bool, str, bool, bool], deque[Waiting]] = {}
        self._queued: dict[str, Waiting] = {}
        self._in_use: dict[tuple[str, bool], int] = {}

    # Workers.

    def join(self, worker: WorkerId) -> None:
        """A worker is there; it serves nothing yet."""
        self._rooms.setdefault(worker, _Room(worker, self._threads, set()))

    def serves(self, worker: WorkerId, sagas: set[str]) -> None:
        """The worker has loaded these sagas."""
        if worker in self._rooms:
            self._rooms[worker].serves |= sagas

    def retire(self, worker: WorkerId, retiring: bool) -> None:
        """The worker takes nothing more; or it does again, if it is not retiring."""
        if worker in self._rooms:
            self._rooms[worker].open = not retiring

    def leave(self, worker: WorkerId) -> list[AttemptKey]:
        """The worker is dead; the attempts that were in it."""
        room = self._rooms.pop(worker, None)
        keys = list(room.running) if room else []
        for key in keys:
            self._forget(key, room)
        return keys

    # Sagas.

    def want(self, waiting: Waiting) -> None:
        """Queue a saga, once."""
        if self._queued.get(waiting.saga_id) == waiting:
            return
        self._queued[waiting.saga_id] = waiting
        key = (not waiting.urgent, waiting.saga, waiting.is_async, waiting.alone)
        self._queues.setdefault(key, deque()).append(waiting)

    def drop(self, saga_id: str) -> None:
        """A saga waits no more (its place in the queue is skipped when it comes up)."""
        waiting = self._queued.pop(saga_id, None)
        if waiting is not None and waiting.alone:
            for room in self._rooms.values():  # whoever else must run alone has one kept again
                room.kept = False

    def next(self) -> tuple[Waiting, WorkerId] | None:
        """The saga that runs next, and the worker for it; None if nobody waits or nothing is free."""
        for key in self._in_turn():
            queue = self._queues[key]
            first = self._first(queue)
            if first is None:
                del self._queues[key]
                continue
            room = self._room_for(first)
            if room is None:
                continue
            waiting = queue.popleft()
            del self._queued[waiting.saga_id]
            self._queues[key] = self._queues.pop(key)
            return waiting, room.worker
        return None

    def occupy(self, key: AttemptKey, worker: WorkerId, waiting: Waiting) -> None:
        """The attempt takes a slot, until it is quiet."""
        room = self._rooms.get(worker)
        if room is None or key in room.running:
            return
        room.running[key] = waiting
        room.used[waiting.is_async] += 1
        room.alone = room.alone or waiting.alone
        room.kept = False
        self._where[key] = worker
        usage = (waiting.saga, waiting.is_async)
        self._in_use[usage] = self._in_use.get(usage, 0) + 1

    def release(self, key: AttemptKey) -> None:
        """The attempt is quiet."""
        worker = self._where.get(key)
        if worker is not None:
            self._forget(key, self._rooms.get(worker))

    def holds(self, key: AttemptKey) -> bool:
        """Whether the attempt has a slot."""
        return key in self._where

    @property
    def busy(self) -> int:
        """How many attempts have a slot."""
        return len(self._where)

    # How.

    def _forget(self, key: AttemptKey, room: _Room | None) -> None:
        self._where.pop(key, None)
        waiting = room.running.pop(key, None) if room else None
        if room is None or waiting is None:
            return
        room.used[waiting.is_async] -= 1
        room.alone = room.alone and bool(room.running)
        usage = (waiting.saga, waiting.is_async)
        self._in_use[usage] -= 1
        if not self._in_use[usage]:
            del self._in_use[usage]

    def _first(self, queue: deque[Waiting]) -> Waiting | None:
        """Whoever is really first: those who wait no more are passed over."""
        while queue and self._queued.get(queue[0].saga_id) is not queue[0]:
            queue.popleft()
        return queue[0] if queue else None

    def _in_turn(self) -> Iterator[tuple[bool, str, bool, bool]]:
        urgent_first = sorted(self._queues, key=lambda key: key[0])
        yield from urgent_first

    def _room_for(self, waiting: Waiting) -> _Room | None:
        able = [r for r in self._rooms.values() if r.open and waiting.saga in r.serves]
        if waiting.alone:
            return self._empty_room(able)
        able = [r for r in able if not r.kept]
        room = max(able, key=lambda r: r.free(waiting.is_async), default=None)
        if room is None or room.free(waiting.is_async) <= 0 or self._over_share(waiting, able):
            return None
        return room

    def _empty_room(self, able: list[_Room]) -> _Room | None:
        """A worker that runs nothing; if there is none, the least busy one is kept free from now on."""
        if not able:
            return None
        room = next((r for r in able if r.kept), None) or min(able, key=lambda r: len(r.running))
        room.kept = bool(room.running)
        return None if room.running else room

    def _over_share(self, waiting: Waiting, able: list[_Room]) -> bool:
        if waiting.urgent:
            return False
        others = any(
            first.saga != waiting.saga
            and first.is_async is waiting.is_async
            and any(first.saga in r.serves for r in able)
            for queue in self._queues.values()
            if (first := self._first(queue)) is not None
        )
        total = sum(TASKS if waiting.is_async else r.threads for r in able)
        return others and self._in_use.get((waiting.saga, waiting.is_async), 0) >= max(1, total * 3 // 4)
