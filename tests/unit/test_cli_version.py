"""`version`, `completion` and `bench`: what they print."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import apsw
import pytest
from cli_rig import Types

COMPLETE = """
eval "$(saga-actors completion bash)"
COMP_WORDS=(saga-actors {words})
COMP_CWORD={place}
_saga_actors_completion saga-actors
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def test_version_names_all_that_it_stands_on(types: Types) -> None:
    """To find out what somebody runs takes one command."""
    said = types("version")
    assert said.code == 0
    assert said.out.splitlines() == [
        f"saga-actors  {version('saga-actors')}",
        f"python       {sys.version.split()[0]}",
        f"sqlite       {apsw.sqlite_lib_version()}",
        f"apsw         {version('apsw')}",
        f"thespian     {version('thespian')}",
        "journal      3",
    ]


def test_programs_are_told_versions_too(types: Types) -> None:
    """The names are stable."""
    told = json.loads(types("version", "-o", "json").out)
    assert list(told) == ["saga_actors", "python", "sqlite", "apsw", "thespian", "journal"]
    assert told["journal"] == 3


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_completion_for_every_shell(types: Types, shell: str) -> None:
    """It asks this very command what fits."""
    said = types("completion", shell)
    assert (said.code, said.err) == (0, "")
    assert f"_SAGA_ACTORS_COMPLETE={shell}_complete" in said.out


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder with `saga-actors` in it, as an installation has it."""
    command = tmp_path / "saga-actors"
    command.write_text(f"#!{sys.executable}\nimport sys; from saga_actors.cli.main import main; sys.exit(main())\n")
    command.chmod(0o755)
    return tmp_path


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], {"start", "status", "stuck"}),
        (["doctor", "--de"], {"--deep"}),
        (["list", "--state", "comp"], {"compensating", "completed", "compensated"}),
    ],
)
def test_bash_completes(commands: Path, words: list[str], expected: set[str]) -> None:
    """Verbs, options, and what they take: `saga-actors st<TAB>`."""
    script = COMPLETE.format(words=" ".join(words), place=len(words))
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "--norc", "-c", script], env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=30
    )
    assert set(ran.stdout.split()) == expected, ran.stderr


def test_bench_says_what_it_takes(types: Types) -> None:
    """Its own help, under this name; and what it cannot take is wrong usage."""
    said = types("bench", "--help")
    assert said.code == 0
    assert said.out.startswith("usage: saga-actors bench [-h] [--sagas SAGAS]")
    assert types("bench", "--sagas", "none").code == 2
