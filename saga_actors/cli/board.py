"""The board that `watch` draws: counts, the sagas that are under way or stuck, and the newest events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import attrs

from saga_actors.cli.account import Account, Accounts
from saga_actors.cli.moments import lasting
from saga_actors.cli.run import line_of
from saga_actors.cli.stuck import is_stuck
from saga_actors.cli.table import COLOURS
from saga_actors.cli.terminal import safe
from saga_actors.outcomes import SagaState, SagaStatus
from saga_actors.telemetry import TelemetryEvent

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

JUST_NOW = 60.0
"""Seconds for which a saga that has ended stays on the board."""

LOOKED_AT = 200
"""So many sagas of each state are looked at, the newest, for those that belong on the board."""

URGENCY = (SagaState.FATAL, SagaState.HELD, SagaState.COMPENSATING, SagaState.RUNNING)
ENDS = (SagaState.COMPLETED, SagaState.COMPENSATED)


@attrs.frozen
class Board:
    """What is drawn. `hidden`: there are more sagas than lines."""

    counts: dict[SagaState, int]
    sagas: Sequence[SagaStatus]
    hidden: bool
    node: int | None


def board(accounts: Accounts, *, most: int, node: int | None, now: float) -> Board:
    """The journal as it is now, with no more than `most` sagas: the stuck ones first, those that have ended last."""
    found = list(islice(_sagas(accounts, node is not None, now), most + 1))
    return Board(accounts.reader.counts(), found[:most], len(found) > most, node)


def _sagas(accounts: Accounts, served: bool, now: float) -> Iterator[SagaStatus]:
    for state in URGENCY:
        for saga in islice(accounts.listed(state), LOOKED_AT):
            found = accounts.of_listed(saga, served=served)
            if found is not None and _belongs(found, state):
                yield found.status
    for saga in islice(accounts.listed(None), LOOKED_AT):
        if saga.state.ended and now - saga.updated_at.timestamp() < JUST_NOW:
            found = accounts.of_listed(saga)
            if found is not None and not is_stuck(found):
                yield found.status


def _belongs(found: Account, state: SagaState) -> bool:
    """Whether it still is in the state in which it was listed, and nobody has ended it by hand."""
    return found.status.state is state and (state is not SagaState.FATAL or is_stuck(found))


def room(height: int) -> tuple[int, int]:
    """How many sagas, and how many events, there are lines for."""
    events = max(2, (height - 8) // 3)
    return max(1, height - 7 - events), events


def drawn(shown: Board, events: Sequence[TelemetryEvent], *, now: float) -> Group:
    """The board, with these events below it."""
    from rich.console import Group

    return Group(*_parts(shown, events, now))


def _parts(shown: Board, events: Sequence[TelemetryEvent], now: float) -> Iterator[RenderableType]:
    from rich.text import Text

    yield _counts(shown)
    yield Text()
    yield _table(shown, now) if shown.sagas else Text("nothing is under way, and nothing is stuck", style="dim")
    yield Text("there are more: saga-actors list" if shown.hidden else "", style="dim")
    yield Text("EVENTS", style="bold")
    if not events:
        yield Text("none yet", style="dim")
    for event in events:
        yield Text(event_line(event), no_wrap=True, overflow="ellipsis")


def _counts(shown: Board) -> Text:
    from rich.text import Text

    node = "no node runs" if shown.node is None else f"node {shown.node}"
    words = [(f"{shown.counts[state]:,} {state}", COLOURS[state]) for state in (*URGENCY, *ENDS) if shown.counts[state]]
    return Text("  ").join([Text(node, style="bold"), *(Text(text, style=style) for text, style in words)])


def _table(shown: Board, now: float) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title, ratio in (("ID", None), ("SAGA", 2), ("STATE", None), ("AT", 3), ("SINCE", None)):
        table.add_column(title, ratio=ratio, no_wrap=True, overflow="ellipsis")
    for saga in shown.sagas:
        since = lasting(max(0.0, now - saga.updated_at.timestamp()))
        state = Text(str(saga.state), style=COLOURS[saga.state])
        table.add_row(Text(safe(saga.saga_id)), Text(safe(_class(saga.saga))), state, Text(safe(_at(saga))), since)
    return table


def _class(name: str) -> str:
    """A saga's name without its module, which is no news to whoever watches."""
    return name.rpartition(":")[2]


def _at(saga: SagaStatus) -> str:
    """Where it stands: which step, which way, which attempt."""
    if saga.state is SagaState.FATAL:
        return f"undo of {saga.failure.step}" if saga.failure else ""
    if saga.current_step is None:
        return ""
    undo = "undo of " if saga.state is SagaState.COMPENSATING else ""
    again = f" ({saga.attempt})" if saga.attempt is not None and saga.attempt > 1 else ""
    return f"{undo}{saga.current_step}{again}"


def event_line(event: TelemetryEvent) -> str:
    """An event on a line, of whichever saga."""
    return f"{safe(event.saga_id)} {line_of(event)}".rstrip()
