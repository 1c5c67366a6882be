"""`check` and `graph`: what is undone when a step fails, as the state machine itself has it; and how that looks."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_rig import Types
from hypothesis import given
from hypothesis import strategies as st

from saga_actors.cli.graph import as_mermaid, as_text
from saga_actors.cli.unwinding import Unwinding, unwindings, warnings
from saga_actors.events import Ending
from saga_actors.outcomes import SagaState
from saga_actors.plan import OnFailure, OnUnknown, SagaPlan, StepPlan

MODULE = """
import attrs
from saga_actors import Saga, step

def go(context): ...

class Order(Saga, max_running=5):
    reserve = step(go, compensate=go)
    charge = step(go, compensate=go, timeout=10, retries=3)
    log = step(go)
    ship = step(go, compensate=go, on_unknown="hold")
    notify = step(go, on_failure="ignore")
"""


@pytest.fixture
def shop(tmp_path: Path, types: Types) -> Iterator[Types]:
    """Commands typed beside a module with a saga."""
    (tmp_path / "checked_shop.py").write_text(MODULE)
    yield types
    sys.modules.pop("checked_shop", None)


def plan(*steps: StepPlan) -> SagaPlan:
    return SagaPlan("order", steps)


RESERVE, CHARGE = StepPlan("reserve", compensable=True), StepPlan("charge", compensable=True)
LOG, NOTIFY = StepPlan("log"), StepPlan("notify", on_failure=OnFailure.IGNORE)


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


STEPS = st.builds(
    StepPlan,
    st.just(""),
    compensable=st.booleans(),
    on_failure=st.sampled_from(OnFailure),
    on_unknown=st.sampled_from(OnUnknown),
)


@given(st.lists(STEPS, min_size=1, max_size=5))
def test_whatever_is_declared_undos_come_in_reverse_and_nothing_twice(steps: list[StepPlan]) -> None:
    """P2, P3: what is undone, what is kept and what is in doubt are different steps, none behind the one that ended."""
    named = [
        StepPlan(f"s{n}", s.compensable, on_failure=s.on_failure, on_unknown=s.on_unknown) for n, s in enumerate(steps)
    ]
    for each in unwindings(plan(*named)):
        assert list(each.undone) == sorted(each.undone, reverse=True)
        touched = [*each.undone, *each.kept]
        assert len(set(touched)) == len(touched)
        if each.state is SagaState.COMPENSATED:
            assert all(name <= each.step for name in (*touched, *each.in_doubt))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((RESERVE, CHARGE), []),
        ((RESERVE, NOTIFY), []),
        ((LOG,), []),
        ((LOG, CHARGE), ["nothing undoes log, and charge can still fail: give it a compensate"]),
        (
            (RESERVE, LOG),
            ["a failure of log, the last step, undoes all that was done before (reserve): if that is not"],
        ),
    ],
)
def test_what_may_surprise_is_said(steps: tuple[StepPlan, ...], expected: list[str]) -> None:
    """With what to do; and nothing else is."""
    found = warnings(plan(*steps))
    assert len(found) == len(expected)
    for warning, beginning in zip(found, expected, strict=True):
        assert warning.startswith(beginning)


def test_a_deadline_is_held_against_the_timeouts() -> None:
    """All steps together."""
    assert warnings(plan(RESERVE, CHARGE), deadline=60.0) == ()
    (found,) = warnings(plan(RESERVE, CHARGE), deadline=59.0)
    assert found.startswith("a deadline of 59 s is shorter than the timeouts of all steps together (60 s")


def test_a_definition_is_checked(shop: Types) -> None:
    """Its steps, what is undone for each, and its warnings; `--strict` makes an exit code of these."""
    said = shop("check", "checked_shop:Order")
    assert said.code == 0, said.err
    for line in (
        "checked_shop:Order: 5 steps, at most 5 at a time; context: dict",
        "  2 charge   timeout 10 s, 3 retries, undo: timeout 10 s, 3 retries",
        "  4 ship     timeout 30 s, held if unknown, undo: timeout 30 s, 3 retries",
        "  5 notify   timeout 30 s, its failure is ignored, no undo",
        "if charge fails: undone: reserve",
        "if charge may have happened: undone: charge <- reserve",
        "if ship may have happened: the saga is held, and an operator says",
        "1 warning",
    ):
        assert line in said.out.splitlines()
    assert "warning: nothing undoes log, and ship can still fail" in said.out
    assert shop("check", "checked_shop:Order", "--strict").code == 1


def test_a_definition_is_checked_for_programs(shop: Types) -> None:
    """JSON, with the same."""
    told = json.loads(shop("check", "checked_shop:Order", "-o", "json").out)
    assert told.keys() == {"saga", "fingerprint", "context", "max_running", "steps", "unwindings", "warnings"}
    assert told["unwindings"][2] == {
        "step": "charge",
        "ending": "failed",
        "state": "compensated",
        "undone": ["reserve"],
        "kept": [],
        "in_doubt": [],
    }


def test_a_definition_is_drawn(shop: Types) -> None:
    """Forward goes down, back goes up."""
    assert (
        shop("graph", "checked_shop:Order").out
        == """\
forward                  back
                         compensated
    ▼                        ▲
reserve    ── fails ──▶      │
    ▼                        ▲
charge     ── fails ──▶  undo of reserve
    ▼                        ▲
log        ── fails ──▶  undo of charge
    ▼                        ▲
ship       ── fails ──▶      │
    ▼                        ▲
notify     ── ignored    undo of ship
    ▼
completed
"""
    )


def test_a_definition_is_drawn_for_mermaid(shop: Types) -> None:
    """Every node that an edge leads to is there."""
    said = shop("graph", "checked_shop:Order", "--format", "mermaid").out
    assert said.startswith("flowchart TD\n")
    drawn = set(re.findall(r"^    (\w+)[\[(]", said, re.MULTILINE)) | {"accepted"}
    assert set(re.findall(r"> (\w+)$", said, re.MULTILINE)) <= drawn
    for edge in (
        "s2 -. fails .-> u1",
        "s2 -. may have happened .-> u2",
        "s4 -. may have happened .-> held",
        "u4 --> u2",
    ):
        assert f"    {edge}\n" in said


@given(st.text(min_size=1, max_size=30))
def test_no_name_breaks_a_picture(name: str) -> None:
    """Whatever characters it has."""
    odd = plan(StepPlan(name, compensable=True), LOG)
    assert len(list(as_text(odd))) == 8
    node = next(line for line in as_mermaid(odd) if line.startswith("    s1["))
    assert re.fullmatch(r'    s1\["[\w #;-]*"\]', node)
