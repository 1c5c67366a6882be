"""A durable, compensation-based saga coordinator on Thespian actors."""

from __future__ import annotations

from saga_actors.coordinator import Coordinator
from saga_actors.definition import Saga, Step, step
from saga_actors.errors import (
    Abort,
    ContextError,
    CoordinatorClosedError,
    CorruptionError,
    DefinitionError,
    DefinitionMismatchError,
    EventLoopError,
    JournalError,
    JournalUrlError,
    NestedCoordinatorError,
    NodeError,
    NodeUnreachableError,
    NotServedError,
    OutcomeUnknown,
    OverloadedError,
    SagaActorsError,
    SagaHeldError,
    SagaIdError,
    SagaInterruptedError,
    SagaTimeoutError,
    SchemaError,
    UnknownSagaError,
)
from saga_actors.node_connection import Node, connect
from saga_actors.outcomes import (
    Compensated,
    CompensationFailed,
    Completed,
    Failure,
    FailureKind,
    Outcome,
    SagaState,
    SagaStatus,
    WaitingFor,
)
from saga_actors.retry import Retry
from saga_actors.step_context import StepContext, current_step
from saga_actors.telemetry import EventName, TelemetryEvent
