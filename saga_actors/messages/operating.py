"""The messages of operators, and what answers them.

The correlation id of such a message goes into the journal with what was done: sent again, or delivered twice, it does
nothing more, and gets the same answer.
"""

from __future__ import annotations

from typing import Any

import attrs

from saga_actors.errors import SagaActorsError
from saga_actors.messages.common import a
from saga_actors.outcomes import Cancellation, SagaState

MOST_WORDS = 2_000
"""The most characters of a reason, and of the name of whoever gives it."""


def _said(message: Any, attribute: Any, value: Any) -> None:
    """Whoever looks at the history later is owed a name and a reason."""
    what = f"{type(message).__name__}.{attribute.name}"
    if not isinstance(value, str) or not value.strip():
        raise SagaActorsError(f"{what} is {value!r}; expected a text, for it goes into the history")
    if len(value) > MOST_WORDS:
        raise SagaActorsError(f"{what} has {len(value):,} characters; expected {MOST_WORDS:,} at most")


def _an_end(message: Any, attribute: Any, value: Any) -> None:
    a(SagaState)(message, attribute, value)
    if not value.ended:
        raise SagaActorsError(
            f"{type(message).__name__}.{attribute.name} is {value}; expected completed, compensated or fatal"
        )


def _ends(message: Any, attribute: Any, value: Any) -> None:
    a(tuple)(message, attribute, value)
    for each in value:
        _an_end(message, attribute, each)


@attrs.frozen(kw_only=True)
class CancelSaga:
    """Turn a saga back; answered by `SagaCancelled` once that is durable. From then on no attempt starts forward."""

    correlation_id: str = attrs.field(validator=a(str))
    saga_id: str = attrs.field(validator=a(str))
    reason: str = attrs.field(validator=_said)
    by: str | None = attrs.field(default=None, validator=a(str, type(None)))


@attrs.frozen(kw_only=True)
class _Operation:
    correlation_id: str = attrs.field(validator=a(str))
    saga_id: str = attrs.field(validator=a(str))
    by: str = attrs.field(validator=_said)
    reason: str = attrs.field(validator=_said)


@attrs.frozen(kw_only=True)
class RetrySaga(_Operation):
    """Try the failed undo, or the held step, again, with fresh retries; answered by `OperationDone`."""


@attrs.frozen(kw_only=True)
class SettleStep(_Operation):
    """Say whether an unknown step happened, with the saga's whole context after it (None: unchanged), encoded."""

    step: str = attrs.field(validator=a(str))
    happened: bool = attrs.field(validator=a(bool))
    context: bytes | None = attrs.field(default=None, repr=False, validator=a(bytes, type(None)))


@attrs.frozen(kw_only=True)
class SkipUndo(_Operation):
    """The failed undo of this step was done by hand: the rollback goes on; answered by `OperationDone`."""

    step: str = attrs.field(validator=a(str))


@attrs.frozen(kw_only=True)
class ResolveSaga(_Operation):
    """End a fatal or held saga by hand; answered by `OperationDone`."""

    state: SagaState = attrs.field(validator=_an_end)


@attrs.frozen(kw_only=True)
class AcceptPlan(_Operation):
    """Have a held saga go on with the definition of this fingerprint, if that is what the node serves.

    With `dry_run` nothing is changed, and the answer says what it would be.
    """

    fingerprint: str = attrs.field(validator=a(str))
    dry_run: bool = attrs.field(default=False, validator=a(bool))


@attrs.frozen(kw_only=True)
class PruneSagas:
    """Remove the records of sagas that ended so, and changed last before `before` (POSIX seconds).

    A tombstone of each stays. Answered by `SagasPruned`, of which `next_page` is the `after` of the next such message.
    """

    correlation_id: str = attrs.field(validator=a(str))
    before: float = attrs.field(validator=a(float, int))
    states: tuple[SagaState, ...] = attrs.field(validator=_ends)
    after: int | None = attrs.field(default=None, validator=a(int, type(None)))


@attrs.frozen(kw_only=True)
class DropTombstones:
    """Forget that sagas which were pruned before `before` (POSIX seconds) have been; answered by `SagasPruned`."""

    correlation_id: str = attrs.field(validator=a(str))
    before: float = attrs.field(validator=a(float, int))
    after: int | None = attrs.field(default=None, validator=a(int, type(None)))


@attrs.frozen
class SagaCancelled:
    """What came of cancelling a saga; durable."""

    correlation_id: str
    saga_id: str
    answer: Cancellation


@attrs.frozen
class OperationDone:
    """What an operator asked for is done, and durable; `state` is how the saga stands after it."""

    correlation_id: str
    saga_id: str
    state: SagaState


@attrs.frozen
class SagasPruned:
    """So many were removed; `next_page` is None once there is no more to look at."""

    correlation_id: str
    count: int
    next_page: int | None = None
