"""The ways in which sagas are given to a node: one at a time, from many threads, or all at once."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

import attrs

from saga_actors.bench.family import Family, used_since
from saga_actors.bench.figure import Figures, percentile
from saga_actors.bench.rig import Rig
from saga_actors.bench.sagas import BenchSaga, Case, Context

THREADS = 64
MOST_ONE = 200
"""As many are run one at a time, at most; of slow ones a tenth."""


class Mode(StrEnum):
    """How many sagas are on their way at a time."""

    ONE = "one"
    THREADS = "threads"
    ALL = "all"


@attrs.frozen
class Load:
    """What so many sagas took: seconds for all of them, seconds each, and seconds of CPU by role."""

    seconds: float
    latencies: Sequence[float]
    cpu: Mapping[str, float] = attrs.field(factory=dict)

    def note(self, figures: Figures, name: str, *, pace: str | None = None, latency: str | None = None) -> None:
        """Add a round to the figures called `name`; what they are compared with begins with the other two names."""

        def add(what: str, unit: str, value: float, base: str | None = None) -> None:
            figures.add(f"{name}.{what}", unit, value, of=None if base is None else f"{base}.{what}")

        count = len(self.latencies)
        add("sagas_per_s", "1/s", count / self.seconds, pace)
        for percent in (50, 95, 99):
            add(f"p{percent}_ms", "ms", 1e3 * percentile(self.latencies, percent), latency)
        add("cpu_ms", "ms", 1e3 * sum(self.cpu.values()) / count, pace)
        if len(self.cpu) > 1:
            for role, used in self.cpu.items():
                add(f"cpu_ms.{role}", "ms", 1e3 * used / count)


def how_many(mode: Mode, case: Case, sagas: int) -> int:
    """How many sagas of `sagas` are run in this mode."""
    if mode is not Mode.ONE:
        return sagas
    return min(sagas, MOST_ONE // 10 if case is Case.SLOW else MOST_ONE)


def measured(rig: Rig, mode: Mode, case: Case, saga: BenchSaga, contexts: Sequence[Context]) -> Load:
    """Run a saga for each context, and see what that takes."""
    family = rig.family
    family.settle()
    before = family.cpu()
    began = time.perf_counter()
    latencies = _DRIVERS[mode](rig, case, saga, contexts)
    seconds = time.perf_counter() - began
    family.settle()
    return Load(seconds, latencies, used_since(before, family.cpu()))


def _one(rig: Rig, case: Case, saga: BenchSaga, contexts: Sequence[Context]) -> list[float]:
    return [rig.run(saga, case, context) for context in contexts]


def _threads(rig: Rig, case: Case, saga: BenchSaga, contexts: Sequence[Context]) -> list[float]:
    with ThreadPoolExecutor(THREADS, "saga_actors-bench") as threads:
        return list(threads.map(lambda context: rig.run(saga, case, context), contexts))


def _all(rig: Rig, case: Case, saga: BenchSaga, contexts: Sequence[Context]) -> list[float]:
    return rig.run_many(saga, case, contexts)


_DRIVERS: dict[Mode, Callable[[Rig, Case, BenchSaga, Sequence[Context]], list[float]]] = {
    Mode.ONE: _one,
    Mode.THREADS: _threads,
    Mode.ALL: _all,
}


@attrs.frozen
class Busy:
    """What a node is like while all run at once: seconds for each `status`, and its highest memory in MB."""

    statuses: Sequence[float]
    peak: float


def busy(rig: Rig, case: Case, saga: BenchSaga, contexts: Sequence[Context]) -> Busy:
    """Run all at once, watched; that is why it is not timed."""
    family: Family = rig.family
    with family.peak() as samples:
        ids = rig.coordinator.start_many(saga, contexts)
        over = threading.Event()
        with ThreadPoolExecutor(1, "saga_actors-bench-status") as asker:
            statuses = asker.submit(_ask, rig, ids, over)
            try:
                rig.ends(ids, case)
            finally:
                over.set()
    return Busy(statuses.result(), samples[-1])


def _ask(rig: Rig, ids: Sequence[str], over: threading.Event) -> list[float]:
    """Ask for one status after the other, at least one."""
    took: list[float] = []
    for saga_id in itertools.cycle(ids):
        began = time.perf_counter()
        rig.coordinator.status(saga_id)
        took.append(time.perf_counter() - began)
        if over.is_set():
            break
    return took
