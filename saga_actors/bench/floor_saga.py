"""One saga of the floor program: it runs its steps here and now, and says what is to be written of them."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from saga_actors.bench.sagas import Context
from saga_actors.definition import Definition, Step
from saga_actors.errors import Abort
from saga_actors.journal.codec import digest_of
from saga_actors.outcomes import SagaState

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_BORN = time.time()


class Record(NamedTuple):
    """One event, as the journal has it."""

    kind: str
    at: float
    body: bytes
    context: bytes | None = None


class FloorSaga:
    """A saga under way; `steps` is the code, and may be another than its definition's."""

    def __init__(self, number: int, definition: Definition, steps: Sequence[Step[Context]], context: Context) -> None:
        self.number = number
        self.saga_id = uuid.uuid4().hex
        self.name, self.plan_id = definition.name, definition.plan.plan_id
        self.state = SagaState.RUNNING
        self.created_at = time.time()
        self.last_seq = 0
        self._steps = steps
        self._context = context
        self._encoded = _bytes(context)
        self.digest = digest_of(self._encoded)

    def live(self) -> Iterator[list[Record]]:
        """Its events, wave by wave: each time it is asked, one step is run."""
        rows = [self._accepted()]
        for number, step in enumerate(self._steps):
            yield [*rows, _started("execute", step)]
            try:
                self._context = self._context | step.execute(self._context)  # type: ignore[operator]  # dicts all
            except Abort as error:
                yield from self._go_back(_failed(step, error), self._steps[:number])
                return
            rows = [_succeeded("execute", step, _bytes(self._context))]
        self.state = SagaState.COMPLETED
        yield [*rows, Record("saga_completed", time.time(), b"{}")]

    def _go_back(self, rows: list[Record], done: Sequence[Step[Context]]) -> Iterator[list[Record]]:
        self.state = SagaState.COMPENSATING
        for step in reversed(done):
            yield [*rows, _started("compensate", step)]
            assert step.compensate is not None
            step.compensate(self._context)
            rows = [_succeeded("compensate", step)]
        self.state = SagaState.COMPENSATED
        yield [*rows, Record("saga_compensated", time.time(), b"{}")]

    def _accepted(self) -> Record:
        fields = {"saga_id": self.saga_id, "saga": self.name, "plan_id": self.plan_id, "digest": self.digest}
        return Record("accepted", self.created_at, _bytes(fields), self._encoded)


@cache
def _started_body(phase: str, step: str) -> bytes:
    worker = {"number": 1, "pid": os.getpid(), "started": _BORN}
    return _bytes({"phase": phase, "step": step, "attempt": 1, "epoch": 1, "worker": worker})


@cache
def _succeeded_body(phase: str, step: str) -> bytes:
    return _bytes({"phase": phase, "step": step, "attempt": 1})


def _started(phase: str, step: Step[Context]) -> Record:
    return Record("attempt_started", time.time(), _started_body(phase, step.name))


def _succeeded(phase: str, step: Step[Context], context: bytes | None = None) -> Record:
    return Record("attempt_succeeded", time.time(), _succeeded_body(phase, step.name), context)


def _failed(step: Step[Context], error: Abort) -> list[Record]:
    fault = {"reason": str(error), "error_type": "saga_actors.errors.Abort", "retryable": False}
    attempt = {"phase": "execute", "step": step.name, "attempt": 1, "ending": "failed", "fault": fault}
    return [
        Record("attempt_failed", time.time(), _bytes(attempt)),
        Record("step_failed", time.time(), _bytes({"step": step.name, "verdict": "failed"})),
        Record("rollback_started", time.time(), b"{}"),
    ]


def _bytes(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()
