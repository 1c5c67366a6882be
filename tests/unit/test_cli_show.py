"""`show`: what an operator sees of a saga, from a journal without a node."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import attrs
import pytest
from cli_rig import JOURNAL, Said, Types
from stories import ONCE, PLAN, WORKER, Story, plan

from saga_actors.events import Ending, HoldReason, Phase
from saga_actors.inputs import CancelRequested, HoldRequested, RetryRequested, SkipRequested, WorkerDied
from saga_actors.journal import SqliteJournal
from saga_actors.outcomes import SagaState
from saga_actors.plan import OnUnknown, StepPlan
from saga_actors.retry import Backoff
from saga_actors.step_context import idempotency_key

AT = 1_795_000_000.0


@pytest.fixture(autouse=True)
def journal_is_set(types: Types, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the environment, which `types` has cleared, so that commands that are shown need not name it."""
    monkeypatch.setenv("SAGA_ACTORS_JOURNAL", JOURNAL[1])


def lines(said: Said) -> list[str]:
    """What was printed, without the ends that make columns, and as few spaces as tell words apart."""
    assert said.code == 0, said.err
    return [re.sub(" +", " ", line.strip()) for line in said.out.splitlines()]


def fatal(journal: SqliteJournal) -> Story:
    """Charge fails, and so does the undo of reserve: at first, and after an operator had it tried again."""
    story = Story(journal, 1, "ord_1", at=AT).starts().succeeds().starts()
    story.fails(Ending.FAILED, "card declined", "shop.Declined")
    story.starts().fails(Ending.FAILED, "gone", "shop.NoStock")
    story.happens(RetryRequested("ann", "the stock is back", "r1"))
    return story.starts().fails(Ending.FAILED, "gone", "shop.NoStock")


def test_a_fatal_saga_says_where_it_stands_and_what_may_be_done(types: Types, journal_here: SqliteJournal) -> None:
    """Why it went back, which undo failed, what is left; the keys to ask for; who did what; and commands to copy."""
    fatal(journal_here)
    shown = lines(types("show", "ord_1"))
    assert shown[0] == "ord_1 place-order: fatal"
    assert "went back charge failed: Declined: card declined" in shown
    assert "stuck the undo of reserve failed after 2 attempts: NoStock: gone" in shown
    assert "left to undo reserve" in shown
    assert f"key of its undo {idempotency_key('place-order', 'ord_1', 'reserve', Phase.COMPENSATE)}" in shown
    assert "2026-11-18 11:06:47Z ann had it tried again: the stock is back" in shown
    assert [line for line in shown if line.startswith("saga-actors")] == [
        'saga-actors retry ord_1 --reason "..."',
        'saga-actors skip ord_1 reserve --reason "..."',
        'saga-actors resolve ord_1 compensated --reason "..."',
    ]


def test_the_lanes_stand_side_by_side(types: Types, journal_here: SqliteJournal) -> None:
    """Each step on its line, and its attempts below where there was more than one; the same error only once."""
    fatal(journal_here)
    out = types("show", "ord_1").out
    reserve, failed, again = re.search(r"^reserve (.*)\n(.*)\n[^2]*(2 .*)$", out, re.MULTILINE).groups()  # type: ignore[union-attr]
    assert re.search("✓ done, 1.* s .*✗ undo failed", reserve)
    assert re.search("1 failed, 1.* s: NoStock:", failed)
    assert again.startswith("2 likewise, 1")
    assert re.search("^charge +✗ failed, 1.* s: Declined: card declined +· nothing to undo", out, re.MULTILINE)


def test_a_saga_in_doubt_is_held_with_the_key_to_ask_for(types: Types, journal_here: SqliteJournal) -> None:
    """And settled by either of two commands."""
    held = plan(on_unknown=OnUnknown.HOLD)
    Story(journal_here, 1, "ord_1", held, AT).starts().succeeds().starts().fails(Ending.UNKNOWN, "no answer")
    shown = lines(types("show", "ord_1"))
    assert shown[0] == "ord_1 place-order: held"
    assert "in doubt charge" in shown
    assert f"key of charge {idempotency_key('place-order', 'ord_1', 'charge', Phase.EXECUTE)}" in shown
    assert 'saga-actors settle ord_1 charge --happened --reason "..."' in shown
    assert 'saga-actors settle ord_1 charge --did-not-happen --reason "..."' in shown
    assert any("? in doubt: it may have happened" in line for line in shown)


def test_what_has_begun_does_not_run_where_no_node_does(types: Types, journal_here: SqliteJournal) -> None:
    """It is not said to; and when the next attempt is due, is."""
    Story(journal_here, 1, "ord_1", at=AT).starts()
    shown = " ".join(lines(types("show", "ord_1")))
    assert "at reserve, attempt 1; no node serves it: it goes on when one does" in shown
    assert re.search(r"reserve ▶ begun .* ago", shown)
    later = plan(retries=Backoff(times=2, first_delay=60.0, jitter=0.0))
    Story(journal_here, 1, "ord_2", later, at=4_000_000_000.0).starts().succeeds().starts().fails()
    assert "again at 2096-10-02 07:07:14Z" in " ".join(lines(types("show", "ord_2")))


