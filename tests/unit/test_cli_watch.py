"""`watch` without a node: the lines that it prints, and the board that it draws."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from cli_rig import JOURNAL, Types
from rich.console import Console
from stories import PLAN, Story, plan

from saga_actors.cli import account, watch
from saga_actors.cli.account import Accounts
from saga_actors.cli.board import Board, board, drawn, room
from saga_actors.events import Ending
from saga_actors.inputs import ResolveRequested
from saga_actors.journal import SqliteJournal
from saga_actors.outcomes import SagaState
from saga_actors.plan import OnUnknown
from saga_actors.retry import Backoff
from saga_actors.telemetry import EventName, TelemetryEvent

AT = 1_795_000_000.0
EVENT = TelemetryEvent(
    EventName.STEP_OK,
    datetime.fromtimestamp(AT, UTC),
    "ord_1",
    "place-order",
    {"duration": 1.5},
    {"seq": 3, "step": "reserve", "phase": "execute", "attempt": 1},
)


# Lines.


def test_one_saga_is_told_from_its_beginning_to_its_end(types: Types, journal_here: SqliteJournal) -> None:
    """A line for each event, with its id in front; then it exits with 0."""
    Story(journal_here, 1, "ord_1", at=AT).compensates()
    said = types("watch", "ord_1", *JOURNAL)
    assert said.code == 0, said.err
    told = [line.split(maxsplit=2) for line in said.out.splitlines()]
    assert [(saga_id, line.split(" (")[0].split()) for saga_id, _, line in told] == [
        ("ord_1", ["started"]),
        ("ord_1", ["step_started", "reserve"]),
        ("ord_1", ["step_ok", "reserve"]),
        ("ord_1", ["step_started", "charge"]),
        ("ord_1", ["step_failed", "charge", "failed:", "Declined"]),
        ("ord_1", ["compensating", "failed:", "charge"]),
        ("ord_1", ["step_started", "undo", "of", "reserve"]),
        ("ord_1", ["step_ok", "undo", "of", "reserve"]),
        ("ord_1", ["compensated"]),
    ]


def test_its_json_is_stable(types: Types, journal_here: SqliteJournal) -> None:
    """A line with the event's name, time and saga; and what the table of telemetry has of it."""
    Story(journal_here, 1, "ord_1", at=AT).completes()
    lines = types("watch", "ord_1", *JOURNAL, "-o", "jsonl").out.splitlines()
    assert json.loads(lines[0]) == {
        "event": "started",
        "at": "2026-11-18T11:06:40.000Z",
        "saga_id": "ord_1",
        "saga": "place-order",
        "seq": 1,
    }
    assert json.loads(lines[2]) == {
        "event": "step_ok",
        "at": "2026-11-18T11:06:42.000Z",
        "saga_id": "ord_1",
        "saga": "place-order",
        "seq": 3,
        "step": "reserve",
        "phase": "execute",
        "attempt": 1,
        "duration": 1.0,
    }
    assert json.loads(lines[-1])["event"] == "completed"


def test_a_pruned_saga_has_nothing_to_be_watched(types: Types, journal_here: SqliteJournal) -> None:
    """It ends at once."""
    Story(journal_here, 1, "ord_1", at=AT).completes()
    journal_here.prune(1, AT + 1_000, [SagaState.COMPLETED], at=AT + 2_000)
    said = types("watch", "ord_1", *JOURNAL)
    assert (said.code, said.out) == (0, "")


def test_what_is_not_there_cannot_be_watched(types: Types, journal_here: SqliteJournal) -> None:
    """An unknown saga is exit 1, a journal that is missing exit 3: nothing is waited for."""
    assert types("watch", "nobody", *JOURNAL).code == 1
    for arguments in (["watch"], ["watch", "ord_1"]):
        assert types(*arguments, "-j", "sqlite:///none.db").code == 3
    assert not Path("none.db").exists()


