"""A saga in two lanes, forward and back: what each step came to, and every attempt, from its events. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import attrs

from saga_actors.events import (
    AttemptFailed,
    AttemptQuieted,
    AttemptStarted,
    AttemptSucceeded,
    Ending,
    Event,
    Fault,
    Phase,
    RetryScheduled,
    Settled,
    Verdict,
)
from saga_actors.execution import Execution
from saga_actors.progress import StepRun
from saga_actors.step_context import idempotency_key


class Forward(StrEnum):
    """What a step came to, or how it stands."""

    NOT_BEGUN = "not_begun"
    NEXT = "next"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    IGNORED = "ignored"
    UNKNOWN = "unknown"


class Back(StrEnum):
    """What a rollback did about a step, or has still to do."""

    NOTHING = "nothing_to_undo"
    NO_UNDO = "has_no_undo"
    TAKEN_AS_FAILED = "taken_as_failed"
    TO_UNDO = "to_undo"
    RUNNING = "running"
    WAITING = "waiting"
    UNDONE = "undone"
    FAILED = "failed"
    SKIPPED = "skipped"


class End(StrEnum):
    """How an attempt ended; `superseded`: another one of its step succeeded first."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    UNUSABLE = "unusable"
    UNBEGUN = "unbegun"
    SUPERSEDED = "superseded"


@attrs.frozen
class Try:
    """One attempt; times are POSIX seconds. `quiet` is False as long as its code may run.

    `again_at`: for when the next one was scheduled.
    """

    number: int
    began: float
    ended: float | None = None
    end: End | None = None
    fault: Fault | None = None
    quiet: bool = False
    again_at: float | None = None


@attrs.frozen
class ForwardLane:
    """The attempts of a step, and what they came to; `settled_by` is the operator who said it."""

    standing: Forward
    key: str
    tries: tuple[Try, ...] = ()
    settled_by: str | None = None


@attrs.frozen
class BackLane:
    """The attempts to undo a step; None as `standing` if the saga has not turned back."""

    standing: Back | None
    key: str
    tries: tuple[Try, ...] = ()


@attrs.frozen
class StepLanes:
    """One row: a step, both ways."""

    name: str
    has_undo: bool
    forward: ForwardLane
    back: BackLane


def lanes_of(execution: Execution, events: Iterable[Event]) -> tuple[StepLanes, ...]:
    """A row for each step of the saga, in the order of its definition."""
    record = _Record()
    for event in events:
        record.note(event)
    return tuple(_row(execution, index, record) for index in range(len(execution.steps)))


class _Record:
    """The attempts of each step and way, as the events come."""

    def __init__(self) -> None:
        self.tries: dict[tuple[Phase, str], dict[int, Try]] = {}
        self.settled: dict[str, str] = {}

    def note(self, event: Event) -> None:
        match event:
            case AttemptStarted():
                self._of(event)[event.attempt] = Try(event.attempt, event.at)
            case AttemptSucceeded():
                self._change(event, ended=event.at, end=End.SUCCEEDED, fault=None, quiet=True)
            case AttemptFailed():
                is_quiet = event.ending is not Ending.TIMED_OUT
                self._change(event, ended=event.at, end=End(event.ending), fault=event.fault, quiet=is_quiet)
            case AttemptQuieted():
                self._quieted(event)
            case RetryScheduled():
                self._scheduled(event)
            case Settled():
                self.settled[event.step] = event.by
            case _:
                pass

    def _of(self, event: AttemptStarted | AttemptSucceeded | AttemptFailed | AttemptQuieted) -> dict[int, Try]:
        return self.tries.setdefault((event.phase, event.step), {})

    def _change(self, event: AttemptSucceeded | AttemptFailed | AttemptQuieted, **changes: Any) -> None:
        tries = self._of(event)
        tries[event.attempt] = attrs.evolve(tries[event.attempt], **changes)

    def _quieted(self, event: AttemptQuieted) -> None:
        if self._of(event)[event.attempt].end is None:
            self._change(event, ended=event.at, end=End.SUPERSEDED, quiet=True)
        else:
            self._change(event, quiet=True)

    def _scheduled(self, event: RetryScheduled) -> None:
        tries = self.tries[event.phase, event.step]
        last = max(tries)
        tries[last] = attrs.evolve(tries[last], again_at=event.due)


def _row(execution: Execution, index: int, record: _Record) -> StepLanes:
    plan, saga, saga_id = execution.plan.steps[index], execution.plan.saga, execution.saga_id

    def tries(phase: Phase) -> tuple[Try, ...]:
        found = record.tries.get((phase, plan.name), {}).values()
        return tuple(_let_go(each) if execution.state.ended else each for each in found)

    forward = ForwardLane(
        _forward(execution, index),
        idempotency_key(saga, saga_id, plan.name, Phase.EXECUTE),
        tries(Phase.EXECUTE),
        record.settled.get(plan.name),
    )
    back = BackLane(
        _back(execution, index),
        idempotency_key(saga, saga_id, plan.name, Phase.COMPENSATE),
        tries(Phase.COMPENSATE),
    )
    return StepLanes(plan.name, plan.compensable, forward, back)


def _let_go(each: Try) -> Try:
    """Of an ended saga: how an attempt ended that it did not wait for is not in the journal any more."""
    return attrs.evolve(each, end=End.SUPERSEDED) if each.end is None else each


_VERDICTS = {
    Verdict.COMPLETED: Forward.DONE,
    Verdict.FAILED: Forward.FAILED,
    Verdict.UNKNOWN: Forward.UNKNOWN,
}


def _forward(e: Execution, index: int) -> Forward:
    step = e.steps[index]
    if step.verdict is not None:
        is_ignored = step.ignored and step.verdict is not Verdict.COMPLETED
        return Forward.IGNORED if is_ignored else _VERDICTS[step.verdict]
    if step.forward.awaited is not None:
        return Forward.RUNNING
    if step.forward.begun:
        return Forward.WAITING
    return Forward.NEXT if e.state.unfinished and e.position == (Phase.EXECUTE, index) else Forward.NOT_BEGUN


def _back(e: Execution, index: int) -> Back | None:
    step, plan = e.steps[index], e.plan.steps[index]
    if step.undone or step.skipped:
        return Back.UNDONE if step.undone else Back.SKIPPED
    if not e.going_back and not (e.resolved is not None and e.failure is not None):
        return None
    if step.to_undo(plan):
        return _still_to_undo(e, step)
    if step.verdict not in (Verdict.COMPLETED, Verdict.UNKNOWN):
        return Back.NOTHING
    return Back.TAKEN_AS_FAILED if plan.compensable else Back.NO_UNDO


def _still_to_undo(e: Execution, step: StepRun) -> Back:
    if step.back.awaited is not None:
        return Back.RUNNING
    if not step.back.begun:
        return Back.TO_UNDO
    return Back.FAILED if e.state.ended else Back.WAITING
