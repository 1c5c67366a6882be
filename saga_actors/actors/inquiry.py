"""Answers to questions about sagas, from the journal alone: no user code is imported, and no context decoded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import TypeVar, assert_never

import attrs

from saga_actors.errors import CorruptionError, JournalError, SagaIdError, SagaPrunedError, UnknownSagaError
from saga_actors.events import HoldReason, SagaHeld
from saga_actors.execution import fold
from saga_actors.journal.port import CorruptRow, History, JournalReader, Page, SagaRow, Tombstone, held_reason
from saga_actors.messages import (
    GetHistory,
    GetStatus,
    HistoryIs,
    ListedSaga,
    ListSagas,
    Refusal,
    Refused,
    SagasAre,
    StatusIs,
    checked_id,
)
from saga_actors.outcomes import Action, Outcome, SagaState, SagaStatus, WaitingFor
from saga_actors.plan import SagaPlan
from saga_actors.status import moment, outcome_of, status_of

T = TypeVar("T")

Question = GetStatus | GetHistory | ListSagas
Answer = StatusIs | HistoryIs | SagasAre | Refused

PATIENCE = 4.0
"""Seconds for which a journal that is busy is asked again."""

PAUSE = 0.02

LARGEST_PAGE = 1_000
"""The most sagas on one page of a list, whatever was asked for."""

LARGEST_HISTORY = 16_000_000
"""The most bytes of contexts in one history; a bigger message would block both processes for seconds."""

log = logging.getLogger("saga_actors.inquiry")


@attrs.frozen
class Inquiry:
    """Answers from one reader. It reads again while the journal is busy, for `patience` seconds, and blocks meanwhile.

    Whoever sends its answers to nobody may set `largest_history`, in bytes, to None: no bound.
    """

    reader: JournalReader
    patience: float = PATIENCE
    largest_history: int | None = LARGEST_HISTORY
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[], None] = lambda: time.sleep(PAUSE)

    def answer(self, question: Question, served: Collection[str]) -> Answer:
        """The answer, or a refusal; `served` names the sagas that a node serves now."""
        try:
            return self._answer(question, served)
        except UnknownSagaError as error:
            return Refused(question.correlation_id, Refusal.UNKNOWN_SAGA, str(error))
        except SagaPrunedError as error:
            return Refused(question.correlation_id, Refusal.PRUNED, str(error))
        except SagaIdError as error:
            return Refused(question.correlation_id, Refusal.BAD_REQUEST, str(error))
        except CorruptionError as error:
            return Refused(question.correlation_id, Refusal.CORRUPT, str(error))
        except JournalError as error:
            return Refused(question.correlation_id, Refusal.OVERLOADED, f"{error}; ask again")

    def _answer(self, question: Question, served: Collection[str]) -> Answer:
        match question:
            case GetStatus():
                return self._status(question.correlation_id, checked_id(question.saga_id), served)
            case GetHistory():
                return self._history(question)
            case ListSagas():
                return self._list(question)
            case _:
                assert_never(question)

    # One saga.

    def _status(self, correlation_id: str, saga_id: str, served: Collection[str]) -> StatusIs:
        try:
            return StatusIs(correlation_id, *self._folded(saga_id, served))
        except CorruptionError as error:
            return StatusIs(correlation_id, _summed_up(self._row(saga_id), str(error), served))
        except SagaPrunedError:
            stone = self._tombstone(saga_id)
            if stone is None:  # it has gone since
                raise UnknownSagaError(f"the journal has no saga {saga_id!r}") from None
            return StatusIs(correlation_id, _remembered(stone))

    def _folded(self, saga_id: str, served: Collection[str]) -> tuple[SagaStatus, Outcome[bytes] | None]:
        """The status by the saga's events; CorruptionError if they make none, so that one saga cannot harm others."""
        history = self._load(saga_id)
        last = history[-1].event
        if isinstance(last, SagaHeld) and last.reason is HoldReason.CRASHED:  # it may be the death of whoever folds it
            raise CorruptionError(f"its events were not folded: {last.detail}")
        try:
            execution = fold((stored.event for stored in history), self._plan)
            return status_of(execution, served=execution.plan.saga in served), outcome_of(execution)
        except JournalError:
            raise
        except Exception as error:
            log.exception("saga %r could not be folded", saga_id)
            raise CorruptionError(f"its events do not fold ({type(error).__name__})") from error

    def _plan(self, plan_id: str) -> SagaPlan:
        return self._read(lambda: self.reader.plan(plan_id))

    def _history(self, question: GetHistory) -> HistoryIs | Refused:
        events = tuple(stored.event for stored in self._load(checked_id(question.saga_id)))
        size = sum(len(getattr(event, "context", None) or b"") for event in events)
        if self.largest_history is not None and size > self.largest_history:
            why = f"this history has {size:,} bytes of contexts, a message at most {self.largest_history:,}"
            return Refused(question.correlation_id, Refusal.BAD_REQUEST, f"{why}; read it from the journal itself")
        return HistoryIs(question.correlation_id, question.saga_id, events)

    def _load(self, saga_id: str) -> History:
        try:
            return self._read(lambda: self.reader.load(saga_id))
        except UnknownSagaError:
            if (stone := self._tombstone(saga_id)) is None:
                raise
            raise SagaPrunedError(pruned(stone)) from None

    def _tombstone(self, saga_id: str) -> Tombstone | None:
        return self._read(lambda: self.reader.tombstone(saga_id))

    def _row(self, saga_id: str) -> SagaRow:
        row = self._read(lambda: self.reader.find(saga_id))
        if row is None:
            raise UnknownSagaError(f"the journal has no saga {saga_id!r}")
        return row

    # Many.

    def _list(self, question: ListSagas) -> SagasAre | Refused:
        if question.limit < 1:
            why = f"a page of {question.limit} sagas was asked for; expected 1 to {LARGEST_PAGE:,}"
            return Refused(question.correlation_id, Refusal.BAD_REQUEST, why)
        page = self._read(
            lambda: self.reader.list(
                state=question.state,
                saga=question.saga,
                since=question.since,
                limit=min(question.limit, LARGEST_PAGE),
                after=question.after,
            )
        )
        return SagasAre(question.correlation_id, _listed(page), page.next)

    # Reading.

    def _read(self, read: Callable[[], T]) -> T:
        """What is read; what cannot be read now is read again, what is corrupt is not."""
        until = self.clock() + self.patience
        while True:
            try:
                return read()
            except CorruptionError:
                raise
            except JournalError:
                if self.clock() >= until:
                    raise
            self.pause()


