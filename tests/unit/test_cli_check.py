"""`check`: a definition, what is undone for a failure at each step, and what may surprise."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_rig import Types
from definition_rig import CHARGE, LOG, NOTIFY, RESERVE, SHOP, plan
from hypothesis import given
from hypothesis import strategies as st

from saga_actors.cli.caveats import as_typed, caveats
from saga_actors.cli.moments import span
from saga_actors.cli.paragraph import Paragraph
from saga_actors.cli.unwinding import unwindings
from saga_actors.plan import SagaPlan, StepPlan
from saga_actors.retry import Backoff


@pytest.fixture
def shop(tmp_path: Path, types: Types) -> Iterator[Types]:
    """Commands typed beside a module with sagas."""
    (tmp_path / "checked_shop.py").write_text(SHOP)
    yield types
    sys.modules.pop("checked_shop", None)


def surprises(saga: SagaPlan, deadline: float | None = None) -> list[str]:
    return caveats(saga, unwindings(saga), deadline)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((RESERVE, CHARGE), []),
        ((RESERVE, NOTIFY), []),
        ((LOG,), []),
        ((LOG, CHARGE), ["nothing undoes log, and charge can still fail: if its effect must not stay"]),
        (
            (RESERVE, LOG),
            ["a failure of log, the last step, undoes all that was done before (reserve): if that is not"],
        ),
    ],
)
def test_what_may_surprise_is_said(steps: tuple[StepPlan, ...], expected: list[str]) -> None:
    """With what to do; and nothing else is."""
    found = surprises(plan(*steps))
    assert len(found) == len(expected)
    for warning, beginning in zip(found, expected, strict=True):
        assert warning.startswith(beginning)


def test_a_deadline_is_held_against_the_timeouts() -> None:
    """All steps together."""
    assert surprises(plan(RESERVE, CHARGE), deadline=60.0) == []
    (found,) = surprises(plan(RESERVE, CHARGE), deadline=59.0)
    assert found.startswith("a deadline of 59s is shorter than the timeouts of all steps together (1m, without retries")


def test_a_deadline_is_held_against_all_attempts() -> None:
    """With the longest waits between them: 30 s for reserve; for pay 3 times 10 s, and 60 and 90 s between."""
    pay = StepPlan("pay", True, timeout=10.0, retries=Backoff(2, first_delay=60.0, max_delay=90.0))
    assert surprises(plan(RESERVE, pay), deadline=210.0) == []
    (found,) = surprises(plan(RESERVE, pay), deadline=209.0)
    assert found.startswith("a deadline of 3m29s is shorter than all attempts of all steps with the waits between")
    assert "(3m30s)" in found


@given(st.integers(0, 400_000_000).map(lambda milliseconds: milliseconds / 1_000))
def test_a_deadline_that_is_proposed_can_be_typed(seconds: float) -> None:
    """To the millisecond, as `--deadline` reads it."""
    typed = span(as_typed(seconds))
    assert typed is not None
    assert typed.total_seconds() == pytest.approx(seconds, abs=1e-4)


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


def test_a_definition_of_one_step_is_told_in_the_singular(shop: Types) -> None:
    """And what is not the default is said."""
    said = shop("check", "-A", "checked_shop", "checked_shop:Ping")
    assert said.out.splitlines()[:2] == [
        "checked_shop:Ping: 1 step; context: dict",
        "  1 ask  timeout 30 s, 1 retry, at most once, no undo",
    ]


def test_a_context_that_cannot_be_stored_is_found(shop: Types) -> None:
    """By its path, before there is any."""
    (warning,) = json.loads(shop("check", "checked_shop:Post", "-o", "json").out)["warnings"]
    assert warning.startswith("context.sent is annotated as ")
    assert warning.endswith("; no saga can be started with it")


def test_a_deadline_is_typed_as_a_span(shop: Types) -> None:
    """And one that is none is a mistake of usage."""
    assert "a deadline of 1m is shorter" in shop("check", "checked_shop:Order", "--deadline", "60s").out
    wrong = shop("check", "checked_shop:Order", "--deadline", "soon")
    assert (wrong.code, wrong.out) == (2, "")


def test_a_saga_that_is_not_there_is_a_mistake_of_usage(shop: Types) -> None:
    """And those that there are, are named."""
    wrong = shop("check", "checked_shop:Odrer")
    assert wrong.code == 2
    assert "there are checked_shop:Order" in wrong.err


def test_what_is_long_is_broken_between_words_and_indented() -> None:
    """No name is, for somebody may want to copy it; and control characters are seen."""
    long = Paragraph("if ship fails: undone: charge_the_customer <- reserve\x1b[31m", hang=4)
    assert long.broken(30) == ["if ship fails: undone:", "    charge_the_customer <-", "    reserve\\x1b[31m"]
    assert Paragraph("charge_the_customer").broken(5) == ["charge_the_customer"]
    assert Paragraph("").broken(80) == [""]
