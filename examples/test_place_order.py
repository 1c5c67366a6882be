"""How a saga is tested, without a node: `pytest test_place_order.py`."""

from __future__ import annotations

from place_order import PlaceOrder

from saga_actors import Completed
from saga_actors.testing import Rehearsal, assert_undone, crash_everywhere, dies, fails, unknown

ORDER = {"order_id": "ord_1", "total": 250}


def test_an_order_is_placed() -> None:
    """All four steps are called, in order."""
    rehearsal = Rehearsal(PlaceOrder)
    assert isinstance(rehearsal.run(PlaceOrder, ORDER), Completed)
    assert [str(call) for call in rehearsal.calls] == [
        "reserve_inventory",
        "charge_payment",
        "create_shipment",
        "notify_customer",
    ]


def test_a_declined_card_undoes_the_reservation() -> None:
    """And nothing else, for nothing else was done."""
    rehearsal = Rehearsal(PlaceOrder)
    assert_undone(rehearsal, rehearsal.run(PlaceOrder, ORDER | {"total": 5_000}), "reserve_inventory")


def test_a_shipment_that_may_be_under_way_is_cancelled() -> None:
    """Nobody knows whether it is, so it is undone like what is done."""
    rehearsal = Rehearsal(PlaceOrder)
    rehearsal.script("create_shipment", unknown("the carrier gave no answer"))
    outcome = rehearsal.run(PlaceOrder, ORDER)
    assert_undone(rehearsal, outcome, "create_shipment", "charge_payment", "reserve_inventory")


def test_a_bank_that_fails_twice_is_asked_three_times() -> None:
    """The delays between take no time here; and a worker that dies costs no retry."""
    rehearsal = Rehearsal(PlaceOrder)
    rehearsal.script("charge_payment", fails(ran=True), dies(ran=True), fails(ran=True))
    assert isinstance(rehearsal.run(PlaceOrder, ORDER), Completed)
    assert len({call.key for call in rehearsal.calls if call.step == "charge_payment"}) == 1


def test_no_crash_does_harm() -> None:
    """Before and after every record, and every call."""
    crash_everywhere(PlaceOrder, ORDER).check()
