"""The examples run, say what they should, and leave nothing behind; as a user runs them, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from saga_actors.node_folder import NodeFolder, holders

pytestmark = pytest.mark.node

EXAMPLES = Path(__file__).parents[2] / "examples"
DEMO_LIMIT = 15.0


def run(script: str, cwd: Path, limit: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run an example to its end; its temporary files are in `cwd`, too."""
    environment = {**os.environ, "TMPDIR": str(cwd)}
    command = [sys.executable, str(EXAMPLES / script)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=limit)


def those_in(folder: Path) -> list[str]:
    """The processes that have a file open in this folder, or work in it: no process of a node does not."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            places = [os.readlink(link) for link in (process / "cwd", *(process / "fd").iterdir())]
        except OSError:  # it has ended meanwhile, or is not ours
            continue
        found += [process.name] * any(place.startswith(str(folder)) for place in places)
    return found


def test_the_demo_shows_what_it_claims(tmp_path: Path) -> None:
    """Four orders end as they should, two of them with a process killed under them (P1, P2, P3, P4, P6)."""
    demo = run("demo/demo.py", tmp_path, DEMO_LIMIT)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stderr == ""
    assert [line.split()[:2] for line in demo.stdout.splitlines() if line.startswith("   ord_")] == [
        ["ord_101", "completed"],
        ["ord_102", "compensated,"],
        ["ord_103", "completed"],
        ["ord_104", "completed"],
    ]
    for claim in (
        "the payment was undone first, then the reservation",
        "each undo was given the order as it was when its step was done",
        "the bank was called once",
        "both calls had the same key",
        "processes is left",
    ):
        assert sum(line.startswith("   ok: ") and claim in line for line in demo.stdout.splitlines()) == 1, claim
    assert "interrupted" in demo.stdout
    assert demo.stdout.count("FORWARD") == 2
    assert "WRONG" not in demo.stdout


def test_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    """No process, and no file but those that were there before."""
    run("demo/demo.py", tmp_path, DEMO_LIMIT)
    assert those_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_an_order_in_one_file(tmp_path: Path) -> None:
    """A script with its saga in it runs, and again: the same ids are the same sagas, and charged once (P10)."""
    first, second = run("place_order.py", tmp_path), run("place_order.py", tmp_path)
    assert first.stdout.splitlines() == [
        "ord_123: paid by ch_34ad3fd2, sent as par_ord_123",
        "ord_124: undone, for charge_payment failed: card declined: 5000 is over the limit of 1000",
        "ord_125: completed",
    ]
    assert (first.returncode, first.stderr) == (0, "")
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")
    assert holders(NodeFolder.of(f"sqlite:///{tmp_path}/sagas.db")) == set()
    assert those_in(tmp_path) == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "unknown_outcome.py",
            [
                "undone, for charge is unknown: the bank gave no answer; the bank has 0",
                "held; in doubt: charge; the bank has 90",
                "settled by hand, and completed; the bank has 90",
            ],
        ),
        (
            "typed_context.py",
            [
                "379.60 in all, arrives on 2026-11-25",
                "not placed: no van is that big; it would have been 19960.00",
                "context: lines[0].count is float; expected int",
            ],
        ),
        (
            "crash_and_resume.py",
            [
                "the worker was killed while the order was shipped",
                "the watchdog was killed while the order was shipped",
                "Completed",
                "reserve: 1 calls, 1 key",
                "charge: 1 calls, 1 key",
                "ship: 3 calls, 1 key",
            ],
        ),
        (
            "async_orders.py",
            [
                "{'Compensated': 30, 'Completed': 270}",
                "with a few threads",
                "{'number': 1, 'reserved': True, 'charged': 90}",
            ],
        ),
        (
            "stuck_order.py",
            [
                "create_shipment failed: no carrier answers; and the undo of charge_payment: the bank is closed",
                "ord_1 is fatal; left to undo: charge_payment; allowed: retry, skip, resolve",
                "create_shipment failed: no carrier answers; and the undo of charge_payment: the bank is closed",
                "ord_2 is fatal; left to undo: charge_payment; allowed: retry, skip, resolve",
                "ord_1 is compensated; left to undo: nothing; allowed: nothing",
                "ord_2 is compensated; left to undo: charge_payment; allowed: nothing",
                "resolved by ann",
            ],
        ),
    ],
)
def test_an_example_says_what_it_shows(tmp_path: Path, script: str, said: list[str]) -> None:
    """To the letter; and it leaves no process and no file."""
    ran = run(script, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == said
    assert those_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_no_example_hides_a_module_of_the_standard_library() -> None:
    """Python looks into a script's folder first, for everything."""
    assert not {path.stem for path in EXAMPLES.glob("*.py")} & sys.stdlib_module_names


def test_a_saga_is_tested_as_the_example_has_it(tmp_path: Path) -> None:
    """With pytest, in a folder of its own, as whoever reads it would."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    ran = subprocess.run([*command, "test_place_order.py"], cwd=EXAMPLES, capture_output=True, text=True, timeout=60.0)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "5 passed" in ran.stdout
