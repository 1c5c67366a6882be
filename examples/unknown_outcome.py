"""A payment whose answer never came: the bank took the money, and the line went dead.

Run it: `python unknown_outcome.py`.

Nobody here knows whether it happened, so it counts as one that may have: it is undone, and the undo finds by the step's
key what there is. Where that is not wanted, `on_unknown="hold"` has a person look, and `settle` says what they found.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from typing import Any

from saga_actors import Compensated, Completed, Coordinator, Saga, SagaHeldError, current_step, step


class Bank:
    """A bank that remembers each key, in a file, for steps run in other processes. It answers some customers badly."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(os.path.join(os.environ["BANK"], "bank.db"), isolation_level=None)
        self.db.execute("CREATE TABLE IF NOT EXISTS payment (key TEXT PRIMARY KEY, total INTEGER)")

    def charge(self, total: int, key: str, *, is_cut_off: bool) -> None:
        self.db.execute("INSERT OR IGNORE INTO payment VALUES (?, ?)", (key, total))
        if is_cut_off:
            raise TimeoutError("the bank gave no answer")

    def refund(self, key: str | None) -> None:
        self.db.execute("DELETE FROM payment WHERE key = ?", (key,))

    def took(self) -> int:
        """All that it has taken, and not given back."""
        (total,) = self.db.execute("SELECT coalesce(sum(total), 0) FROM payment").fetchone()
        return int(total)


def charge(order: dict[str, Any]) -> None:
    Bank().charge(order["total"], current_step().idempotency_key, is_cut_off=order["cut_off"])


def refund(order: dict[str, Any]) -> None:  # whether charge answered or not: the key finds it
    Bank().refund(current_step().undoes_key)


class Buy(Saga):
    """A read timeout means that it may have happened; the saga undoes it, to be sure."""

    charge = step(charge, compensate=refund, unknown_on=TimeoutError)


class BuyCarefully(Saga):
    """The same, but a person decides."""

    charge = step(charge, compensate=refund, unknown_on=TimeoutError, on_unknown="hold")


def undone_to_be_sure(sagas: Coordinator) -> None:
    match sagas.run(Buy, {"total": 250, "cut_off": True}):
        case Compensated(failure):
            print(f"undone, for {failure.step} is {failure.kind}: {failure.reason}; the bank has {Bank().took()}")


def decided_by_a_person(sagas: Coordinator) -> None:
    try:
        sagas.run(BuyCarefully, {"total": 90, "cut_off": True}, saga_id="ord_2")
    except SagaHeldError:
        print(f"held; in doubt: {', '.join(sagas.status('ord_2').in_doubt)}; the bank has {Bank().took()}")
    sagas.settle("ord_2", "charge", happened=True, by="ann", reason="the bank's statement lists it")
    match sagas.result("ord_2"):
        case Completed():
            print(f"settled by hand, and completed; the bank has {Bank().took()}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BANK"] = folder
        with Coordinator(f"sqlite:///{folder}/sagas.db") as sagas:
            undone_to_be_sure(sagas)
            decided_by_a_person(sagas)
