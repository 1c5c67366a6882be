"""What the README types into a shell, typed; and what it shows, compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.node

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_readmes_commands_print_what_it_shows(tmp_path: Path) -> None:
    """In a folder with the example in it, one after the other; `...` stands for anything."""
    shutil.copy(ROOT / "examples" / "place_order.py", tmp_path)
    blocks = re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks), re.MULTILINE)
    assert commands
    for command, shown in commands:
        said = typed(command, tmp_path)
        assert pattern_of(shown).fullmatch(said), f"$ {command}\n{said}"


def typed(command: str, folder: Path) -> str:
    """What the command prints, on both outputs, without what fills its lines up."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout
    return "".join(f"{line.rstrip()}\n" for line in ran.stdout.splitlines())


def pattern_of(shown: str) -> re.Pattern[str]:
    """Matches what is shown, however it is spaced: times are longer or shorter."""
    words = re.sub(r"\s+", " ", shown).strip()
    return re.compile(re.escape(words).replace(re.escape("..."), ".*").replace(r"\ ", r"\s*") + r"\s*", re.DOTALL)
