"""How a line of node.log is written, and read again; all processes of a node write to it."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime

import attrs

LAYOUT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"

_LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}Z) \d+ ([A-Z]+) (saga_actors[\w.]*): (.*)$", re.MULTILINE)
_OF_ONE_SAGA = "saga_actors.saga"


class Formatter(logging.Formatter):
    """Moments are in UTC: code of users may change the zone of the process that runs it, as Django does."""

    converter = staticmethod(time.gmtime)
    default_msec_format = "%s,%03dZ"


def log_to_stderr() -> None:
    """Log to standard error, which is node.log for every process of a node."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(LAYOUT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


@attrs.frozen
class Entry:
    """A line that the package itself wrote; `at` is aware, in UTC."""

    at: datetime
    level: str
    logger: str
    text: str

    @property
    def is_of_one_saga(self) -> bool:
        """Whether it is about a saga, which has a history of its own."""
        return self.logger == _OF_ONE_SAGA

    @property
    def is_error(self) -> bool:
        return self.level in ("ERROR", "CRITICAL")


def entries(log: str) -> Iterator[Entry]:
    """What the package wrote, among what others did."""
    for at, level, logger, text in _LINE.findall(log):
        yield Entry(datetime.fromisoformat(at), level, logger, text)
