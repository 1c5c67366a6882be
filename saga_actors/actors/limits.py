"""How much one supervisor takes on."""

from __future__ import annotations

import attrs


@attrs.frozen
class Limits:
    """What one supervisor takes on. `linger` is in seconds; None: it never ends for want of clients."""

    max_unfinished: int = 10_000
    context_limit: int = 1_000_000
    threads: int = 32
    linger: float | None = None
