"""The status actor: answers status, list and history from the journal, also while the supervisor is busy or gone."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

import attrs

from saga_actors.actors.child import Child
from saga_actors.actors.clients import BUNDLE_BYTES, size_of
from saga_actors.actors.inquiry import Answer, Inquiry
from saga_actors.actors.protocol import Address, Birth, Bundle, NowServed
from saga_actors.actors.replies import Replies
from saga_actors.errors import JournalError
from saga_actors.journal import open_reader
from saga_actors.messages import GetHistory, GetStatus, ListSagas, Refusal, Refused

SLICE = 0.03
"""Seconds of answering between two looks at the mailbox, so that pings are answered."""

BREATH = 0.005
"""Seconds for a look at the mailbox; with none at all Thespian would only see its timer."""

MOST_WAITING = 10_000
"""Questions that may wait; more are refused."""

QUESTIONS = (GetStatus, GetHistory, ListSagas)

log = logging.getLogger("saga_actors.status")


@attrs.define
class Asked:
    """Questions that came together from one sender, and the answers so far; `size` is in bytes, roughly."""

    sender: Address
    bundled: bool
    questions: deque[Any]
    answers: list[Answer] = attrs.Factory(list)
    size: int = 0


class StatusActor(Child):
    """Reads the journal, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._url = self._life = ""
        self._inquiry: Inquiry | None = None
        self._served: frozenset[str] = frozenset()
        self._asked: deque[Asked] = deque()
        self._waiting = 0
        self._replies = Replies(self.send_noticed)

    def take(self, message: Any, sender: Address) -> None:
        """A question, several of them, or word from the root or the supervisor."""
        if isinstance(message, Birth):
            self._url, self._life = message.spec.journal_url, message.life
            self.send(sender, self.born(message.role, message.number))
        elif isinstance(message, NowServed):
            self._served = message.sagas
        elif isinstance(message, Bundle) and message.life not in ("", self._life):
            log.warning("a client's message for another life came here, and is not answered")
        elif isinstance(message, Bundle):
            self._enqueue(Asked(sender, True, deque(message.items)))
        elif hasattr(message, "correlation_id"):
            self._enqueue(Asked(sender, False, deque([message])))
        else:
            log.warning("the status actor was sent a %s, which it does not know", type(message).__name__)

    def woken(self) -> None:
        """Go on with what waits."""
        self._work()

    def _enqueue(self, asked: Asked) -> None:
        self._asked.append(asked)
        self._waiting += len(asked.questions)
        self._work()

    def _work(self) -> None:
        """Answer in order, for a slice of time."""
        until = time.monotonic() + SLICE
        while self._asked and time.monotonic() < until:
            asked = self._asked[0]
            if asked.questions:
                self._waiting -= 1
                self._note(asked, self._answer(asked.questions.popleft()))
            if not asked.questions:
                self._send_answers(self._asked.popleft())
        if self._asked:
            self.wake_in(BREATH)

    def _note(self, asked: Asked, answer: Answer) -> None:
        size = size_of(answer)
        if asked.answers and asked.size + size > BUNDLE_BYTES:
            self._send_answers(asked)
        asked.answers.append(answer)
        asked.size += size

    def _send_answers(self, asked: Asked) -> None:
        answers, asked.answers, asked.size = asked.answers, [], 0
        if asked.bundled and answers:
            self._replies.post(asked.sender, Bundle(tuple(answers)))
        else:
            for answer in answers:
                self._replies.post(asked.sender, answer)

    def _answer(self, question: Any) -> Answer:
        correlation_id = str(getattr(question, "correlation_id", ""))
        if not isinstance(question, QUESTIONS):
            why = f"the status actor takes no {type(question).__name__}; send it to the supervisor"
            return Refused(correlation_id, Refusal.BAD_REQUEST, why)
        if self._waiting >= MOST_WAITING:
            return Refused(correlation_id, Refusal.OVERLOADED, f"{self._waiting} questions wait; ask again later")
        try:
            inquiry = self._inquiry = self._inquiry or Inquiry(open_reader(self._url))
        except JournalError as error:  # the supervisor makes it, and comes to life after this actor
            return Refused(correlation_id, Refusal.OVERLOADED, f"{error}; ask again later")
        return inquiry.answer(question, self._served)
