"""`bench`: hands its arguments to the bench, which reads them itself."""

from __future__ import annotations

import click


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> int:
    """Measure a node on this machine."""
    from saga_actors.bench.command import main

    try:
        return main(arguments)
    except SystemExit as ended:  # of argparse, which has said why
        return int(ended.code or 0)