def _summed_up(row: SagaRow, why: str, served: Collection[str]) -> SagaStatus:
    """What the summary alone says of a saga whose records cannot be read; nothing is executed on it."""
    return SagaStatus(
        saga_id=row.saga_id,
        saga=row.saga,
        state=row.state,
        served=row.saga in served,
        waiting_for=None if row.state.ended else WaitingFor.OPERATOR,
        completed_steps=(),
        current_step=None,
        attempt=None,
        next_attempt_at=None,
        failure=None,
        in_doubt=(),
        ignored=(),
        held_reason=row.held_reason or held_reason(HoldReason.CORRUPT, why),
        allowed_actions=() if row.state.ended else (Action.RETRY, Action.RESOLVE),
        created_at=moment(row.created_at),
        updated_at=moment(row.updated_at),
    )


def pruned(stone: Tombstone) -> str:
    """What there is to say of a saga that was pruned."""
    return f"saga {stone.saga_id!r} ended as {stone.state}, and its records were pruned on {moment(stone.pruned_at):%F}"


def _remembered(stone: Tombstone) -> SagaStatus:
    """What is left of a saga that was pruned."""
    return SagaStatus(
        saga_id=stone.saga_id,
        saga=stone.saga,
        state=stone.state,
        served=False,
        waiting_for=None,
        completed_steps=(),
        current_step=None,
        attempt=None,
        next_attempt_at=None,
        failure=None,
        in_doubt=(),
        ignored=(),
        held_reason=None,
        created_at=moment(stone.created_at),
        updated_at=moment(stone.ended_at),
        pruned=True,
    )


def _listed(page: Page) -> tuple[ListedSaga, ...]:
    """The sagas of a page, newest first, with those whose summaries are corrupt in their places."""
    rows: list[SagaRow | CorruptRow] = [*page.rows, *page.corrupt]
    rows.sort(key=lambda row: row.number, reverse=True)
    return tuple(_line(row) for row in rows)


def _line(row: SagaRow | CorruptRow) -> ListedSaga:
    if isinstance(row, SagaRow):
        times = moment(row.created_at), moment(row.updated_at)
        return ListedSaga(row.saga_id, row.saga, row.state, *times, row.held_reason, row.number)
    nobody_knows = moment(0)
    why = held_reason(HoldReason.CORRUPT, row.why)
    return ListedSaga(row.saga_id, "", SagaState.HELD, nobody_knows, nobody_knows, why, row.number)
