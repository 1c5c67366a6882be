"""Answers to a peer that reads slowly, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from saga_actors.actors.clients import BUNDLE_BYTES
from saga_actors.actors.protocol import Bundle
from saga_actors.actors.replies import MOST_UNREAD, PATIENCE, Replies
from saga_actors.messages import SagaEnded
from saga_actors.outcomes import Completed


def ended(number: int, size: int = 10) -> SagaEnded:
    return SagaEnded(str(number), f"s{number}", "shop:Order", Completed(b"x" * size, saga_id=f"s{number}"))


class Wire:
    """What was sent to whom, and the word of what became of it that is still to be said."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[tuple[str, list[int]]] = []
        self.open: list[Callable[[bool], None]] = []
        self.replies = Replies(self._send, lambda: self.now)

    def _send(self, address: str, message: Any, patience: float, on_done: Callable[[bool], None]) -> None:
        items = message.items if isinstance(message, Bundle) else (message,)
        self.sent.append((address, [int(item.correlation_id) for item in items]))
        self.open.append(on_done)

    def post(self, *numbers: int, to: str = "client", size: int = 10) -> None:
        """A bundle with these answers."""
        self.replies.post(to, Bundle(tuple(ended(number, size) for number in numbers)))

    def settle(self, is_read: bool = True) -> None:
        """The first message that is under way is acknowledged, or given up."""
        self.open.pop(0)(is_read)

    def numbers(self, to: str = "client") -> list[int]:
        return [number for address, numbers in self.sent if address == to for number in numbers]


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_a_peer_has_one_message_under_way_and_the_rest_goes_together_when_it_is_read(wire: Wire) -> None:
    """P12: what comes meanwhile is joined, in order; nothing of it is lost."""
    for number in range(5):
        wire.post(number)
    assert wire.sent == [("client", [0])]
    wire.settle()
    assert wire.sent[1:] == [("client", [1, 2, 3, 4])]
    wire.settle()
    assert wire.open == []
    wire.post(5)
    assert wire.numbers() == [0, 1, 2, 3, 4, 5]


def test_a_peer_that_does_not_read_keeps_no_other_waiting(wire: Wire) -> None:
    """P11: each has a window of its own."""
    for number in range(100):
        wire.post(number, to="stopped")
    wire.post(1, to="client")
    wire.settle()  # that of the stopped one goes on with its pile; the client's was never behind it
    assert wire.sent[1] == ("client", [1])


def test_what_is_kept_for_a_peer_that_does_not_read_is_bounded(wire: Wire) -> None:
    """P12: some bundles are kept, and what goes beyond them is dropped, for the peer asks again."""
    for number in range(100):
        wire.post(number, size=BUNDLE_BYTES // 4)
    while wire.open:
        wire.settle()
    kept = wire.numbers()
    assert kept == list(range(len(kept)))
    assert MOST_UNREAD * 3 <= len(kept) - 1 <= MOST_UNREAD * 4
    assert max(len(numbers) for _, numbers in wire.sent) <= 4


def test_what_is_read_makes_room_for_more(wire: Wire) -> None:
    """P12: the bound is on what is unread, and not on what was ever owed."""
    for number in range(100):
        wire.post(number, size=BUNDLE_BYTES // 4)
    wire.settle()
    gone = len(wire.sent[1][1])
    wire.post(*range(200, 200 + gone), size=BUNDLE_BYTES // 4)
    while wire.open:
        wire.settle()
    assert wire.numbers()[-gone:] == list(range(200, 200 + gone))


def test_one_answer_is_kept_however_big_it_is(wire: Wire) -> None:
    """A history of megabytes reaches a client that was just being told something else."""
    wire.post(0)
    wire.post(1, size=MOST_UNREAD * BUNDLE_BYTES)
    wire.settle()
    assert wire.numbers() == [0, 1]


@pytest.mark.parametrize("waited", [0.0, PATIENCE])
def test_a_peer_that_is_gone_is_owed_nothing(wire: Wire, waited: float) -> None:
    """What could not be delivered takes the pile with it; the next answer is sent at once."""
    wire.post(0)
    wire.post(1)
    wire.now += waited
    wire.settle(is_read=False)
    assert wire.numbers() == [0]
    wire.post(2)
    assert wire.numbers() == [0, 2]


def test_a_message_of_which_nothing_is_heard_blocks_its_peer_for_a_while_only(wire: Wire) -> None:
    """P12: should no word of it ever come, the peer is served again all the same; word that comes late is not heard."""
    wire.post(0)
    wire.now += PATIENCE + 2.0
    wire.post(1)
    wire.post(2)
    assert wire.numbers() == [0, 1]
    wire.settle()
    wire.post(3)
    assert wire.numbers() == [0, 1]
    wire.settle()
    assert wire.numbers() == [0, 1, 2, 3]


def test_who_asks_alone_is_answered_one_by_one(wire: Wire) -> None:
    """An actor that knows nothing of bundles gets none, and its answers in order."""
    messages: list[Any] = []
    replies = Replies(lambda _to, message, _patience, done: (messages.append(message), wire.open.append(done))[0])
    for number in range(3):
        replies.post("actor", ended(number))
    while wire.open:
        wire.settle()
    assert messages == [ended(0), ended(1), ended(2)]
