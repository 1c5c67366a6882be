"""One thing that was looked at in an examination, and how it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs
import psutil  # type: ignore[import-untyped, unused-ignore]

from saga_actors.errors import SagaActorsError


@attrs.frozen
class Finding:
    """How `subject` is, in a sentence that, if it is not well, also says what to do.

    `facts` is the same for programs, of what JSON has and of times; `details` are lines below the sentence.
    """

    subject: str
    well: bool
    says: str
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    details: tuple[str, ...] = ()


def found(subject: str, look: Callable[[], Finding]) -> Finding:
    """What `look` finds; a finding of its own if the looking failed, for the rest is to be seen all the same."""
    try:
        return look()
    except (SagaActorsError, OSError, psutil.Error) as error:
        return Finding(subject, False, str(error) if isinstance(error, SagaActorsError) else f"not seen: {error}")


def several(count: int, what: str) -> str:
    """So many of these."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def in_bytes(count: float) -> str:
    """So many bytes, as one reads them."""
    for unit in ("kB", "MB"):
        count /= 1_000
        if count < 999.5:
            return f"{count:.0f} {unit}" if count >= 10 else f"{count:.1f} {unit}"
    return f"{count / 1_000:,.1f} GB"


def in_utc(at: datetime) -> str:
    """A moment, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
