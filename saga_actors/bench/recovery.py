"""What happens when the supervisor is killed with many sagas unfinished."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import attrs

from saga_actors.bench.errors import BenchError
from saga_actors.bench.gate import Gate
from saga_actors.bench.rig import PATIENCE, Rig
from saga_actors.bench.sagas import Gated, context_of
from saga_actors.events import AttemptFailed, AttemptStarted, AttemptSucceeded
from saga_actors.journal import JournalReader, open_reader
from saga_actors.node_folder import ProcessId
from saga_actors.outcomes import SagaState

LOOK_EVERY = 0.005
COUNT_EVERY = 0.1
MOST = 2_000
"""Events read at a time."""

STEP_EVENTS = (AttemptStarted, AttemptSucceeded, AttemptFailed)


@attrs.frozen
class Recovery:
    """Seconds from SIGKILL until `status` answers, and until the first and the last unfinished saga goes on.

    `memory`: of the family before, in MB. `read`: seconds that one process takes to read all their records.
    """

    status: float
    first: float
    last: float
    memory: float
    read: float


def recover(rig: Rig, sagas: int, slots: int, folder: Path) -> Recovery:
    """Have so many unfinished sagas at hand, and kill the supervisor: their gate opens at that moment.

    As many as there are slots are in their first step then, and the others wait for a slot; the journal says when each
    goes on, that is when its next step event is there.
    """
    with Gate(folder / "gate") as gate, ThreadPoolExecutor(1, "saga_actors-bench-status") as asker:
        contexts = [context_of(number) | {"gate": str(gate.path)} for number in range(sagas)]
        ids = rig.coordinator.start_many(Gated, contexts, timeout=PATIENCE)
        reader = open_reader(rig.url)
        try:
            _wait_for_steps(reader, min(sagas, slots))
            rig.family.settle()
            memory, read = rig.family.memory(), _read(reader, ids)
            killed = _kill_supervisor(rig)
            asked: Future[float] = asker.submit(_ask, rig, ids[0])
            position = reader.end_position()
            gate.open()
            moments = _resumed(reader, position, _lengths(reader), ids)
            return Recovery(asked.result() - killed, min(moments) - killed, max(moments) - killed, memory, read)
        finally:
            reader.close()


def _wait_for_steps(reader: JournalReader, steps: int) -> None:
    """Wait until so many sagas are in their first step."""
    deadline, position, begun = time.monotonic() + PATIENCE, 0, 0
    while begun < steps:
        for each in reader.tail(position, MOST):
            position = each.position
            begun += isinstance(each.event, AttemptStarted)
        _look_again(deadline, "sagas began")


def _kill_supervisor(rig: Rig) -> float:
    """The moment (`perf_counter`) of its SIGKILL; it is dead when this returns."""
    supervisor = ProcessId.of(rig.coordinator.locate()[1].supervisor.pid)
    if supervisor is None:
        raise BenchError("the supervisor was gone before it was killed")
    killed, deadline = time.perf_counter(), time.monotonic() + PATIENCE
    supervisor.kill()
    while supervisor.alive:
        if time.monotonic() > deadline:
            raise BenchError("the supervisor does not die")
    return killed


def _ask(rig: Rig, saga_id: str) -> float:
    """The moment of the answer."""
    rig.coordinator.status(saga_id)
    return time.perf_counter()


def _lengths(reader: JournalReader) -> list[tuple[float, int]]:
    """Until no saga is unfinished: the moment of each look at the journal, and how long it was.

    To read all that is written while it is written would take the processor from those who write it.
    """
    looks: list[tuple[float, int]] = []
    deadline, count_again = time.monotonic() + PATIENCE, 0.0
    while True:
        looks.append((time.perf_counter(), reader.end_position()))
        if time.monotonic() >= count_again:
            counts = reader.counts()
            if not counts[SagaState.RUNNING] + counts[SagaState.COMPENSATING]:
                return [*looks, (time.perf_counter(), reader.end_position())]
            count_again = time.monotonic() + COUNT_EVERY
        _look_again(deadline, "sagas went on")


def _resumed(
    reader: JournalReader, position: int, lengths: Sequence[tuple[float, int]], ids: Sequence[str]
) -> list[float]:
    """The moments at which the next step event of each saga was there; `position` is where the dead one stopped."""
    waiting = set(ids)
    moments: list[float] = []
    looks = iter(lengths)
    moment, length = next(looks)
    while found := reader.tail(position, MOST):
        for each in found:
            position = each.position
            while length < position:
                moment, length = next(looks)
            if each.saga_id in waiting and isinstance(each.event, STEP_EVENTS):
                waiting.remove(each.saga_id)
                moments.append(moment)
    if waiting:
        raise BenchError(f"{len(waiting)} sagas did not go on after the supervisor was killed")
    return moments


def _look_again(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise BenchError(f"fewer {what} in {PATIENCE:g} s than should have")
    time.sleep(LOOK_EVERY)


def _read(reader: JournalReader, ids: Sequence[str]) -> float:
    began = time.perf_counter()
    for saga_id in ids:
        reader.load(saga_id)
    return time.perf_counter() - began
