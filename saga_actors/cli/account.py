"""Everything that the journal tells of one saga: its events, what they make of it, and why, if they make nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from saga_actors.errors import CorruptionError, JournalError, SagaPrunedError, UnknownSagaError
from saga_actors.events import Event, HoldReason, SagaHeld
from saga_actors.execution import Execution, fold
from saga_actors.journal import JournalReader, open_reader
from saga_actors.messages import (
    GetHistory,
    GetStatus,
    HistoryIs,
    ListedSaga,
    ListSagas,
    Refused,
    SagasAre,
    StatusIs,
    new_id,
)
from saga_actors.outcomes import SagaState, SagaStatus, WaitingFor
from saga_actors.status import status_of
from saga_actors.verbs import error_of_refusal, unexpected

if TYPE_CHECKING:
    from saga_actors.actors.inquiry import Inquiry

PAGE = 200
"""Sagas that are read at once, where many are listed."""


@attrs.frozen
class Account:
    """One saga. Where its records cannot be read, or were pruned, `execution` is None, and `gap` says why."""

    status: SagaStatus
    execution: Execution | None = None
    events: tuple[Event, ...] = ()
    gap: str | None = None


@attrs.frozen
class Accounts:
    """The accounts of a journal, by one reader; a journal that is busy is asked again."""

    reader: JournalReader
    inquiry: Inquiry

    def of(self, saga_id: str, *, served: bool) -> Account:
        """That of this saga; raises UnknownSagaError, and CorruptionError if not even a summary can be read."""
        try:
            events = self._history(saga_id)
            execution = self._folded(events)
        except (CorruptionError, SagaPrunedError) as error:
            return Account(self._summary(saga_id), gap=str(error))
        return Account(status_of(execution, served=served), execution, events)

    def of_listed(self, saga: ListedSaga, *, served: bool = False) -> Account | None:
        """That of a saga that was listed, also if even its summary is corrupt; None if it is gone."""
        try:
            return self.of(saga.saga_id, served=served)
        except UnknownSagaError:
            return None
        except CorruptionError as error:
            return Account(_illegible(saga), gap=str(error))

    def listed(self, state: SagaState | None) -> Iterator[ListedSaga]:
        """All sagas in this state, the newest first, read in pages as they are asked for."""
        page: int | None = None
        while True:
            reply = self.inquiry.answer(ListSagas(new_id(), state, limit=PAGE, after=page), frozenset())
            if not isinstance(reply, SagasAre):
                raise error_of_refusal(reply) if isinstance(reply, Refused) else unexpected(reply)
            yield from reply.sagas
            if (page := reply.next_page) is None:
                return

    def _history(self, saga_id: str) -> tuple[Event, ...]:
        reply = self.inquiry.answer(GetHistory(new_id(), saga_id), frozenset())
        if isinstance(reply, HistoryIs):
            return reply.events
        raise error_of_refusal(reply) if isinstance(reply, Refused) else unexpected(reply)

    def _folded(self, events: tuple[Event, ...]) -> Execution:
        last = events[-1]
        if isinstance(last, SagaHeld) and last.reason is HoldReason.CRASHED:  # it may be the death of whoever folds it
            raise CorruptionError(f"its events were not folded: {last.detail}")
        try:
            return fold(iter(events), self.reader.plan)
        except JournalError:
            raise
        except Exception as error:
            raise CorruptionError(f"its events do not fold ({type(error).__name__})") from error

    def _summary(self, saga_id: str) -> SagaStatus:
        reply = self.inquiry.answer(GetStatus(new_id(), saga_id), frozenset())
        if isinstance(reply, StatusIs):
            return reply.status
        raise error_of_refusal(reply) if isinstance(reply, Refused) else unexpected(reply)


@contextmanager
def opened(url: str) -> Iterator[Accounts]:
    """The accounts of this journal; JournalError if there is none."""
    from saga_actors.actors.inquiry import Inquiry

    reader = open_reader(url)
    try:
        yield Accounts(reader, Inquiry(reader, largest_history=None))
    finally:
        reader.close()


def _illegible(saga: ListedSaga) -> SagaStatus:
    """What a list says of a saga whose summary is corrupt; nothing can be done about it before a node has parked it."""
    return SagaStatus(
        saga_id=saga.saga_id,
        saga=saga.saga,
        state=saga.state,
        served=False,
        waiting_for=WaitingFor.OPERATOR,
        completed_steps=(),
        current_step=None,
        attempt=None,
        next_attempt_at=None,
        failure=None,
        in_doubt=(),
        ignored=(),
        held_reason=saga.held_reason,
        created_at=saga.created_at,
        updated_at=saga.updated_at,
    )
