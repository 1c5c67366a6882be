"""What is undone when a step fails, as the state machine itself has it."""

from __future__ import annotations

from definition_rig import CHARGE, LOG, NOTIFY, PLANS, RESERVE, plan
from hypothesis import given

from saga_actors.cli.unwinding import Unwinding, unwindings
from saga_actors.events import Ending
from saga_actors.outcomes import SagaState
from saga_actors.plan import OnUnknown, SagaPlan, StepPlan


def test_a_failure_undoes_what_was_done_in_reverse() -> None:
    """And a doubt undoes the step itself, too; what nothing undoes is named."""
    compensated = SagaState.COMPENSATED
    assert unwindings(plan(RESERVE, LOG, CHARGE)) == (
        Unwinding("reserve", Ending.FAILED, compensated, (), ()),
        Unwinding("reserve", Ending.UNKNOWN, compensated, ("reserve",), ()),
        Unwinding("log", Ending.FAILED, compensated, ("reserve",), ()),
        Unwinding("log", Ending.UNKNOWN, compensated, ("reserve",), (), ("log",)),
        Unwinding("charge", Ending.FAILED, compensated, ("reserve",), ("log",)),
        Unwinding("charge", Ending.UNKNOWN, compensated, ("charge", "reserve"), ("log",)),
    )


def test_options_of_a_step_change_what_becomes_of_it() -> None:
    """It may be ignored, held, or taken for failed."""
    hold = StepPlan("pay", compensable=True, on_unknown=OnUnknown.HOLD)
    assume = StepPlan("pay", compensable=True, on_unknown=OnUnknown.ASSUME_FAILED)
    assert [each.state for each in unwindings(plan(NOTIFY))] == [SagaState.COMPLETED] * 2
    assert unwindings(plan(hold))[1].state is SagaState.HELD
    assert unwindings(plan(assume))[1] == Unwinding("pay", Ending.UNKNOWN, SagaState.COMPENSATED, (), (), ("pay",))


def test_an_ignored_step_that_may_have_happened_stays_in_doubt() -> None:
    """The saga goes on either way; so the two are told apart by what nobody knows."""
    assert unwindings(plan(NOTIFY)) == (
        Unwinding("notify", Ending.FAILED, SagaState.COMPLETED, (), ()),
        Unwinding("notify", Ending.UNKNOWN, SagaState.COMPLETED, (), (), ("notify",)),
    )


@given(PLANS)
def test_whatever_is_declared_undos_come_in_reverse_and_nothing_twice(saga: SagaPlan) -> None:
    """P2, P3: what is undone, what is kept and what is in doubt are different steps, none behind the one that ended."""
    for each in unwindings(saga):
        assert list(each.undone) == sorted(each.undone, reverse=True)
        touched = [*each.undone, *each.kept]
        assert len(set(touched)) == len(touched)
        if each.state is SagaState.COMPENSATED:
            assert all(name <= each.step for name in (*touched, *each.in_doubt))


@given(PLANS)
def test_every_step_before_a_failure_is_undone_or_said_to_be_kept(saga: SagaPlan) -> None:
    """P2: none is passed over in silence."""
    for each in unwindings(saga):
        if each.state is SagaState.COMPENSATED:
            before = {step.name for step in saga.steps[: saga.places[each.step]]}
            assert before == {*each.undone, *each.kept} - {each.step}
