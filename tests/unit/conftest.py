"""What several unit tests need."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_rig import Said, Types

from saga_actors.actors.key import KEY_FILE_VARIABLE, load_key
from saga_actors.cli.main import main
from saga_actors.journal import SqliteJournal


@pytest.fixture(scope="module")
def own_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A key of the module's own, and not that of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_FILE_VARIABLE, str(tmp_path_factory.mktemp("key") / "key"))
        load_key.cache_clear()
        yield
    load_key.cache_clear()


@pytest.fixture
def types(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Types]:
    """Types commands; of the logging that they set up nothing stays."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    for name in ("JOURNAL", "APP", "APP_DIR", "DEBUG"):
        monkeypatch.delenv(f"SAGA_ACTORS_{name}", raising=False)

    def type_(*arguments: str) -> Said:
        capsys.readouterr()
        code = main(arguments)
        return Said(code, *capsys.readouterr())

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield type_
    root.handlers[:], root.level = before, level


@pytest.fixture
def journal_here(tmp_path: Path) -> Iterator[SqliteJournal]:
    """The journal that `-j sqlite:///sagas.db` names."""
    journal = SqliteJournal(tmp_path / "sagas.db")
    journal.take_epoch("test")
    yield journal
    journal.close()
