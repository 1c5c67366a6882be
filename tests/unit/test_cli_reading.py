"""`status`, `history` and `list`, from a journal without a node; and that their JSON is what the documentation says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from cli_rig import JOURNAL, Types
from stories import PLAN, Story

from saga_actors.events import Ending
from saga_actors.journal import SqliteJournal
from saga_actors.plan import OnFailure, OnUnknown, SagaPlan, StepPlan
from saga_actors.retry import Backoff

DOCUMENT = Path(__file__).parents[2] / "docs" / "command-line.md"
AT = 1_795_000_000.0


def orders(journal: SqliteJournal) -> None:
    """Three: one that was undone, one that waits for its step, and one that completed."""
    context = b'{"order_id":"ord_123","total":250}'
    undone = Story(journal, 1, "ord_123", at=AT, context=context).starts().succeeds(b'{"order_id":"ord_123","res":7}')
    undone.starts().fails(Ending.FAILED, "card declined", "shop.Declined").starts().succeeds()
    Story(journal, 1, "ord_124", at=AT + 60).starts()
    Story(journal, 1, "ord_125", at=AT + 120).starts().succeeds().starts().succeeds()


def a_bad_night(journal: SqliteJournal) -> None:
    """Two: one whose undo failed, and one of which nobody knows whether it was charged."""
    fatal = Story(journal, 1, "ord_131", NIGHTLY, AT).starts(0.2).succeeds(b'{"reservation":"r1"}')
    fatal.starts(0.1).fails(Ending.FAILED, "bank said 503", "bank.Unavailable")
    fatal.starts(2.0).succeeds(b'{"reservation":"r1","charge":"c1"}')
    fatal.starts(0.1).fails(Ending.FAILED, "no carrier ships to the Moon", "shop.NoCarrier", retryable=False)
    fatal.starts(0.1).fails(Ending.FAILED, "bank said 503", "bank.Unavailable")
    fatal.starts(3.0).fails(Ending.FAILED, "bank said 503", "bank.Unavailable")
    held = Story(journal, 1, "ord_132", NIGHTLY, AT + 60).starts(0.2).succeeds(b'{"reservation":"r2"}')
    held.starts(0.1).fails(Ending.UNKNOWN, "no answer within 9 s", "TimeoutError")
    held.starts(2.0).fails(Ending.FAILED, "bank said 503", "bank.Unavailable", retryable=False)


NIGHTLY = SagaPlan(
    "shop.sagas:PlaceOrder",
    (
        StepPlan("reserve_inventory", compensable=True),
        StepPlan(
            "charge_payment",
            compensable=True,
            retries=Backoff(2, 1.0, jitter=0.0),
            compensate_retries=Backoff(1, 2.0, jitter=0.0),
            on_unknown=OnUnknown.HOLD,
        ),
        StepPlan("create_shipment", compensable=True),
        StepPlan("notify_customer", on_failure=OnFailure.IGNORE),
    ),
)


def documented(command: str) -> str:
    """What the documentation shows as the output of this command."""
    block = re.search(rf"```console\n\$ {re.escape(command)}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert block is not None, f"docs/command-line.md does not show: {command}"
    return block.group(1)


@pytest.mark.parametrize(
    "command",
    [
        "saga-actors status ord_123",
        "saga-actors list",
        "saga-actors list --state running -o json",
        "saga-actors status ord_123 -o json",
        "saga-actors history ord_123",
        "saga-actors history ord_123 --context -o jsonl",
    ],
)
def test_it_prints_what_the_documentation_shows(
    types: Types, journal_here: SqliteJournal, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """To the letter: others read it with programs."""
    orders(journal_here)
    monkeypatch.setenv("SAGA_ACTORS_JOURNAL", JOURNAL[1])
    assert printed(types, command) == documented(command)


@pytest.mark.parametrize("command", ["saga-actors stuck", "saga-actors show ord_131"])
def test_its_screens_are_those_of_the_documentation(
    types: Types, journal_here: SqliteJournal, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Of a bad night, at 80 columns and without colour."""
    a_bad_night(journal_here)
    monkeypatch.setenv("SAGA_ACTORS_JOURNAL", JOURNAL[1])
    assert printed(types, command) == documented(command)


