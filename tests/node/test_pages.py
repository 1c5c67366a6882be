"""What the README and the tutorial have one type, typed; and what they show, compared."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import follow

from saga_actors.node_folder import NodeFolder, holder, kill_all

pytestmark = pytest.mark.node

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty one, in which no node stays, and no server whose pid is in a file there."""
    yield tmp_path
    for file in tmp_path.glob("*.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGTERM)
    node = NodeFolder.of(f"sqlite:///{tmp_path}/sagas.db")
    watchdog = holder(node)
    left = [process for process, _ in node.members()] + ([watchdog] if watchdog else [])
    assert kill_all(left, 10.0) == []


def test_the_readmes_commands_print_what_it_shows(folder: Path) -> None:
    """In a folder with the example in it."""
    shutil.copy(ROOT / "examples" / "place_order.py", folder)
    assert follow((ROOT / "README.md").read_text(), folder) >= 5


def test_the_tutorial_can_be_followed(folder: Path) -> None:
    """P1, P6: from nothing to a crash survived, in an empty folder."""
    assert follow((ROOT / "docs" / "tutorial.md").read_text(), folder) >= 12
    assert holder(NodeFolder.of(f"sqlite:///{folder}/sagas.db")) is None


GUIDES = {path.name: path.read_text() for path in sorted((ROOT / "docs" / "guides").glob("*.md"))}


@pytest.mark.parametrize("page", [name for name, text in GUIDES.items() if "```console" in text])
def test_a_guide_can_be_followed(folder: Path, page: str) -> None:
    """Its files are written, its commands typed."""
    assert follow(GUIDES[page], folder) >= 1
