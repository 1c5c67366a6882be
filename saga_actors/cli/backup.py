"""`backup`: a copy of a journal."""

from __future__ import annotations

from pathlib import Path

import click

from saga_actors.cli import options
from saga_actors.cli.terminal import safe, say
from saga_actors.journal.url import JournalUrl


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@options.journal
def backup(file: Path, force: bool, journal: str) -> None:
    """Copy a journal, also while a node writes it.

    FILE is the journal as it was at one moment, whole and checked, of mode 0600; or it is not there. The node goes on
    meanwhile. What belongs to the node, such as its log, is not copied.

    To restore it: end the node (saga-actors down); put FILE in the place of the journal; remove what is beside it under
    the journal's name with -wal and -shm at its end; start a node. Sagas then go on from where they were when the copy
    was made: steps that ran since run again, with the keys that they had. Sagas that were started since are not known.
    """
    from saga_actors.journal.sqlite_backup import back_up

    copied = back_up(JournalUrl.parse(journal).path, file.absolute(), replace=force)
    sagas = "1 saga" if copied.sagas == 1 else f"{copied.sagas:,} sagas"
    say(f"copied {sagas}, {copied.size:,} bytes, to {safe(file)}")
