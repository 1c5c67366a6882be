"""When the mere passing of time changes something for a saga: one alarm each, the earliest first."""

from __future__ import annotations

import heapq


class Alarms:
    """One alarm per saga. Those that were moved or dropped are cleared out once they are the greater part (P12)."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """How many entries are kept, also of alarms that were moved or dropped."""
        return len(self._heap)

    def set(self, saga_id: str, at: float) -> None:
        """Wake this saga at `at` (POSIX seconds), and at no other time."""
        if self._times.get(saga_id) == at:
            return
        self._times[saga_id] = at
        heapq.heappush(self._heap, (at, saga_id))
        if len(self._heap) > 2 * len(self._times) + 1_000:
            self._heap = [(time, name) for name, time in self._times.items()]
            heapq.heapify(self._heap)

    def drop(self, saga_id: str) -> None:
        """Do not wake this saga."""
        self._times.pop(saga_id, None)

    def due(self, now: float) -> list[str]:
        """The sagas whose time has come; their alarms are gone."""
        found: list[str] = []
        while self._heap and self._heap[0][0] <= now:
            at, saga_id = heapq.heappop(self._heap)
            if self._times.get(saga_id) == at:
                del self._times[saga_id]
                found.append(saga_id)
        return found

    @property
    def next(self) -> float | None:
        """The earliest time at which there may be somebody to wake."""
        return self._heap[0][0] if self._heap else None
