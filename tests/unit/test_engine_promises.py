"""The promises, on the real engine: the simulation, as `make simulate` runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SIMULATE = Path(__file__).parents[1] / "simulation" / "simulate.py"


def simulated(*arguments: str) -> str:
    """What the simulation prints; fails if it says that something is wrong."""
    ran = subprocess.run([sys.executable, SIMULATE, *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.timeout(300)
def test_in_some_schedules_the_ledger_bears_the_promises_out() -> None:
    """P1 to P9: told by what really happened, and not by the engine's own word."""
    assert "broken promises: 0\n" in simulated("--count", "200")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_happens_the_ledger_bears_the_promises_out() -> None:
    """P1 to P9, in 5,000 schedules, which meet all that is to be met."""
    assert "broken promises: 0\n" in simulated("--count", "5000")


def test_a_schedule_is_the_same_each_time_it_is_run() -> None:
    """A seed replays: another process comes to the same end, by the same way."""
    one, other = (simulated("--count", "2", "--seed", "77", "--trace") for _ in range(2))
    assert one == other
    assert "engine-1 -> worker-1" in one
