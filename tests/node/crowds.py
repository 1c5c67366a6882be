"""Sagas that come in crowds: long ones, big ones, limited ones, and ones that are over at once."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from flows import Outside, act, undo

from saga_actors import Saga, current_step, step

LONG = 300.0
"""Seconds; no test waits for it."""


def wait_long(context: dict[str, Any]) -> None:
    """Take minutes, which no test waits for."""
    threading.Event().wait(LONG)


def note_and_wait(context: dict[str, Any]) -> None:
    """As `wait_long`, and be seen to have begun."""
    Outside(Path(context["folder"]))._append("begun", {"saga_id": current_step().saga_id})
    wait_long(context)


class Long(Saga):
    """One of many in a step of minutes."""

    wait = step(note_and_wait, timeout=2 * LONG)


class Quick(Saga):
    """Over at once; its context then says whose it was."""

    only = step(act)


class Regretted(Saga):
    """Two steps are done, the third fails, and both are undone."""

    first = step(act, compensate=undo)
    second = step(act, compensate=undo)
    third = step(act)


class Limited(Saga, max_running=3):
    """At most three in flight; some fail on their way, and are undone."""

    first = step(act, compensate=undo)
    second = step(act, compensate=undo)
    last = step(act)


async def wait_for_all(context: dict[str, Any]) -> dict[str, Any]:
    """Wait on the loop until the test opens the gate, and then so much longer that not all end at once."""
    while not (Path(context["folder"]) / "all.open").exists():
        await asyncio.sleep(0.5)
    await asyncio.sleep(context["longer"])
    return {"seen": context["mine"]}


class Awaited(Saga):
    """One async step, for whose end a client waits."""

    wait = step(wait_for_all, timeout=60)


async def wait_together(context: dict[str, Any]) -> None:
    """Wait on the loop until the test opens the gate; say so when a thousand are there."""
    global _together, _most
    outside = Outside(Path(context["folder"]))
    _together += 1
    if _together > _most:
        _most = _together
        if _most % 100 == 0:
            outside._append("together", {"most": _most, "saga_id": current_step().saga_id})
    while not (outside.folder / "all.open").exists():
        await asyncio.sleep(0.5)
    _together -= 1


_together = _most = 0


class Together(Saga):
    """One async step."""

    wait = step(wait_together, timeout=60)


class Big(Saga):
    """Four steps that change nothing of a context, however big it is."""

    one = step(lambda context: None)
    two = step(lambda context: None)
    three = step(lambda context: None)
    four = step(lambda context: None)
