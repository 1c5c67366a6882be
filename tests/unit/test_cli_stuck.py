"""`stuck`: what waits for an operator, and commands that can be copied."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from pathlib import Path

import apsw
import attrs
import click
import pytest
from cli_rig import JOURNAL, Types
from stories import WORKER, Story, plan

from saga_actors.cli.main import saga_actors
from saga_actors.cli.remedies import Setting, remedies
from saga_actors.events import Ending, HoldReason
from saga_actors.inputs import HoldRequested, ResolveRequested, WorkerDied
from saga_actors.journal import Journal, MemoryJournal, SqliteJournal
from saga_actors.outcomes import Action, SagaState
from saga_actors.plan import OnUnknown
from saga_actors.status import status_of

AT = 1_795_000_000.0
HELD_PLAN = plan(on_unknown=OnUnknown.HOLD)


def fatal(journal: Journal, saga_id: str, at: float = AT) -> Story:
    return Story(journal, 1, saga_id, at=at).starts().succeeds().starts().fails().starts().fails(reason="gone")


def held(journal: Journal, saga_id: str, at: float = AT) -> Story:
    return Story(journal, 1, saga_id, HELD_PLAN, at).starts().succeeds().starts().fails(Ending.UNKNOWN)


def orders(journal: SqliteJournal) -> None:
    """A fatal and a held one, and others that need nobody."""
    held(journal, "ord_2", AT + 100)
    fatal(journal, "ord_1")
    Story(journal, 1, "ord_3", at=AT).completes()
    fatal(journal, "ord_4").happens(ResolveRequested(SagaState.FATAL, "ann", "written off", "r1"))


def ids(text: str) -> list[str]:
    return [json.loads(line)["saga_id"] for line in text.splitlines()]


def test_those_come_first_that_wait_longest(types: Types, journal_here: SqliteJournal) -> None:
    """Fatal or held; not those that have ended well, nor one that was resolved by hand."""
    orders(journal_here)
    assert ids(types("stuck", *JOURNAL, "-o", "jsonl").out) == ["ord_1", "ord_2"]


def test_it_says_why_since_when_and_what_would_help(
    types: Types, journal_here: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the letter, for it is read at night."""
    orders(journal_here)
    monkeypatch.setenv("SAGA_ACTORS_JOURNAL", JOURNAL[1])
    said = types("stuck")
    assert "\n".join(line.rstrip() for line in said.out.splitlines()) == (
        "ord_1 place-order: fatal since 2026-11-18 11:06:46Z\n"
        "  the undo of reserve failed: Declined: gone\n"
        "  it went back because charge failed: Declined: card canary-4111 declined\n"
        '    saga-actors retry ord_1 --reason "..."\n'
        '    saga-actors skip ord_1 reserve --reason "..."\n'
        '    saga-actors resolve ord_1 compensated --reason "..."\n'
        "\n"
        "ord_2 place-order: held since 2026-11-18 11:08:24Z\n"
        "  unknown outcome: nobody knows whether step 'charge' happened; settle it, or\n"
        "  retry it\n"
        '    saga-actors retry ord_2 --reason "..."\n'
        '    saga-actors settle ord_2 charge --happened --reason "..."\n'
        '    saga-actors settle ord_2 charge --did-not-happen --reason "..."\n'
        '    saga-actors cancel ord_2 --reason "..."\n'
        '    saga-actors resolve ord_2 compensated --reason "..."'
    )
    assert said.err == ""


def test_its_json_has_the_status_the_reasons_and_the_commands(types: Types, journal_here: SqliteJournal) -> None:
    """But not whether a node serves it, for none is asked."""
    fatal(journal_here, "ord_1")
    (found,) = json.loads(types("stuck", *JOURNAL, "-o", "json").out)
    status = json.loads(types("status", "ord_1", *JOURNAL, "-o", "json").out)
    del status["served"]
    assert {name: found.pop(name) for name in status} == status
    assert found.pop("went_back_for")["step"] == "charge"
    assert found.pop("undo_failure")["reason"] == "gone"
    assert len(found.pop("commands")) == 3
    assert found == {"unreadable": None}


