"""The README's shop, whose partners are a database, and lose their answers as somebody has told them to.

A worker that imports this module has these partners in `place_order`; steps and undos are the README's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import place_order
from place_order import Gateway, PlaceOrder, Receipt

from saga_actors import OutcomeUnknown, current_step

FOLDER = "LOSSY_FOLDER"

SCHEMA = """
CREATE TABLE IF NOT EXISTS effect (key TEXT PRIMARY KEY, saga_id, step, answer, calls, undone, found_by);
CREATE TABLE IF NOT EXISTS loss (saga_id, step, how, times);
"""


class Effect(NamedTuple):
    """What was done with one key: how often it was asked for, how often undone, and what found it then."""

    step: str
    calls: int
    undone: int
    found_by: str | None


class Partners(Gateway):
    """Those of the README, who remember each key, and act once for all calls that have it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "partners.db"
        with self._opened() as database:
            database.executescript(SCHEMA)

    # What a test does.

    def lose(self, saga_id: str, step: str, how: str, times: int = 1_000) -> None:
        """Lose this step's answers: `unknown`, `timeout`, `death`; or its calls, before anything is done: `unheard`."""
        with self._opened() as database:
            database.execute("INSERT INTO loss VALUES (?, ?, ?, ?)", (saga_id, step, how, times))

    def effects(self, saga_id: str) -> list[Effect]:
        """What was done for this saga, in order."""
        select = "SELECT step, calls, undone, found_by FROM effect WHERE saga_id = ? ORDER BY rowid"
        with self._opened() as database:
            return [Effect(*row) for row in database.execute(select, (saga_id,))]

    # What the shop asks for.

    def reserve(self, order_id: str, idempotency_key: str) -> str:
        return self._answer(idempotency_key, super().reserve(order_id, idempotency_key))

    def release(self, key: str | None) -> None:
        self._undo("key", key)

    def charge(self, total: int, idempotency_key: str) -> Receipt:
        receipt = super().charge(total, idempotency_key)
        self._answer(idempotency_key, receipt.id)
        return receipt

    def refund(self, charge_id: str) -> None:
        self._undo("answer", charge_id)

    def refund_by_key(self, key: str | None) -> None:
        self._undo("key", key)

    def ship(self, order_id: str, idempotency_key: str) -> str:
        return self._answer(idempotency_key, super().ship(order_id, idempotency_key))

    def cancel(self, key: str | None) -> None:
        self._undo("key", key)

    def confirm(self, order_id: str, idempotency_key: str) -> None:
        self._answer(idempotency_key, order_id)

    # How.

    def _answer(self, key: str, answer: str) -> str:
        """Act, once for each key, and answer; unless somebody has said that it is lost."""
        here = current_step()
        lost = self._lost(here.saga_id, here.step)
        if lost == "unheard":
            raise OutcomeUnknown("nobody was there")
        with self._opened() as database:
            again = "ON CONFLICT (key) DO UPDATE SET calls = calls + 1"
            values = (key, here.saga_id, here.step, answer)
            database.execute(f"INSERT INTO effect VALUES (?, ?, ?, ?, 1, 0, NULL) {again}", values)
        match lost:
            case "unknown":
                raise OutcomeUnknown("the line went dead")
            case "timeout":
                raise TimeoutError("no answer was read in time")
            case "death":
                os.kill(os.getpid(), signal.SIGKILL)
        return answer

    def _lost(self, saga_id: str, step: str) -> str | None:
        take = "UPDATE loss SET times = times - 1 WHERE saga_id = ? AND step = ? AND times > 0 RETURNING how"
        with self._opened() as database:
            found = database.execute(take, (saga_id, step)).fetchall()
        return found[0][0] if found else None

    def _undo(self, found_by: str, value: str | None) -> None:
        """Undo what is found so, if anything is; that it was undone again would show."""
        mark = f"UPDATE effect SET undone = undone + 1, found_by = ? WHERE {found_by} = ?"
        with self._opened() as database:
            database.execute(mark, (found_by, value))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._file, timeout=20)) as database, database:
            yield database


class Lossy(PlaceOrder):
    """The README's saga, among these partners."""


if folder := os.environ.get(FOLDER):
    place_order.gateway = Partners(Path(folder))
