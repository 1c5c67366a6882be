"""The sagas of the bench, with steps that do next to nothing; workers import this module."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from saga_actors.definition import Saga, SagaMeta, Step, step
from saga_actors.errors import Abort

Context = dict[str, Any]
BenchSaga = type[Saga[Context]]

MOST_STEPS = 10
NAP = 0.05
"""Seconds that a slow step takes."""
FAILING = 3
"""The step that fails in the rollback case; the last, where there are fewer."""


class Case(StrEnum):
    """What becomes of a saga."""

    SUCCESS = "success"
    ROLLBACK = "rollback"
    SLOW = "slow"


def work(context: Context) -> Context:
    """A step that only notes that it was there."""
    return {"done": context["done"] + 1}


def undo(context: Context) -> None:
    """Nothing was done that would have to be undone."""


def refuse(context: Context) -> Context:
    """A step that fails for good."""
    raise Abort("the bench wants it so")


def nap(context: Context) -> Context:
    """A step that waits for somebody."""
    time.sleep(NAP)
    return work(context)


def pass_gate(context: Context) -> Context:
    """A step that waits until a `Gate` is open, without using the processor meanwhile."""
    gate = os.open(context["gate"], os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(gate, fcntl.LOCK_SH)
    finally:
        os.close(gate)
    return work(context)


class Gated(Saga):
    """A saga whose first step waits as long as it is let."""

    step_1 = step(pass_gate, compensate=undo, timeout=3_600)
    step_2 = step(work, compensate=undo)
    step_3 = step(work, compensate=undo)
    step_4 = step(work, compensate=undo)


def context_of(number: int) -> Context:
    """What the saga of this number begins with."""
    return {"order": f"ord_{number}", "total": 100 + number, "done": 0}


def saga_for(case: Case, steps: int) -> BenchSaga:
    """The saga of this case, with so many steps; `MOST_STEPS` at most."""
    return _SAGAS[case, steps]


def _code(case: Case, steps: int, number: int) -> Callable[[Context], Context]:
    if case is Case.ROLLBACK and number == min(FAILING, steps):
        return refuse
    return nap if case is Case.SLOW else work


def _made(case: Case, steps: int) -> BenchSaga:
    """A class as if it stood in this module, where the workers find it."""
    name = f"{case.capitalize()}{steps}"
    body: dict[str, Step[Context]] = {
        f"step_{number}": step(_code(case, steps, number), compensate=undo) for number in range(1, steps + 1)
    }
    made: Any = SagaMeta(name, (Saga,), {"__module__": __name__, "__qualname__": name, **body})
    globals()[name] = made
    return made  # type: ignore[no-any-return]


_SAGAS = {(case, steps): _made(case, steps) for case in Case for steps in range(1, MOST_STEPS + 1)}
