"""Telemetry: what happens to sagas, told to whoever listens. Eight events, each made of one event of the journal.

==============  ==================================================  =================================================
event           when                                                with, beside `seq`
==============  ==================================================  =================================================
`started`       the saga was accepted
`step_started`  an attempt, of a step or its undo, is about to run  `step`, `phase`, `attempt`
`step_ok`       it succeeded                                        `duration`; `step`, `phase`, `attempt`
`step_failed`   it ended otherwise                                  the same, and `ending`, `error_type`, `retryable`
`compensating`  the saga turned back                                `duration`; `failed_step`, `kind`
`completed`     every step is completed or ignored                  `duration`; `resolved`
`compensated`   all that was to undo is undone                      `duration`; `resolved`
`fatal`         an undo failed for good                             `duration`; `resolved`, `step`
==============  ==================================================  =================================================

`duration`, a measure, is in seconds: of an attempt since it was started, of the others since the saga was accepted; it
is left out where the records that tell it cannot be read. The others are metadata. `phase` is `execute` or
`compensate`, `attempt` counts from 1. `ending` is `failed`, `unknown`, `timed_out`, `interrupted`, `unusable` (what it
returned cannot be used) or `unbegun`; after `timed_out` the same attempt may still come to a `step_ok`. `kind` says why
the saga went back: one of the first four, `cancelled` or `deadline`; `failed_step` is None for the last two. `resolved`
is True where an operator ended the saga by hand; `step` of `fatal` is the one whose undo failed, else None. A saga that
an operator reopened ends again: it has another end event.

Events are told at least once, in the order of the journal: an event that may have been told before, by a process that
ended since, has `repeated` set. `saga_id` and `seq` (its number in the saga's history) name an event for ever.

No context is in an event, and no text of an exception either, for it may quote one: only its type is.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Container, Hashable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, get_args

import attrs

from saga_actors.errors import CorruptionError, UnknownSagaError
from saga_actors.events import (
    Accepted,
    AttemptFailed,
    AttemptQuieted,
    AttemptStarted,
    AttemptSucceeded,
    Cancelled,
    Ending,
    Event,
    Phase,
    Resolved,
    RollbackStarted,
    SagaCompensated,
    SagaCompleted,
    StepFailed,
    UndoFailed,
    Verdict,
)
from saga_actors.execution import fold
from saga_actors.journal.port import History, Records, Tailed
from saga_actors.outcomes import FailureKind

REMEMBERED = 50_000
"""The most beginnings, of sagas and attempts, that are remembered; others are looked up in the journal."""

LOGGER = "saga_actors.saga"
"""The logger to which every event is written; looked up each time, for an actor system replaces all loggers."""


class EventName(StrEnum):
    """What is told of a saga."""

    STARTED = "started"
    STEP_STARTED = "step_started"
    STEP_OK = "step_ok"
    STEP_FAILED = "step_failed"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    FATAL = "fatal"


Measures = Mapping[str, float | int]
Metadata = Mapping[str, str | int | bool | None]


@attrs.frozen
class TelemetryEvent:
    """Something that happened to a saga; `at` is aware UTC. The module's table says what is in it."""

    name: EventName
    at: datetime
    saga_id: str
    saga: str
    measures: Measures = attrs.field(factory=dict, hash=False)
    metadata: Metadata = attrs.field(factory=dict, hash=False)
    repeated: bool = False


# From the journal's events to these.

_NAMES: dict[type[Any], EventName] = {
    Accepted: EventName.STARTED,
    AttemptStarted: EventName.STEP_STARTED,
    AttemptSucceeded: EventName.STEP_OK,
    AttemptFailed: EventName.STEP_FAILED,
    RollbackStarted: EventName.COMPENSATING,
    SagaCompleted: EventName.COMPLETED,
    SagaCompensated: EventName.COMPENSATED,
    UndoFailed: EventName.FATAL,
}


EVERYTHING = frozenset(EventName)


def name_of(event: Event) -> EventName | None:
    """What an event of the journal is told as; None if it is not told."""
    return EventName(event.state) if isinstance(event, Resolved) else _NAMES.get(type(event))


