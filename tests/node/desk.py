"""Sagas that get stuck while something outside is broken, for operators to finish.

A call named `step`, or `undo-step`, gives up while the file `<call>.broken` is there, and does not know what it did
while `<call>.unknown` is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from flows import Call, Outside

from saga_actors import Abort, OutcomeUnknown, Saga, current_step, step


def act(context: dict[str, Any]) -> dict[str, Any] | None:
    """Note the call, and do as the files say."""
    folder, here = Path(context["folder"]), current_step()
    is_undo = here.phase == "compensate"
    name = f"undo-{here.step}" if is_undo else here.step
    done = tuple(key for key in context if key not in ("folder", "gate"))
    Outside(folder).note(Call(here.saga_id, name, here.attempt, here.idempotency_key, 0, 0.0, done))
    if name == context.get("gate"):
        Outside(folder).wait(name)
    if (folder / f"{name}.broken").exists():
        raise Abort(f"{name} is broken")
    if (folder / f"{name}.unknown").exists():
        raise OutcomeUnknown(f"{name} gave no answer")
    return None if is_undo else {here.step: 1}


def undo(context: dict[str, Any]) -> None:
    """As `act`, for a compensation."""
    act(context)


class Booking(Saga):
    """Three steps; of the second an operator is asked if nobody knows."""

    reserve = step(act, compensate=undo)
    pay = step(act, compensate=undo, on_unknown="hold")
    ship = step(act, compensate=undo)


@attrs.frozen
class Ticket:
    """A context of a class of its own."""

    folder: str
    seat: str | None = None


def print_ticket(ticket: Ticket) -> Ticket:
    """Does not know what it did while `print.unknown` is there."""
    if (Path(ticket.folder) / "print.unknown").exists():
        raise OutcomeUnknown("the printer gave no answer")
    return attrs.evolve(ticket, seat="12a")


class Print(Saga[Ticket]):
    """One step, of which an operator is asked if nobody knows."""

    print = step(print_ticket, on_unknown="hold")
