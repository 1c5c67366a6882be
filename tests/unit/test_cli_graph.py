"""`graph`: a definition as a picture, which says what the state machine does."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_rig import Types
from definition_rig import CHARGE, LOG, PLANS, RESERVE, SHOP, plan
from hypothesis import given
from hypothesis import strategies as st

from saga_actors.cli.graph import as_mermaid, as_text, notes
from saga_actors.cli.unwinding import Unwinding, unwindings
from saga_actors.events import Ending
from saga_actors.outcomes import SagaState
from saga_actors.plan import OnUnknown, SagaPlan, StepPlan


@pytest.fixture
def shop(tmp_path: Path, types: Types) -> Iterator[Types]:
    """Commands typed beside a module with a saga."""
    (tmp_path / "drawn_shop.py").write_text(SHOP)
    yield types
    sys.modules.pop("drawn_shop", None)


def test_a_definition_is_drawn(shop: Types) -> None:
    """Forward goes down, back goes up."""
    assert (
        shop("graph", "drawn_shop:Order").out
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
notify     ╳ ignored     undo of ship
    ▼
completed

undone as well if it may have happened: reserve, charge
held for an operator if it may have happened: ship
fatal if an undo fails for good
"""
    )


def test_a_definition_is_drawn_for_mermaid(shop: Types) -> None:
    """Every node that an edge leads to is there."""
    said = shop("graph", "drawn_shop:Order", "--format", "mermaid").out
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


def test_notes_say_only_what_can_be() -> None:
    """Nothing of undos where there are none."""
    assert list(notes(plan(LOG))) == []
    assert list(notes(plan(RESERVE, CHARGE))) == [
        "undone as well if it may have happened: reserve, charge",
        "fatal if an undo fails for good",
    ]
    assert list(notes(plan(StepPlan("pay", on_unknown=OnUnknown.HOLD)))) == [
        "held for an operator if it may have happened: pay"
    ]


Edges = dict[tuple[str, str], str]
"""Where one leads, by where it begins and what stands on it."""

ALL_EDGES = re.compile(r"^    (\w+)(?:\(\[\w+\]\))? -(?:->|\. ([a-z ]+) \.->) (\w+)$", re.MULTILINE)


def walked(edges: Edges, unwinding: Unwinding) -> tuple[str, list[str]]:
    """Which end a step's end leads to in a picture for mermaid, and past which undos."""
    at, undone = unwinding.step, list[str]()
    said = ["may have happened", "fails", ""] if unwinding.ending is Ending.UNKNOWN else ["fails", ""]
    at = next(edges[at, label] for label in said if (at, label) in edges)
    for _ in edges:  # a picture that goes round in circles has no end
        if (at, "") not in edges:
            break
        if at.startswith("u"):
            undone.append(f"s{at[1:]}")
        at = edges[at, ""]
    return at, undone


@given(PLANS)
def test_a_picture_for_mermaid_leads_where_the_saga_goes(saga: SagaPlan) -> None:
    """P2, P3: whichever step fails or is in doubt, its edges pass the undos that are run, to the end that is met."""
    edges = {(start, label): end for start, label, end in ALL_EDGES.findall("\n".join(as_mermaid(saga)))}
    for unwinding in unwindings(saga):
        assert walked(edges, unwinding) == (unwinding.state, list(unwinding.undone))


@given(PLANS)
def test_a_picture_in_text_leads_where_the_saga_goes(saga: SagaPlan) -> None:
    """P2, P3: up from the row of a step that fails stand the undos that are run; one that does not matter leads on."""
    rows = list(as_text(saga))
    back = rows[0].index("back")
    for unwinding in unwindings(saga):
        if unwinding.ending is not Ending.FAILED:
            continue
        here = next(at for at, row in enumerate(rows) if row.split()[:1] == [unwinding.step])
        assert ("fails" in rows[here]) is (unwinding.state is SagaState.COMPENSATED)
        above = [row[back:].removeprefix("undo of ") for row in rows[here:1:-1] if row[back:].startswith("undo of ")]
        assert unwinding.state is SagaState.COMPLETED or above == list(unwinding.undone)


@given(st.text(min_size=1, max_size=30))
def test_no_name_breaks_a_picture(name: str) -> None:
    """Whatever characters it has."""
    odd = plan(StepPlan(name, compensable=True), LOG)
    assert len(list(as_text(odd))) == 8
    node = next(line for line in as_mermaid(odd) if line.startswith("    s1["))
    assert re.fullmatch(r'    s1\["[\w #;-]*"\]', node)
