"""Starting many sagas at once, on a real node."""

from __future__ import annotations

import contextlib

import pytest
from premises import Premises
from shop import PlaceOrder

from saga_actors import Completed, ContextError, SagaIdError, StartManyError
from saga_actors.events import Accepted, AttemptSucceeded
from saga_actors.journal import open_reader

pytestmark = pytest.mark.node


def test_many_sagas_are_started_at_once_and_each_ends(premises: Premises) -> None:
    """P1, P10: an id each, in order; all accepted; and the same ids again are the same sagas."""
    with premises.coordinator() as sagas:
        contexts = [premises.context(total=n) for n in range(120)]
        ids = sagas.start_many(PlaceOrder, contexts)
        assert len(set(ids)) == 120
        outcomes = [sagas.result(saga_id) for saga_id in ids]
        assert all(isinstance(outcome, Completed) for outcome in outcomes)
        assert [outcome.context["total"] for outcome in outcomes if outcome.context] == list(range(120))
        assert sagas.start_many(PlaceOrder, contexts, saga_ids=ids) == ids
        assert len(premises.outside.names(ids[7])) == 4


def test_they_are_accepted_in_one_commit(premises: Premises) -> None:
    """One message and one commit: nothing else is written between the first and the last of them."""
    with premises.coordinator() as sagas:
        sagas.run(PlaceOrder, premises.context())
        ids = sagas.start_many(PlaceOrder, [premises.context() for _ in range(200)])
        with contextlib.closing(open_reader(premises.url)) as reader:
            told = reader.tail(0, 10_000)
    births = [one for one in told if isinstance(one.event, Accepted) and one.saga_id in ids]
    assert [birth.saga_id for birth in births] == ids
    meanwhile = [one.event for one in told if births[0].position < one.position < births[-1].position]
    assert not any(isinstance(event, AttemptSucceeded) for event in meanwhile)


def test_those_that_are_refused_are_named_and_the_others_go_on(premises: Premises) -> None:
    """P11: the error has the accepted ids, and why each other one was refused."""
    with premises.coordinator() as sagas:
        sagas.run(PlaceOrder, premises.context(total=1), saga_id="taken")
        with pytest.raises(StartManyError, match="2 sagas were accepted, 1 refused") as caught:
            sagas.start_many(
                PlaceOrder, [premises.context(total=2) for _ in range(3)], saga_ids=["one", "taken", "three"]
            )
        assert caught.value.accepted == ["one", "three"]
        assert list(caught.value.refused) == ["taken"]
        assert isinstance(caught.value.refused["taken"], SagaIdError)
        assert caught.value.unanswered == []
        assert isinstance(sagas.result("three"), Completed)


def test_a_context_that_cannot_be_stored_starts_none(premises: Premises) -> None:
    """All are encoded before the first is sent."""
    with premises.coordinator() as sagas:
        with pytest.raises(ContextError):
            sagas.start_many(PlaceOrder, [premises.context(), {"odd": object()}], saga_ids=["good", "bad"])
        assert premises.sagas_in_journal() == 0
        assert sagas.start_many(PlaceOrder, []) == []
