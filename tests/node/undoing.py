"""Sagas that are undone, and whose calls do what their context says, attempt by attempt.

`does` in a context has a list for a call by its name (`one`, or `undo-one`): what it does at its first attempt, its
second, and so on; after that it ends well. `wait` is for the gate of the call to be opened; `fail`, `abort`, `doubt`,
`refuse`, `answer` and `die` end the attempt, and may follow it: `wait fail`. Every call is a line in the ledger outside
when it begins, and one when it is past its gate.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from flows import GATE_LIMIT, Call, Outside

from saga_actors import Abort, OutcomeUnknown, Retry, Saga, current_step, step

SOON = Retry(2, first_delay=0.01, jitter=0.0, on=RuntimeError)


class OneCall:
    """One call: noted when made."""

    def __init__(self, context: dict[str, Any]) -> None:
        here = current_step()
        self.step = here.step
        self.name = here.step if here.phase == "execute" else f"undo-{here.step}"
        self.gate = f"{here.saga_id}-{self.name}"
        self.outside = Outside(Path(context["folder"]))
        told = context["does"].get(self.name, ())
        self.does = told[here.attempt - 1].split() if here.attempt <= len(told) else []
        done = tuple(sorted(key.removeprefix("did_") for key in context if key.startswith("did_")))
        call = Call(here.saga_id, self.name, here.attempt, here.idempotency_key, os.getpid(), time.time(), done)
        self.outside.note(call)

    def wait(self) -> None:
        if "wait" in self.does:
            self.outside.wait(self.gate)

    async def wait_async(self) -> None:
        async with asyncio.timeout(GATE_LIMIT):
            while "wait" in self.does and not (self.outside.folder / f"{self.gate}.open").exists():
                await asyncio.sleep(0.005)

    def end(self) -> Any:
        """As it was told to; None, or what a compensation must not return."""
        self.outside.ended(self.gate)
        match self.does[-1:]:
            case ["fail"]:
                raise RuntimeError(f"{self.name} failed, as it was told to")
            case ["abort"]:
                raise Abort(f"{self.name} gave up, as it was told to")
            case ["doubt"]:
                raise OutcomeUnknown(f"{self.name} does not know, as it was told to")
            case ["refuse"]:
                raise LookupError(f"{self.name} found nothing, as it was told to")
            case ["answer"]:
                return 42
            case ["die"]:
                os.kill(os.getpid(), signal.SIGKILL)
        return None


def act(context: dict[str, Any]) -> dict[str, Any]:
    """A step, on a thread."""
    call = OneCall(context)
    call.wait()
    call.end()
    return {f"did_{call.step}": True}


async def act_async(context: dict[str, Any]) -> dict[str, Any]:
    """A step, on the loop."""
    call = OneCall(context)
    await call.wait_async()
    call.end()
    return {f"did_{call.step}": True}


def undo(context: dict[str, Any]) -> Any:
    """An undo, on a thread."""
    call = OneCall(context)
    call.wait()
    return call.end()


async def undo_async(context: dict[str, Any]) -> Any:
    """An undo, on the loop."""
    call = OneCall(context)
    await call.wait_async()
    return call.end()


class Back(Saga):
    """Three steps whose undos are tried twice more, soon, after a RuntimeError; and one that may fail."""

    one = step(act, compensate=undo, compensate_retries=SOON)
    two = step(act, compensate=undo, compensate_retries=SOON)
    three = step(act, compensate=undo, compensate_retries=SOON)
    last = step(act)


class Hasty(Saga):
    """Its undos have half a second: one on a thread, and one on the loop."""

    first = step(act, compensate=undo)
    thread = step(act, compensate=undo, compensate_timeout=0.5, compensate_retries=SOON)
    loop = step(act, compensate=undo_async, compensate_timeout=0.5, compensate_retries=SOON)
    last = step(act)


class Mixed(Saga):
    """Goes forward on the loop, and back on the loop and on a thread in turn; so it waits when no thread is free."""

    one = step(act_async, compensate=undo)
    two = step(act_async, compensate=undo_async)
    three = step(act_async, compensate=undo)
    four = step(act_async, compensate=undo_async)
    last = step(act_async)
