"""The testing kit: sagas in one process, with what any attempt does in a script, and a clock that the test turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from saga_actors import (
    Abort,
    Compensated,
    CompensationFailed,
    Completed,
    Coordinator,
    CoordinatorClosedError,
    FailureKind,
    NotServedError,
    Retry,
    Saga,
    SagaActorsError,
    SagaHeldError,
    SagaState,
    UnknownSagaError,
    WaitingFor,
    current_step,
    step,
)
from saga_actors.testing import (
    Act,
    Rehearsal,
    aborts,
    assert_undone,
    dies,
    fails,
    hangs,
    late,
    returns,
    times_out,
    unknown,
)

ANN: dict[str, Any] = {"by": "ann", "reason": "spoke to the bank"}


def reserve(order: dict[str, Any]) -> dict[str, Any]:
    return {"reserved": current_step().idempotency_key}


def charge(order: dict[str, Any]) -> dict[str, Any]:
    if order.get("total", 0) > 1_000:
        raise Abort("too much")
    return {"charged": order.get("total", 0)}


def undo(order: dict[str, Any]) -> None: ...


async def ship(order: dict[str, Any]) -> dict[str, Any]:
    return {"shipped": current_step().attempt}


class Buy(Saga):
    reserve = step(reserve, compensate=undo)
    charge = step(charge, compensate=undo, timeout=10, retries=Retry(1, first_delay=60.0, jitter=0.0))
    ship = step(ship, compensate=undo, on_unknown="hold")


@attrs.frozen
class Trip:
    to: str
    seat: str | None = None


class Book(Saga[Trip]):
    seat = step(lambda trip: attrs.evolve(trip, seat="12a"))


@pytest.fixture
def buying() -> Rehearsal:
    return Rehearsal(Buy)


def test_a_saga_runs_in_this_process(buying: Rehearsal) -> None:
    """Blocking and async steps are called, each with its context, and the outcome is a coordinator's."""
    outcome = buying.run(Buy, {"total": 5}, saga_id="b1")
    assert isinstance(outcome, Completed)
    assert outcome.context == {"total": 5, "reserved": buying.calls[0].key, "charged": 5, "shipped": 1}
    assert [str(call) for call in buying.calls] == ["reserve", "charge", "ship"]
    assert buying.calls[1].context == {"total": 5, "reserved": buying.calls[0].key}
    assert buying.result("b1") == outcome
    assert buying.status("b1").state is SagaState.COMPLETED
    assert [saga.saga_id for saga in buying.list()] == ["b1"]
    assert len(buying.history("b1")) == 8


def test_it_can_stand_in_for_a_coordinator(buying: Rehearsal) -> None:
    """Code that is given one needs no change."""

    def place(sagas: Coordinator) -> str:
        with sagas:
            return sagas.start(Buy, {"total": 5}, saga_id="b1")

    assert place(buying) == "b1"
    with pytest.raises(CoordinatorClosedError):
        buying.status("b1")


def test_a_typed_context_is_one_of_its_class() -> None:
    """As with a node."""
    outcome = Rehearsal(Book).run(Book, Trip("Rome"))
    assert outcome == Completed(Trip("Rome", "12a"), saga_id=outcome.saga_id)


@pytest.mark.parametrize(
    ("act", "called", "seconds"),
    [
        (fails(), 1, 60.0),
        (fails(ValueError("no"), ran=True), 2, 60.0),
        (unknown(), 2, 60.0),
        (unknown(ran=False), 1, 60.0),
        (times_out(), 2, 70.0),
        (times_out(ran=False), 1, 70.0),
        (hangs(), 1, 70.0),
        (dies(), 1, 0.0),
        (dies(ran=True), 2, 0.0),
        (late(), 1, 12.5),
        (returns({"charged": 7}), 0, 0.0),
    ],
    ids=lambda value: f"{value.course}{'-ran' * value.ran}" if isinstance(value, Act) else None,
)
def test_an_attempt_does_what_its_script_says(buying: Rehearsal, act: Act, called: int, seconds: float) -> None:
    """And the next one calls the code; the time for timeouts and retries passes at once."""
    buying.script("charge", act)
    begun, real = buying.now, time.monotonic()
    assert isinstance(buying.run(Buy, {"total": 5}), Completed)
    assert [call.step for call in buying.calls].count("charge") == called
    assert (buying.now - begun).total_seconds() == pytest.approx(seconds, abs=8.0 if act.course == "hangs" else 2.6)
    assert time.monotonic() - real < 5.0


