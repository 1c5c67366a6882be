"""Sagas of all kinds stream in while members of the node's family are killed or stopped at random; then all is counted.

`python tests/chaos/random_kills.py --kills 200 --seed 7`. The ledger of effects is kept outside (`tests/node/killing`),
and each saga's is held against the promises (`tests/node/accounts`). The exit code is 1 if anything is not 0 that has
to be. A watchdog is killed, but not stopped: nobody notices that, as docs/architecture.md says.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "node"))

import attrs
from accounts import Account
from killing import Careless, Delicate, Journey, Line, ledger

from saga_actors import (
    Compensated,
    CompensationFailed,
    Completed,
    Coordinator,
    NodeError,
    Saga,
    SagaHeldError,
    SagaTimeoutError,
)
from saga_actors.events import Event
from saga_actors.journal import open_reader
from saga_actors.node_folder import NodeFolder, ProcessId, holders

KINDS: dict[str, tuple[type[Saga], dict[str, str]]] = {
    "completes": (Journey, {}),
    "goes-back": (Journey, {"last": "fail"}),
    "undo-fails-once": (Journey, {"last": "fail", "undo-two": "once"}),
    "undo-fails": (Journey, {"last": "fail", "undo-two": "give-up"}),
    "slow": (Journey, {"one": "slow", "three": "slow"}),
    "slow-back": (Journey, {"last": "fail", "two": "slow", "undo-one": "slow"}),
    "unknown": (Journey, {"three": "doubt"}),
    "ignores": (Careless, {"extra": "fail"}),
    "ignores-unknown": (Careless, {"extra": "doubt", "last": "fail"}),
    "once": (Delicate, {"once": "slow"}),
}

CHILDREN = ("RootSupervisor", "SagaSupervisor", "StepWorker", "StatusActor", "TelemetryActor")
MEMBERS = ("watchdog", "life", "admin", "logger", *CHILDREN, *CHILDREN)

IN_FLIGHT = 40
"""So many sagas are unfinished at a time, or fewer."""

BETWEEN = (0.02, 0.6)
"""Seconds between two kills, at least and at most, if they come in a burst."""

CALM, CALM_SAGAS, CALM_LIMIT = 0.4, 10, 3.0
"""How many kills come in no burst: so many sagas have ended since the last one then, or so many seconds are over."""

STOPS = 0.25
"""How much of them are stops; of these, half are let go on after a while: some beside their successor."""

IMPATIENT = {"ping_every": 0.3, "silence": 2.0, "start_limit": 10.0}
"""So that a stopped process is noticed sooner than after 10 s; one that is stopped at its birth, than after 60 s."""

END_LIMIT = 60.0
"""Seconds within which every saga has ended once nothing is killed any more."""

ORPHAN_LIMIT = 10.0
"""Seconds within which no process is left once the last coordinator is closed."""


class Family:
    """All processes that the journal's nodes have ever had, and when each was last seen alive."""

    def __init__(self, url: str) -> None:
        self.folder = NodeFolder.of(url)
        self.seen: dict[ProcessId, float] = {}
        self.started: dict[tuple[int, int], float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def members(self) -> list[tuple[ProcessId, str]]:
        """Those that live, and their roles."""
        members = self.folder.members()
        life = self.folder.present_life()
        if life is not None:
            members.append((ProcessId(life.watchdog_pid, life.watchdog_started), "watchdog"))
        return [(process, role) for process, role in members if process.alive]

    def living(self) -> set[ProcessId]:
        """All that live, also those that nobody has registered."""
        held = holders(self.folder) if self.folder.lock.exists() else set()
        found = {process for pid in held if (process := ProcessId.of(pid)) is not None}
        return found | {process for process in list(self.seen) if process.alive}

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            now = time.time()
            for process, _ in self.members():
                self.seen[process] = now


class Stream:
    """Starts sagas, one after the other, as long as nobody ends it; the same seed, the same sagas."""

    def __init__(self, sagas: Coordinator, folder: Path, chance: random.Random) -> None:
        self.accepted: dict[str, str] = {}
        self.ended: set[str] = set()
        self._sagas = sagas
        self._folder = folder
        self._chance = chance
        self._over = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._start, self._count)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Start no more, and wait until what is being started is ours."""
        self._over.set()
        for thread in self._threads:
            thread.join(END_LIMIT)

    def _start(self) -> None:
        number = 0
        while not self._over.is_set():
            if len(self.accepted) - len(self.ended) >= IN_FLIGHT:
                self._wait_for_one()
                continue
            kind = self._chance.choice(list(KINDS))
            saga, ways = KINDS[kind]
            saga_id, number = f"{kind}-{number}", number + 1
            while saga_id not in self.accepted and not self._over.is_set():
                with contextlib.suppress(NodeError, SagaTimeoutError):  # no node for a while: the same id again (P10)
                    self._sagas.start(saga, {"folder": str(self._folder), "ways": ways}, saga_id=saga_id, timeout=10)
                    self.accepted[saga_id] = kind

    def _wait_for_one(self) -> None:
        """As clients do: one that is asked nothing starts no other node when the new one is killed at birth."""
        saga_id = next(iter(self.accepted.keys() - self.ended), None)
        with contextlib.suppress(NodeError, SagaTimeoutError, SagaHeldError):
            if saga_id is not None:
                self._sagas.result(saga_id, timeout=0.1)

    def _count(self) -> None:
        """See which have ended, in the journal itself."""
        while not self._over.wait(0.05):
            if self.accepted:
                with contextlib.closing(open_reader(f"sqlite:///{self._folder}/sagas.db")) as reader:
                    rows = {saga_id: reader.find(saga_id) for saga_id in self.accepted.keys() - self.ended}
                self.ended |= {saga_id for saga_id, row in rows.items() if row is not None and not row.state.unfinished}


class Killer:
    """Kills or stops members of a family."""

    def __init__(self, family: Family, stream: Stream, chance: random.Random) -> None:
        self.done: Counter[str] = Counter()
        self._stream = stream
        self._family = family
        self._chance = chance
        self._stopped: list[tuple[float, ProcessId]] = []

    def strike(self) -> None:
        """Wait a while, and kill or stop somebody."""
        if self._chance.random() < CALM:
            wanted = len(self._stream.ended) + CALM_SAGAS
            wait_for(lambda: len(self._stream.ended) >= wanted, CALM_LIMIT)
        time.sleep(self._chance.uniform(*BETWEEN))
        self._wake()
        role, is_stop = self._chance.choice(MEMBERS), self._chance.random() < STOPS
        if role == "watchdog":
            is_stop = False
        victim = self._victim(role)
        goes_on = self._chance.random() < 0.5
        how = signal.SIGSTOP if is_stop else signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, how)
            self.done[f"{role} {'stopped' if is_stop else 'killed'}"] += 1
        if is_stop and goes_on:
            self._stopped.append((time.monotonic() + self._chance.uniform(0.0, 2 * IMPATIENT["silence"]), victim))

    def _victim(self, role: str) -> ProcessId:
        deadline = time.monotonic() + END_LIMIT
        while not (found := [process for process, its_role in self._family.members() if its_role == role]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"there is no {role} any more")
            time.sleep(0.01)
        return self._chance.choice(found)

    def _wake(self) -> None:
        for at, process in self._stopped:
            if at < time.monotonic() and process.alive:
                os.kill(process.pid, signal.SIGCONT)
        self._stopped = [(at, process) for at, process in self._stopped if at >= time.monotonic()]


@attrs.define
class Result:
    """What is printed; of `zeros`, none may be anything else."""

    seed: int
    kills: Counter[str]
    states: Counter[str]
    accepted: int = 0
    zeros: dict[str, list[str]] = attrs.Factory(lambda: defaultdict(list))

    def show(self, seconds: float) -> None:
        states = {name: self.states[name] for name in ("completed", "compensated", "fatal", "held")}
        zeros = {name: len(self.zeros[name]) for name in ZEROS}
        for name, count in {"kills": self.kills.total(), "accepted": self.accepted, **states, **zeros}.items():
            print(f"{name:28} {count:6}")
        print(f"{'seed':28} {self.seed:6}")
        print(f"{'seconds':28} {seconds:6.0f}")
        print(", ".join(f"{what}: {count}" for what, count in sorted(self.kills.items())))
        for name in ZEROS:
            for fault in self.zeros[name][:20]:
                print(f"{name}: {fault}")


LOST, TWICE, ORPHANS, OTHER = "lost", "run twice without a crash", "orphans after 10 s", "other broken promises"
ZEROS = (LOST, TWICE, ORPHANS, OTHER)


def until_ended(sagas: Coordinator, stream: Stream, result: Result) -> dict[str, Any]:
    """Wait for all that were accepted; the outcomes of those that were not held."""
    deadline = time.monotonic() + END_LIMIT
    outcomes: dict[str, Any] = {}
    names = {Completed: "completed", Compensated: "compensated", CompensationFailed: "fatal"}
    for saga_id, kind in stream.accepted.items():
        try:
            outcome = sagas.result(saga_id, KINDS[kind][0], timeout=max(0.1, deadline - time.monotonic()))
        except SagaHeldError as held:
            result.states["held"] += 1
            print(f"{saga_id} is held: {held}")
        except SagaTimeoutError:
            result.zeros[LOST].append(f"{saga_id}: {sagas.status(saga_id)}")
        except Exception as error:
            result.zeros[LOST].append(f"{saga_id}: {error!r}")
        else:
            outcomes[saga_id] = outcome
            result.states[names[type(outcome)]] += 1
    return outcomes


def check(outcomes: dict[str, Any], stream: Stream, family: Family, folder: Path, result: Result) -> None:
    """Hold each saga's ledger against the promises."""
    lines, events = by_saga(ledger(folder)), events_of(folder, outcomes)
    seen = {(process.pid, process.started): at for process, at in family.seen.items()}
    for of_one in lines.values():
        for line in of_one:
            seen[line.process] = max(line.at, seen.get(line.process, 0.0))
    for saga_id, outcome in outcomes.items():
        definition = KINDS[stream.accepted[saga_id]][0].definition
        account = Account(saga_id, definition, outcome, lines[saga_id], events[saga_id], seen)
        twice = account.unexplained()
        result.zeros[TWICE] += twice
        result.zeros[OTHER] += [fault for fault in account.faults() if fault not in twice]


