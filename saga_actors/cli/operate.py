"""What an operator does to a saga: `cancel`, `retry`, `settle`, `skip`, `resolve`; and to many: `accept`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from saga_actors.cli import consent, options
from saga_actors.cli.exits import ExitCode
from saga_actors.cli.sagas import found, imported
from saga_actors.cli.status import line_of
from saga_actors.cli.terminal import safe, say, show
from saga_actors.coordinator import Coordinator
from saga_actors.errors import NotAllowedError
from saga_actors.outcomes import Action, SagaState, SagaStatus

F = TypeVar("F", bound=Callable[..., Any])

_SAGA_ID = click.argument("saga_id", metavar="ID")


def _operator(command: F) -> F:
    """The options of every verb that changes a saga."""
    return options.whose(options.confirmed(options.journal(command)))


@click.command()
@_SAGA_ID
@_operator
def cancel(saga_id: str, by: str, reason: str, dry_run: bool, yes: bool, journal: str) -> ExitCode:
    """Turn a saga back: no step begins any more, and those that are done are undone."""
    with _sagas(journal, dry_run=dry_run) as sagas:
        status = sagas.status(saga_id)
        if status.state.unfinished or Action.CANCEL in status.allowed_actions:
            if _agreed(status, f"turn saga {safe(saga_id)} back", dry_run=dry_run, yes=yes):
                say(f"{sagas.cancel(saga_id, reason, by=by)}")
                show(line_of(sagas.status(saga_id)))
            return ExitCode.OK
    raise _not_allowed(status, "turned back")


@click.command()
@_SAGA_ID
@_operator
def retry(saga_id: str, by: str, reason: str, dry_run: bool, yes: bool, journal: str) -> None:
    """Try the failed undo, or the held step, again: with fresh retries."""
    _do(
        journal,
        saga_id,
        Action.RETRY,
        f"try saga {safe(saga_id)} again where it stands",
        lambda sagas: sagas.retry(saga_id, by=by, reason=reason),
        dry_run=dry_run,
        yes=yes,
    )


@click.command()
@_SAGA_ID
@click.argument("step")
@click.option("--happened/--did-not-happen", default=None, help="Whether the step happened.")
@click.option("--result", metavar="JSON", help="What the step returned, or would have, if it happened.")
@options.modules
@_operator
def settle(
    saga_id: str,
    step: str,
    happened: bool | None,
    result: str | None,
    app: tuple[str, ...],
    by: str,
    reason: str,
    dry_run: bool,
    yes: bool,
    journal: str,
) -> None:
    """Say whether an unknown step of a held saga happened.

    If it did, the saga goes on with --result, or undoes the step with it; if not, the step has failed. A saga with a
    context class of its own needs its module: -A.
    """
    if happened is None:
        raise click.UsageError("say whether it happened: --happened or --did-not-happen")
    returned = None if result is None else _json(result)
    imported(app)
    _do(
        journal,
        saga_id,
        Action.SETTLE,
        f"take step {safe(step)} of saga {safe(saga_id)} as one that {'happened' if happened else 'did not happen'}",
        lambda sagas: sagas.settle(saga_id, step, happened, returned, by=by, reason=reason),
        dry_run=dry_run,
        yes=yes,
    )


@click.command()
@_SAGA_ID
@click.argument("step")
@_operator
def skip(saga_id: str, step: str, by: str, reason: str, dry_run: bool, yes: bool, journal: str) -> None:
    """Go on past a failed undo, which was done by hand: that of STEP."""
    _do(
        journal,
        saga_id,
        Action.SKIP,
        f"skip the undo of step {safe(step)} of saga {safe(saga_id)}",
        lambda sagas: sagas.skip(saga_id, step, by=by, reason=reason),
        dry_run=dry_run,
        yes=yes,
    )


@click.command()
@_SAGA_ID
@click.argument("state", type=click.Choice([str(state) for state in SagaState if state.ended]))
@_operator
def resolve(saga_id: str, state: str, by: str, reason: str, dry_run: bool, yes: bool, journal: str) -> None:
    """End a fatal or held saga by hand, in STATE. This is final: nothing is undone any more."""
    _do(
        journal,
        saga_id,
        Action.RESOLVE,
        f"end saga {safe(saga_id)} by hand as {state}, for good",
        lambda sagas: sagas.resolve(saga_id, state, by=by, reason=reason),
        dry_run=dry_run,
        yes=yes,
    )


@click.command()
@click.argument("saga")
@click.argument("fingerprint", required=False)
@options.modules
@_operator
def accept(
    saga: str,
    fingerprint: str | None,
    app: tuple[str, ...],
    by: str,
    reason: str,
    dry_run: bool,
    yes: bool,
    journal: str,
) -> ExitCode:
    """Go on with a changed definition, for all sagas that are held since it changed.

    SAGA is a registered name or module:Class, of which this command takes the definition; or a name, with the
    FINGERPRINT of the definition that the node serves. With --dry-run, the node says which sagas would go on.
    """
    options.require_node(journal)
    which = saga if fingerprint is not None else found(saga, app)
    with Coordinator(journal, node="attach", sagas=[]) as sagas:
        would = sagas.accept(which, fingerprint, by=by, reason=reason, dry_run=True)
        for saga_id, why in would.refused.items():
            say(safe(f"{saga_id} stays held: {why}"))
        if not would.accepted:
            say(f"no saga of {safe(saga)} is held for its definition and could go on")
            return ExitCode.FAILED if would.refused else ExitCode.OK
        what = f"let {len(would.accepted)} sagas of {safe(saga)} go on with the new definition"
        ids = would.accepted
        if consent.given(what, dry_run=dry_run, yes=yes):
            ids = sagas.accept(which, fingerprint, by=by, reason=reason).accepted
    for saga_id in ids:
        show(safe(saga_id))
    return ExitCode.OK


def _do(
    journal: str,
    saga_id: str,
    action: Action,
    what: str,
    act: Callable[[Coordinator], SagaState],
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Do this to the saga, if it allows it and the operator means it; then say how it stands."""
    with _sagas(journal, dry_run=dry_run) as sagas:
        status = sagas.status(saga_id)
        if action not in status.allowed_actions:
            raise _not_allowed(status, _DONE[action])
        if _agreed(status, what, dry_run=dry_run, yes=yes):
            act(sagas)
            show(line_of(sagas.status(saga_id)))


def _sagas(journal: str, *, dry_run: bool) -> Coordinator:
    if not dry_run:
        options.require_node(journal)
    return Coordinator(journal, node="attach", sagas=[])


def _agreed(status: SagaStatus, what: str, *, dry_run: bool, yes: bool) -> bool:
    say(line_of(status))
    return consent.given(what, dry_run=dry_run, yes=yes)


_DONE = {
    Action.RETRY: "tried again",
    Action.SETTLE: "settled",
    Action.SKIP: "skipped",
    Action.RESOLVE: "resolved",
}


def _not_allowed(status: SagaStatus, done: str) -> NotAllowedError:
    may = ", ".join(status.allowed_actions) or "none of these verbs"
    return NotAllowedError(f"saga {status.saga_id!r} is {status.state} and cannot be {done}; what may be done: {may}")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no JSON: {error}", param_hint="--result") from None