def test_nothing_stuck_is_said_and_no_error(types: Types, journal_here: SqliteJournal) -> None:
    """On the other output, so that a pipe has nothing; `--exit-code` tells the two apart."""
    Story(journal_here, 1, "ord_3").completes()
    said = types("stuck", *JOURNAL, "--exit-code")
    assert (said.code, said.out, said.err) == (0, "", "nothing is stuck\n")
    assert json.loads(types("stuck", *JOURNAL, "-o", "json").out) == []
    fatal(journal_here, "ord_1")
    assert types("stuck", *JOURNAL, "--exit-code").code == 1
    assert types("stuck", *JOURNAL).code == 0


def test_it_says_that_there_are_more(types: Types, journal_here: SqliteJournal) -> None:
    """Whichever state they are in; not if there are just so many."""
    orders(journal_here)
    said = types("stuck", *JOURNAL, "--limit", "1", "-o", "jsonl")
    assert ids(said.out) == ["ord_1"]
    assert "there are more than 1" in said.err
    assert "there are more" not in types("stuck", *JOURNAL, "--limit", "2").err


def test_unfinished_sagas_without_a_node_are_told_of(types: Types, journal_here: SqliteJournal) -> None:
    """They are not stuck, but wait for a node, and nobody else says so."""
    Story(journal_here, 1, "ord_1").starts()
    Story(journal_here, 1, "ord_2").starts().succeeds().starts().fails()
    said = types("stuck", *JOURNAL)
    assert said.out == ""
    assert "2 sagas are unfinished, and no node runs; start one: saga-actors up" in said.err


def test_what_cannot_be_read_is_stuck(types: Types, journal_here: SqliteJournal, tmp_path: Path) -> None:
    """A fatal saga without legible records may have been resolved, but nobody can tell; nor of a summary."""
    fatal(journal_here, "ord_1")
    fatal(journal_here, "ord_2")
    with contextlib.closing(apsw.Connection(str(tmp_path / "sagas.db"))) as db:
        db.execute("UPDATE event SET body = x'00' WHERE seq = 3 AND saga = 1")
        db.execute("UPDATE saga SET digest = 'another' WHERE number = 2")
    said = types("stuck", *JOURNAL)
    assert "unreadable: saga 'ord_1', record 3: its checksum does not match" in said.out
    assert re.search(r"^ord_2 : held\n +corrupt: the summary of saga 'ord_2'", said.out, re.MULTILINE)


def test_it_makes_no_file(types: Types, journal_here: SqliteJournal) -> None:
    """It only reads."""
    orders(journal_here)
    before = sorted(os.listdir())
    assert types("stuck", *JOURNAL).code == 0
    assert sorted(os.listdir()) == before


def test_without_a_journal_it_exits_with_3(types: Types) -> None:
    """And makes none."""
    assert types("stuck", *JOURNAL).code == 3
    assert os.listdir() == []


# The commands.


