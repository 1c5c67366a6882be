"""A small run of the program behind `make chaos`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "chaos" / "random_kills.py"


@pytest.mark.node
def test_ten_members_of_a_family_are_killed_and_nothing_is_lost() -> None:
    """P1 to P7: watchdog, life, admin, logger, root, its children; killed or stopped, while sagas of all kinds run."""
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), "--kills", "10"], capture_output=True, text=True, timeout=110, check=False
    )
    told = ran.stdout + ran.stderr
    figures = {name: int(value) for name, value in re.findall(r"^(\w[\w ]*?) +(\d+)$", ran.stdout, re.MULTILINE)}
    assert ran.returncode == 0, told
    assert figures["kills"] == 10, told
    zeros = ("lost", "run twice without a crash", "orphans after 10 s", "other broken promises")
    assert {name: figures[name] for name in zeros} == dict.fromkeys(zeros, 0), told
    ended = sum(figures[name] for name in ("completed", "compensated", "fatal", "held"))
    assert ended == figures["accepted"] > 10, told
