"""What happens to sagas is told to listeners, in order, and never at the sagas' expense; with a real node."""

from __future__ import annotations

import time
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest
from flows import Trip
from station import Station

from saga_actors import Compensated, CompensationFailed, Completed

pytestmark = pytest.mark.node

CANARY = "canary-7c1f0b52"

FORWARD = ["flight", "hotel", "car", "mail"]
ENDS = ("completed", "compensated", "fatal")


@pytest.fixture(autouse=True)
def told_here(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the listeners write."""
    monkeypatch.setenv("FLOWS_EVENTS", str(station.folder))


def told(station: Station, saga_id: str) -> list[dict[str, Any]]:
    """What the listener was told of a saga, once the end of it was."""
    station.until(lambda: any(e["name"] in ENDS for e in events(station, saga_id)))
    return events(station, saga_id)


def events(station: Station, saga_id: str) -> list[dict[str, Any]]:
    return [event for event in station.outside.lines("events") if event["saga_id"] == saga_id]


def words(event: dict[str, Any]) -> str:
    """An event in words, without its times."""
    facts = event["metadata"]
    what = f"undo-{facts['step']}" if facts.get("phase") == "compensate" else facts.get("step")
    return " ".join(str(word) for word in (event["name"], what, facts.get("attempt")) if word is not None)


def tried(name: str, attempt: int = 1, *, ok: bool = True) -> list[str]:
    """An attempt, as it is told."""
    return [f"step_started {name} {attempt}", f"step_{'ok' if ok else 'failed'} {name} {attempt}"]


def all_tried(*names: str) -> list[str]:
    return [word for name in names for word in tried(name)]


def test_the_events_of_three_sagas_across_a_restart(station: Station) -> None:
    """The exact sequences of a completed, a compensated and a fatal saga; the supervisor is killed within each."""
    sagas = station.coordinator(telemetry=["flows:on_event"])
    gate = {"gate": "all"}
    sagas.start(Trip, station.context(gates=["hotel"], **gate), saga_id="done")
    sagas.start(Trip, station.context(failing=["mail"], gates=["undo-hotel"], **gate), saga_id="undone")
    sagas.start(Trip, station.context(aborting=["car", "undo-hotel"], gates=["undo-hotel"], **gate), saga_id="stuck")
    station.until_called("hotel", saga_id="done")
    station.until_called("undo-hotel", times=2)
    station.kill(sagas.locate()[1].supervisor.pid)
    station.outside.open("all")
    kinds = [type(sagas.result(saga_id, Trip)) for saga_id in ("done", "undone", "stuck")]
    assert kinds == [Completed, Compensated, CompensationFailed]

    done, undone, stuck = (told(station, saga_id) for saga_id in ("done", "undone", "stuck"))
    assert [words(event) for event in done] == ["started", *all_tried(*FORWARD), "completed"]
    assert [words(event) for event in undone] == [
        "started",
        *all_tried("flight", "hotel", "car"),
        *tried("mail", ok=False),
        "compensating",
        *all_tried("undo-car", "undo-hotel", "undo-flight"),
        "compensated",
    ]
    assert [words(event) for event in stuck] == [
        "started",
        *all_tried("flight", "hotel"),
        *tried("car", ok=False),
        "compensating",
        *tried("undo-hotel", ok=False),
        "fatal hotel",
    ]
    for history in done, undone, stuck:
        seqs = [event["metadata"]["seq"] for event in history]
        assert seqs == sorted(set(seqs))
        assert not any(event["repeated"] for event in history)
        assert all("duration" in event["measures"] for event in history if "started" not in event["name"])
    (turned,) = (event["metadata"] for event in undone if event["name"] == "compensating")
    assert (turned["failed_step"], turned["kind"]) == ("mail", "failed")
    (failed,) = (event["metadata"] for event in undone if event["name"] == "step_failed")
    assert (failed["ending"], failed["error_type"], failed["retryable"]) == ("failed", "RuntimeError", True)


def test_what_a_killed_telemetry_actor_had_to_tell_is_told_by_the_next(station: Station) -> None:
    """Events are told at least once, in order; those that may have been told before are marked."""
    sagas = station.coordinator(telemetry=["flows:on_event"])
    sagas.start(Trip, station.context(gates=["hotel"]), saga_id="trip")
    station.until(lambda: [words(event) for event in events(station, "trip")][-1:] == ["step_started hotel 1"])
    station.kill(station.pid("TelemetryActor"))
    station.outside.open("trip-hotel")
    sagas.result("trip", Trip)
    history = told(station, "trip")
    assert list(dict.fromkeys(words(event) for event in history)) == ["started", *all_tried(*FORWARD), "completed"]
    seqs = [event["metadata"]["seq"] for event in history]
    for earlier, (seq, event) in enumerate(zip(seqs, history, strict=True)):
        assert event["repeated"] or seq not in seqs[:earlier]
    assert not history[-1]["repeated"] or seqs.count(seqs[-1]) <= 2


def test_all_is_told_before_a_node_ends(station: Station) -> None:
    """A coordinator that is closed at once after its last saga leaves no event untold."""
    with station.coordinator(telemetry=["flows:on_event"]) as sagas:
        for number in range(20):
            sagas.run(Trip, station.context(), saga_id=f"trip-{number}")
    for number in range(20):
        assert [words(e) for e in events(station, f"trip-{number}")] == ["started", *all_tried(*FORWARD), "completed"]


def test_listeners_that_misbehave_harm_nobody(station: Station) -> None:
    """One raises, one hangs, one is slow, one is not there; sagas go on at once, and the others are told (P11)."""
    wrong = ["flows:raising", "flows:hanging", "flows:slow", "nowhere:on_event"]
    sagas = station.coordinator(telemetry=[*wrong, "flows:on_event"])
    sagas.have_served()
    began = time.monotonic()
    for number in range(10):
        assert isinstance(sagas.run(Trip, station.context(), saga_id=f"trip-{number}"), Completed)
    assert time.monotonic() - began < 4.0  # the slow one alone takes 5 s
    for number in range(10):
        assert len(told(station, f"trip-{number}")) == 10
    log = station.log()
    assert "telemetry listener flows:raising raised" in log
    assert "telemetry listener nowhere:on_event cannot be used" in log


def test_the_log_tells_of_sagas(station: Station) -> None:
    """Without any listener, node.log has a line for each beginning, turn and end; steps are for DEBUG."""
    with station.coordinator() as sagas:
        sagas.run(Trip, station.context(), saga_id="done")
        sagas.run(Trip, station.context(failing=["hotel"]), saga_id="undone")
        sagas.run(Trip, station.context(failing=["car"], aborting=["undo-hotel"]), saga_id="stuck")
    lines = [line.partition(" saga_actors.saga: ")[::2] for line in station.log().splitlines()]
    told = [(before.split()[-1], *line.split()[1:3]) for before, line in lines if line]
    assert sorted(told) == sorted(
        [
            ("INFO", "done:", "started"),
            ("INFO", "done:", "completed"),
            ("INFO", "undone:", "started"),
            ("INFO", "undone:", "compensating"),
            ("INFO", "undone:", "compensated"),
            ("INFO", "stuck:", "started"),
            ("INFO", "stuck:", "compensating"),
            ("ERROR", "stuck:", "fatal"),
        ]
    )


def test_a_node_that_only_does_its_work_warns_of_nothing(station: Station) -> None:
    """There is no WARNING in the log of a fresh journal's first node, from its first line to its last."""
    with station.coordinator() as sagas:
        sagas.run(Trip, station.context())
    assert [line for line in station.log().splitlines() if "WARNING" in line or "ERROR" in line] == []


def test_no_value_of_a_context_gets_out(
    station: Station, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not in events, logs, process titles or output; though a step quotes it, a worker and the supervisor die."""
    sagas = station.coordinator(telemetry=["flows:on_event", "flows:raising"], workers=1, spec={"grace": 0.5})
    context = station.context(secret=CANARY, gates=["hotel"], failing=["mail"], aborting=["undo-flight"])
    sagas.start(Trip, context, saga_id="trip")
    (call,) = station.until_called("hotel")
    titles = [" ".join(psutil.Process(process.pid).cmdline()) for process in station.family()]
    station.kill(call.pid)
    station.until_called("hotel", times=2)
    station.kill(sagas.locate()[1].supervisor.pid)
    station.outside.open("trip-hotel")
    outcome = sagas.result("trip", Trip)
    assert isinstance(outcome, CompensationFailed)
    assert CANARY in outcome.failure.reason
    assert len(told(station, "trip")) > 10
    sagas.close()
    outside = [*titles, (station.folder / "events").read_text(), station.log(), *capfd.readouterr(), caplog.text]
    outside += [path.read_text() for path in station.node.path.iterdir()]
    assert [text for text in outside if CANARY in text] == []
