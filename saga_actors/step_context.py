"""What a step can ask about the attempt that runs it."""

from __future__ import annotations

import json
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

import attrs

from saga_actors.errors import SagaActorsError
from saga_actors.events import Phase

_EFFECTS = uuid.UUID("0a4c41bb-35b1-54ad-8f4d-3f5b3a6a8c2e")  # for ever: another one would be another key per effect


@attrs.frozen
class StepContext:
    """One attempt, seen from inside.

    `idempotency_key` is the same for all attempts of this effect, also after a crash or a restart; give it to whatever
    can be asked twice. In a compensation, `undoes_key` is the key that its step had, and `outcome` says whether that
    step is known to have happened. `attempt` counts from 1; `deadline` is when this one times out, in aware UTC.
    """

    saga_id: str
    saga: str
    step: str
    phase: Phase
    attempt: int
    outcome: Literal["completed", "unknown"] | None
    times_out_at: float
    """The deadline in POSIX seconds."""

    # What most steps do not ask for is made when they do.

    @property
    def idempotency_key(self) -> str:
        """The name of this effect, the same for all its attempts."""
        return idempotency_key(self.saga, self.saga_id, self.step, self.phase)

    @property
    def undoes_key(self) -> str | None:
        """In a compensation, the `idempotency_key` that its step had."""
        if self.phase is Phase.EXECUTE:
            return None
        return idempotency_key(self.saga, self.saga_id, self.step, Phase.EXECUTE)

    @property
    def deadline(self) -> datetime:
        """When this attempt times out, in aware UTC."""
        return datetime.fromtimestamp(self.times_out_at, UTC)


def idempotency_key(saga: str, saga_id: str, step: str, phase: Phase) -> str:
    """The name of one effect: a UUID (36 characters) over the saga's name and id, the step and the way it goes.

    Every attempt of it has the same key, in whichever process; its compensation has another, and so has every other
    saga id. UUID version 5 (RFC 9562), because some gateways take nothing else.
    """
    return str(uuid.uuid5(_EFFECTS, json.dumps([saga, saga_id, step, phase])))


_running: ContextVar[StepContext] = ContextVar("saga_actors_running_step")


def current_step() -> StepContext:
    """The attempt that the caller is part of; raises SagaActorsError outside a step."""
    try:
        return _running.get()
    except LookupError:
        raise SagaActorsError(
            "current_step() was called outside a step; call it in the step's or the compensation's own thread or task "
            "(a thread of your own sees it when it runs in contextvars.copy_context())"
        ) from None


def begin_step(context: StepContext) -> None:
    """Make `context` the current step of the task, or of the `contextvars.Context`, in which this is called."""
    _running.set(context)
