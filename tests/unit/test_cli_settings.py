"""Where the settings of the command line come from, and which of several holds."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest
from cli_rig import Types
from stories import Story

from saga_actors.cli.settings import read
from saga_actors.journal import SqliteJournal


def write(folder: Path, table: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(f"[tool.saga-actors]\n{table}\n")


def a_journal(file: Path, saga_id: str) -> str:
    """A journal with this saga; its URL."""
    file.parent.mkdir(exist_ok=True)
    journal = SqliteJournal(file)
    journal.take_epoch("test")
    Story(journal, 1, saga_id)
    journal.close()
    return f"sqlite:///{file}"


def test_a_flag_is_before_the_environment_and_that_before_the_project(
    types: Types, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the journal, here."""
    of = {name: a_journal(tmp_path / f"{name}.db", name) for name in ("flag", "environment", "project")}
    write(tmp_path, f'journal = "{of["project"]}"')
    assert '"project"' in types("list", "-o", "json").out
    monkeypatch.setenv("SAGA_ACTORS_JOURNAL", of["environment"])
    assert '"environment"' in types("list", "-o", "json").out
    assert '"flag"' in types("list", "-o", "json", "-j", of["flag"]).out


def test_the_application_is_where_its_folder_is(types: Types, tmp_path: Path) -> None:
    """It comes first on the path, and a journal in its pyproject.toml is beside that file."""
    a_journal(tmp_path / "shop" / "sagas.db", "mine")
    write(tmp_path / "shop", 'journal = "sqlite:///sagas.db"')
    assert '"mine"' in types("list", "-o", "json", "--app-dir", "shop").out
    assert sys.path[0] == str(tmp_path / "shop")


def test_modules_may_be_one_or_several(tmp_path: Path) -> None:
    """And whole spans may be numbers."""
    write(tmp_path, 'app = "shop.sagas"\ndrain = 10\nmax-unfinished = 7')
    assert read(tmp_path) == {"app": ["shop.sagas"], "drain": "10s", "max_unfinished": 7}
    write(tmp_path, 'app = ["shop.sagas", "shop.trips"]')
    assert read(tmp_path) == {"app": ["shop.sagas", "shop.trips"]}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("jornal = 'x'", "has 'jornal', which is no setting; expected some of journal, app"),
        ("journal = 7", "journal of .* is 7, which it cannot be"),
        ("workers = true", "workers of .* is True"),
        ("journal =", "cannot be read"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(tmp_path: Path, table: str, expected: str) -> None:
    """With the file, and what is wrong in it."""
    write(tmp_path, table)
    with pytest.raises(click.UsageError, match=expected) as refused:
        read(tmp_path)
    assert "pyproject.toml" in str(refused.value.message)


def test_no_table_is_no_setting(tmp_path: Path) -> None:
    """Nor is no file."""
    assert read(tmp_path) == {}
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert read(tmp_path) == {}
