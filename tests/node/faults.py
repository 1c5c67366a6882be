"""Sagas whose steps go wrong in every way there is, as their context says.

`does` has, for a call named `step` or `undo-step`, what each of its attempts does; an attempt beyond those works. Each
call is a line in the ledger of `flows`, with the key and the context that it got.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

from flows import Outside

from saga_actors import Abort, OutcomeUnknown, Saga, current_step, step
from saga_actors.retry import Retry


class Shaky(Exception):
    """Of a gateway: it is worth trying again."""


class Lost(Exception):
    """Of a gateway: no answer came."""


def note(context: dict[str, Any]) -> str:
    """Write the call down; what this attempt does."""
    here = current_step()
    name = here.step if here.phase == "execute" else f"undo-{here.step}"
    line = {
        "name": name,
        "attempt": here.attempt,
        "key": here.idempotency_key,
        "undoes": here.undoes_key,
        "outcome": here.outcome,
        "pid": os.getpid(),
        "saga_id": here.saga_id,
        "done": sorted(key for key in context if key.startswith("did_")),
    }
    descriptor = os.open(Path(context["folder"]) / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)
    todo = context.get("does", {}).get(name, [])
    return str(todo[here.attempt - 1]) if here.attempt <= len(todo) else "work"


def act(context: dict[str, Any]) -> Any:
    """One attempt of a step."""
    here, how = current_step(), note(context)
    outside = Outside(Path(context["folder"]))
    what, _, gate = how.partition(" ")
    match what:
        case "work":
            pass
        case "wait":
            outside.wait(gate)
        case "fail":
            raise RuntimeError(f"{here.step} failed")
        case "shaky":
            raise Shaky(f"{here.step} was shaky")
        case "abort":
            raise Abort(f"{here.step} gave up")
        case "unknown":
            raise OutcomeUnknown(f"{here.step} does not know")
        case "lost":
            raise Lost("no answer came")
        case "int":
            return 5
        case "object":
            return {"deep": {"at": object()}}
        case "in-place":
            context["changed"] = True
            return None
        case _:
            perish(what)
    return {f"did_{here.step}": here.attempt}


def perish(how: str) -> None:
    """End this process, in one way or another, or keep it from answering."""
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "segv":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(3)
    elif how == "memory":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.abort()
    elif how == "gil":
        ctypes.PyDLL(None).sleep(600)
    raise AssertionError(how)


def undo(context: dict[str, Any]) -> None:
    """One attempt of a compensation."""
    act(context)


async def act_async(context: dict[str, Any]) -> Any:
    """One attempt of an async step; it waits for a gate, but heeds that it is cancelled."""
    how = note(context)
    if how.startswith("wait"):
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            (Path(context["folder"]) / "cancelled").touch()
            raise
    return {f"did_{current_step().step}": current_step().attempt}


NOW = Retry(2, first_delay=0.0)
LATER = Retry(3, first_delay=60.0, factor=2.0, max_delay=600.0, jitter=0.0)


class Chain(Saga):
    """Three steps; the second is tried three times."""

    first = step(act, compensate=undo)
    second = step(act, compensate=undo, retries=NOW, unknown_on=Lost)
    third = step(act, compensate=undo, timeout=3_600)


class Choosy(Saga):
    """Tries again after one kind of error only."""

    call = step(act, retries=Retry(2, first_delay=0.0, on=(Shaky,)))


class Patient(Saga):
    """Tries again after minutes."""

    call = step(act, compensate=undo, retries=LATER)
    after = step(act)


class Timed(Saga):
    """Its second step has a minute, and is tried twice."""

    first = step(act, compensate=undo)
    second = step(act, compensate=undo, timeout=60, retries=Retry(1, first_delay=600.0, max_delay=600.0, jitter=0.0))
    third = step(act, compensate=undo)


class Async(Saga):
    """An async step that has a minute."""

    call = step(act_async, timeout=60)


class Brief(Saga):
    """One step, of a fifth of a second."""

    call = step(act, timeout=0.2)


class Once(Saga):
    """Its second step may not be run again."""

    first = step(act, compensate=undo)
    second = step(act, compensate=undo, reruns=0)


class Twice(Saga):
    """Its step may be run again once."""

    call = step(act, compensate=undo, reruns=1)


class Assumed(Saga):
    """Of whose second step it is assumed that it failed, if nobody knows."""

    first = step(act, compensate=undo)
    second = step(act, compensate=undo, on_unknown="assume_failed")


class Ignored(Saga):
    """The failure of its second step does not matter."""

    first = step(act, compensate=undo)
    second = step(act, compensate=undo, on_failure="ignore", timeout=60, reruns=1)
    third = step(act, compensate=undo)