def printed(types: Types, command: str) -> str:
    """What the command prints, without the blanks that fill its lines."""
    said = types(*command.split()[1:])
    assert said.code == 0, said.err
    return "\n".join(line.rstrip() for line in said.out.splitlines()) + "\n"


def test_a_list_is_filtered_and_says_that_there_is_more(types: Types, journal_here: SqliteJournal) -> None:
    """By state, name, and when it was accepted."""
    orders(journal_here)

    def ids(*options: str) -> list[str]:
        return [
            json.loads(line)["saga_id"] for line in types("list", *JOURNAL, "-o", "jsonl", *options).out.splitlines()
        ]

    assert ids() == ["ord_125", "ord_124", "ord_123"]
    assert ids("--state", "completed") == ["ord_125"]
    assert (
        ids("--saga", PLAN.saga, "--since", "2026-11-18T09:47:00Z") == ["ord_125", "ord_124"]
        or ids("--since", "1s") == []
    )
    said = types("list", *JOURNAL, "--limit", "2")
    assert "ord_123" not in said.out
    assert "there are more than 2" in said.err
    assert types("list", *JOURNAL, "--state", "held").err == "no sagas\n"


@pytest.mark.parametrize(("saga_id", "code"), [("ord_123", 10), ("ord_124", 0), ("ord_125", 0)])
def test_a_status_is_an_exit_code_if_asked_for(
    types: Types, journal_here: SqliteJournal, saga_id: str, code: int
) -> None:
    """And 0 if not."""
    orders(journal_here)
    assert types("status", saga_id, *JOURNAL, "--exit-code").code == code
    assert types("status", saga_id, *JOURNAL).code == 0


def test_what_a_saga_waits_for_is_said(types: Types, journal_here: SqliteJournal) -> None:
    """And that no node serves it."""
    Story(journal_here, 1, "ord_1").starts()
    said = types("status", "ord_1", *JOURNAL).out
    assert said.startswith("ord_1 place-order: running; at reserve, attempt 1; waits for its step; no node serves it;")


def test_no_name_does_anything_to_the_terminal(types: Types, journal_here: SqliteJournal) -> None:
    """Nor does a reason: they come from elsewhere."""
    Story(journal_here, 1, "ord_1").starts().fails(Ending.FAILED, "declined\x1b[2J\r\nfoo", "x\u202ey")
    for verb in ("status", "history"):
        for form in ("text", "json", "jsonl"):
            said = types(verb, "ord_1", *JOURNAL, "-o", form)
            assert said.code == 0
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", said.out)
    assert "declined\\x1b[2J\\r\\nfoo" in types("history", "ord_1", *JOURNAL).out


def test_contexts_are_printed_only_if_asked_for(types: Types, journal_here: SqliteJournal) -> None:
    """They may be secret; and text has no room for them."""
    Story(journal_here, 1, "ord_1").starts().succeeds(b'{"card":"secret"}')
    for form in ("text", "json", "jsonl"):
        assert "secret" not in types("history", "ord_1", *JOURNAL, "-o", form).out
    assert "secret" in types("history", "ord_1", *JOURNAL, "-o", "json", "--context").out
    assert types("history", "ord_1", *JOURNAL, "--context").code == 2


def test_reading_makes_no_file(types: Types, journal_here: SqliteJournal) -> None:
    """Neither beside a journal that was closed, nor where there is none."""
    orders(journal_here)
    journal_here.close()
    before = sorted(os.listdir())
    for arguments in (["status", "ord_123"], ["list"], ["history", "ord_123"]):
        assert types(*arguments, *JOURNAL).code == 0
    assert sorted(os.listdir()) == before