def test_a_journal_that_was_named_by_a_flag_is_in_the_commands(
    types: Types, journal_here: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the environment or of pyproject.toml need not be, unless that is elsewhere."""
    fatal(journal_here, "ord_1")
    by_flag = f'saga-actors retry ord_1 --reason "..." -j sqlite:///{Path.cwd()}/sagas.db\n'
    assert by_flag in types("stuck", *JOURNAL).out
    assert by_flag in types("show", "ord_1", *JOURNAL).out
    Path("pyproject.toml").write_text(f'[tool.saga-actors]\njournal = "{JOURNAL[1]}"\n')
    assert 'saga-actors retry ord_1 --reason "..."\n' in types("stuck").out
    Path("elsewhere").mkdir()
    here = str(Path.cwd())
    monkeypatch.chdir("elsewhere")
    assert by_flag.replace("/elsewhere", "").replace(str(Path.cwd()), here) in types("stuck", "--app-dir", here).out
    monkeypatch.setenv("SAGA_ACTORS_JOURNAL", f"sqlite:///{here}/sagas.db")
    assert 'saga-actors retry ord_1 --reason "..."\n' in types("stuck").out


STUCK = {
    "fatal": lambda journal, saga_id: fatal(journal, saga_id),
    "unknown": lambda journal, saga_id: held(journal, saga_id),
    "undo cut short": lambda journal, saga_id: cut_short(journal, saga_id),
    "crashed": lambda journal, saga_id: parked(journal, saga_id, HoldReason.CRASHED),
    "corrupt": lambda journal, saga_id: parked(journal, saga_id, HoldReason.CORRUPT),
    "definition": lambda journal, saga_id: parked(journal, saga_id, HoldReason.DEFINITION_CHANGED),
}


def cut_short(journal: Journal, saga_id: str) -> Story:
    story = Story(journal, 1, saga_id).starts().succeeds().starts().fails()
    while story.execution.state is not SagaState.HELD:
        story.starts().happens(WorkerDied(WORKER))
    return story


def parked(journal: Journal, saga_id: str, reason: HoldReason) -> Story:
    return Story(journal, 1, saga_id).starts().happens(HoldRequested(reason, "for a reason"))


@pytest.fixture
def memory() -> MemoryJournal:
    made = MemoryJournal()
    made.take_epoch("test")
    return made


@pytest.mark.usefixtures("types")
@pytest.mark.parametrize("saga_id", ["ord_1", "it's; rm -rf ~", "-x", "--yes", "$(id)", "Ü ö"])
@pytest.mark.parametrize("kind", STUCK)
def test_each_command_is_one_that_the_verb_takes(memory: MemoryJournal, kind: str, saga_id: str) -> None:
    """As a shell splits it, whatever the id; and there is one for each thing that is allowed."""
    status = status_of(STUCK[kind](memory, saga_id).execution, served=True)
    commands = [cure.command for cure in remedies(status, Setting("sqlite:////a%20b/sagas.db", False))]
    for command in commands:
        program, verb, *words = shlex.split(command)
        given = parsed(verb, words)
        assert program == "saga-actors"
        assert given["reason"] == "..."
        assert given["journal"] == "sqlite:////a%20b/sagas.db"
        assert given.get("saga_id", saga_id) == saga_id
    verbs = {shlex.split(command)[1] for command in commands}
    assert verbs == {str(action) for action in status.allowed_actions}


def parsed(verb: str, words: list[str]) -> dict[str, object]:
    """What click makes of the arguments; it raises for what it would not take."""
    command = saga_actors.get_command(click.Context(saga_actors), verb)
    assert command is not None
    return command.make_context(verb, list(words)).params


def test_a_changed_definition_is_accepted_with_its_module(memory: MemoryJournal) -> None:
    """Which a registered name does not tell, unless the settings do; module:Class does."""
    status = status_of(parked(memory, "ord_1", HoldReason.DEFINITION_CHANGED).execution, served=True)

    def accept(name: str, setting: Setting) -> str:
        named = attrs.evolve(status, saga=name, allowed_actions=(Action.ACCEPT,))
        (cure,) = remedies(named, setting)
        return cure.command

    assert accept("place-order", Setting()) == 'saga-actors accept place-order -A MODULE --reason "..."'
    assert accept("place-order", Setting(has_modules=True)) == 'saga-actors accept place-order --reason "..."'
    assert accept("shop:PlaceOrder", Setting()) == 'saga-actors accept shop:PlaceOrder --reason "..."'


def test_an_undo_is_skipped_by_the_name_of_its_step(memory: MemoryJournal) -> None:
    """Also where the saga is held and not fatal."""
    status = status_of(cut_short(memory, "ord_1").execution, served=True)
    assert 'saga-actors skip ord_1 reserve --reason "..."' in [each.command for each in remedies(status, Setting())]
