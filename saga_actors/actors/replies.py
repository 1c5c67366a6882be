"""Answers on their way to whoever asked; one that does not read them costs no more than a bounded pile.

Each peer has one message under way at a time. What it is owed beyond that is joined, and sent once the one under way is
acknowledged; so a busy client gets few big bundles, and a stopped one neither fills the process's pending transmits,
of which there are 900 for all peers together, nor its memory. What does not fit on the pile is dropped, and so is the
pile of a peer that has read nothing for a while: messages are hints, and who waits asks again.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from saga_actors.actors.clients import BUNDLE_BYTES, size_of
from saga_actors.actors.protocol import Address, Bundle

MOST_UNREAD = 8
"""Bundles of answers, about so many, that are kept for one peer beside the one that is under way."""

PATIENCE = 30.0
"""Seconds for which a peer may leave a message unacknowledged, and then is sent nothing until it asks again."""

Send = Callable[[Address, Any, float, Callable[[bool], None]], None]
"""Sends a message, and says whether it was acknowledged within so many seconds."""


@attrs.define(eq=False)
class _Pile:
    """What one peer is owed, behind the message under way; `size` is in bytes, roughly."""

    address: Address
    until: float
    owed: deque[tuple[Any, bool]] = attrs.Factory(deque)
    size: int = 0

    def add(self, answer: Any, bundled: bool) -> bool:
        """Put an answer on the pile, if there is room; there is for one, however big."""
        size = size_of(answer)
        if self.owed and self.size + size > MOST_UNREAD * BUNDLE_BYTES:
            return False
        self.owed.append((answer, bundled))
        self.size += size
        return True

    def take(self) -> Any:
        """As much as makes one message; there is something."""
        answer, bundled = self.owed.popleft()
        self.size -= (size := size_of(answer))
        if not bundled:
            return answer
        answers = [answer]
        while self.owed and self.owed[0][1] and (size := size + size_of(self.owed[0][0])) <= BUNDLE_BYTES:
            answer, _ = self.owed.popleft()
            self.size -= size_of(answer)
            answers.append(answer)
        return Bundle(tuple(answers))


class Replies:
    """The answers of one process. Times are monotonic seconds."""

    def __init__(self, send: Send, clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._piles: dict[str, _Pile] = {}

    def post(self, address: Address, message: Any) -> None:
        """Send an answer, or a bundle of them, now or once the peer has read what came before."""
        key, now = str(address), self._clock()
        pile = self._piles.get(key)
        if pile is None or now > pile.until:
            pile = self._piles[key] = _Pile(address, 0.0)
            self._dispatch(key, pile, message)
            return
        bundled = isinstance(message, Bundle)
        for answer in message.items if bundled else (message,):
            if not pile.add(answer, bundled):
                log().debug("%s is owed too much; what it waits for it will ask for again", address)
                return

    def _dispatch(self, key: str, pile: _Pile, message: Any) -> None:
        pile.until = self._clock() + PATIENCE + 1.0  # should Thespian forget to say what became of it
        self._send(pile.address, message, PATIENCE, partial(self._done, key, pile))

    def _done(self, key: str, pile: _Pile, is_read: bool) -> None:
        if self._piles.get(key) is not pile:
            return
        if is_read and pile.owed:
            self._dispatch(key, pile, pile.take())
        else:
            del self._piles[key]


def log() -> logging.Logger:
    """Looked up each time, for a child replaces all loggers when it is born."""
    return logging.getLogger("saga_actors.replies")
