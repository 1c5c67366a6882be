"""The command line as a whole: its verbs, its help, and what it exits with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_rig import JOURNAL, Types
from stories import Story

from saga_actors.cli import main as face
from saga_actors.cli.exits import ExitCode, code_of
from saga_actors.cli.main import VERBS, Verbs
from saga_actors.errors import (
    JournalError,
    JournalUrlError,
    NodeUnreachableError,
    SagaActorsError,
    SagaHeldError,
    SagaTimeoutError,
    UnknownSagaError,
)
from saga_actors.journal import SqliteJournal

COMMAND = [sys.executable, "-m", "saga_actors"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_the_list_of_verbs_says(verb: str) -> None:
    """The list imports none of them, so it has a sentence of each; the verb's own help begins with it."""
    group = face.saga_actors
    assert isinstance(group, Verbs)
    command = group.get_command(click.Context(group), verb)
    assert command is not None
    assert command.name == verb
    assert (command.help or "").startswith(VERBS[verb].does.rstrip("."))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_of_eighty_columns(types: Types, verb: str) -> None:
    """With what it takes, and a sentence for each option."""
    said = types(verb, "--help")
    assert said.code == 0
    assert "usage" in said.out.lower()
    assert max(map(len, said.out.splitlines())) <= 100


def test_the_help_lists_all_verbs(types: Types) -> None:
    """In the order of a saga's life."""
    said = types("--help")
    places = [said.out.index(f"\n  {verb} ") for verb in VERBS]
    assert places == sorted(places)


def test_help_loads_nothing_that_only_other_verbs_need() -> None:
    """It is to be quick: no drawing, no actors, no event loop."""
    code = (
        "import sys; from saga_actors.cli.main import main; main(['--help']); "
        "print([name for name in ('rich', 'thespian', 'psutil', 'asyncio') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sttaus"], "No such command"),
        (["status"], "Missing argument 'ID'"),
        (["status", "s1"], "no journal was named; give it as -j sqlite:///sagas.db, or in SAGA_ACTORS_JOURNAL"),
        (["status", "s1", "-j", "sagas.db"], "is no URL; expected sqlite:///relative.db"),
        (["list", *JOURNAL, "--since", "yesterday"], "is no time; expected a span such as 90s"),
        (["list", *JOURNAL, "-o", "yaml"], "is not one of 'text', 'json', 'jsonl'"),
        (["run", "no_such_shop:Order", "{}", *JOURNAL], "the module 'no_such_shop' cannot be imported"),
        (["run", "Order", "{}", *JOURNAL], "there is no saga 'Order'"),
        (["up", "-A", "no.such.shop", *JOURNAL], "the module 'no.such.shop' cannot be imported"),
    ],
)
def test_what_was_typed_wrong_is_said(types: Types, arguments: list[str], expected: str) -> None:
    """Exit 2, on standard error, and no traceback."""
    said = types(*arguments)
    assert (said.code, said.out) == (2, "")
    assert expected in said.err
    assert "Traceback" not in said.err


def test_a_journal_that_is_not_there_is_an_answer_of_its_own(types: Types) -> None:
    """Exit 3; and nothing is made."""
    said = types("list", *JOURNAL)
    assert said.code == 3
    assert "sagas.db" in said.err
    assert os.listdir() == []


def test_a_saga_that_nobody_knows_is_said_to_be_unknown(types: Types, journal_here: SqliteJournal) -> None:
    """Exit 1."""
    for verb in ("status", "history"):
        said = types(verb, "nobody", *JOURNAL)
        assert (said.code, said.out) == (1, "")
        assert "has no saga 'nobody'" in said.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SagaActorsError("?"), 1),
        (UnknownSagaError("?"), 1),
        (JournalUrlError("?"), 2),
        (JournalError("?"), 3),
        (NodeUnreachableError("?"), 3),
        (SagaTimeoutError("?", "s1"), 4),
        (SagaHeldError("?", "s1", "?"), 30),
    ],
)
def test_each_error_has_its_exit_code(error: SagaActorsError, code: int) -> None:
    """1 for what was not expected, 2 for usage, 3 for no node or journal."""
    assert code_of(error) == ExitCode(code)


def test_what_nobody_expected_is_one_line_and_a_traceback_if_asked_for(
    types: Types, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1; `--debug` shows where it was."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("by \x1b[31mnothing")

    monkeypatch.setattr("saga_actors.cli.options.attached", fail)
    said = types("status", "s1", *JOURNAL)
    assert said.code == 1
    assert said.err == "Error: ZeroDivisionError: by \\x1b[31mnothing; saga-actors --debug ... shows where\n"
    assert "Traceback" in types("--debug", "status", "s1", *JOURNAL).err
    assert "Traceback" in types("status", "s1", *JOURNAL, "--debug").err


def test_a_pipe_that_is_closed_early_is_no_error(journal_here: SqliteJournal, tmp_path: Path) -> None:
    """`saga-actors list | head -1` exits with 0, and says nothing of it."""
    for number in range(2_000):
        Story(journal_here, 1, f"s{number}")
    listed = subprocess.Popen(
        [*COMMAND, "list", *JOURNAL, "--limit", "2000", "-o", "jsonl"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert listed.stdout
    assert listed.stderr
    with listed:
        assert '"s1999"' in listed.stdout.readline()
        listed.stdout.close()
        assert listed.stderr.read() == ""
    assert listed.returncode == 0
