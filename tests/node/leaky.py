"""Sagas whose steps put a secret of their context wherever user code can put one: in results, reasons and errors."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from saga_actors import Abort, OutcomeUnknown, Saga, step
from saga_actors.retry import Retry
from saga_actors.telemetry import TelemetryEvent


class Careless(Exception):
    """Has the secret in its text, its arguments and its attributes."""

    def __init__(self, secret: str) -> None:
        super().__init__(f"declined: {secret}", {"card": secret})
        self.card = secret


class Unspeakable:
    """Cannot be stored, and says the secret wherever it is shown."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return f"Unspeakable({self.secret})"


def keep(context: dict[str, Any]) -> dict[str, Any]:
    return {"token": context["secret"], context["secret"]: 1}


def leak(context: dict[str, Any]) -> Any:
    """Fail in the way that the context says."""
    secret = context["secret"]
    match context["how"]:
        case "raise":
            try:
                raise KeyError(secret)
            except KeyError as error:
                raise Careless(secret) from error
        case "group":
            raise ExceptionGroup(secret, [Careless(secret), ValueError(secret)])
        case "abort":
            raise Abort(f"no: {secret}")
        case "unknown":
            raise OutcomeUnknown(f"who knows: {secret}")
        case "object":
            return {"deep": [Unspeakable(secret)]}
        case "nonsense":
            return secret
        case "in place":
            context["more"] = secret
            return None
        case "exit":
            raise SystemExit(secret)
        case "hang":
            time.sleep(600)
    return {"more": secret}


async def leak_async(context: dict[str, Any]) -> Any:
    """On the loop; it leaves a task behind that fails, and asyncio tells of."""
    if context["how"] == "async":
        context["task"] = asyncio.get_running_loop().create_task(_fail(context["secret"]))
        await asyncio.sleep(0.05)
        raise Careless(context["secret"])
    return {"last": context["secret"]}


async def _fail(secret: str) -> None:
    raise Careless(secret)


def undo(context: dict[str, Any]) -> None:
    if context.get("undo") == "fails":
        raise Careless(context["secret"])


class Leaky(Saga):
    """Each of its steps knows the secret."""

    keep = step(keep, compensate=undo, compensate_retries=Retry(1, first_delay=0.0))
    tell = step(leak, compensate=undo, retries=Retry(1, first_delay=0.0), timeout=1.0)
    last = step(leak_async)


class Shrugging(Saga):
    """Goes on whatever its step says."""

    tell = step(leak, on_failure="ignore")


def raising(event: TelemetryEvent) -> None:
    """A listener that breaks over every event, and tells all that it knows."""
    raise Careless(repr(event))
