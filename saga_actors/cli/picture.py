"""The picture of a saga: facts, two lanes, what operators did, and what they may do now; drawn with rich."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from saga_actors.cli.account import Account
from saga_actors.cli.facts import facts_of
from saga_actors.cli.interventions import interventions
from saga_actors.cli.lane_words import BACK, FORWARD, Look, Moment, lines_of
from saga_actors.cli.lanes import BackLane, ForwardLane, StepLanes, lanes_of
from saga_actors.cli.moments import clock_time
from saga_actors.cli.remedies import Remedy
from saga_actors.cli.table import COLOURS
from saga_actors.cli.terminal import console, safe
from saga_actors.execution import Execution
from saga_actors.status import moment

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

WIDTH = 80
"""Columns of a picture where there is no terminal."""

WIDEST = 110


def width() -> int:
    """The columns for a picture: those that there are, but no more than one reads well."""
    return min(console().width, WIDEST) if sys.stdout.isatty() else WIDTH


def picture(account: Account, cures: Sequence[Remedy], *, now: float, contexts: bool, folds: bool = False) -> Group:
    """All of it. `folds`: commands are broken where the screen ends, which `watch` has to."""
    from rich.console import Group

    return Group(*_parts(account, cures, now=now, contexts=contexts, folds=folds))


def _parts(
    account: Account, cures: Sequence[Remedy], *, now: float, contexts: bool, folds: bool
) -> Iterator[RenderableType]:
    from rich.text import Text

    status = account.status
    yield Text.assemble(
        (f"{safe(status.saga_id)} ", "bold"), f"{safe(status.saga)}: ", (str(status.state), COLOURS[status.state])
    )
    yield _facts(account)
    if account.execution is not None:
        yield Text()
        yield _lanes(lanes_of(account.execution, account.events), Moment(now, status.served, status.state.ended))
        if contexts:
            yield from _contexts(account.execution)
    if done := list(_done(account)):
        yield Text("\nwhat operators did", style="bold")
        yield from done
    if cures:
        yield Text("\nwhat you may do", style="bold")
        yield from _cures(cures, folds=folds)


def _facts(account: Account) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for label, fact in facts_of(account):
        grid.add_row(Text(f"  {safe(label)}"), Text(safe(fact)))
    return grid


def _lanes(rows: Sequence[StepLanes], now: Moment) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    longest = max(len("STEP"), *(len(safe(row.name)) for row in rows))
    table.add_column("STEP", overflow="fold", width=min(longest, 24))
    table.add_column("FORWARD ↓", overflow="fold", ratio=3)
    table.add_column("BACK ↑", overflow="fold", ratio=2)
    for row in rows:
        back = Text() if row.back.standing is None else _lane(row.back, BACK[row.back.standing], now)
        table.add_row(Text(safe(row.name)), _lane(row.forward, FORWARD[row.forward.standing], now), back)
    return table


def _lane(lane: ForwardLane | BackLane, look: Look, now: Moment) -> Table:
    """What a step came to, and below it the attempts, unless there is one that says no more."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    head, *others = lines_of(lane, look, now)
    grid.add_row(Text(look.mark, style=look.style), Text(safe(head[1]), style=look.style))
    for mark, line in others:
        grid.add_row(Text(mark, style="dim"), Text(safe(line)))
    return grid


def _done(account: Account) -> Iterator[Text]:
    from rich.text import Text

    for each in interventions(account.events):
        why = f": {each.reason}" if each.reason else ""
        yield Text(safe(f"  {clock_time(moment(each.at))}  {each.by or 'somebody'} {each.what}{why}"), overflow="fold")


def _cures(cures: Sequence[Remedy], *, folds: bool) -> Iterator[Text]:
    from rich.text import Text

    for cure in cures:
        yield Text(f"  {safe(cure.does)}", style="dim", overflow="fold")
        yield Text(f"    {safe(cure.command)}", no_wrap=not folds, overflow="fold" if folds else "ignore")


def _contexts(execution: Execution) -> Iterator[Text]:
    """As JSON: before each step that was begun, and as it is now."""
    from rich.text import Text

    for plan, step in zip(execution.plan.steps, execution.steps, strict=True):
        if step.forward.begun:
            yield Text(f"\ncontext before {safe(plan.name)}", style="bold")
            yield _context(step.before)
    yield Text("\ncontext now", style="bold")
    yield _context(execution.context)


def _context(encoded: bytes) -> Text:
    from rich.text import Text

    lines = json.dumps(json.loads(encoded), indent=2, ensure_ascii=False).split("\n")
    return Text("\n".join(f"  {safe(line)}" for line in lines), no_wrap=True, overflow="ignore")
