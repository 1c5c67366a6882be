"""Sagas for code that lives among actors: messages to the supervisor, from outside and from an actor of one's own.

`python examples/message_level.py` starts a node on a journal in a temporary folder, and prints what comes back.
"""

from __future__ import annotations

import tempfile
from typing import Any

from thespian.actors import Actor

from saga_actors import Abort, Node, Saga, connect, step
from saga_actors.messages import (
    GetHistory,
    GetStatus,
    HistoryIs,
    ListSagas,
    Refused,
    RunSaga,
    SagaEnded,
    SagasAre,
    SagaStarted,
    StartSaga,
    StatusIs,
    new_id,
)

LIMIT = 30.0
"""Seconds for which an answer is waited for; nothing is lost when it does not come: ask again."""


def reserve(order: dict[str, Any]) -> dict[str, Any]:
    """Put the items aside."""
    return {"reserved": True}


def release(order: dict[str, Any]) -> None:
    """Put them back."""


def charge(order: dict[str, Any]) -> dict[str, Any]:
    """Take the money; more than 1,000 is declined."""
    if order["total"] > 1_000:
        raise Abort("card declined")
    return {"charged": order["total"]}


def refund(order: dict[str, Any]) -> None:
    """Give it back."""


class PlaceOrder(Saga):
    """Reserve and charge."""

    reserve_inventory = step(reserve, compensate=release)
    charge_payment = step(charge, compensate=refund)


class Shop(Actor):  # type: ignore[misc, unused-ignore]  # Thespian has no types
    """An actor like any other: it has orders placed, and tells the customers how that ended."""

    def __init__(self) -> None:
        super().__init__()
        self.customers: dict[str, Any] = {}

    def receiveMessage(self, message: Any, sender: Any) -> None:
        """Pass an order on to the supervisor, or its end on to whoever wanted it."""
        match message:
            case ("place", supervisor, RunSaga() as order):
                self.customers[order.correlation_id] = sender
                self.send(supervisor, order)
            case SagaEnded() as ended:
                customer = self.customers.pop(ended.correlation_id, None)
                if customer is not None:  # an answer may come twice
                    outcome = ended.outcome(PlaceOrder)
                    self.send(customer, (ended.saga_id, type(outcome).__name__, outcome.context))
            case Refused() as refused:
                self.send(self.customers.pop(refused.correlation_id, sender), refused)


def ask(node: Node, address: Any, question: Any) -> Any:
    """The answer, told by its correlation id from one that comes late."""
    answer = node.system.ask(address, question, LIMIT)
    while answer is not None and getattr(answer, "correlation_id", None) != question.correlation_id:
        answer = node.system.listen(LIMIT)
    return answer


def from_outside(node: Node) -> None:
    """Run one order and start another; both with `ask`."""
    for saga_id, total in (("ord_1", 250), ("ord_2", 2_500)):
        ended = ask(node, node.supervisor, RunSaga.of(PlaceOrder, {"total": total}, saga_id=saga_id))
        assert isinstance(ended, SagaEnded), ended
        outcome = ended.outcome(PlaceOrder)
        print(f"{ended.saga_id}: {type(outcome).__name__}, {outcome.context}")
    started = ask(node, node.supervisor, StartSaga.of(PlaceOrder, {"total": 90}, saga_id="ord_3"))
    assert isinstance(started, SagaStarted), started
    print(f"{started.saga_id}: started")


def from_an_actor(node: Node) -> None:
    """Have an actor of our own run an order, by `send`."""
    shop = node.system.createActor(Shop)
    order = RunSaga.of(PlaceOrder, {"total": 40}, saga_id="ord_4")
    saga_id, kind, context = node.system.ask(shop, ("place", node.supervisor, order), LIMIT)
    print(f"{saga_id}: {kind}, as the shop was told: {context}")


def questions(node: Node) -> None:
    """Ask how a saga stands, at both addresses, and what happened to it."""
    for name, address in (("supervisor", node.supervisor), ("status actor", node.status_actor)):
        answer = ask(node, address, GetStatus(new_id(), "ord_2"))
        assert isinstance(answer, StatusIs), answer
        print(f"ord_2: {answer.status.state}, says the {name}")
        sagas = ask(node, address, ListSagas(new_id()))
        assert isinstance(sagas, SagasAre), sagas
        print(f"{len(sagas.sagas)} sagas, says the {name}")
        history = ask(node, address, GetHistory(new_id(), "ord_2"))
        assert isinstance(history, HistoryIs), history
        print(f"ord_2: {', '.join(type(event).__name__ for event in history.events)}")


def refusals(node: Node) -> None:
    """What is not taken says why, and changes nothing."""
    for address in (node.supervisor, node.status_actor):
        refused = ask(node, address, GetStatus(new_id(), "nobody"))
        assert isinstance(refused, Refused), refused
        print(f"refused, {refused.code}: {refused.message}")
    refused = ask(node, node.supervisor, RunSaga.of(PlaceOrder, {"total": 1}, saga_id="ord_1"))
    assert isinstance(refused, Refused), refused
    print(f"refused, {refused.code}: {refused.message}")


def main() -> None:
    """All of it, on one node."""
    with tempfile.TemporaryDirectory() as folder, connect(f"sqlite:///{folder}/sagas.db") as node:
        from_outside(node)
        from_an_actor(node)
        questions(node)
        refusals(node)


if __name__ == "__main__":
    main()
