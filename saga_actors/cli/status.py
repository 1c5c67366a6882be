"""`status`: one saga on a line."""

from __future__ import annotations

import click

from saga_actors.cli import json_form, options
from saga_actors.cli.exits import BY_STATE, ExitCode
from saga_actors.cli.moments import clock_time
from saga_actors.cli.terminal import safe, show
from saga_actors.outcomes import SagaStatus, WaitingFor


@click.command()
@click.argument("saga_id", metavar="ID")
@click.option("--exit-code", is_flag=True, help="Exit with 10 if it was compensated, 20 if fatal, 30 if held.")
@options.output()
@options.journal
def status(saga_id: str, exit_code: bool, form: str, journal: str) -> ExitCode:
    """Say in a line how a saga stands."""
    with options.attached(journal) as sagas:
        found = sagas.status(saga_id)
    if form == "text":
        show(line_of(found))
    else:
        json_form.print_one(json_form.status(found), form)
    return BY_STATE.get(found.state, ExitCode.OK) if exit_code else ExitCode.OK


def line_of(saga: SagaStatus) -> str:
    """How a saga stands, on one line."""
    facts = [f"{saga.saga_id} {saga.saga}: {saga.state}"]
    if saga.pruned:
        facts.append("pruned since")
    elif not saga.state.ended:
        facts += _where(saga)
    if saga.failure is not None:
        step = f"{saga.failure.step} " if saga.failure.step else ""
        facts.append(f"{step}{saga.failure.kind}: {saga.failure.reason}")
    if saga.in_doubt:
        facts.append(f"in doubt: {', '.join(saga.in_doubt)}")
    if saga.held_reason:
        facts.append(f"held: {saga.held_reason}")
    return safe("; ".join([*facts, clock_time(saga.updated_at)]))


def _where(saga: SagaStatus) -> list[str]:
    facts: list[str] = []
    if saga.current_step is not None:
        attempt = f", attempt {saga.attempt}" if saga.attempt else ""
        facts.append(f"at {saga.current_step}{attempt}")
    if saga.waiting_for is not None:
        facts.append(waits_for(saga.waiting_for))
    if saga.next_attempt_at is not None and saga.waiting_for is WaitingFor.RETRY:
        facts.append(f"again at {clock_time(saga.next_attempt_at)}")
    if not saga.served and saga.waiting_for is not WaitingFor.OPERATOR:
        facts.append("no node serves it")
    return facts


_WAITS = {
    WaitingFor.SLOT: "waits for a free slot",
    WaitingFor.STEP: "waits for its step",
    WaitingFor.RETRY: "waits to try again",
    WaitingFor.QUIET: "waits until what timed out has come to rest",
    WaitingFor.DEFINITION: "waits until somebody serves its definition",
    WaitingFor.OPERATOR: "waits for an operator",
}


def waits_for(what: WaitingFor) -> str:
    """What a saga waits for, in words."""
    return _WAITS[what]