_ATTEMPT = (AttemptStarted, AttemptQuieted)
_END = (Accepted, Resolved)
_MADE_OF: dict[EventName, tuple[type[Event], ...]] = {
    EventName.STARTED: (Accepted,),
    EventName.STEP_STARTED: (AttemptStarted,),
    EventName.STEP_OK: (AttemptSucceeded, *_ATTEMPT),
    EventName.STEP_FAILED: (AttemptFailed, *_ATTEMPT),
    EventName.COMPENSATING: (RollbackStarted, Accepted, AttemptFailed, StepFailed, Cancelled),
    EventName.COMPLETED: (SagaCompleted, *_END),
    EventName.COMPENSATED: (SagaCompensated, *_END),
    EventName.FATAL: (UndoFailed, *_END),
}


@lru_cache
def unneeded(wanted: frozenset[EventName]) -> frozenset[type[Event]]:
    """The events of the journal that a `Translator` need not see to tell of these."""
    return frozenset(get_args(Event)).difference(*(_MADE_OF[name] for name in wanted))


class _Reason(NamedTuple):
    """Why a saga may be about to turn back: the event of it that was seen last."""

    saga_id: str
    seq: int
    step: str
    kind: FailureKind
    certain: bool
    is_final: bool


class Translator:
    """Makes telemetry of the journal's events, with a bounded memory of what began when.

    It is to see them in their order, and may be spared those that are `unneeded`.
    """

    def __init__(self, records: Records, remembered: int = REMEMBERED) -> None:
        self._records = records
        self._began: OrderedDict[Hashable, float] = OrderedDict()
        self._remembered = remembered
        self._reason: _Reason | None = None

    def translate(
        self, found: Tailed, wanted: Container[EventName] = EVERYTHING, *, repeated: bool = False
    ) -> TelemetryEvent | None:
        """What is told of this event, if anything, and if it is wanted; JournalError if that cannot be known now."""
        event = found.event
        if event is None:
            self._began.pop(found.saga_id, None)  # it may have been a `Cancelled`
            return None
        name = name_of(event)
        if name is None or name not in wanted:
            self._follow(found, event)
            return None
        measures, metadata = self._described(found, event)
        at = datetime.fromtimestamp(event.at, UTC)
        return TelemetryEvent(name, at, found.saga_id, found.saga, measures, {"seq": found.seq, **metadata}, repeated)

    def _follow(self, found: Tailed, event: Event) -> None:
        """Remember of an event that is not told what others will need."""
        match event:
            case Accepted():
                self._remember(found.saga_id, event.at)
            case AttemptStarted():
                self._remember(_attempt(found.saga_id, event), event.at)
            case AttemptFailed():
                self._attempt_failed(found, event)
            case AttemptQuieted():
                self._began.pop(_attempt(found.saga_id, event), None)
            case StepFailed():
                self._step_failed(found, event)
            case Cancelled():
                self._began.pop(found.saga_id, None)
            case _:
                pass

    def _described(self, found: Tailed, event: Event) -> tuple[Measures, Metadata]:
        match event:
            case Accepted():
                self._remember(found.saga_id, event.at)
                return {}, {}
            case AttemptStarted():
                self._remember(_attempt(found.saga_id, event), event.at)
                return {}, _step(event)
            case AttemptSucceeded():
                return self._attempt_duration(found, event, may_go_on=False), _step(event)
            case AttemptFailed():
                self._attempt_failed(found, event)
                duration = self._attempt_duration(found, event, may_go_on=event.ending is Ending.TIMED_OUT)
                fault = event.fault
                why = {"ending": str(event.ending), "error_type": fault.error_type, "retryable": fault.retryable}
                return duration, {**_step(event), **why}
            case RollbackStarted():
                return self._saga_duration(found, event), self._why_back(found)
            case UndoFailed():
                return self._end_duration(found, event), {"resolved": False, "step": event.step}
            case Resolved():
                extra = {"step": None} if name_of(event) is EventName.FATAL else {}
                return self._end_duration(found, event), {"resolved": True, **extra}
            case _:
                return self._end_duration(found, event), {"resolved": False}

    def _remember(self, key: Hashable, at: float) -> None:
        self._began[key] = at
        if len(self._began) > self._remembered:
            self._began.popitem(last=False)

    def _attempt_duration(self, found: Tailed, event: AttemptSucceeded | AttemptFailed, *, may_go_on: bool) -> Measures:
        key = _attempt(found.saga_id, event)
        began = self._began.get(key)
        if began is None:
            starts = (s.event for s in self._history(found) if isinstance(s.event, AttemptStarted))
            began = next((start.at for start in starts if _attempt(found.saga_id, start) == key), None)
        if not may_go_on:
            self._began.pop(key, None)
        return _duration(began, event)

    def _saga_duration(self, found: Tailed, event: Event) -> Measures:
        began = self._began.get(found.saga_id)
        if began is None:
            try:
                row = self._records.find(found.saga_id)
            except CorruptionError:
                row = None
            began = row.created_at if row else None
        return _duration(began, event)

    def _end_duration(self, found: Tailed, event: Event) -> Measures:
        duration = self._saga_duration(found, event)
        self._began.pop(found.saga_id, None)
        return duration

    def _attempt_failed(self, found: Tailed, event: AttemptFailed) -> None:
        self._reason = None
        if event.phase is Phase.EXECUTE:
            kind, certain = event.ending.failure_kind, event.ending.certain
            self._reason = _Reason(found.saga_id, found.seq, event.step, kind, certain, is_final=False)

    def _step_failed(self, found: Tailed, event: StepFailed) -> None:
        last, self._reason = self._reason, None
        if last and (last.saga_id, last.seq, last.step) == (found.saga_id, found.seq - 1, event.step):
            in_doubt = last.certain and event.verdict is Verdict.UNKNOWN
            kind = FailureKind.UNKNOWN if in_doubt else last.kind
            self._reason = _Reason(found.saga_id, found.seq, event.step, kind, last.certain, is_final=True)

    def _why_back(self, found: Tailed) -> Metadata:
        """Why the saga went back, as the execution itself has it.

        Mostly an attempt failed, and so its step, just before, and the saga was not cancelled: all its cancellations
        were seen if its beginning was. Of any other the whole history is folded.
        """
        last, self._reason = self._reason, None
        is_plain = last and last.is_final and (last.saga_id, last.seq) == (found.saga_id, found.seq - 1)
        if last and is_plain and found.saga_id in self._began:
            return {"failed_step": last.step, "kind": str(last.kind)}
        try:
            failure = fold((stored.event for stored in self._history(found)), self._records.plan).failure
        except CorruptionError:
            failure = None
        return {"failed_step": failure.step if failure else None, "kind": str(failure.kind) if failure else None}

    def _history(self, found: Tailed) -> History:
        """The saga's events up to this one; none if they cannot be read, or are there no more."""
        try:
            return self._records.load(found.saga_id)[: found.seq]
        except (CorruptionError, UnknownSagaError):
            return []


