"""An undo that fails: the saga is fatal, and a person finishes it. Run it: `python stuck_order.py`.

The same from a shell: `saga-actors stuck` lists it with the commands that would help, `saga-actors show ord_1` has it
whole.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from saga_actors import Compensated, CompensationFailed, Coordinator, Saga, step


def is_open(what: str) -> bool:
    return (Path(os.environ["TOWN"]) / f"{what}.open").exists()


def charge(order: dict[str, Any]) -> dict[str, Any]:
    return {"charge_id": "ch_1"}


def refund(order: dict[str, Any]) -> None:
    if not is_open("bank"):
        raise ConnectionError("the bank is closed")


def ship(order: dict[str, Any]) -> None:
    raise ConnectionError("no carrier answers")


class PlaceOrder(Saga):
    """Its refund is tried twice."""

    charge_payment = step(charge, compensate=refund, compensate_retries=1)
    create_shipment = step(ship)


def tell(sagas: Coordinator, saga_id: str) -> None:
    status = sagas.status(saga_id)
    allowed = ", ".join(status.allowed_actions) or "nothing"
    print(f"{saga_id} is {status.state}; left to undo: {', '.join(status.left) or 'nothing'}; allowed: {allowed}")


def main(sagas: Coordinator, town: Path) -> None:
    for saga_id in ("ord_1", "ord_2"):
        match sagas.run(PlaceOrder, {"total": 250}, saga_id=saga_id):
            case CompensationFailed(failure, undo):
                print(f"{failure.step} failed: {failure.reason}; and the undo of {undo.step}: {undo.reason}")
        tell(sagas, saga_id)

    (town / "bank.open").touch()
    sagas.retry("ord_1", by="ann", reason="the bank is open again")
    match sagas.result("ord_1"):
        case Compensated():
            tell(sagas, "ord_1")

    sagas.resolve("ord_2", "compensated", by="ann", reason="refunded at the counter")
    tell(sagas, "ord_2")
    print(f"resolved by {sagas.result('ord_2').resolved_by}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TOWN"] = folder
        with Coordinator(f"sqlite:///{folder}/sagas.db") as sagas:
            main(sagas, Path(folder))
