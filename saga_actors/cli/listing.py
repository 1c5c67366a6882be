"""`list`: a table of sagas."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import click

from saga_actors.cli import json_form, moments, options
from saga_actors.cli.table import Column, draw
from saga_actors.cli.terminal import safe, say
from saga_actors.messages import ListedSaga
from saga_actors.outcomes import SagaState


@click.command("list")
@click.option("--state", type=click.Choice([str(state) for state in SagaState]), help="Only those in this state.")
@click.option("--saga", metavar="SAGA", help="Only those of this registered name.")
@click.option(
    "--since", type=moments.a_span_or_moment, metavar="SPAN|TIME", help="Only those accepted since: 2h, or a time."
)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@options.output()
@options.journal
def list_(
    state: str | None, saga: str | None, since: timedelta | datetime | None, limit: int, form: str, journal: str
) -> None:
    """List sagas, the newest first."""
    with options.attached(journal) as sagas:
        found = sagas.list(state=state, saga=saga, since=since, limit=limit + 1)
    shown = found[:limit]
    if form == "text":
        table(shown)
    else:
        json_form.print_many(map(json_form.listed, shown), form)
    if len(found) > limit:
        say(f"there are more than {limit}; --limit shows more of them")


def table(sagas: Sequence[ListedSaga]) -> None:
    """These sagas, a line each."""
    if not sagas:
        say("no sagas")
        return
    columns = [
        Column("ID", [safe(saga.saga_id) for saga in sagas]),
        Column("SAGA", [safe(saga.saga) for saga in sagas], gives_way=True),
        Column("STATE", [str(saga.state) for saga in sagas], is_state=True),
        Column("ACCEPTED", [moments.clock_time(saga.created_at) for saga in sagas]),
        Column("LASTED", [moments.lasting((saga.updated_at - saga.created_at).total_seconds()) for saga in sagas]),
    ]
    draw(columns)
