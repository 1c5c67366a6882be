"""What a process owes its family; that a member dies with its parent is tested with real families."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from saga_actors.actors import process

PR_GET_PDEATHSIG = """
import ctypes
from saga_actors.actors import process
process.on_birth("stranger")
signal = ctypes.c_int(-1)
ctypes.CDLL(None).prctl(2, ctypes.byref(signal), 0, 0, 0)
print(signal.value)
"""


def run(code: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SAGA_ACTORS_")}
    return subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, check=True, capture_output=True, text=True, timeout=20
    ).stdout.strip()


def test_a_birth_outside_a_node_changes_nothing() -> None:
    """Without a node's settings no process is tied to its parent."""
    assert run(PR_GET_PDEATHSIG) == "0"


def test_a_birth_inside_a_node_ties_the_process_to_its_parent_and_registers_it(tmp_path: Path) -> None:
    """The parent's death will be a SIGKILL, and the register has pid, start time and role."""
    settings = {process.FOLDER_VARIABLE: str(tmp_path), process.WATCHDOG_VARIABLE: str(os.getpid())}
    assert run(PR_GET_PDEATHSIG, **settings) == "9"
    [member] = process.family(tmp_path)
    assert member.role == "stranger"
    assert not member.lives


def test_a_process_is_known_by_its_start_time_too(tmp_path: Path) -> None:
    """A pid that was given to another process is not the member that had it."""
    process.register(tmp_path, "me")
    [me] = process.family(tmp_path)
    assert (me.pid, me.role, me.lives) == (os.getpid(), "me", True)
    assert not process.Member(me.pid, me.start_time - 1, "me").lives


def test_a_zombie_does_not_live() -> None:
    """Ended and not yet waited for is dead."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        member = process.Member(child.pid, process.start_time(child.pid) or 0, "child")
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process.start_time(child.pid) == member.start_time
        assert not member.lives


def test_a_folder_without_a_register_has_no_family(tmp_path: Path) -> None:
    """Nothing was started there yet."""
    assert process.family(tmp_path) == []
