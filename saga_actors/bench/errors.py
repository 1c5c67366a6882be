"""Why a bench has no figures."""

from __future__ import annotations

from saga_actors.errors import SagaActorsError


class BenchError(SagaActorsError):
    """What was measured was not what should have happened; a figure of it would be worth nothing."""
