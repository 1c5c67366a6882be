"""`up`: a node in the foreground."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from saga_actors.cli import moments, options
from saga_actors.cli.exits import ExitCode
from saga_actors.cli.foreground import Foreground
from saga_actors.cli.sagas import imported
from saga_actors.cli.terminal import safe, say
from saga_actors.definition import loading_for_node
from saga_actors.node_spec import NodeSpec


def _setting(name: str, metavar: str, kind: Any, default: Any, does: str) -> Callable[[options.F], options.F]:
    """An option that is also a variable, and a key in pyproject.toml."""
    variable = f"SAGA_ACTORS_{name.upper().replace('-', '_')}"
    return click.option(
        f"--{name}", metavar=metavar, type=kind, default=default, show_default=True, envvar=variable, help=does
    )


@click.command()
@options.modules
@_setting("workers", "N", click.IntRange(1, 256), 2, "Processes that run steps.")
@_setting("threads", "N", click.IntRange(1, 1_000), 32, "Blocking steps that each of them runs at a time.")
@_setting("max-unfinished", "N", click.IntRange(1), 100_000, "Above so many, new sagas are refused.")
@_setting("context-limit", "BYTES", click.IntRange(1, 32_000_000), 1_000_000, "The most bytes of a context.")
@_setting("drain", "SPAN", moments.a_span, "30s", "How long attempts in flight may finish, once it is told to end.")
@click.option(
    "--telemetry",
    multiple=True,
    metavar="MODULE:FUNCTION",
    envvar="SAGA_ACTORS_TELEMETRY",
    help="A function that is told every event; may be given more than once.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print all of the node's log, and what steps print.")
@options.journal
def up(
    app: tuple[str, ...],
    workers: int,
    threads: int,
    max_unfinished: int,
    context_limit: int,
    telemetry: tuple[str, ...],
    drain: timedelta,
    verbose: bool,
    journal: str,
) -> ExitCode:
    """Run a node in the foreground, until Ctrl-C.

    It serves the sagas of the modules named with -A, and what its clients ask it to; it goes on whoever comes and
    goes. Ctrl-C (or SIGTERM) drains it: no attempt begins any more, those in flight may finish, and what is unfinished
    stays in the journal. A second one stops it at once.

    Exits with 0 when it has drained, 130 if it was stopped at once, 1 if it failed, or if another node serves this
    journal: it never attaches.
    """
    from saga_actors import arguments

    spec = NodeSpec(
        journal_url=journal,
        sys_path=tuple(os.path.abspath(entry) for entry in sys.path),
        cwd=os.getcwd(),
        telemetry=arguments.functions(telemetry),
        workers=workers,
        threads=threads,
        max_unfinished=max_unfinished,
        context_limit=context_limit,
        drain=drain.total_seconds(),
        sources=_sources(app),
        parent=os.getpid(),
    )
    if not spec.sources:
        say("no modules with sagas were named (-A): it serves what its clients ask for")
    return Foreground(spec, verbose=verbose).run()


def _sources(app: tuple[str, ...]) -> tuple[tuple[str, str, str | None], ...]:
    """The sagas of these modules, and where the node's processes find them."""
    from saga_actors.actors.offer import Offer

    with loading_for_node():
        imported(app)
    found = Offer(app).sources()
    for source in found:
        say(f"serves {safe(source.saga)}")
    return tuple((source.saga, source.module, source.path) for source in found)
