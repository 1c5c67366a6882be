"""`saga-actors up`, `down`, `run` and `start`: typed in a terminal, on a real node."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from premises import Premises
from terminal import PATIENCE, Terminal, piped, terminal
from waiting import eventually

from saga_actors.node_folder import ProcessId, holder

pytestmark = pytest.mark.node

HERE = str(Path(__file__).parent)


@pytest.fixture
def environment(premises: Premises) -> dict[str, str]:
    return {"PYTHONPATH": HERE, "SAGA_ACTORS_JOURNAL": premises.url}


@pytest.fixture
def node(premises: Premises, environment: dict[str, str]) -> Iterator[Terminal]:
    """A node in the foreground, ready to serve."""
    with terminal("up", "-A", "flows", "--drain", "5s", cwd=premises.folder, **environment) as shown:
        shown.until("ready: node")
        yield shown
        watchdog = holder(premises.node)
        if watchdog is not None:
            shown.process.kill()
    eventually(lambda: holder(premises.node) is None, PATIENCE)


def at(premises: Premises) -> dict[str, Any]:
    return {"cwd": premises.folder}


def trip(premises: Premises, **choices: object) -> str:
    return json.dumps(premises.context(**choices))


def test_ctrl_c_drains_a_node(premises: Premises, node: Terminal) -> None:
    """It says what it serves, where its log is, and that it drains; and exits with 0."""
    assert "serves flows:Trip" in node.text
    assert f"ready: node {holder(premises.node).pid} serves {premises.url}" in node.text.replace("\n", "")  # type: ignore[union-attr]
    node.types("\x03")
    node.until("draining, for 5 s at most")
    assert node.ends() == 0
    assert "drained; unfinished sagas stay in the journal" in node.text
    assert premises.family() == set()


def test_a_second_ctrl_c_stops_a_node_at_once(premises: Premises, node: Terminal, environment: dict[str, str]) -> None:
    """Though an attempt is in flight, it ends, and exits with 130; the saga stays."""
    context = trip(premises, gates=["hotel"])
    started = piped("start", "flows:Trip", context, "--id", "t1", cwd=premises.folder, **environment)
    assert (started.returncode, started.stdout) == (0, "t1\n"), started.stderr
    premises.until_called("hotel")
    node.types("\x03")
    node.until("draining")
    node.types("\x03")
    assert node.ends() == 130
    assert "stopped; what was in flight is run again" in node.text
    status = piped("status", "t1", cwd=premises.folder, **environment)
    assert "t1 flows:Trip: running; at hotel" in status.stdout
    assert "no node serves it" in status.stdout


def test_a_second_node_is_refused_with_the_first_ones_name(
    premises: Premises, node: Terminal, environment: dict[str, str]
) -> None:
    """It exits with 1, and says which pid serves which modules; it never attaches."""
    second = piped("up", "-A", "flows", cwd=premises.folder, **environment)
    assert second.returncode == 1
    assert f"a node of flows serves {premises.url} already: pid {holder(premises.node).pid}" in second.stderr  # type: ignore[union-attr]
    assert node.process.poll() is None


def test_a_node_ends_with_whoever_has_it_in_the_foreground(premises: Premises, node: Terminal) -> None:
    """Also if that is killed: a node in nobody's foreground would be found by nobody."""
    watchdog = holder(premises.node)
    node.process.kill()
    eventually(lambda: not watchdog.alive, PATIENCE)  # type: ignore[union-attr]
    assert premises.family() == set()


def test_a_node_waits_for_the_end_of_one_whose_foreground_was_killed(
    premises: Premises, node: Terminal, environment: dict[str, str]
) -> None:
    """As a service manager starts the next, which then goes on with the saga that was in flight."""
    started = piped("start", "flows:Trip", trip(premises, gates=["hotel"]), "--id", "t1", **at(premises), **environment)
    assert started.returncode == 0, started.stderr
    premises.until_called("hotel")
    first = holder(premises.node)
    assert first is not None
    node.process.kill()
    premises.until(lambda: premises.node.is_ending)
    with terminal("up", "-A", "flows", **at(premises), **environment) as following:
        following.until(f"node {first.pid} begins or ends; waiting for that")
        premises.outside.open("t1-hotel")
        following.until("ready: node")
        assert not first.alive
        outcome = piped(
            "run", "flows:Trip", trip(premises, gates=["hotel"]), "--id", "t1", **at(premises), **environment
        )
        assert outcome.returncode == 0, outcome.stderr
        following.types("\x03")
        assert following.ends() == 0


def test_whoever_waits_for_a_node_to_end_can_be_stopped(
    premises: Premises, node: Terminal, environment: dict[str, str]
) -> None:
    """Nothing was started then."""
    piped("start", "flows:Trip", trip(premises, gates=["hotel"]), "--id", "t1", **at(premises), **environment)
    premises.until_called("hotel")
    node.types("\x03")
    node.until("draining")
    with terminal("up", "-A", "flows", **at(premises), **environment) as following:
        following.until("waiting for that")
        following.types("\x03")
        assert following.ends() == 0
    assert "nothing was started" in following.text
    premises.outside.open("t1-hotel")
    assert node.ends() == 0


