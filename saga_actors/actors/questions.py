"""What a client has asked and not been answered: which question is due again, and in which messages it goes out."""

from __future__ import annotations

import contextlib
import copy
import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from typing import Any

import attrs

from saga_actors.actors.protocol import Bundle
from saga_actors.messages import Refusal, Refused, RunSaga, SagasStarted, StartSaga, StartSagas

ASK_AGAIN = 2.0
"""Seconds after which a question is asked again."""

MOST_AGAIN = 1_000
"""So many questions at most are asked again in that time; of more, each has its turn less often."""

DRAINING_PAUSE = 0.1
"""Seconds after which a node that is ending is asked again: soon it is another."""

BUNDLE_BYTES = 256_000
"""A bundle is ended at so many bytes of contexts; a bigger context travels alone."""


@attrs.define(eq=False)
class Question:
    """Something asked; `due` is when it is asked again (monotonic seconds), `turn` its place among others.

    One that starts a saga was `sent` whole; after that it goes without its context, unless that is asked for.
    """

    message: Any
    to_status: bool
    future: Future[Any]
    due: float = 0.0
    turn: int = 0
    sent: bool = False

    @property
    def wording(self) -> Any:
        """What goes out: a start that may have arrived already is asked after, with all but its context."""
        if self.sent and isinstance(self.message, RunSaga | StartSaga):
            return attrs.evolve(self.message, context=b"")
        if self.sent and isinstance(self.message, StartSagas):
            names = tuple(attrs.evolve(one, context=b"") for one in self.message.sagas)
            return attrs.evolve(self.message, sagas=names)
        return self.message


_Entry = tuple[float, int, Question]
"""When a question is due, and the turn that it had then."""


class Questions:
    """All that one client waits for, by correlation id; for any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, Question] = {}
        self._times: dict[bool, list[_Entry]] = {False: [], True: []}  # heaps, by whom they are for
        self._numbers = itertools.count()
        self._since, self._asked_again = clock(), 0

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, message: Any, to_status: bool) -> Question:
        """A new question; it is due at once."""
        question = Question(message, to_status, Future())
        with self._lock:
            self._open[message.correlation_id] = question
            self._set_due(question, self._clock())
        return question

    def _set_due(self, question: Question, due: float) -> None:
        question.due, question.turn = due, next(self._numbers)
        heapq.heappush(self._times[question.to_status], (due, question.turn, question))

    def drop(self, correlation_id: str) -> None:
        """Nobody waits for this answer any more."""
        with self._lock:
            self._open.pop(correlation_id, None)

    def answer(self, item: Any) -> None:
        """An answer has come; one that only says "not now" or "all of it, please" makes the question due again."""
        with self._lock:
            question = self._open.get(getattr(item, "correlation_id", ""))
            if question is None or self._is_put_off(question, item):
                return
            del self._open[item.correlation_id]
        with contextlib.suppress(InvalidStateError):
            question.future.set_result(item)

    def _is_put_off(self, question: Question, item: Any) -> bool:
        if isinstance(item, SagasStarted) and any(code == Refusal.UNKNOWN_SAGA for code, _ in item.refused.values()):
            return self._ask_whole(question, self._clock())
        if not isinstance(item, Refused):
            return False
        if item.code == Refusal.DRAINING:
            return self._ask_whole(question, self._clock() + DRAINING_PAUSE)
        if item.code == Refusal.UNKNOWN_SAGA and isinstance(question.message, RunSaga | StartSaga):
            return self._ask_whole(question, self._clock())
        return False

    def _ask_whole(self, question: Question, due: float) -> bool:
        question.sent = False
        self._set_due(question, due)
        return True

    def fail(self, error: Exception) -> None:
        """Whoever waits is told this, each in an exception of its own."""
        self.fail_some(list(self._open), error)

    def fail_some(self, correlation_ids: Iterable[str], error: Exception) -> None:
        """Those who wait for these answers are told this, each in an exception of its own."""
        with self._lock:
            found = [self._open.pop(correlation_id, None) for correlation_id in correlation_ids]
        questions = [question for question in found if question is not None]
        for question in questions:
            with contextlib.suppress(InvalidStateError):
                question.future.set_exception(copy.copy(error))

    def due(self, to_status: bool) -> list[Question]:
        """What is to be asked now, however often this is called; it costs nothing when there is nothing."""
        now = self._clock()
        with self._lock:
            times, due = self._times[to_status], []
            again = self._may_ask_again(now)
            while times and times[0][0] <= now:
                entry = heapq.heappop(times)
                if not self._counts(entry):
                    continue
                again -= entry[2].sent
                if again < 0 and entry[2].sent:
                    self._set_due(entry[2], now + ASK_AGAIN)
                else:
                    due.append(entry)
            for entry in due:
                heapq.heappush(times, entry)
        return [question for _, _, question in due]

    def _may_ask_again(self, now: float) -> int:
        """How many may be, before the present `ASK_AGAIN` seconds are over."""
        if now - self._since >= ASK_AGAIN:
            self._since, self._asked_again = now, 0
        return MOST_AGAIN - self._asked_again

    def _counts(self, entry: _Entry) -> bool:
        """Only the last one of a question does."""
        _, turn, question = entry
        return question.turn == turn and self._open.get(question.message.correlation_id) is question

    def all(self) -> list[Question]:
        """Everything that is open."""
        with self._lock:
            return list(self._open.values())

    def bundled(self, questions: Iterable[Question]) -> Iterator[tuple[bool, Bundle]]:
        """The messages in which these go out, and whether each goes to the status actor."""
        for to_status in (False, True):
            items: list[Any] = []
            size = 0
            for question in questions:
                if question.to_status is not to_status:
                    continue
                wording = question.wording
                length = _length(wording)
                if items and size + length > BUNDLE_BYTES:
                    yield to_status, Bundle(tuple(items))
                    items, size = [], 0
                items.append(wording)
                size += length
                with self._lock:
                    self._asked_again += question.sent
                    question.sent = True
                    self._set_due(question, self._clock() + ASK_AGAIN)
            if items:
                yield to_status, Bundle(tuple(items))


def _length(wording: Any) -> int:
    """Bytes of what is long in it."""
    if isinstance(wording, StartSagas):
        return sum(150 + len(one.context) for one in wording.sagas)
    return len(getattr(wording, "context", None) or b"")
