"""A simulated client: the product's own questions, asked again by their ids until they are answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from saga_actors.actors.protocol import Alive, Bundle, Heartbeat, Serve, Serving, Source
from saga_actors.actors.questions import Question, Questions
from saga_actors.messages import AwaitSaga, Refusal, Refused, RunSaga, SagaEnded, SagaIsHeld, SagaStarted, StartSaga

HEARTBEAT = 1.0
"""Seconds between two signs of life."""

AGAIN = (Refusal.NOT_SERVED, Refusal.OVERLOADED)
"""Refusals after which whoever wants the saga starts it again, under the same id."""


class Client:
    """Somebody who wants some sagas to run, and to know how each ended; it may die, and another ask in its place.

    It starts one saga and waits for it in one question, another in two. `where` is the supervisor that it talks to.
    """

    def __init__(self, address: str, starts: Iterable[RunSaga | StartSaga], clock: Callable[[], float]) -> None:
        self.address = address
        self.where = ""
        self.starts = {start.saga_id: start for start in starts}
        self.told: dict[str, SagaEnded | SagaIsHeld] = {}
        self._clock = clock
        self._questions = Questions(clock)
        self._open: dict[str, Question] = {}
        self._to_start = dict(self.starts)
        self._epoch = self._number = 0
        self._beat_at = 0.0

    @property
    def satisfied(self) -> bool:
        """Whether it has been told of each of its sagas."""
        return self.told.keys() == self.starts.keys()

    def turns_to(self, where: str) -> None:
        """It has lost its supervisor, or never had one, and finds this."""
        self.where, self._epoch, self._beat_at = where, 0, 0.0

    def ask(self, message: Any) -> None:
        """Ask until answered."""
        self._open[message.correlation_id] = self._questions.add(message, to_status=False)

    def asks_again(self, saga_ids: Iterable[str]) -> None:
        """Ask of those of these that are its own, for operators have changed what it was told."""
        for saga_id in saga_ids:
            if self.told.pop(saga_id, None) is not None:
                self.ask(AwaitSaga(self._id("await"), saga_id))

    def goes_out(self) -> list[Any]:
        """What it has to say now; nothing, if it waits for nothing."""
        said: list[Any] = []
        if self._clock() - self._beat_at >= HEARTBEAT and (self._open or self._to_start):
            self._beat_at = self._clock()
            said.append(Bundle((Heartbeat(self._id("beat"), self.address),)))
        return said + self._bundled(self._questions.due(to_status=False))

    def _bundled(self, questions: list[Question]) -> list[Any]:
        return [bundle for _, bundle in self._questions.bundled(questions)]

    def hears(self, message: Any) -> list[Any]:
        """What it says to that at once."""
        epoch = self._epoch
        for item in message.items if isinstance(message, Bundle) else (message,):
            self._hears(item)
        return self._bundled(self._questions.all()) if self._epoch > epoch else []

    def _hears(self, item: Any) -> None:
        if isinstance(item, Alive) and item.epoch > self._epoch:
            self._epoch = item.epoch
            self._has_served()
        self._questions.answer(item)
        question = self._open.get(item.correlation_id)
        if question is not None and question.future.done():
            del self._open[item.correlation_id]
            self._is_answered(question.message, item)

    def _is_answered(self, question: Any, answer: Any) -> None:
        match answer:
            case Serving():
                self._is_served(answer)
            case SagaStarted():
                self.ask(AwaitSaga(self._id("await"), answer.saga_id))
            case SagaEnded() | SagaIsHeld():
                self.told[answer.saga_id] = answer
            case Refused() if isinstance(question, AwaitSaga):
                raise AssertionError(f"{question.saga_id} was accepted, and nobody knows it: {answer} (P1)")
            case Refused() if isinstance(question, RunSaga | StartSaga):
                assert answer.code in AGAIN, f"{question.saga_id} was refused: {answer}"
                self._to_start[question.saga_id] = question
                self._has_served()

    def _has_served(self) -> None:
        sagas = sorted({start.saga for start in self.starts.values()})
        if sagas:
            self.ask(Serve(self._id("serve"), tuple(Source(saga, "shop") for saga in sagas)))

    def _is_served(self, serving: Serving) -> None:
        for saga_id, start in list(self._to_start.items()):
            if serving.fingerprints.get(start.saga) == start.fingerprint:
                del self._to_start[saga_id]
                self.ask(start)
        if self._to_start:
            self._has_served()

    def _id(self, what: str) -> str:
        self._number += 1
        return f"{what}-{self.address}-{self._number}"