def test_a_node_serves_its_modules_again_after_it_began_anew(
    premises: Premises, node: Terminal, environment: dict[str, str]
) -> None:
    """Its admin is killed; with no client there at all, the next life resumes what was in flight."""
    context = trip(premises, gates=["hotel"])
    piped("start", "flows:Trip", context, "--id", "t1", cwd=premises.folder, **environment)
    premises.until_called("hotel")
    premises.kill(premises.pid("admin"))
    node.until("life 2 serves")
    premises.until_called("hotel", 2)
    premises.outside.open("t1-hotel")
    ended = lambda: "completed" in piped("status", "t1", cwd=premises.folder, **environment).stdout  # noqa: E731
    eventually(ended, PATIENCE)


def test_down_ends_a_node(premises: Premises, node: Terminal, environment: dict[str, str]) -> None:
    """It waits for the end; with none there any more, it exits with 3."""
    down = piped("down", cwd=premises.folder, **environment)
    assert down.returncode == 0, down.stderr
    assert node.ends() == 0
    assert piped("down", cwd=premises.folder, **environment).returncode == 3


def test_down_now_does_not_wait_for_attempts(premises: Premises, node: Terminal, environment: dict[str, str]) -> None:
    """The attempt in flight is not finished."""
    context = trip(premises, gates=["hotel"])
    piped("start", "flows:Trip", context, "--id", "t1", cwd=premises.folder, **environment)
    premises.until_called("hotel")
    begun = time.monotonic()
    assert piped("down", "--now", cwd=premises.folder, **environment).returncode == 0
    assert time.monotonic() - begun < 5.0
    assert node.ends() == 1


def test_run_starts_a_node_for_its_duration(premises: Premises, environment: dict[str, str]) -> None:
    """A line per step comes while it runs, the outcome at its end, and then no process is left."""
    with terminal("run", "flows:Trip", trip(premises), "--id", "t1", cwd=premises.folder, **environment) as shown:
        assert shown.ends() == 0
    for line in ("started", "step_ok +flight", "step_ok +mail", "completed"):
        shown.until(line)
    assert '"did_mail": true' in shown.text.replace("\n", "")
    assert premises.family() == set()


@pytest.mark.parametrize(
    ("choices", "code", "said"),
    [
        ({"failing": ["car"]}, 10, "because car failed: car failed, as it was told to"),
        ({"failing": ["car"], "aborting": ["undo-hotel"]}, 20, "but the undo of hotel failed"),
    ],
)
def test_run_exits_with_how_the_saga_ended(
    premises: Premises, environment: dict[str, str], choices: dict[str, list[str]], code: int, said: str
) -> None:
    """10 for compensated, 20 for fatal; and why is printed."""
    context = trip(premises, **choices)
    ran = piped("run", "flows:Trip", context, "--id", "t1", cwd=premises.folder, **environment)
    assert ran.returncode == code, ran.stderr
    assert said in ran.stdout
    status = piped("status", "t1", "--exit-code", cwd=premises.folder, **environment)
    assert status.returncode == code


def test_run_gives_up_waiting_when_it_is_told_to(
    premises: Premises, node: Terminal, environment: dict[str, str]
) -> None:
    """It exits with 4 and the id, and the saga goes on; so it does when Ctrl-C ends the wait, with 130."""
    context = trip(premises, gates=["hotel"])
    arguments = ["run", "flows:Trip", context, "--id", "t1"]
    ran = piped(*arguments, "--timeout", "1s", cwd=premises.folder, **environment)
    assert ran.returncode == 4, ran.stderr
    assert "t1" in ran.stderr
    with terminal(*arguments, cwd=premises.folder, **environment) as shown:
        shown.until("step_started hotel")
        shown.types("\x03")
        assert shown.ends() == 130
        shown.until("goes on")
    premises.outside.open("t1-hotel")
    assert piped(*arguments, cwd=premises.folder, **environment).returncode == 0


def test_a_context_comes_from_a_file_or_standard_input(premises: Premises, environment: dict[str, str]) -> None:
    """`@file` and `-`."""
    (premises.folder / "context.json").write_text(trip(premises))
    ran = piped("run", "flows:Trip", "@context.json", "--id", "t1", cwd=premises.folder, **environment)
    assert ran.returncode == 0, ran.stderr
    ran = piped("run", "flows:Trip", "-", "-o", "json", cwd=premises.folder, given=trip(premises), **environment)
    assert json.loads(ran.stdout)["state"] == "completed"


def test_the_application_comes_first_on_the_path_of_the_node_too(
    premises: Premises, environment: dict[str, str]
) -> None:
    """Its module has the name of an installed one."""
    premises.write(
        "iniconfig.py",
        """
        from flows import act
        from saga_actors import Saga, step

        class Tour(Saga):
            flight = step(act)
        """,
    )
    ran = piped("run", "iniconfig:Tour", trip(premises), cwd=premises.folder, **environment)
    assert ran.returncode == 0, ran.stderr


def test_start_needs_a_node(premises: Premises, environment: dict[str, str]) -> None:
    """It exits with 3, and says how to start one."""
    ran = piped("start", "flows:Trip", trip(premises), cwd=premises.folder, **environment)
    assert ran.returncode == 3
    assert "saga-actors up" in ran.stderr


def test_a_node_drains_when_a_service_manager_tells_it_to(premises: Premises, node: Terminal) -> None:
    """SIGTERM is what it sends."""
    family = premises.family()
    os.kill(node.process.pid, signal.SIGTERM)
    assert node.ends() == 0
    assert not any(process.alive for process in family)
    assert ProcessId.of(node.process.pid) is None
