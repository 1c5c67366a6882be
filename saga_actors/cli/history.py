"""`history`: the events of one saga."""

from __future__ import annotations

import attrs
import click

from saga_actors.cli import json_form, options
from saga_actors.cli.moments import lasting
from saga_actors.cli.terminal import safe, show
from saga_actors.events import Event, Phase, WorkerId
from saga_actors.journal.records import kind_of

UNTOLD = ("at", "context", "fault", "digest", "plan_id", "request", "saga_id", "phase", "step", "attempt", "epoch")
"""Fields of events that a line leaves out: `-o json` has them all."""


@click.command()
@click.argument("saga_id", metavar="ID")
@click.option("--context", "contexts", is_flag=True, help="Print contexts, too, which may be secret; JSON only.")
@options.output()
@options.journal
def history(saga_id: str, contexts: bool, form: str, journal: str) -> None:
    """Print the events of a saga, in order."""
    if contexts and form == "text":
        raise click.UsageError("history --context prints JSON only; add -o json, or use: saga-actors show --context")
    with options.attached(journal) as sagas:
        events = sagas.history(saga_id)
    if form != "text":
        json_form.print_many(
            (json_form.event(seq, each, contexts=contexts) for seq, each in enumerate(events, 1)), form
        )
        return
    show(f"{safe(saga_id)} began at {json_form.moment(events[0].at)}")
    for seq, event in enumerate(events, 1):
        show(f"{seq:>4} {event.at - events[0].at:>+9.3f} s  {_line(event)}")


def _line(event: Event) -> str:
    words = [f"{kind_of(type(event)):<17}", *_which(event)]
    for field in attrs.fields(type(event)):
        value = getattr(event, field.name)
        if field.name not in UNTOLD and value not in (None, False):
            words.append(f"{field.name}={_word(field.name, value, event.at)}")
    if (fault := getattr(event, "fault", None)) is not None:
        words.append(f"{fault.error_type or 'reason'}: {fault.reason}")
    return safe(" ".join(words)).rstrip()


def _which(event: Event) -> list[str]:
    """The step, which way, and which attempt if it is not the first."""
    if not hasattr(event, "step"):
        return []
    attempt = getattr(event, "attempt", 1)
    way = "undo of " if getattr(event, "phase", None) is Phase.COMPENSATE else ""
    return [f"{way}{event.step}", *([f"attempt {attempt}"] if attempt != 1 else [])]


def _word(name: str, value: object, at: float) -> str:
    if isinstance(value, WorkerId):
        return f"{value.number} (pid {value.pid})"
    if name in ("due", "deadline") and isinstance(value, float):
        return f"in {lasting(max(0.0, value - at))}"
    text = str(value)
    return repr(text) if " " in text else text
