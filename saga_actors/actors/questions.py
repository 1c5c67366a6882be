"""What a client has asked and not been answered: which question is due again, and in which messages it goes out."""

from __future__ import annotations

import contextlib
import copy
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

DRAINING_PAUSE = 0.1
"""Seconds after which a node that is ending is asked again: soon it is another."""

BUNDLE_BYTES = 256_000
"""A bundle is ended at so many bytes of contexts; a bigger context travels alone."""


@attrs.define(eq=False)
class Question:
    """Something asked; `due` is when it is asked again (monotonic seconds).

    One that starts a saga was `sent` whole; after that it goes without its context, unless that is asked for.
    """

    message: Any
    to_status: bool
    future: Future[Any]
    due: float = 0.0
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


class Questions:
    """All that one client waits for, by correlation id; for any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, Question] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, message: Any, to_status: bool) -> Question:
        """A new question; it is due at once."""
        question = Question(message, to_status, Future(), self._clock())
        with self._lock:
            self._open[message.correlation_id] = question
        return question

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
            question.due, question.sent = self._clock(), False
            return True
        if not isinstance(item, Refused):
            return False
        if item.code == Refusal.DRAINING:
            question.due, question.sent = self._clock() + DRAINING_PAUSE, False
            return True
        if item.code == Refusal.UNKNOWN_SAGA and isinstance(question.message, RunSaga | StartSaga):
            question.due, question.sent = self._clock(), False
            return True
        return False

    def fail(self, error: Exception) -> None:
        """Whoever waits is told this, each in an exception of its own."""
        with self._lock:
            questions = list(self._open.values())
            self._open.clear()
        for question in questions:
            with contextlib.suppress(InvalidStateError):
                question.future.set_exception(copy.copy(error))

    def due(self) -> list[Question]:
        """What is to be asked again now."""
        now = self._clock()
        with self._lock:
            return [question for question in self._open.values() if question.due <= now]

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
                question.sent, question.due = True, self._clock() + ASK_AGAIN
            if items:
                yield to_status, Bundle(tuple(items))


def _length(wording: Any) -> int:
    """Bytes of what is long in it."""
    if isinstance(wording, StartSagas):
        return sum(150 + len(one.context) for one in wording.sagas)
    return len(getattr(wording, "context", b""))
