"""`watch`, `show` and `stuck` beside a node: drawn in a terminal, and in a pipe."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from premises import Premises
from terminal import COMMAND, Terminal, piped, terminal

from saga_actors import Coordinator

pytestmark = pytest.mark.node

HERE = str(Path(__file__).parent)
NO_COLOUR = {"NO_COLOR": "1"}


class Watcher:
    """A node that serves two modules with sagas, and the command line beside it."""

    def __init__(self, premises: Premises) -> None:
        self.premises = premises
        self.sagas: Coordinator = premises.coordinator(sagas=["flows", "desk"])
        self.sagas.have_served()
        self.environment = {"PYTHONPATH": HERE, "SAGA_ACTORS_JOURNAL": premises.url}

    def starts(self, saga: str, saga_id: str, **choices: object) -> None:
        started = self.types("start", saga, json.dumps(self.premises.context(**choices)), "--id", saga_id)
        assert started.returncode == 0, started.stderr

    def types(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return piped(*arguments, cwd=self.premises.folder, **self.environment)

    def opens(self, *arguments: str, **environment: str) -> AbstractContextManager[Terminal]:
        return terminal(*arguments, cwd=self.premises.folder, **self.environment, **environment)


@pytest.fixture
def watcher(premises: Premises) -> Watcher:
    return Watcher(premises)


def until_last(shown: Terminal, pattern: str) -> None:
    """Wait until this is drawn after all that was drawn so far."""
    shown.raw = ""
    shown.until(pattern)


def test_a_saga_is_drawn_until_it_has_ended(watcher: Watcher) -> None:
    """Its last picture stays, in whole, and it exits with 0."""
    watcher.starts("flows:Trip", "t1", gates=["hotel"], failing=["car"])
    with watcher.opens("watch", "t1") as shown:
        shown.until(r"hotel +▶ running for")
        assert "t1 flows:Trip: running" in shown.text
        watcher.premises.outside.open("t1-hotel")
        assert shown.ends() == 0
        last = shown.text[shown.text.rindex("t1 flows:Trip") :]
        assert last.startswith("t1 flows:Trip: compensated")
        assert re.search(r"flight +✓ done, .* +✓ undone", last)
        assert re.search(r"mail +· not begun +· nothing to undo", last)


def test_a_held_saga_is_watched_on(watcher: Watcher) -> None:
    """It shows what may be done; once that is done, it goes on to the end."""
    (watcher.premises.folder / "pay.unknown").touch()
    watcher.starts("desk:Booking", "b1")
    with watcher.opens("watch", "b1") as shown:
        shown.until("b1 desk:Booking: held")
        shown.until("saga-actors settle b1 pay --did-not-happen")
        settled = watcher.types("settle", "b1", "pay", "--happened", "--result", '{"pay": 7}', "--reason", "r", "--yes")
        assert settled.returncode == 0, settled.stderr
        assert shown.ends() == 0
        assert re.search(r"pay +✓ done, says \S+", shown.text[shown.text.rindex("b1 desk:Booking") :])


def test_ctrl_c_ends_it_and_leaves_the_last_picture(watcher: Watcher) -> None:
    """It exits with 0, and the saga goes on."""
    watcher.starts("flows:Trip", "t1", gates=["hotel"])
    with watcher.opens("watch", "t1") as shown:
        shown.until("running for")
        shown.types("\x03")
        assert shown.ends() == 0
        assert re.search(r"hotel +▶ running for", shown.text[shown.text.rindex("t1 flows:Trip") :])
    watcher.premises.outside.open("t1-hotel")
    watcher.sagas.result("t1")


def test_the_board_is_drawn_anew_when_something_happens(watcher: Watcher) -> None:
    """A saga comes, is at its step, gets stuck; below are the events. Ctrl-C ends it, with 0."""
    with watcher.opens("watch", **NO_COLOUR) as shown:
        shown.until(r"node \d+")
        shown.until("nothing is under way, and nothing is stuck")
        watcher.starts("flows:Trip", "t1", gates=["hotel"], failing=["car"], aborting=["undo-hotel"])
        shown.until(r"t1 +Trip +running +hotel")
        shown.until(r"t1 \d\d:\d\d:\d\d step_started hotel")
        watcher.premises.outside.open("t1-hotel")
        shown.until(r"t1 +Trip +fatal +undo of hotel")
        shown.until("1 fatal")
        until_last(shown, r"t1 +Trip +fatal")  # each second, though nothing happens
        assert not re.search(r"\x1b\[[0-9;]*3[1-7]m", shown.raw), "there are colours"
        shown.types("\x03")
        assert shown.ends() == 0


def test_the_board_outlives_the_node(watcher: Watcher) -> None:
    """It says that there is none, and goes on with the next."""
    watcher.starts("flows:Trip", "t1", gates=["hotel"])
    with watcher.opens("watch") as shown:
        shown.until(r"node \d+.*1 running")
        watcher.sagas.close(0.0)
        shown.until("no node runs")
        watcher.premises.coordinator(sagas=["flows"]).have_served()
        until_last(shown, r"node \d+")
        shown.types("\x03")
        assert shown.ends() == 0


def test_without_a_terminal_there_is_a_line_for_each_event(watcher: Watcher) -> None:
    """From now on, of all sagas, as JSON; SIGINT ends it, with 0."""
    out, number = watcher.premises.folder / "told", itertools.count()

    def is_told() -> bool:
        watcher.starts("flows:Trip", f"t{next(number)}")
        return '"completed"' in out.read_text()

    with out.open("w") as file:
        environment = os.environ | watcher.environment
        command = [*COMMAND, "watch", "-o", "jsonl"]
        ran = subprocess.Popen(command, cwd=watcher.premises.folder, env=environment, stdout=file)
    with ran:
        try:
            watcher.premises.until(is_told)
            ran.send_signal(signal.SIGINT)
            assert ran.wait(20) == 0
        finally:
            ran.kill()
    for line in out.read_text().splitlines():
        assert json.loads(line)["saga"] == "flows:Trip"


def test_stuck_tells_of_sagas_that_nobody_serves(premises: Premises) -> None:
    """A node runs, and has other sagas; those do not go on."""
    watcher = Watcher(premises)
    watcher.starts("flows:Trip", "t1", gates=["hotel"])
    assert watcher.types("stuck").stderr == "nothing is stuck\n"
    premises.until_called("hotel")
    watcher.sagas.close(0.0)
    premises.coordinator(sagas=["desk"]).have_served()
    said = watcher.types("stuck")
    assert said.returncode == 0
    assert "1 saga is unfinished, of flows:Trip, which nobody serves" in said.stderr
    shown = watcher.types("show", "t1").stdout
    assert "no node serves it: it goes on when one does" in " ".join(shown.split())
    assert re.search(r"hotel +… to be tried again +\n +1 interrupted", shown)


def test_a_command_that_is_shown_can_be_used(watcher: Watcher) -> None:
    """As it stands, but for the reason."""
    (watcher.premises.folder / "undo-pay.broken").touch()
    (watcher.premises.folder / "ship.broken").touch()
    watcher.starts("desk:Booking", "b1")
    watcher.premises.until(lambda: watcher.types("stuck", "--exit-code").returncode == 1)
    (watcher.premises.folder / "undo-pay.broken").unlink()
    found = re.search(r"^ +saga-actors (retry .*)$", watcher.types("stuck").stdout, re.MULTILINE)
    assert found is not None
    command = found.group(1).replace('"..."', "mended").split()
    assert watcher.types(*command, "--yes").returncode == 0
    assert watcher.types("watch", "b1").returncode == 0
    assert "b1 desk:Booking: compensated" in watcher.types("show", "b1").stdout
    assert "had it tried again: mended" in " ".join(watcher.types("show", "b1").stdout.split())
