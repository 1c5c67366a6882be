"""What a saga's definition comes to once its code is taken away: the part that is pinned in the journal (P14)."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from functools import cached_property

import attrs

from saga_actors.retry import Backoff


class OnFailure(StrEnum):
    """What a step's final failure does to its saga."""

    ROLLBACK = "rollback"
    IGNORE = "ignore"


class OnUnknown(StrEnum):
    """What is done about a step of which nobody knows whether it happened."""

    COMPENSATE = "compensate"
    HOLD = "hold"
    ASSUME_FAILED = "assume_failed"


@attrs.frozen
class StepPlan:
    """One step without its code. Timeouts are in seconds, per attempt."""

    name: str
    compensable: bool = False
    timeout: float = 30.0
    retries: Backoff = Backoff()
    reruns: int = 3
    on_failure: OnFailure = OnFailure.ROLLBACK
    on_unknown: OnUnknown = OnUnknown.COMPENSATE
    compensate_timeout: float = 30.0
    compensate_retries: Backoff = Backoff(times=3)
    is_async: bool = False
    compensate_is_async: bool = False


@attrs.frozen(slots=False)
class SagaPlan:
    """One saga without its code. `context` describes the fields and types of its context, as text.

    `max_running`: how many of this saga may be in flight at a time on one node; None: any number.
    """

    saga: str
    steps: tuple[StepPlan, ...]
    context: str = "dict"
    max_running: int | None = None

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over what must not change under a running saga (P14); not code, timeouts, retries or limits."""
        pinned = [self.context] + [[s.name, s.compensable, s.on_unknown, s.on_failure] for s in self.steps]
        return _digest(pinned)

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each step stands, by name."""
        return {step.name: index for index, step in enumerate(self.steps)}

    @cached_property
    def plan_id(self) -> str:
        """16 hex digits over all of it; the key under which the journal keeps the plan."""
        values = attrs.astuple(self)
        return _digest(values if self.max_running is not None else values[:-1])  # as before there was a limit


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()
