"""How much one supervisor takes on, and how patient it is."""

from __future__ import annotations

import attrs

BEATS_HEARD = 3.0
"""Seconds after which a supervisor that took over in mid-life has heard the heartbeats of all clients."""


@attrs.frozen
class Limits:
    """What one supervisor takes on. `linger` is in seconds; None: it never ends for want of clients."""

    max_unfinished: int = 10_000
    context_limit: int = 1_000_000
    threads: int = 32
    linger: float | None = None
