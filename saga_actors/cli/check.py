"""`check`: a definition, and what is undone for a failure at each of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import click

from saga_actors.cli import json_form, moments, options
from saga_actors.cli.caveats import caveats
from saga_actors.cli.exits import ExitCode
from saga_actors.cli.paragraph import Paragraph
from saga_actors.cli.sagas import found
from saga_actors.cli.unwinding import Unwinding, unwindings
from saga_actors.events import Ending
from saga_actors.journal.codec.storable import unstorable
from saga_actors.outcomes import SagaState
from saga_actors.plan import SagaPlan, StepPlan
from saga_actors.retry import Backoff


@click.command()
@click.argument("saga")
@click.option("--deadline", type=moments.a_span, metavar="SPAN", help="Also check a deadline that sagas are given.")
@click.option("--strict", is_flag=True, help="Exit with 1 if there is a warning.")
@options.modules
@options.output("text", "json")
@options.application
def check(saga: str, deadline: timedelta | None, strict: bool, app: tuple[str, ...], form: str) -> ExitCode:
    """Check a definition: what is undone when a step fails, for each step; and what may surprise.

    SAGA is a registered name, or module:Class.
    """
    cls = found(saga, app)
    plan = cls.definition.plan
    unwound = unwindings(plan)
    told = [f"{flaw}; no saga can be started with it" for flaw in unstorable(cls.definition.context_type)]
    told += caveats(plan, unwound, None if deadline is None else deadline.total_seconds())
    if form == "json":
        json_form.print_one(as_json(plan, unwound, told), form)
    else:
        for paragraph in paragraphs(plan, unwound, told):
            paragraph.show()
    return ExitCode.FAILED if strict and told else ExitCode.OK


def paragraphs(plan: SagaPlan, unwound: Sequence[Unwinding], told: Sequence[str]) -> Iterator[Paragraph]:
    """The definition, its unwindings, and the warnings."""
    limit = "" if plan.max_running is None else f", at most {plan.max_running} at a time"
    yield Paragraph(f"{plan.saga}: {_counted(len(plan.steps), 'step')}{limit}; context: {plan.context}")
    width = max(len(step.name) for step in plan.steps)
    for number, step in enumerate(plan.steps, 1):
        yield Paragraph(f"{number:>3} {step.name:<{width}}  {_declared(step)}", hang=width + 6)
    yield Paragraph("")
    for unwinding in unwound:
        yield from _told(unwinding)
    yield Paragraph("")
    yield from (Paragraph(f"warning: {warning}", hang=4) for warning in told)
    yield Paragraph(_counted(len(told), "warning"))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _declared(step: StepPlan) -> str:
    words = [f"timeout {moments.lasting(step.timeout)}"]
    if step.retries.times:
        words.append(_retries(step.retries))
    if step.reruns != 3:
        words.append("at most once" if step.reruns == 0 else _counted(step.reruns, "rerun"))
    if step.on_failure != "rollback":
        words.append("its failure is ignored")
    if step.on_unknown != "compensate":
        words.append({"hold": "held if unknown", "assume_failed": "taken for failed if unknown"}[step.on_unknown])
    words.append(_undo(step))
    return ", ".join(words)


def _undo(step: StepPlan) -> str:
    if not step.compensable:
        return "no undo"
    return f"undo: timeout {moments.lasting(step.compensate_timeout)}, {_retries(step.compensate_retries)}"


def _retries(backoff: Backoff) -> str:
    return f"{backoff.times} {'retry' if backoff.times == 1 else 'retries'}"


def _told(unwinding: Unwinding) -> Iterator[Paragraph]:
    how = "fails" if unwinding.ending is Ending.FAILED else "may have happened"
    yield Paragraph(f"if {unwinding.step} {how}: {_end(unwinding)}")
    if unwinding.kept:
        yield Paragraph(f"    nothing undoes: {', '.join(unwinding.kept)}")
    if unwinding.in_doubt:
        yield Paragraph(f"    stays in doubt: {', '.join(unwinding.in_doubt)}")


def _end(unwinding: Unwinding) -> str:
    if unwinding.state is SagaState.COMPLETED:
        return "the saga goes on"
    if unwinding.state is SagaState.HELD:
        return "the saga is held, and an operator says"
    undone = " <- ".join(unwinding.undone)
    return f"undone: {undone}" if undone else "nothing is undone"


def as_json(plan: SagaPlan, unwound: Sequence[Unwinding], told: Sequence[str]) -> dict[str, Any]:
    """The same as a document."""
    return {
        "saga": plan.saga,
        "fingerprint": plan.fingerprint,
        "context": plan.context,
        "max_running": plan.max_running,
        "steps": [
            {
                "step": step.name,
                "compensable": step.compensable,
                "timeout": step.timeout,
                "retries": step.retries.times,
                "reruns": step.reruns,
                "on_failure": str(step.on_failure),
                "on_unknown": str(step.on_unknown),
                "compensate_timeout": step.compensate_timeout,
                "compensate_retries": step.compensate_retries.times,
            }
            for step in plan.steps
        ],
        "unwindings": [
            {
                "step": each.step,
                "ending": str(each.ending),
                "state": str(each.state),
                "undone": list(each.undone),
                "kept": list(each.kept),
                "in_doubt": list(each.in_doubt),
            }
            for each in unwound
        ],
        "warnings": list(told),
    }
