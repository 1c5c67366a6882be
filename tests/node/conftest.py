"""A key of the tests' own, and a sealed system without a node around it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from saga_actors.actors import process
from saga_actors.actors.key import KEY_FILE_VARIABLE, load_key

if TYPE_CHECKING:
    from premises import Premises
    from station import Station

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def own_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the key of whoever runs the tests out of them."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("key") / "key"
        patch.setenv(KEY_FILE_VARIABLE, str(path))
        load_key.cache_clear()
        yield path
    load_key.cache_clear()


@attrs.frozen
class BareSystem:
    """A running sealed system: the ports of its admin and two actors, and the folder its processes register in."""

    admin: int
    echo: int
    parent: int
    folder: Path
    launcher: subprocess.Popen[str]

    def family(self) -> list[process.Member]:
        return process.family(self.folder)

    def member(self, role: str) -> process.Member:
        return next(member for member in self.family() if member.role == role)

    def living(self) -> list[process.Member]:
        return [member for member in self.family() if member.lives]


@pytest.fixture
def bare_system(tmp_path: Path) -> Iterator[BareSystem]:
    """A sealed system whose processes register, and die with their parents."""
    with started_bare(tmp_path, "watched") as system:
        yield system


@contextlib.contextmanager
def started_bare(folder: Path, *arguments: str) -> Iterator[BareSystem]:
    """Run the launcher in a process of its own, and leave nothing of it behind."""
    with (folder / "launcher.log").open("w") as log:
        launcher = subprocess.Popen(
            [sys.executable, str(HERE / "bare.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=_environment(folder),
        )
    with launcher:
        try:
            yield BareSystem(**_first_line(launcher, folder), folder=folder, launcher=launcher)
        finally:
            _end(launcher, folder)


def _environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(HERE),
        "THESPLOG_FILE": str(folder / "thespian.log"),
        process.FOLDER_VARIABLE: str(folder),
    }


def _first_line(launcher: subprocess.Popen[str], folder: Path) -> dict[str, int]:
    assert launcher.stdout
    ready, _, _ = select.select([launcher.stdout], [], [], 20)
    line = launcher.stdout.readline() if ready else ""
    assert line, (folder / "launcher.log").read_text()
    ports: dict[str, int] = json.loads(line)
    return ports


def _end(launcher: subprocess.Popen[str], folder: Path) -> None:
    assert launcher.stdin
    with contextlib.suppress(BrokenPipeError):
        launcher.stdin.close()
    try:
        launcher.wait(15)
    except subprocess.TimeoutExpired:
        launcher.kill()
    for member in process.family(folder):
        if member.lives:
            os.kill(member.pid, signal.SIGKILL)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    """A place for a journal and its node, of which nothing is left when the test is over."""
    from station import Station

    made = Station(tmp_path)
    yield made
    made.clear()


@pytest.fixture
def premises(tmp_path: Path) -> Iterator[Premises]:
    """A place for a journal and its node, whose processes must all have ended when the test is over."""
    from premises import Premises

    made = Premises(tmp_path)
    try:
        yield made
    finally:
        left = made.left_behind()
    assert not left
