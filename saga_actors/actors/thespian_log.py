"""What Thespian says of itself: in the processes of a node into a log of its own, in others into the application's."""

from __future__ import annotations

import logging
import os

from thespian.actors import ActorAddress
from thespian.system import utilis

from saga_actors.actors import process

FILE_VARIABLE = "THESPLOG_FILE"

_logger = logging.getLogger("saga_actors.transport")


def begin() -> None:
    """Name the log, for this process of a node and all that are forked from it, before Thespian looks for a place.

    It looks by making a temporary file, wherever its log is, which stays if the process is killed just then.
    """
    path = os.environ[FILE_VARIABLE]
    utilis._thesplog_file, utilis._thesplog_old_file = path, f"{path}.old"


def keep(text: str, *args: object, level: int = logging.INFO, **_: object) -> None:
    """Keep what Thespian says, but not what it says it about: its arguments may be a message, or a part of one."""
    shown = [str(arg) if isinstance(arg, OSError | ActorAddress) else type(arg).__name__ for arg in args]
    if process.is_member():  # where a log record would itself be a message
        utilis.thesplog("%s %s", text, shown, level=level)
    else:
        _logger.debug("%s %s", text, shown)
