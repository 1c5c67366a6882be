"""What the journal itself answers where no node is asked; read only, and opened anew each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from saga_actors.actors.inquiry import Inquiry, Question, pruned
from saga_actors.errors import CorruptionError, JournalError, SagaPrunedError, UnknownSagaError
from saga_actors.execution import Execution, fold
from saga_actors.journal import JournalReader, JournalUrl, open_reader
from saga_actors.messages import SagaEnded
from saga_actors.status import outcome_of


@attrs.frozen
class Archive:
    """The journal of this place."""

    url: JournalUrl
    opened: Callable[[JournalUrl], JournalReader] = open_reader

    def answer(self, question: Question) -> Any:
        """The answer that a status actor would give, with no saga served; JournalError if there is no journal."""
        with self._reader() as reader:
            return Inquiry(reader, largest_history=None).answer(question, frozenset())

    def ended(self, saga_id: str) -> SagaEnded | None:
        """The end of a saga; None if it has none yet. Raises UnknownSagaError, SagaPrunedError and CorruptionError."""
        with self._reader() as reader:
            execution = _folded(reader, saga_id)
        outcome = outcome_of(execution)
        return None if outcome is None else SagaEnded("", saga_id, execution.plan.saga, outcome)

    def execution(self, saga_id: str) -> Execution:
        """The saga as its events tell it; raises UnknownSagaError, SagaPrunedError and CorruptionError."""
        with self._reader() as reader:
            return _folded(reader, saga_id)

    @contextmanager
    def _reader(self) -> Iterator[JournalReader]:
        reader = self.opened(self.url)
        try:
            yield reader
        finally:
            reader.close()


def _folded(reader: JournalReader, saga_id: str) -> Execution:
    try:
        history = reader.load(saga_id)
    except UnknownSagaError:
        if (stone := reader.tombstone(saga_id)) is None:
            raise
        raise SagaPrunedError(pruned(stone)) from None
    try:
        return fold((stored.event for stored in history), reader.plan)
    except JournalError:
        raise
    except Exception as error:
        raise CorruptionError(f"the events of saga {saga_id!r} do not fold ({type(error).__name__})") from error
