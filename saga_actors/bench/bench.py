"""The bench: rounds of everything, one thing after the other, so that a noisy machine hurts all alike."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from saga_actors.bench import disk, load, recovery
from saga_actors.bench.family import used_since
from saga_actors.bench.figure import Figures, percentile
from saga_actors.bench.floor import GROUP, Floor
from saga_actors.bench.load import Mode
from saga_actors.bench.place import Place, url_of
from saga_actors.bench.rig import THREADS, Rig, rig
from saga_actors.bench.sagas import BenchSaga, Case, Context, Gated, context_of, saga_for
from saga_actors.bench.settings import Settings
from saga_actors.journal import JournalUrl, open_reader

DISK_SECONDS = 0.3

_BESIDE = {
    Mode.ONE: (Mode.ONE, Mode.ONE),
    Mode.THREADS: (Mode.ALL, Mode.ONE),
    Mode.ALL: (Mode.ALL, Mode.ALL),
}
"""The modes of the floor with which the pace and the latencies of each mode are compared."""

ALONE = """
import sys
from pathlib import Path
from saga_actors.bench.floor import Floor
from saga_actors.bench.sagas import Case, context_of, saga_for
Floor(Path(sys.argv[1])).run(Case.SUCCESS, saga_for(Case.SUCCESS, int(sys.argv[2])), [context_of(1)])
"""


class Bench:
    """Takes the figures that the settings ask for; `say` is told what it is about."""

    def __init__(self, settings: Settings, place: Place, say: Callable[[str], None]) -> None:
        self.figures = Figures()
        self._settings = settings
        self._place = place
        self._say = say
        self._numbers = 0

    def run(self) -> Figures:
        """All of it."""
        classes = [self._saga(case) for case in self._settings.cases]
        with (
            rig(self._place.journal, self._settings.workers, classes) as node,
            closing(Floor(self._place.folder / "floor.db")) as floor,
        ):
            self._idle(node)
            for number in range(1, self._settings.rounds + 1):
                with self._about(f"round {number} of {self._settings.rounds}"):
                    self._round(node, floor)
            self.figures.add("journal.kb_per_saga", "kB", _size_per_saga(node.url))
        if self._settings.unfinished:
            with self._about(f"a kill with {self._settings.unfinished:,} sagas unfinished"):
                self._recovery(self._settings.unfinished, memory=True)
        return self.figures

    def _round(self, node: Rig, floor: Floor) -> None:
        cases = self._settings.cases
        disk.measure(self.figures, self._place.fresh("disk"), self._saga(cases[0]), DISK_SECONDS)
        for case in cases:
            for mode in _floors(self._settings.modes):
                self._floor(floor, case, mode)
            for mode in self._settings.modes:
                self._load(node, case, mode)
        self._busy(node, cases[0])
        self._recovery(self._settings.sagas)

    # One thing each.

    def _idle(self, node: Rig) -> None:
        node.run(self._saga(self._settings.cases[0]), self._settings.cases[0], self._context())
        family = node.family
        family.settle()
        self.figures.add("memory.idle_mb", "MB", family.memory())
        before, began = family.cpu(), time.perf_counter()
        with self._about("an idle node"):
            time.sleep(self._settings.idle)
        used = used_since(before, family.cpu())
        own = sum(seconds for role, seconds in used.items() if role != "client")
        self.figures.add("idle_cpu_percent", "%", 100 * own / (time.perf_counter() - began))

    def _floor(self, floor: Floor, case: Case, mode: Mode) -> None:
        contexts = self._contexts(load.how_many(mode, case, self._settings.sagas))
        done = floor.run(case, self._saga(case), contexts, 1 if mode is Mode.ONE else GROUP)
        done.note(self.figures, f"floor.{case}.{mode}")

    def _load(self, node: Rig, case: Case, mode: Mode) -> None:
        contexts = self._contexts(load.how_many(mode, case, self._settings.sagas))
        done = load.measured(node, mode, case, self._saga(case), contexts)
        pace, latency = _BESIDE[mode]
        done.note(self.figures, f"{case}.{mode}", pace=f"floor.{case}.{pace}", latency=f"floor.{case}.{latency}")

    def _busy(self, node: Rig, case: Case) -> None:
        seen = load.busy(node, case, self._saga(case), self._contexts(self._settings.sagas))
        add = self.figures.add
        add("floor.status_ms", "ms", 1e3 * _read_one(node.url))
        for percent in (50, 99):
            add(f"status.p{percent}_ms", "ms", 1e3 * percentile(seen.statuses, percent), of="floor.status_ms")
        add("memory.peak_mb", "MB", seen.peak, of="memory.idle_mb")

    def _recovery(self, sagas: int, *, memory: bool = False) -> None:
        """On a node of its own, whose start is measured by the way."""
        folder, settings = self._place.fresh("recovery"), self._settings
        url, case = url_of(folder / "sagas.db"), settings.cases[0]
        self.figures.add("floor.start_s", "s", _start_alone(folder / "alone.db", settings.steps))
        began = time.perf_counter()
        with rig(url, settings.workers, [self._saga(case), Gated]) as node:
            node.run(self._saga(case), case, self._context())
            self.figures.add("start_s", "s", time.perf_counter() - began, of="floor.start_s")
            seen = recovery.recover(node, sagas, settings.workers * THREADS, folder)
        name, add = f"recovery.{sagas}", self.figures.add
        add(f"floor.{name}.all_s", "s", seen.read)
        add(f"{name}.first_s", "s", seen.first)
        add(f"{name}.all_s", "s", seen.last, of=f"floor.{name}.all_s")
        add(f"{name}.status_s", "s", seen.status)
        if memory:
            add("memory.unfinished_mb", "MB", seen.memory, of="memory.idle_mb")

    # How.

    def _saga(self, case: Case) -> BenchSaga:
        return saga_for(case, self._settings.steps)

    def _context(self) -> Context:
        self._numbers += 1
        return context_of(self._numbers)

    def _contexts(self, count: int) -> Sequence[Context]:
        return [self._context() for _ in range(count)]

    @contextmanager
    def _about(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._say(f"{what}: {time.perf_counter() - began:.1f} s")


def _floors(modes: Sequence[Mode]) -> list[Mode]:
    """The modes of the floor that these are compared with."""
    beside = {floor for mode in modes for floor in _BESIDE[mode]}
    return [mode for mode in Mode if mode in beside]


def _read_one(url: str) -> float:
    """Seconds that it takes to read the records of one saga from the journal, the median of several."""
    with closing(open_reader(url)) as reader:
        took = []
        for row in reader.list(limit=50).rows:
            began = time.perf_counter()
            reader.load(row.saga_id)
            took.append(time.perf_counter() - began)
    return percentile(took, 50)


def _size_per_saga(url: str) -> float:
    """Kilobytes of the journal's file and of its log, for each saga in it."""
    path = JournalUrl.parse(url).path
    with closing(open_reader(url)) as reader:
        sagas = sum(reader.counts().values())
    return sum(file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists()) / 1e3 / sagas


def _start_alone(path: Path, steps: int) -> float:
    """Seconds that a fresh interpreter takes to do one saga without a node."""
    command = [sys.executable, "-c", ALONE, str(path), str(steps)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    began = time.perf_counter()
    subprocess.run(command, check=True, env=environment, timeout=60)
    return time.perf_counter() - began