def test_what_was_undone_is_asserted(buying: Rehearsal) -> None:
    """In its order, with the contexts of the moment; what is not so is said."""
    buying.script("ship", aborts("no ships"))
    outcome = buying.run(Buy, {"total": 5}, saga_id="b1")
    assert isinstance(outcome, Compensated)
    assert (outcome.failure.kind, outcome.failure.reason) == (FailureKind.FAILED, "no ships")
    assert_undone(buying, outcome, "charge", "reserve")
    assert [call.context.get("charged") for call in buying.calls if call.undo] == [5, None]
    with pytest.raises(AssertionError, match=r"undone were charge, reserve; expected reserve, charge; called: reserve"):
        assert_undone(buying, outcome, "reserve", "charge")
    buying.script("ship")
    completed = buying.run(Buy, {"total": 5})
    with pytest.raises(AssertionError, match="completed, and nothing was undone"):
        assert_undone(buying, completed)


def test_an_undo_that_fails_is_retried_by_an_operator(buying: Rehearsal) -> None:
    """The operators' verbs work, and the script may be changed before."""
    buying.script("ship", aborts())
    buying.script("charge", aborts("the bank is closed"), undo=True)
    outcome = buying.run(Buy, {"total": 5}, saga_id="b1")
    assert isinstance(outcome, CompensationFailed)
    assert outcome.left == ("charge", "reserve")
    with pytest.raises(AssertionError, match=r"the undo of charge failed \(the bank is closed\)"):
        assert_undone(buying, outcome, "charge", "reserve")
    buying.script("charge", undo=True)
    buying.retry("b1", **ANN)
    assert_undone(buying, buying.result("b1"), "charge", "reserve")


def test_a_saga_that_is_held_is_settled(buying: Rehearsal) -> None:
    """`run` raises, as with a node."""
    buying.script("ship", unknown())
    with pytest.raises(SagaHeldError):
        buying.run(Buy, {"total": 5}, saga_id="b1")
    buying.settle("b1", "ship", True, {"shipped": "by hand"}, **ANN)
    assert isinstance(buying.result("b1"), Completed)


def test_time_is_turned_by_hand(buying: Rehearsal) -> None:
    """`start` only begins; `advance` lets come what becomes due, and no more."""
    buying.script("charge", fails())
    buying.start(Buy, {"total": 5}, saga_id="b1")
    buying.proceed()
    assert buying.status("b1").waiting_for is WaitingFor.RETRY
    buying.advance(59)
    assert buying.status("b1").waiting_for is WaitingFor.RETRY
    buying.advance(timedelta(seconds=2))
    assert buying.status("b1").state is SagaState.COMPLETED


def test_a_deadline_is_one_of_the_rehearsals_own_time() -> None:
    """It begins when the test says."""
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    buying = Rehearsal(Buy, now=begin)
    buying.script("charge", fails())
    outcome = buying.run(Buy, {"total": 5}, deadline=begin + timedelta(seconds=30))
    assert isinstance(outcome, Compensated)
    assert outcome.failure.kind is FailureKind.DEADLINE
    assert buying.now - begin < timedelta(seconds=31)


def test_a_supervisor_that_dies_is_replaced(buying: Rehearsal) -> None:
    """What it had accepted goes on."""
    buying.start(Buy, {"total": 5}, saga_id="b1")
    buying.crash()
    assert isinstance(buying.result("b1"), Completed)


def test_events_are_told_of_a_rehearsal_too(buying: Rehearsal) -> None:
    """From its own journal."""
    buying.run(Buy, {"total": 5}, saga_id="b1")
    told = [str(event.name) for event in buying.events("b1")]
    assert told == ["started", *["step_started", "step_ok"] * 3, "completed"]


def test_what_it_does_not_know_is_refused(buying: Rehearsal) -> None:
    """A saga of another class, an id that nobody has, and the node that is not there."""
    with pytest.raises(NotServedError, match=r"not made with test_rehearsal:Book"):
        buying.run(Book, Trip("Rome"))
    with pytest.raises(UnknownSagaError):
        buying.status("nobody")
    with pytest.raises(SagaActorsError, match="no node"):
        buying.locate()


def test_a_fixture_makes_rehearsals(rehearse: Callable[..., Rehearsal]) -> None:
    """Pytest finds it by itself."""
    assert isinstance(rehearse(Buy).run(Buy, {}), Completed)