def test_a_cancelled_saga_says_who_turned_it_back(types: Types, journal_here: SqliteJournal) -> None:
    """And what was undone by then."""
    story = Story(journal_here, 1, "ord_1", at=AT).starts().succeeds()
    story.happens(CancelRequested("the customer called", "bob", "r1")).starts().succeeds()
    shown = lines(types("show", "ord_1"))
    assert shown[0] == "ord_1 place-order: compensated"
    assert "went back cancelled: the customer called" in shown
    assert "2026-11-18 11:06:43Z bob turned it back: the customer called" in shown
    assert any(re.fullmatch("reserve ✓ done, 1.* s ✓ undone, 1.* s", line) for line in shown)
    assert "what you may do" not in shown


def test_many_attempts_are_not_all_shown(types: Types, journal_here: SqliteJournal) -> None:
    """The last ones are; JSON has all."""
    story = Story(journal_here, 1, "ord_1", plan(retries=Backoff(times=8)), AT).starts().succeeds()
    for number in range(8):
        story.starts(1_000).fails(Ending.FAILED, f"no luck {number}")
    said = types("show", "ord_1")
    assert "3 attempts before these" in said.out
    assert "no luck 7" in said.out
    assert "no luck 2" not in said.out
    charge = json.loads(types("show", "ord_1", "-o", "json").out)["steps"][1]
    assert [each["reason"] for each in charge["forward"]["attempts"]] == [f"no luck {number}" for number in range(8)]


def test_an_undo_that_was_cut_short_is_not_taken_for_one_that_runs(types: Types, journal_here: SqliteJournal) -> None:
    """It is held, and says where."""
    story = Story(journal_here, 1, "ord_1", at=AT).starts().succeeds().starts().fails()
    while story.execution.state is not SagaState.HELD:
        story.starts().happens(WorkerDied(WORKER))
    shown = lines(types("show", "ord_1"))
    assert "run the undo of reserve again" in shown
    assert any("reserve ✓ done, 1" in line and "… to be tried again" in line for line in shown)
    assert any("key of its undo" in line for line in shown)


def test_its_json_is_stable(types: Types, journal_here: SqliteJournal) -> None:
    """To the letter, as others read it with programs; beside the fields of `status`, which has its own test."""
    story = Story(journal_here, 1, "ord_1", at=AT, context=b'{"n":1}').starts().succeeds(b'{"n":2}').starts()
    story.fails(Ending.FAILED, "card declined", "shop.Declined").starts().fails(Ending.FAILED, "gone", "X")
    story.happens(SkipRequested("reserve", "ann", "by hand", "r1"))
    status = json.loads(types("status", "ord_1", "-o", "json").out)
    shown = json.loads(types("show", "ord_1", "-o", "json").out)
    assert {name: shown.pop(name) for name in status} == status
    assert shown.pop("steps") == STEPS
    assert shown == {
        "went_back_for": _failed("charge", "card declined", "shop.Declined"),
        "undo_failure": None,
        "unreadable": None,
        "commands": [],
        "deadline": None,
        "operations": [
            {
                "at": "2026-11-18T11:06:47.000Z",
                "action": "skip",
                "what": "undid reserve by hand",
                "by": "ann",
                "reason": "by hand",
            }
        ],
    }


def _failed(step: str, reason: str, error_type: str) -> dict[str, object]:
    return {
        "kind": "failed",
        "step": step,
        "reason": reason,
        "error_type": error_type,
        "attempts": 1,
        "cause": None,
    }


def _attempt(began: int, ending: str, reason: str | None = None, error_type: str | None = None) -> dict[str, object]:
    return {
        "attempt": 1,
        "ending": ending,
        "started_at": f"2026-11-18T11:06:{began}.000Z",
        "ended_at": f"2026-11-18T11:06:{began + 1}.000Z",
        "reason": reason,
        "error_type": error_type,
        "quiet": True,
        "again_at": None,
    }


STEPS = [
    {
        "step": "reserve",
        "has_undo": True,
        "forward": {
            "standing": "done",
            "idempotency_key": idempotency_key("place-order", "ord_1", "reserve", Phase.EXECUTE),
            "attempts": [_attempt(41, "succeeded")],
            "settled_by": None,
        },
        "back": {
            "standing": "skipped",
            "idempotency_key": idempotency_key("place-order", "ord_1", "reserve", Phase.COMPENSATE),
            "attempts": [_attempt(45, "failed", "gone", "X")],
        },
    },
    {
        "step": "charge",
        "has_undo": True,
        "forward": {
            "standing": "failed",
            "idempotency_key": idempotency_key("place-order", "ord_1", "charge", Phase.EXECUTE),
            "attempts": [_attempt(43, "failed", "card declined", "shop.Declined")],
            "settled_by": None,
        },
        "back": {
            "standing": "nothing_to_undo",
            "idempotency_key": idempotency_key("place-order", "ord_1", "charge", Phase.COMPENSATE),
            "attempts": [],
        },
    },
]


