"""What `-o json` prints. This form is stable: fields are added, and none is renamed or removed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import attrs

from saga_actors.cli.terminal import show
from saga_actors.events import Event, WorkerId
from saga_actors.journal.records import kind_of
from saga_actors.messages import ListedSaga
from saga_actors.outcomes import Compensated, CompensationFailed, Completed, Failure, Outcome, SagaState, SagaStatus

Fields = dict[str, Any]


def print_one(fields: Fields, form: str) -> None:
    """One document; on one line for `jsonl`. Everything beyond ASCII is escaped, and so every control character."""
    show(json.dumps(fields, indent=None if form == "jsonl" else 2))


def print_many(many: Iterable[Fields], form: str) -> None:
    """A list; for `jsonl` a line for each, as it comes."""
    if form == "jsonl":
        for fields in many:
            show(json.dumps(fields))
    else:
        show(json.dumps(list(many), indent=2))


def moment(at: datetime | float | None) -> str | None:
    """A time in UTC, as ISO 8601 has it."""
    if at is None:
        return None
    when = datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else at
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def listed(saga: ListedSaga) -> Fields:
    """One line of a list."""
    return {
        "saga_id": saga.saga_id,
        "saga": saga.saga,
        "state": str(saga.state),
        "created_at": moment(saga.created_at),
        "updated_at": moment(saga.updated_at),
        "held_reason": saga.held_reason,
    }


def status(saga: SagaStatus) -> Fields:
    """How a saga stands."""
    return {
        "saga_id": saga.saga_id,
        "saga": saga.saga,
        "state": str(saga.state),
        "served": saga.served,
        "waiting_for": None if saga.waiting_for is None else str(saga.waiting_for),
        "completed_steps": list(saga.completed_steps),
        "current_step": saga.current_step,
        "attempt": saga.attempt,
        "next_attempt_at": moment(saga.next_attempt_at),
        "failure": failure(saga.failure),
        "in_doubt": list(saga.in_doubt),
        "ignored": list(saga.ignored),
        "left": list(saga.left),
        "held_reason": saga.held_reason,
        "allowed_actions": [str(action) for action in saga.allowed_actions],
        "created_at": moment(saga.created_at),
        "updated_at": moment(saga.updated_at),
        "pruned": saga.pruned,
    }


def failure(what: Failure | None) -> Fields | None:
    """What went wrong, without its traceback."""
    if what is None:
        return None
    return {
        "kind": str(what.kind),
        "step": what.step,
        "reason": what.reason,
        "error_type": what.error_type,
        "attempts": what.attempts,
        "cause": failure(what.cause),
    }


def outcome(ended: Outcome[Any], context: Any) -> Fields:
    """How a saga ended; `context` is what JSON can say of its context."""
    state, went_back, undo = _told(ended)
    return {
        "saga_id": ended.saga_id,
        "state": str(state),
        "context": context,
        "failure": failure(went_back),
        "undo": failure(undo),
        "ignored": list(ended.ignored),
        "in_doubt": list(ended.in_doubt),
        "left": list(ended.left),
        "skipped": list(ended.skipped),
        "resolved_by": ended.resolved_by,
    }


def _told(ended: Outcome[Any]) -> tuple[SagaState, Failure | None, Failure | None]:
    match ended:
        case Completed():
            return SagaState.COMPLETED, None, None
        case Compensated(failure=why):
            return SagaState.COMPENSATED, why, None
        case CompensationFailed(failure=why, undo=undo):
            return SagaState.FATAL, why, undo


def event(seq: int, what: Event, *, contexts: bool) -> Fields:
    """One event of a history, by its name in the journal; a context only if it is asked for, for it may be secret."""
    fields: Fields = {"seq": seq, "event": kind_of(type(what)), "at": moment(what.at)}
    for field in attrs.fields(type(what)):
        value = getattr(what, field.name)
        if field.name == "at" or (field.name == "context" and not contexts):
            continue
        fields[field.name] = _plain(field.name, value)
    return fields


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return json.loads(value)
    if name in ("due", "deadline"):
        return moment(value)
    if isinstance(value, WorkerId):
        return {"number": value.number, "pid": value.pid}
    return attrs.asdict(value) if attrs.has(type(value)) else value
