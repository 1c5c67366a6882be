"""The key of a user: made once, read by nobody else, never guessed at."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from saga_actors.actors import key
from saga_actors.errors import TransportError


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_to_need_a_key_makes_it_and_the_next_reads_the_same(tmp_path: Path) -> None:
    """A key has 32 bytes, differs from file to file, and stays what it is."""
    first = key.read_or_make(tmp_path / "key")
    assert len(first) == 32
    assert key.read_or_make(tmp_path / "key") == first
    assert key.read_or_make(tmp_path / "other") != first


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_nobody_else_can_read_the_key_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """The key is 0600 and every folder made for it 0700."""
    path = tmp_path / "state" / "saga_actors" / "key"
    before = os.umask(umask)
    try:
        key.read_or_make(path)
    finally:
        os.umask(before)
    assert mode_of(path) == 0o600
    assert [mode_of(folder) for folder in list(path.parents)[:2]] == [0o700, 0o700]
    assert [file.name for file in path.parent.iterdir()] == ["key"]


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    """Only what is made for the key is changed."""
    tmp_path.chmod(0o755)
    key.read_or_make(tmp_path / "key")
    assert mode_of(tmp_path) == 0o755


@pytest.mark.slow
def test_processes_that_need_the_key_at_once_agree_on_one(tmp_path: Path) -> None:
    """The file appears whole or not at all, and the losers take the winner's."""
    path = tmp_path / "state" / "key"
    code = f"""
import sys
from pathlib import Path
from saga_actors.actors import key
print("ready", flush=True)
sys.stdin.readline()
print(key.read_or_make(Path({str(path)!r})).hex())
"""
    racers = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    assert {racer.communicate(timeout=20)[0].strip() for racer in racers} == {path.read_bytes().hex()}
    assert [file.name for file in path.parent.iterdir()] == ["key"]


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    """A torn or foreign file is never used as a key."""
    path = tmp_path / "key"
    path.write_bytes(b"k" * length)
    path.chmod(0o600)
    with pytest.raises(TransportError, match="32 bytes"):
        key.read_or_make(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """A key that others may have read is no key; the message says what to do."""
    path = tmp_path / "key"
    key.read_or_make(path)
    path.chmod(mode)
    with pytest.raises(TransportError, match=r"open to others .*`chmod 600`"):
        key.read_or_make(path)


def test_a_key_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns the file knows the key."""
    path = tmp_path / "key"
    key.read_or_make(path)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(TransportError, match="to your own"):
        key.read_or_make(path)


def test_a_pipe_in_place_of_the_key_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Opening it must not hang."""
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(TransportError, match="not a file"):
        key.read_or_make(tmp_path / "key")


def test_a_key_that_cannot_be_made_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    """The message names the file and the variable that moves it."""
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(TransportError, match=r"taken/key.*SAGA_ACTORS_KEY_FILE"):
        key.read_or_make(tmp_path / "taken" / "key")


def test_the_key_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of its own, then XDG_STATE_HOME if absolute, then the home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.delenv(key.KEY_FILE_VARIABLE, raising=False)
    assert key.key_path() == tmp_path / ".local/state/saga_actors/key"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert key.key_path() == tmp_path / "xdg/saga_actors/key"
    monkeypatch.setenv(key.KEY_FILE_VARIABLE, str(tmp_path / "mine"))
    assert key.key_path() == tmp_path / "mine"


def test_the_key_is_read_once_per_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens to the file later does not split a process from its peers."""
    monkeypatch.setenv(key.KEY_FILE_VARIABLE, str(tmp_path / "key"))
    key.load_key.cache_clear()
    try:
        first = key.load_key()
        (tmp_path / "key").unlink()
        assert key.load_key() == first
    finally:
        key.load_key.cache_clear()