def _attempt(saga_id: str, event: AttemptStarted | AttemptSucceeded | AttemptFailed | AttemptQuieted) -> Hashable:
    return saga_id, event.phase, event.step, event.attempt


def _step(event: AttemptStarted | AttemptSucceeded | AttemptFailed) -> Metadata:
    return {"step": event.step, "phase": str(event.phase), "attempt": event.attempt}


def _duration(began: float | None, event: Event) -> Measures:
    return {} if began is None else {"duration": max(0.0, event.at - began)}  # a clock may be set back


# The log.

_LEVELS = {
    EventName.STARTED: logging.INFO,
    EventName.COMPENSATING: logging.INFO,
    EventName.COMPLETED: logging.INFO,
    EventName.COMPENSATED: logging.INFO,
    EventName.FATAL: logging.ERROR,
}


def is_logged(name: EventName) -> bool:
    """Whether the log takes events of this name: steps are DEBUG, the saga itself INFO, fatal ERROR."""
    return logging.getLogger(LOGGER).isEnabledFor(_LEVELS.get(name, logging.DEBUG))


def log_event(event: TelemetryEvent) -> None:
    """Write the event to the logger `saga_actors.saga`, on one line."""
    facts = {**event.metadata, **{name: f"{value:.3f}" for name, value in event.measures.items()}}
    words = [f"{name}={_word(value)}" for name, value in facts.items()] + ["repeated"] * event.repeated
    line = f"{_word(event.saga)} {_word(event.saga_id)}: {event.name} {' '.join(words)}"
    logging.getLogger(LOGGER).log(_LEVELS.get(event.name, logging.DEBUG), "%s", line)


def _word(value: object) -> str:
    """A value as one word of a line; quoted if it would break it."""
    text = str(value)
    return text if text.isprintable() and text and " " not in text else ascii(text)
