"""What the exit codes mean, and which one an error comes to."""

from __future__ import annotations

from enum import IntEnum

from saga_actors.errors import (
    CorruptionError,
    DefinitionError,
    JournalError,
    JournalUrlError,
    NodeUnreachableError,
    SagaActorsError,
    SagaHeldError,
    SagaTimeoutError,
    SchemaError,
)
from saga_actors.outcomes import SagaState


class ExitCode(IntEnum):
    """Why the command ended. Those from 4 on come from `run` and `status --exit-code` only, but for an interruption."""

    OK = 0
    FAILED = 1
    USAGE = 2
    ABSENT = 3
    TIMED_OUT = 4
    COMPENSATED = 10
    FATAL = 20
    HELD = 30
    INTERRUPTED = 130


BY_STATE = {
    SagaState.COMPENSATED: ExitCode.COMPENSATED,
    SagaState.FATAL: ExitCode.FATAL,
    SagaState.HELD: ExitCode.HELD,
}
"""The states that a script wants to tell from those where all is well."""

_BY_ERROR: tuple[tuple[type[SagaActorsError], ExitCode], ...] = (
    (SagaHeldError, ExitCode.HELD),
    (SagaTimeoutError, ExitCode.TIMED_OUT),
    (DefinitionError, ExitCode.USAGE),
    (JournalUrlError, ExitCode.USAGE),
    (CorruptionError, ExitCode.FAILED),
    (SchemaError, ExitCode.FAILED),
    (JournalError, ExitCode.ABSENT),
    (NodeUnreachableError, ExitCode.ABSENT),
)


def code_of(error: SagaActorsError) -> ExitCode:
    """The exit code for an error: the first in the list that it is one of, or 1."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILED)
