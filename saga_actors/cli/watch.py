"""`watch`: what happens, as it happens; drawn on a terminal, and else a line for each event."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from saga_actors.cli import account, json_form, options
from saga_actors.cli.account import Account
from saga_actors.cli.board import board, drawn, event_line, room
from saga_actors.cli.exits import ExitCode
from saga_actors.cli.json_form import Fields
from saga_actors.cli.picture import picture, width
from saga_actors.cli.remedies import Setting, remedies, setting_here
from saga_actors.cli.show import account_of
from saga_actors.cli.terminal import console, show
from saga_actors.coordinator import Coordinator
from saga_actors.errors import JournalError
from saga_actors.journal import open_reader
from saga_actors.subscription import PATIENCE, Events
from saga_actors.telemetry import TelemetryEvent

if TYPE_CHECKING:
    from rich.console import Group

REDRAW = 1.0
"""Seconds after which it is drawn again though nothing happened: some lines say how long something takes."""

PAUSE = 0.2
"""Seconds that a picture stays at least."""

REST = 4.0
"""And so many times as long as it took to draw, so that a big journal is not read all the time."""

KEPT = 100
"""So many of the newest events are kept."""


@click.command()
@click.argument("saga_id", metavar="[ID]", required=False)
@options.output("text", "jsonl")
@options.journal
def watch(saga_id: str | None, form: str, journal: str) -> ExitCode:
    """Watch sagas, until interrupted (Ctrl-C); or one, until it has ended.

    On a terminal: those that are under way, stuck, or ended in the last minute, and the newest events. With an ID: what
    saga-actors show shows, drawn anew whenever something happens; a held saga is watched on.

    Without a terminal, or with -o jsonl, a line for each event from now on; of one saga, from its beginning.
    """
    try:
        with options.attached(journal) as sagas:
            _watch(sagas, journal, saga_id, is_drawn=form == "text" and sys.stdout.isatty(), form=form)
    except KeyboardInterrupt:  # that is how one ends it
        pass
    return ExitCode.OK


def _watch(sagas: Coordinator, journal: str, saga_id: str | None, *, is_drawn: bool, form: str) -> None:
    if saga_id is None:
        open_reader(journal).close()  # else it would wait for a journal that nobody makes
    else:
        sagas.status(saga_id)
    with sagas.events(saga_id) as events:
        if not is_drawn:
            _print(events, form)
        elif saga_id is None:
            _draw_all(journal, events)
        else:
            _draw_one(sagas, journal, saga_id, events)


def _print(events: Events, form: str) -> None:
    for event in events:
        if form == "text":
            show(event_line(event))
        else:
            json_form.print_one(fields_of(event), form)


def fields_of(event: TelemetryEvent) -> Fields:
    """A line of `watch -o jsonl`: the event's name, when and of which saga; and what its name comes with."""
    fields: Fields = {
        "event": str(event.name),
        "at": json_form.moment(event.at),
        "saga_id": event.saga_id,
        "saga": event.saga,
    }
    return fields | dict(event.metadata) | dict(event.measures)


def _draw_all(journal: str, events: Events) -> None:
    """On a screen of its own, for there is no end of it that could stay."""
    from rich.live import Live

    newest: deque[TelemetryEvent] = deque(maxlen=KEPT)
    drawn_on, read_at = console(), time.monotonic()
    with Live(console=drawn_on, screen=True, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            try:
                live.update(_board(journal, newest, drawn_on.height), refresh=True)
                read_at = time.monotonic()
            except JournalError:
                if began - read_at > PATIENCE:
                    raise
            _wait(events, newest.append, time.monotonic() - began)


def _board(journal: str, newest: Sequence[TelemetryEvent], height: int) -> Group:
    from saga_actors.node_folder import NodeFolder, holder

    most, lines = room(height)
    watchdog, now = holder(NodeFolder.of(journal)), time.time()
    with account.opened(journal) as accounts:
        shown = board(accounts, most=most, node=watchdog.pid if watchdog else None, now=now)
    return drawn(shown, [*newest][-lines:], now=now)


def _draw_one(sagas: Coordinator, journal: str, saga_id: str, events: Events) -> None:
    """In place; the last picture stays, whole, also if it is higher than the screen."""
    from rich.live import Live

    setting, drawn_on, found = setting_here(journal), console(width()), None
    try:
        with Live(console=drawn_on, auto_refresh=False, transient=True) as live:
            while True:
                began, is_last = time.monotonic(), events.ended
                found = account_of(sagas, journal, saga_id)
                live.update(_picture(found, setting, folds=True), refresh=True)
                if is_last or found.status.state.ended:
                    return
                _wait(events, _ignored, time.monotonic() - began)
    finally:
        if found is not None:
            drawn_on.print(_picture(found, setting, folds=False), crop=False)


def _picture(found: Account, setting: Setting, *, folds: bool) -> Group:
    cures = remedies(found.status, setting)
    return picture(found, cures, now=time.time(), contexts=False, folds=folds)


def _ignored(_: TelemetryEvent) -> None:
    """The picture has it from the journal."""


def _wait(events: Events, heard: Callable[[TelemetryEvent], object], took: float) -> None:
    """Until something has happened, or it is time to draw again; and no shorter than a picture has to stay."""
    until = time.monotonic() + max(PAUSE, REST * took)
    event = events.next(REDRAW)
    while event is not None:
        heard(event)
        left = until - time.monotonic()
        event = events.next(left) if left > 0 else None
