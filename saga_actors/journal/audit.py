"""Every record of a journal, read and checked; whatever keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import attrs

from saga_actors.errors import CorruptionError, UnknownSagaError
from saga_actors.journal.port import JournalReader, SagaRow

T = TypeVar("T")

PAGE = 500


@attrs.define
class Audit:
    """How many sagas there are with how many events, and what is wrong with any of them."""

    sagas: int = 0
    events: int = 0
    flaws: list[str] = attrs.Factory(list)

    def checked(self, read: Callable[[], T]) -> T | None:
        """What is read; None if it is not there any more, and None and a flaw if it is corrupt."""
        try:
            return read()
        except CorruptionError as error:
            self.flaws.append(str(error))
        except UnknownSagaError:
            pass
        return None


def audit(reader: JournalReader) -> Audit:
    """Read all sagas and their plans, each in a snapshot of its own, so that nobody is held up for long."""
    found = Audit()
    plans: set[str] = set()
    for row in _rows(reader, found):
        found.sagas += 1
        found.events += len(found.checked(partial(reader.load, row.saga_id)) or ())
        plans.add(row.plan_id)
    for plan_id in sorted(plans):
        found.checked(partial(reader.plan, plan_id))
    return found


def _rows(reader: JournalReader, found: Audit) -> Iterator[SagaRow]:
    after = None
    while True:
        page = reader.list(limit=PAGE, after=after)
        found.flaws += [row.why for row in page.corrupt]
        yield from page.rows
        if (after := page.next) is None:
            return