def test_an_interruption_is_how_one_ends_it(
    types: Types, journal_here: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It exits with 0."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "_print", interrupted)
    assert types("watch", *JOURNAL).code == 0


# The board.


@pytest.fixture
def accounts(journal_here: SqliteJournal, tmp_path: Path) -> Iterator[Accounts]:
    with account.opened(f"sqlite:///{tmp_path}/sagas.db") as opened:
        yield opened


def crowd(journal: SqliteJournal, now: float) -> None:
    """One of each kind, and some that do not belong on the board."""
    Story(journal, 1, "long_ago", at=now - 1_000).completes()
    Story(journal, 1, "just_now", at=now - 10).completes()
    Story(journal, 1, "running", at=now - 10).starts().succeeds().starts()
    Story(journal, 1, "compensating", at=now - 10).starts().succeeds().starts().fails().starts()
    Story(journal, 1, "held", plan(on_unknown=OnUnknown.HOLD), now - 500).starts().succeeds().starts().fails(
        Ending.UNKNOWN
    )
    _fatal(journal, "fatal", now - 900)
    _fatal(journal, "written_off", now - 900).happens(ResolveRequested(SagaState.FATAL, "ann", "so be it", "r1"))


def _fatal(journal: SqliteJournal, saga_id: str, at: float) -> Story:
    return Story(journal, 1, saga_id, at=at).starts().succeeds().starts().fails().starts().fails()


def test_the_board_has_what_is_stuck_first_and_what_ended_last(journal_here: SqliteJournal, accounts: Accounts) -> None:
    """What ended more than a minute ago, or was resolved by hand, is counted only."""
    crowd(journal_here, AT)
    shown = board(accounts, most=20, node=7, now=AT)
    assert [saga.saga_id for saga in shown.sagas] == ["fatal", "held", "compensating", "running", "just_now"]
    assert shown.counts[SagaState.COMPLETED] == 2
    assert shown.counts[SagaState.FATAL] == 2
    assert not shown.hidden


def test_a_saga_resolved_just_now_has_just_ended(journal_here: SqliteJournal, accounts: Accounts) -> None:
    """As any other that has."""
    _fatal(journal_here, "ord_1", AT - 20).happens(ResolveRequested(SagaState.FATAL, "ann", "so be it", "r1"))
    assert [saga.saga_id for saga in board(accounts, most=20, node=None, now=AT).sagas] == ["ord_1"]


def test_a_board_that_is_full_says_so(journal_here: SqliteJournal, accounts: Accounts) -> None:
    """The most urgent ones are on it."""
    crowd(journal_here, AT)
    shown = board(accounts, most=2, node=None, now=AT)
    assert [saga.saga_id for saga in shown.sagas] == ["fatal", "held"]
    assert shown.hidden
    assert "there are more" in printed(shown)


def printed(shown: Board, events: Sequence[TelemetryEvent] = (), width: int = 80, now: float = AT) -> str:
    console = Console(file=io.StringIO(), width=width, height=24, force_terminal=False)
    console.print(drawn(shown, events, now=now))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_line_says_where_a_saga_is_and_since_when(journal_here: SqliteJournal, accounts: Accounts) -> None:
    """Which step, which way, which attempt; the saga without its module, and the whole id."""
    again = attrs.evolve(plan(retries=Backoff(times=3)), saga="shop.sagas:PlaceOrder")
    Story(journal_here, 1, "f" * 32, again, AT - 100).starts().succeeds().starts().fails().starts(30)
    Story(journal_here, 1, "ord_2", PLAN, AT - 20).starts().succeeds().starts().fails().starts()
    _fatal(journal_here, "ord_3", AT - 606)
    text = printed(board(accounts, most=20, node=1234, now=AT), width=100)
    assert text.startswith("node 1234  1 fatal  1 compensating  1 running\n")
    assert re.search(rf"^{'f' * 32} +PlaceOrder +running +charge \(2\) +66", text, re.MULTILINE)
    assert re.search(r"^ord_2 +place-order +compensating +undo of reserve +15", text, re.MULTILINE)
    assert re.search(r"^ord_3 +place-order +fatal +undo of reserve +10 min", text, re.MULTILINE)


@pytest.mark.parametrize(("height", "width"), [(24, 80), (24, 60), (10, 80), (50, 200), (8, 80)])
def test_it_fits_the_screen(journal_here: SqliteJournal, accounts: Accounts, height: int, width: int) -> None:
    """However many sagas and events there are, and however long their names; on a screen of eight lines at least."""
    for number in range(60):
        Story(journal_here, 1, f"ord_{number}", at=AT - 10).starts()
    most, lines = room(height)
    shown = board(accounts, most=most, node=None, now=AT)
    long = attrs.evolve(EVENT, saga_id="x" * 300)
    text = printed(shown, [long] * lines, width)
    assert len(text.splitlines()) <= height
    assert max(map(len, text.splitlines())) <= width


def test_an_empty_board_says_so(accounts: Accounts) -> None:
    """And whether there is a node."""
    text = printed(board(accounts, most=5, node=None, now=AT))
    assert "no node runs" in text
    assert "nothing is under way, and nothing is stuck" in text
    assert "none yet" in text


def test_nothing_on_the_board_does_anything_to_the_terminal(journal_here: SqliteJournal, accounts: Accounts) -> None:
    """Neither names nor errors."""
    odd = attrs.evolve(PLAN, saga="place\x1b[1m")
    Story(journal_here, 1, "ord_1", odd, at=AT).starts()
    event = attrs.evolve(EVENT, metadata=EVENT.metadata | {"step": "re\x1b[2Jserve"})  # type: ignore[operator]
    text = printed(board(accounts, most=5, node=None, now=AT), [event])
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", text)
    assert "re\\x1b[2Jserve" in text
