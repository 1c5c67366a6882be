"""`graph`: a definition as a picture, forward and back."""

from __future__ import annotations

from collections.abc import Iterator

import click

from saga_actors.cli import options
from saga_actors.cli.paragraph import Paragraph
from saga_actors.cli.sagas import found
from saga_actors.cli.terminal import safe, show
from saga_actors.plan import OnFailure, OnUnknown, SagaPlan, StepPlan


@click.command()
@click.argument("saga")
@click.option("--format", "form", type=click.Choice(["text", "mermaid"]), default="text", show_default=True)
@options.modules
@options.application
def graph(saga: str, form: str, app: tuple[str, ...]) -> None:
    """Draw a definition, forward and back: as text, or for mermaid.

    SAGA is a registered name, or module:Class.
    """
    plan = found(saga, app).definition.plan
    for line in as_mermaid(plan) if form == "mermaid" else as_text(plan):
        show(line)
    if form == "text":
        show()
        for note in notes(plan):
            Paragraph(note, hang=4).show()


def as_text(plan: SagaPlan) -> Iterator[str]:
    """Forward goes down on the left, back goes up on the right; a failure leads from one to the other."""
    names = [safe(step.name) for step in plan.steps]
    width = max(len("completed"), *map(len, names))
    undos = [f"undo of {name}" if step.compensable else ON for name, step in zip(names, plan.steps, strict=True)]
    yield _line("forward", "", "back", width)
    yield _line("", "", "compensated", width)
    for name, step, undo in zip(names, plan.steps, [ON, *undos], strict=False):
        yield _line(DOWN, "", UP, width)
        ignored = step.on_failure is OnFailure.IGNORE
        yield _line(name, "╳ ignored" if ignored else "── fails ──▶", undo, width)
    yield _line(DOWN, "", UP if undos[-1] != ON else "", width)
    yield _line("completed", "", undos[-1] if undos[-1] != ON else "", width)


HELD = "held"
DOWN, UP, ON = "    ▼", "    ▲", "    │"


def _line(forward: str, between: str, back: str, width: int) -> str:
    return f"{forward:<{width}}  {between:<12}  {back}".rstrip()


def notes(plan: SagaPlan) -> Iterator[str]:
    """What the picture in text has no room for: doubt, and the ends that need somebody."""
    ways = {step.name: _when_unknown(number, step) for number, step in enumerate(plan.steps, 1)}
    undone = [step for step, way in ways.items() if way not in (None, HELD)]
    held = [step for step, way in ways.items() if way == HELD]
    if undone:
        yield f"undone as well if it may have happened: {', '.join(undone)}"
    if held:
        yield f"held for an operator if it may have happened: {', '.join(held)}"
    if any(step.compensable for step in plan.steps):
        yield "fatal if an undo fails for good"


def as_mermaid(plan: SagaPlan) -> Iterator[str]:
    """A flowchart: steps on the way forward, undos on the way back, and the ends."""
    yield "flowchart TD"
    yield "    accepted([accepted]) --> s1"
    for number, step in enumerate(plan.steps, 1):
        yield f'    s{number}["{_quoted(step.name)}"]'
        yield f"    s{number} --> {_next(plan, number)}"
        if step.on_failure is OnFailure.ROLLBACK:
            yield f"    s{number} -. fails .-> {_back_from(plan, number)}"
        if (after := _when_unknown(number, step)) is not None:
            yield f"    s{number} -. may have happened .-> {after}"
    for number, step in enumerate(plan.steps, 1):
        if step.compensable:
            yield f'    u{number}["undo of {_quoted(step.name)}"]'
            yield f"    u{number} --> {_back_from(plan, number)}"
            yield f"    u{number} -. fails .-> fatal"
    yield "    completed([completed])"
    yield "    compensated([compensated])"
    if any(step.compensable for step in plan.steps):
        yield "    fatal([fatal])"
    if any(step.on_unknown is OnUnknown.HOLD for step in plan.steps):
        yield f"    {HELD}([held])"


def _when_unknown(number: int, step: StepPlan) -> str | None:
    """Where a step leads of which nobody knows; None if that is no way of its own."""
    if step.on_unknown is OnUnknown.HOLD:
        return HELD
    undone = step.on_unknown is OnUnknown.COMPENSATE and step.on_failure is OnFailure.ROLLBACK
    return f"u{number}" if undone and step.compensable else None


def _next(plan: SagaPlan, number: int) -> str:
    return f"s{number + 1}" if number < len(plan.steps) else "completed"


def _back_from(plan: SagaPlan, number: int) -> str:
    """The undo that comes before step `number` on the way back, or the end of the way."""
    before: list[tuple[int, StepPlan]] = list(enumerate(plan.steps, 1))[: number - 1]
    return next((f"u{each}" for each, step in reversed(before) if step.compensable), "compensated")


def _quoted(name: str) -> str:
    """A name as the text of a node: mermaid takes what is none of its own as entities."""
    return "".join(each if each.isalnum() or each in " _-" else f"#{ord(each)};" for each in safe(name))