def by_saga(lines: list[Line]) -> dict[str, list[Line]]:
    sorted_out: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        sorted_out[line.saga_id].append(line)
    return sorted_out


def events_of(folder: Path, outcomes: dict[str, Any]) -> dict[str, tuple[Event, ...]]:
    with contextlib.closing(open_reader(f"sqlite:///{folder}/sagas.db")) as reader:
        return {saga_id: tuple(stored.event for stored in reader.load(saga_id)) for saga_id in outcomes}


def wait_for(claim: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not claim() and time.monotonic() < deadline:
        time.sleep(0.05)


def run(kills: int, seed: int, folder: Path) -> Result:
    """A stream of sagas, so many kills, and the reckoning."""
    chance = random.Random(seed)
    url = f"sqlite:///{folder}/sagas.db"
    sagas = Coordinator(url, sagas=["killing"], threads=8)
    sagas._verbs._spec = attrs.evolve(sagas._verbs._spec, **IMPATIENT)
    sagas.have_served()
    family = Family(url)
    stream = Stream(sagas, folder, random.Random(chance.random()))
    killer = Killer(family, stream, random.Random(chance.random()))
    result = Result(seed, killer.done, Counter())
    try:
        while killer.done.total() < kills:
            killer.strike()
        stream.close()
        result.accepted = len(stream.accepted)
        outcomes = until_ended(sagas, stream, result)
        check(outcomes, stream, family, folder, result)
    finally:
        sagas.close()
        wait_for(lambda: not family.living(), ORPHAN_LIMIT)
        family.close()
        result.zeros[ORPHANS] += [str(process) for process in family.living()]
        for process in family.living():
            process.kill()
    return result


def main() -> int:
    """Run it, print what came of it; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    print(f"{given.kills} kills, seed {seed}", flush=True)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="saga-actors-chaos-"))
    result = run(given.kills, seed, folder)
    result.show(time.monotonic() - began)
    is_sound = not any(result.zeros.values())
    if not is_sound:
        print(f"the journal, the ledger and node.log are in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
