"""The floor: the same steps and the same durable records in one process, with no actors and nothing else around.

It writes the events that a node writes, into the same kind of file with the same pragmas, and makes one commit for each
wave of steps. That is all: a checksum is a plain CRC here, which no reader of a journal would take; nothing is
refused, tried again or waited for, and nothing could go on after a crash.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

from saga_actors.bench.floor_saga import FloorSaga, Record
from saga_actors.bench.load import Load
from saga_actors.bench.sagas import NAP, BenchSaga, Case, Context, saga_for
from saga_actors.definition import Definition
from saga_actors.journal.records import encode_plan
from saga_actors.journal.sqlite_file import open_writer

GROUP = 100
"""So many sagas go through their steps side by side."""

ADD_PLAN = "INSERT OR IGNORE INTO plan (plan_id, body, checksum) VALUES (?, ?, ?)"
ADD_SAGA = """INSERT INTO saga (number, saga_id, saga, plan_id, state, digest, created_at, updated_at, last_seq,
    checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"""
CHANGE_SAGA = "UPDATE saga SET state = ?, updated_at = ?, last_seq = ? WHERE number = ?"
ADD_EVENT = "INSERT INTO event (saga, seq, at, kind, body, context, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)"


class Floor:
    """One journal, and a loop over sagas."""

    def __init__(self, path: Path) -> None:
        self._db = open_writer(path)
        self._numbers = 0

    def close(self) -> None:
        """Give the journal back."""
        self._db.close()

    def run(self, case: Case, saga: BenchSaga, contexts: Sequence[Context], group: int = GROUP) -> Load:
        """Run a saga for each context, so many of them side by side, and see what that takes.

        One by one, a saga's latency is counted from its own beginning, else from that of the whole run.
        """
        latencies: list[float] = []
        cpu, began = time.process_time(), time.perf_counter()
        for first in range(0, len(contexts), group):
            since = time.perf_counter() if group == 1 else began
            some = contexts[first : first + group]
            self._run_group(case, saga.definition, some)
            latencies += [time.perf_counter() - since] * len(some)
        return Load(time.perf_counter() - began, latencies, {"client": time.process_time() - cpu})

    def _run_group(self, case: Case, definition: Definition, contexts: Sequence[Context]) -> None:
        steps = definition.steps
        if case is Case.SLOW:  # they all sleep at once, and not one after the other
            steps = saga_for(Case.SUCCESS, len(steps)).definition.steps
        sagas = [FloorSaga(self._numbers + n, definition, steps, each) for n, each in enumerate(contexts, 1)]
        self._numbers += len(sagas)
        for number, wave in enumerate(zip(*(saga.live() for saga in sagas), strict=True)):
            self._commit(sagas, wave, definition if number == 0 else None)
            if case is Case.SLOW and number < len(steps):
                time.sleep(NAP)

    def _commit(self, sagas: Sequence[FloorSaga], wave: Sequence[Sequence[Record]], new: Definition | None) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        if new is not None:
            body = encode_plan(new.plan)
            self._db.execute(ADD_PLAN, (new.plan.plan_id, body, crc32(body)))
        events = [event for saga, records in zip(sagas, wave, strict=True) for event in _events(saga, records)]
        if new is not None:
            self._db.executemany(ADD_SAGA, [_columns(saga) for saga in sagas])
        else:
            now = time.time()
            self._db.executemany(CHANGE_SAGA, [(saga.state, now, saga.last_seq, saga.number) for saga in sagas])
        self._db.executemany(ADD_EVENT, events)
        self._db.execute("COMMIT")


def _events(saga: FloorSaga, records: Sequence[Record]) -> list[tuple[object, ...]]:
    columns: list[tuple[object, ...]] = []
    for kind, at, body, context in records:
        saga.last_seq += 1
        columns.append((saga.number, saga.last_seq, at, kind, body, context, crc32(body)))
    return columns


def _columns(saga: FloorSaga) -> tuple[object, ...]:
    born = (saga.number, saga.saga_id, saga.name, saga.plan_id)
    return (*born, saga.state, saga.digest, saga.created_at, saga.created_at, saga.last_seq)
