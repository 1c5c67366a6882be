"""A saga's history as lines that one can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from saga_actors.events import (
    Accepted,
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    Event,
    RetryScheduled,
    RollbackStarted,
    SagaCompensated,
    SagaCompleted,
    StepFailed,
)


def as_lines(history: Sequence[Event]) -> Iterator[str]:
    """One line for each event, with the seconds since the first."""
    return (f"{event.at - history[0].at:7.3f} s  {described(event)}" for event in history)


def described(event: Event) -> str:
    """What the event says; one that the demo does not bring about is named only."""
    match event:
        case Accepted():
            return f"accepted as a {event.saga}"
        case AttemptStarted():
            return (
                f"{event.step}: attempt {event.attempt} to {event.phase} begins, in worker {event.worker.pid}, "
                f"under supervisor number {event.epoch}"
            )
        case AttemptSucceeded():
            return f"{event.step}: attempt {event.attempt} succeeded"
        case AttemptFailed():
            return f"{event.step}: attempt {event.attempt} {event.ending}: {event.fault.reason}"
        case RetryScheduled():
            return f"{event.step}: is run again" if event.rerun else f"{event.step}: is tried again"
        case StepFailed():
            return f"{event.step}: nothing more is tried, it is {event.verdict}"
        case RollbackStarted():
            return "the saga turns back"
        case SagaCompleted():
            return "completed"
        case SagaCompensated():
            return "compensated"
        case _:
            return type(event).__name__
