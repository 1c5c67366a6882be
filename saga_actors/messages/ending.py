"""The messages about how a saga ends."""

from __future__ import annotations

from typing import Any, cast

import attrs

from saga_actors.compact_form import compact
from saga_actors.definition import Saga
from saga_actors.journal.codec import decode_context
from saga_actors.messages.common import a
from saga_actors.outcomes import C, Outcome


@compact
@attrs.frozen
class AwaitSaga:
    """Answer when this saga ends: `SagaEnded`, `SagaIsHeld` or `Refused`."""

    correlation_id: str = attrs.field(validator=a(str))
    saga_id: str = attrs.field(validator=a(str))


@compact
@attrs.frozen
class SagaEnded:
    """The saga has ended; `encoded` is its outcome, with the context still in bytes."""

    correlation_id: str
    saga_id: str
    saga: str
    encoded: Outcome[bytes] = attrs.field(repr=False)

    def outcome(self, saga: type[Saga[C]]) -> Outcome[C]:
        """The outcome, with its context decoded as that of `saga`."""
        return decoded_outcome(self.encoded, saga.definition.context_type)


@attrs.frozen
class SagaIsHeld:
    """The saga is parked for an operator."""

    correlation_id: str
    saga_id: str
    reason: str


def decoded_outcome(encoded: Outcome[bytes], context_type: Any) -> Outcome[Any]:
    """The same outcome, with its context decoded."""
    return cast("Outcome[Any]", attrs.evolve(encoded, context=decode_context(encoded.context, context_type)))
