"""`down`: the end of a node."""

from __future__ import annotations

import select
import signal
from collections.abc import Sequence
from datetime import timedelta

import click

from saga_actors.cli import moments, options
from saga_actors.cli.exits import ExitCode
from saga_actors.cli.terminal import say
from saga_actors.errors import NodeUnreachableError
from saga_actors.node_folder import NodeFolder, ProcessId, holder, pidfd

STOP = (signal.SIGTERM, signal.SIGINT)
"""Any two stop a node at once; two of a kind may come as one."""


@click.command()
@click.option("--now", is_flag=True, help="Do not drain it: what is in flight is run again later.")
@click.option(
    "--timeout",
    type=moments.a_span,
    default="60s",
    show_default=True,
    metavar="SPAN",
    help="How long to wait for its end.",
)
@options.journal
def down(now: bool, timeout: timedelta, journal: str) -> ExitCode:
    """End the node of a journal.

    No attempt begins any more, those in flight may finish, and what is unfinished stays in the journal. A program that
    starts nodes itself, and still runs, starts another.

    Exits with 0 when it has ended, 1 if it has not in time, 3 if there was none.
    """
    watchdog = holder(NodeFolder.of(journal))
    if watchdog is None:
        raise NodeUnreachableError(f"no node serves {journal}")
    say(f"node {watchdog.pid} is told to {'stop' if now else 'drain'}")
    if _ends(watchdog, STOP if now else STOP[:1], timeout.total_seconds()):
        say("it has ended; unfinished sagas go on when a node is started")
        return ExitCode.OK
    say(f"it has not ended after {moments.lasting(timeout.total_seconds())}; --now stops it at once")
    return ExitCode.FAILED


def _ends(watchdog: ProcessId, signals: Sequence[signal.Signals], within: float) -> bool:
    """Give it these signals, and wait for its end."""
    try:
        with pidfd(watchdog.pid) as handle:
            if not watchdog.alive:
                return True
            for each in signals:
                signal.pidfd_send_signal(handle, each)
            ready, _, _ = select.select([handle], [], [], within)
            return bool(ready)
    except ProcessLookupError:
        return True
