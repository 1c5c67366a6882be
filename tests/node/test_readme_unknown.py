"""The README's own saga, among partners whose answers get lost: what may have happened is found by its key."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from premises import Premises

from saga_actors import Compensated, Completed, Coordinator
from saga_actors.events import AttemptStarted, Phase

pytestmark = pytest.mark.node

EXAMPLES = Path(__file__).parents[2] / "examples"

STEPS = ["reserve_inventory", "charge_payment", "create_shipment"]
NOTIFY = "notify_customer"

KINDS = {"unknown": "unknown", "timeout": "unknown", "death": "interrupted"}
"""What the saga says of a step that was called like this for the last time."""


@pytest.fixture
def shop(premises: Premises, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The README's shop with lossy partners, here and in the node that is started here."""
    monkeypatch.setenv("LOSSY_FOLDER", str(premises.folder))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import lossy

    return lossy


@pytest.fixture
def partners(premises: Premises, shop: ModuleType) -> Any:
    """Its partners."""
    return shop.Partners(premises.folder)


@pytest.fixture
def sagas(premises: Premises, shop: ModuleType) -> Coordinator:
    """A coordinator whose node serves it."""
    return premises.coordinator(sagas=[shop.Lossy])


def order(saga_id: str) -> dict[str, Any]:
    return {"order_id": saga_id, "total": 250}


def calls_of(step: str, how: str) -> int:
    """How often a step is called whose answers are lost: as often as its `retries`, or its `reruns`, allow."""
    return 4 if step == "charge_payment" or how == "death" else 1


def undone(sagas: Coordinator, saga_id: str) -> list[str]:
    """The steps whose undo was begun, in order."""
    begun = [event for event in sagas.history(saga_id) if isinstance(event, AttemptStarted)]
    return [event.step for event in begun if event.phase is Phase.COMPENSATE]


@pytest.mark.parametrize("step", STEPS)
def test_what_never_answered_is_undone_by_its_key(
    shop: ModuleType, partners: Any, sagas: Coordinator, step: str
) -> None:
    """Said by the step, by `unknown_on` or by a death: undone once, and all before it, in reverse (P2, P3, P6, P7)."""
    before = STEPS[: STEPS.index(step)]
    for how, kind in KINDS.items():
        partners.lose(how, step, how)
        outcome = sagas.run(shop.Lossy, order(how), saga_id=how)
        assert isinstance(outcome, Compensated), how
        assert (outcome.failure.step, outcome.failure.kind) == (step, kind)
        assert (outcome.left, outcome.in_doubt) == ((), ())
        assert undone(sagas, how) == [step, *reversed(before)]
        effects = partners.effects(how)
        assert [(effect.step, effect.calls, effect.undone) for effect in effects] == [
            *[(each, 1, 1) for each in before],
            (step, calls_of(step, how), 1),
        ]
        assert effects[-1].found_by == "key"


@pytest.mark.parametrize("step", STEPS)
def test_what_was_never_heard_is_undone_in_vain(shop: ModuleType, partners: Any, sagas: Coordinator, step: str) -> None:
    """Nobody knows that nothing was done; the undo finds nothing, and the saga ends as well (P2, P7)."""
    partners.lose("ord", step, "unheard")
    outcome = sagas.run(shop.Lossy, order("ord"), saga_id="ord")
    assert isinstance(outcome, Compensated)
    before = STEPS[: STEPS.index(step)]
    assert undone(sagas, "ord") == [step, *reversed(before)]
    assert [(effect.step, effect.undone) for effect in partners.effects("ord")] == [(each, 1) for each in before]


def test_a_customer_who_may_have_been_told_is_left_alone(shop: ModuleType, partners: Any, sagas: Coordinator) -> None:
    """A step whose failure does not matter stays in doubt, if it said so or died, and nothing is undone (P2, P7)."""
    for how, in_doubt in {"unknown": (NOTIFY,), "death": (NOTIFY,), "timeout": ()}.items():  # it has no `unknown_on`
        partners.lose(how, NOTIFY, how)
        outcome = sagas.run(shop.Lossy, order(how), saga_id=how)
        assert isinstance(outcome, Completed), how
        assert (outcome.ignored, outcome.in_doubt) == ((NOTIFY,), in_doubt), how
        assert [effect.undone for effect in partners.effects(how)] == [0, 0, 0, 0]


def test_an_answer_that_is_lost_once_is_given_again(shop: ModuleType, partners: Any, sagas: Coordinator) -> None:
    """The next call has the same key, and so the charge is made once, and the order completes (P6)."""
    for how in KINDS:
        partners.lose(how, "charge_payment", how, times=1)
        outcome = sagas.run(shop.Lossy, order(how), saga_id=how)
        assert isinstance(outcome, Completed), how
        assert (outcome.ignored, outcome.in_doubt) == ((), ())
        charged = [effect for effect in partners.effects(how) if effect.step == "charge_payment"]
        assert [(effect.calls, effect.undone) for effect in charged] == [(2, 0)]


def test_what_was_done_for_sure_is_undone_with_what_it_answered(
    shop: ModuleType, partners: Any, sagas: Coordinator
) -> None:
    """A refund of a charge that answered gets its id from the context; the others need only the key (P4)."""
    partners.lose("ord", "create_shipment", "unknown")
    assert isinstance(sagas.run(shop.Lossy, order("ord"), saga_id="ord"), Compensated)
    assert [(effect.step, effect.undone, effect.found_by) for effect in partners.effects("ord")] == [
        ("reserve_inventory", 1, "key"),
        ("charge_payment", 1, "answer"),
        ("create_shipment", 1, "key"),
    ]
