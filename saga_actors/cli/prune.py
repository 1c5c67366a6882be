"""`prune`: what ended long ago goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from saga_actors.cli import consent, moments, options
from saga_actors.cli.terminal import say, show
from saga_actors.coordinator import Coordinator
from saga_actors.outcomes import SagaState

_ENDS = [str(state) for state in SagaState if state.ended]


@click.command()
@click.option("--older-than", type=moments.a_span, metavar="SPAN", help="Those that ended so long ago: 90d.")
@click.option(
    "--state",
    "states",
    type=click.Choice(_ENDS),
    multiple=True,
    default=("completed", "compensated"),
    show_default=True,
    help="Those that ended so; may be given more than once.",
)
@click.option(
    "--tombstones-older-than",
    type=moments.a_span,
    metavar="SPAN",
    help="Also the tombstones of sagas that were pruned so long ago; their ids are free then.",
)
@options.confirmed
@options.journal
def prune(
    older_than: timedelta | None,
    states: tuple[str, ...],
    tombstones_older_than: timedelta | None,
    dry_run: bool,
    yes: bool,
    journal: str,
) -> None:
    """Remove what is kept of sagas that ended long ago; how many is printed.

    A tombstone of each stays, so that its id still stands for that saga. Unfinished and held sagas are never removed,
    and fatal ones only with --state fatal. Needs a node, and does not stop it.
    """
    if older_than is None and tombstones_older_than is None:
        raise click.UsageError("say how old what goes must be: --older-than 90d")
    if not dry_run:
        options.require_node(journal)
    with Coordinator(journal, node="attach", sagas=[]) as sagas:
        if older_than is not None:
            _tell(sagas, older_than, states)
        what = " and ".join(_words(older_than, states, tombstones_older_than))
        if consent.given(what, dry_run=dry_run, yes=yes):
            count = sagas.prune(older_than, states, tombstones_older_than=tombstones_older_than)
            show(str(count))


def _tell(sagas: Coordinator, older_than: timedelta, states: tuple[str, ...]) -> None:
    before = datetime.now(UTC) - older_than
    say(f"those that ended before {moments.clock_time(before)}, and are {' or '.join(states)}")


def _words(older_than: timedelta | None, states: tuple[str, ...], tombstones: timedelta | None) -> list[str]:
    words: list[str] = []
    if older_than is not None:
        words.append(f"remove the {' and '.join(states)} sagas that ended {_so_long(older_than)} ago")
    if tombstones is not None:
        words.append(f"free the ids of those pruned {_so_long(tombstones)} ago")
    return words


def _so_long(span: timedelta) -> str:
    return moments.lasting(span.total_seconds())
