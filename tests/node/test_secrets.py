"""No value of a context, no result and no word of an exception leaves the journal, but to whoever asks for it."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import psutil
import pytest
from leaky import Leaky, Shrugging
from station import Station

from saga_actors import Compensated, CompensationFailed, Completed

pytestmark = pytest.mark.node

CANARY = "canary-9f31c7d4"

HERE = Path(__file__).parent

WAYS = ["raise", "group", "abort", "unknown", "object", "nonsense", "in place", "exit", "async", "hang"]


def context(how: str, undo: str = "works") -> dict[str, str]:
    return {"secret": CANARY, "how": how, "undo": undo}


def leaks(station: Station) -> list[str]:
    """The files of the folder, but for the journal, in which the canary is; node.log, marks and all."""
    files = [path for path in station.folder.rglob("*") if path.is_file() and not path.name.startswith("sagas.db")]
    return [str(path) for path in files if CANARY.encode() in path.read_bytes()]


def titles(station: Station) -> bytes:
    """What anybody can see of the node's processes with `ps`, and what root sees of their environment."""
    told = b""
    for process in station.family():
        for name in ("cmdline", "comm", "environ"):
            told += Path(f"/proc/{process.pid}/{name}").read_bytes()
    return told


def test_what_steps_say_when_they_fail_is_in_no_log_file_title_event_or_output(
    station: Station,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However they fail, also while processes die, and with every log at its most talkative; whoever asks is told."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("THESPLOG_THRESHOLD", "DEBUG")
    monkeypatch.setenv("FLOWS_EVENTS", str(station.folder))
    sagas = station.coordinator(sagas=["leaky"], telemetry=["flows:on_event"], workers=1, spec={"grace": 0.3})
    undone = [sagas.start(Leaky, context(how), saga_id=f"undone-{how}") for how in WAYS]
    outcomes = [sagas.result(saga_id, Leaky, timeout=30) for saga_id in undone]
    assert all(isinstance(outcome, Compensated) for outcome in outcomes)
    reasons = [outcome.failure.reason for outcome in outcomes if isinstance(outcome, Compensated)]
    assert sum(CANARY in reason for reason in reasons) >= 5
    stuck = sagas.run(Leaky, context("raise", "fails"), saga_id="stuck", timeout=20)
    assert isinstance(stuck, CompensationFailed)
    assert CANARY in stuck.undo.reason
    assert isinstance(sagas.run(Shrugging, context("raise"), timeout=20), Completed)
    station.kill(sagas.locate()[1].supervisor.pid)
    assert isinstance(sagas.run(Leaky, context("works"), saga_id="done", timeout=20), Completed)
    seen = titles(station)
    assert len(sagas.list()) == len(WAYS) + 3
    sagas.close()
    assert CANARY.encode() not in seen
    assert {"node.log", "thespian.log", "family.jsonl"} <= {path.name for path in station.node.path.iterdir()}
    assert (station.folder / "events").stat().st_size > 1_000
    assert station.node.thespian_log.stat().st_size > 1_000
    assert leaks(station) == []
    assert "what a step left behind on the event loop failed with Careless" in station.log()
    assert CANARY not in "".join(capfd.readouterr()) + caplog.text
    assert CANARY.encode() in (station.folder / "sagas.db").read_bytes()


CLIENT = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
from leaky import Leaky
from saga_actors import Coordinator

secret = sys.stdin.readline().strip()
with Coordinator(sys.argv[1], sagas=["leaky"]) as sagas:
    for how in ("raise", "works"):
        sagas.run(Leaky, {"secret": secret, "how": how}, saga_id=how)
    sagas.start(Leaky, {"secret": secret, "how": "hang"}, saga_id="hang")
    print("waiting", flush=True)
    sagas.result("hang")
"""


def test_a_client_that_dies_is_told_nothing_and_nobody_else_is(station: Station) -> None:
    """What it was owed is written nowhere; and its own output and title, at its most talkative, never had it."""
    sagas = station.coordinator(sagas=["leaky"], workers=1, spec={"grace": 0.3})
    sagas.have_served()
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, station.url], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, cwd=HERE
    ) as client:
        assert client.stdin
        assert client.stdout
        client.stdin.write(CANARY + "\n")
        client.stdin.flush()
        assert client.stdout.readline() == "waiting\n"
        title = psutil.Process(client.pid).cmdline()
        client.kill()
        out, err = client.communicate()
    assert CANARY not in "".join([*title, out, err])
    assert isinstance(sagas.result("hang", Leaky, timeout=20), Compensated)
    assert leaks(station) == []
    station.kill(sagas.locate()[0].watchdog_pid)  # which would wait for the dead client a while


def test_a_listener_that_tells_what_it_was_told_tells_no_secret(station: Station) -> None:
    """An event has none, so that not even the log line about a broken listener can have one."""
    sagas = station.coordinator(sagas=["leaky"], telemetry=["leaky:raising"], workers=1)
    sagas.run(Leaky, context("raise"), timeout=20)
    sagas.close()
    assert "Careless" in station.log()
    assert leaks(station) == []


def test_this_search_would_find_what_it_looks_for(station: Station, tmp_path: Path) -> None:
    """A canary in any file beside the journal is found, and so is one in a title."""
    sagas = station.coordinator(sagas=["leaky"], workers=1)
    sagas.have_served()
    (station.node.path / "notes").write_text(f"the card is {CANARY}")
    assert leaks(station) == [str(station.node.path / "notes")]
    assert sys.executable.encode() in titles(station)
