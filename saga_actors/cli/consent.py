"""Whether something is really to be done: only tried, asked for, or said to be with `--yes`."""

from __future__ import annotations

import click

from saga_actors.cli.exits import ExitCode
from saga_actors.cli.terminal import is_interactive, say


def given(what: str, *, dry_run: bool, yes: bool) -> bool:
    """Whether `what`, which is safe to print, is to be done now.

    A UsageError if nobody is there to be asked; if somebody says no, the command exits with 1.
    """
    if dry_run:
        say(f"would {what}; nothing was done")
        return False
    if yes:
        return True
    if not is_interactive():
        raise click.UsageError(f"nobody is there to be asked whether to {what}; say so with --yes, or try --dry-run")
    if not click.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        say("nothing was done")
        raise click.exceptions.Exit(ExitCode.FAILED)
    return True
