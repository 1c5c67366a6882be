"""`run` and `start`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import click

from saga_actors.cli import json_form, moments, options
from saga_actors.cli.exits import BY_STATE, ExitCode
from saga_actors.cli.sagas import context_of, found
from saga_actors.cli.terminal import safe, say, show
from saga_actors.definition import Saga
from saga_actors.journal.codec import encode_context
from saga_actors.messages import new_id
from saga_actors.outcomes import Compensated, CompensationFailed, Completed, Failure, Outcome, SagaState
from saga_actors.telemetry import EventName, TelemetryEvent

_ID = click.option(
    "--id", "saga_id", metavar="ID", help="The saga's id, under which it runs once. [default: a new one]"
)
_DEADLINE = click.option(
    "--deadline",
    type=moments.a_span_or_moment,
    metavar="SPAN|TIME",
    help="When the saga turns back if it has not ended: 10m, or 2026-11-22T18:30:00Z.",
)


@click.command()
@click.argument("saga")
@click.argument("context")
@_ID
@_DEADLINE
@click.option("--timeout", type=moments.a_span, metavar="SPAN", help="How long to wait; the saga goes on.")
@options.modules
@options.output("text", "json")
@options.journal
def run(
    saga: str,
    context: str,
    saga_id: str | None,
    deadline: timedelta | datetime | None,
    timeout: timedelta | None,
    app: tuple[str, ...],
    form: str,
    journal: str,
) -> ExitCode:
    """Run a saga, and wait for its outcome.

    SAGA is a registered name, or module:Class. CONTEXT is JSON, @ and a file with it, or - for standard input. Where
    no node serves the journal, one is started, and ends with this command; a saga that has not ended then goes on when
    there is a node again.

    Exits with 0 if the saga completed, 10 if it was compensated, 20 if it is fatal, 30 if it is held, 4 if it took
    longer than --timeout.
    """
    from saga_actors.coordinator import Coordinator

    cls = found(saga, app)
    given, known_as = context_of(cls, context), saga_id or new_id()
    with Coordinator(journal, sagas=[cls]) as sagas, sagas.events(known_as) as events:
        say(f"{cls.definition.name} {safe(known_as)}")
        with _Narration(events.next, events.close):
            outcome = sagas.run(cls, given, saga_id=known_as, deadline=deadline, timeout=timeout)
        _print(cls, outcome, form)
    return BY_STATE.get(_state(outcome), ExitCode.OK)


@click.command()
@click.argument("saga")
@click.argument("context")
@_ID
@_DEADLINE
@options.modules
@options.journal
def start(
    saga: str,
    context: str,
    saga_id: str | None,
    deadline: timedelta | datetime | None,
    app: tuple[str, ...],
    journal: str,
) -> None:
    """Start a saga, and print its id.

    It is durably accepted when the id is printed. Needs a node: see saga-actors up. SAGA and CONTEXT are as for run.
    """
    from saga_actors.coordinator import Coordinator

    cls = found(saga, app)
    given = context_of(cls, context)
    options.require_node(journal)
    with Coordinator(journal, node="attach", sagas=[cls]) as sagas:
        show(safe(sagas.start(cls, given, saga_id=saga_id, deadline=deadline)))


class _Narration:
    """Prints the events of a saga on a thread of its own, as long as its outcome is waited for."""

    def __init__(self, following: Callable[[float | None], TelemetryEvent | None], close: Callable[[], None]) -> None:
        self._next, self._close = following, close
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="saga_actors-told", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _tell(self) -> None:
        while True:
            is_last_look = self._over.is_set()
            event = self._next(0.0 if is_last_look else 0.1)
            if event is not None:
                say(line_of(event))
            elif is_last_look:
                return


def line_of(event: TelemetryEvent) -> str:
    """An event on a line: when, what, and of which step."""
    facts = event.metadata
    words = [f"{event.at:%H:%M:%S}", f"{event.name:<12}"]
    if event.name in (EventName.STEP_STARTED, EventName.STEP_OK, EventName.STEP_FAILED):
        undo = "undo of " if facts["phase"] == "compensate" else ""
        words.append(f"{undo}{safe(facts['step'])}")
        if facts["attempt"] != 1:
            words.append(f"attempt {facts['attempt']}")
    if event.name is EventName.STEP_FAILED:
        words.append(f"{facts['ending']}: {safe(facts['error_type'])}" if facts["error_type"] else str(facts["ending"]))
    if event.name is EventName.COMPENSATING:
        step = facts["failed_step"]
        words.append(f"{facts['kind']}: {safe(step)}" if step else str(facts["kind"]))
    if "duration" in event.measures:
        words.append(f"({moments.lasting(float(event.measures['duration']))})")
    return " ".join(words)


def _state(outcome: Outcome[Any]) -> SagaState:
    match outcome:
        case Completed():
            return SagaState.COMPLETED
        case Compensated():
            return SagaState.COMPENSATED
        case CompensationFailed():
            return SagaState.FATAL


def _print(cls: type[Saga[Any]], outcome: Outcome[Any], form: str) -> None:
    context = json.loads(encode_context(outcome.context, cls.definition.context_type, limit=1 << 62))
    if form != "text":
        json_form.print_one(json_form.outcome(outcome, context), form)
        return
    show(f"{_state(outcome)} {safe(json.dumps(context))}")
    match outcome:
        case Compensated(failure=why):
            show(f"because {_told(why)}")
        case CompensationFailed(failure=why, undo=undo):
            show(f"because {_told(why)}")
            show(f"but the undo of {_told(undo)}; left to undo: {safe(', '.join(outcome.left) or 'nothing')}")
        case _:
            pass
    if outcome.in_doubt:
        show(f"in doubt: {safe(', '.join(outcome.in_doubt))}")


def _told(failure: Failure) -> str:
    where = f"{failure.step} " if failure.step else ""
    return safe(f"{where}{failure.kind}: {failure.reason}")