def test_contexts_are_shown_only_if_asked_for(types: Types, journal_here: SqliteJournal) -> None:
    """Before each step that was begun, and at the end; indented, in either form."""
    Story(journal_here, 1, "ord_1", at=AT, context=b'{"n":"first"}').starts().succeeds(b'{"n":"second"}')
    for form in ("text", "json"):
        assert "first" not in types("show", "ord_1", "-o", form).out
    text = types("show", "ord_1", "--context").out
    assert 'context before reserve\n  {\n    "n": "first"\n  }\n' in text
    assert 'context now\n  {\n    "n": "second"\n  }\n' in text
    assert "context before charge" not in text
    shown = json.loads(types("show", "ord_1", "--context", "-o", "json").out)
    assert [step["context_before"] for step in shown["steps"]] == [{"n": "first"}, None]
    assert shown["context"] == {"n": "second"}


def test_nothing_that_is_shown_does_anything_to_the_terminal(types: Types, journal_here: SqliteJournal) -> None:
    """No reason, no name, no context."""
    context = json.dumps({"a\x1b[2J": "b\u202e\r"}).encode()
    odd = attrs.evolve(PLAN, saga="place\x1b[1m", steps=(StepPlan("re\x07serve", compensable=True, retries=ONCE),))
    Story(journal_here, 1, "ord_1", odd, context=context).starts().fails(
        Ending.FAILED, "declined\x1b[2J\r\n", "x\u202ey"
    )
    for arguments in (["--context"], ["-o", "json", "--context"]):
        said = types("show", "ord_1", *arguments)
        assert said.code == 0
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", said.out)


def test_no_line_is_wider_than_a_terminal(types: Types, journal_here: SqliteJournal) -> None:
    """But a command, which is to be copied."""
    Story(journal_here, 1, "ord_1").starts().succeeds().starts().fails(Ending.FAILED, "why " * 100, "a.Long" * 20)
    shown = types("show", "ord_1").out.splitlines()
    assert shown
    for line in shown:
        assert len(line) <= 80 or line.startswith("    saga-actors")


# Sagas of which there is less to tell.


@pytest.fixture
def damaged(journal_here: SqliteJournal, tmp_path: Path) -> Iterator[apsw.Connection]:
    """A journal with a fatal saga, and a hand on it."""
    fatal(journal_here)
    with contextlib.closing(apsw.Connection(str(tmp_path / "sagas.db"))) as db:
        yield db


def test_a_saga_that_cannot_be_read_is_summed_up(types: Types, damaged: apsw.Connection) -> None:
    """With what is wrong."""
    damaged.execute("UPDATE event SET body = x'00' WHERE seq = 3")
    shown = lines(types("show", "ord_1"))
    assert shown[0] == "ord_1 place-order: fatal"
    assert "unreadable saga 'ord_1', record 3: its checksum does not match" in shown
    assert not any(line.startswith(("STEP", "held")) for line in shown)
    found = json.loads(types("show", "ord_1", "-o", "json").out)
    assert (found["state"], found["steps"]) == ("fatal", [])
    assert "ord_1" in found["unreadable"]


def test_a_saga_that_kills_whoever_folds_it_is_not_folded(types: Types, journal_here: SqliteJournal) -> None:
    """It is held, and says so; an operator may have it tried again, or end it."""
    Story(journal_here, 1, "ord_1").starts().happens(HoldRequested(HoldReason.CRASHED, "it took the node down twice"))
    shown = lines(types("show", "ord_1"))
    assert "held crashed: it took the node down twice" in shown
    assert not any(line.startswith("STEP") for line in shown)
    assert 'saga-actors retry ord_1 --reason "..."' in shown


def test_a_pruned_saga_is_shown_as_its_tombstone_has_it(types: Types, journal_here: SqliteJournal) -> None:
    """How it ended, and no more."""
    Story(journal_here, 1, "ord_1", at=AT).completes()
    journal_here.prune(1, AT + 1_000, [SagaState.COMPLETED], at=AT + 2_000)
    shown = lines(types("show", "ord_1"))
    assert shown[0] == "ord_1 place-order: completed"
    assert "pruned only how it ended is still kept" in shown
    assert json.loads(types("show", "ord_1", "-o", "json").out)["pruned"] is True


def test_an_unknown_saga_is_an_error(types: Types, journal_here: SqliteJournal) -> None:
    """Exit 1, in a sentence."""
    said = types("show", "nobody")
    assert (said.code, said.out) == (1, "")
    assert "has no saga 'nobody'" in said.err


def test_showing_makes_no_file(types: Types, journal_here: SqliteJournal) -> None:
    """Beside a journal that is open."""
    fatal(journal_here)
    before = sorted(os.listdir())
    assert types("show", "ord_1").code == 0
    assert sorted(os.listdir()) == before
