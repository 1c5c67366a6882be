"""What goes out to whom, and how much of it at once."""

from __future__ import annotations

from saga_actors.actors.clients import Clients, Peer
from saga_actors.messages import SagaEnded
from saga_actors.outcomes import Completed


def ended(number: int, size: int) -> SagaEnded:
    return SagaEnded(str(number), f"s{number}", "shop:Order", Completed(b"x" * size, saga_id=f"s{number}"))


def test_answers_go_out_in_bundles_of_bounded_size() -> None:
    """P12: a thousand ends of big sagas are not one message, which would block both sides; order is kept."""
    clients = Clients(0.0)
    sizes = [10, 100_000, 100_000, 100_000, 900_000, 10]
    for number, size in enumerate(sizes):
        clients.answer(Peer("client", bundled=True), ended(number, size))
    bundles = [message for _, message in clients.outgoing()]
    assert [[item.correlation_id for item in bundle.items] for bundle in bundles] == [
        ["0", "1", "2"],
        ["3"],
        ["4"],
        ["5"],
    ]
    assert clients.outgoing() == []


def test_who_asks_alone_is_answered_one_by_one() -> None:
    """An actor that knows nothing of bundles never gets one."""
    clients = Clients(0.0)
    answers = [ended(number, 10) for number in range(2)]
    for answer in answers:
        clients.answer(Peer("actor"), answer)
    assert clients.outgoing() == [("actor", answers[0]), ("actor", answers[1])]
