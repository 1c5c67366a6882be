"""What one class of sagas, or one saga, costs all others; with real processes."""

from __future__ import annotations

import statistics
import time

import pytest
from crowds import Big, Limited, Long, Quick, Regretted, Together
from station import Station

from saga_actors import Compensated, Completed, Coordinator, SagaState

pytestmark = pytest.mark.node

CROWD = 10_000


def coordinator(station: Station, **options: int) -> Coordinator:
    """A coordinator on a node that takes a crowd, and what comes after it."""
    return station.coordinator(sagas=["crowds"], spec={"max_unfinished": CROWD + 1_000, **options})


def timed(sagas: Coordinator, saga: type, context: dict[str, object]) -> tuple[object, float]:
    """How a saga ended, and after how many seconds."""
    began = time.monotonic()
    return sagas.run(saga, context, timeout=20), time.monotonic() - began


def test_ten_thousand_long_sagas_keep_neither_another_class_nor_a_compensation_waiting(station: Station) -> None:
    """P11: with steps of minutes in every slot, another class's saga ends within a second, also one with undos."""
    sagas = coordinator(station)
    sagas.run(Quick, station.context())  # the node is there, and serves
    sagas.start_many(Long, [station.context() for _ in range(CROWD)])
    station.until(lambda: len(station.outside.lines("begun")) >= 64)
    quick = [timed(sagas, Quick, station.context()) for _ in range(5)]
    regretted = [timed(sagas, Regretted, station.context(failing=["third"])) for _ in range(5)]
    assert all(isinstance(outcome, Completed) for outcome, _ in quick)
    assert all(isinstance(outcome, Compensated) for outcome, _ in regretted)
    assert statistics.median(seconds for _, seconds in quick) < 1.0
    assert statistics.median(seconds for _, seconds in regretted) < 1.0
    assert len(station.outside.lines("begun")) == 64


def test_no_more_than_its_limit_of_a_class_are_in_flight(station: Station) -> None:
    """P12: three at most, by the ledger, from the first step of one to its end, also over a supervisor's death."""
    sagas = coordinator(station)
    ids = [f"limited-{n}" for n in range(24)]
    failing = [station.context(failing=["last"]) if n % 5 == 0 else station.context() for n in range(len(ids))]
    gated = [{**context, "gates": ["second"], "gate": "all"} for context in failing]
    sagas.start_many(Limited, gated, saga_ids=ids)
    station.until_called("second", times=3)
    station.kill(sagas.locate()[1].supervisor.pid)
    station.until(lambda: "epoch 2 begins" in station.log())
    _, seconds = timed(sagas, Quick, station.context())  # others go on meanwhile
    assert seconds < 5.0
    assert len({call.saga_id for call in station.outside.calls("first")}) == 3
    station.outside.open("all")
    states = [type(sagas.result(saga_id, Limited)) for saga_id in ids]
    assert (states.count(Completed), states.count(Compensated)) == (19, 5)
    in_flight: set[str] = set()
    most = 0
    for call in station.outside.calls():
        if not call.saga_id.startswith("limited"):
            continue
        in_flight.add(call.saga_id)
        most = max(most, len(in_flight))
        if call.name == "undo-first" or (call.name == "last" and int(call.saga_id.partition("-")[2]) % 5):
            in_flight.discard(call.saga_id)
    assert (most, in_flight) == (3, set())


def test_a_worker_holds_a_thousand_async_steps_at_once(station: Station) -> None:
    """They wait on its loop side by side, and all of them end when they may."""
    sagas = coordinator(station, workers=1)
    ids = sagas.start_many(Together, [station.context() for _ in range(1_000)])
    station.until(lambda: [line["most"] for line in station.outside.lines("together")][-1:] == [1_000])
    assert sagas.status(ids[0]).state is SagaState.RUNNING
    station.outside.open("all")
    assert all(isinstance(sagas.result(saga_id), Completed) for saga_id in ids)


def test_a_context_of_a_megabyte_delays_others_by_less_than_50_ms(station: Station) -> None:
    """P11: the median of small sagas beside a big one, against that of small sagas alone in the same run."""
    sagas = coordinator(station)
    big = {"text": "x" * 990_000}
    sagas.run(Big, big)
    sagas.run(Quick, station.context())
    alone: list[float] = []
    beside: list[float] = []
    for n in range(20):
        alone.append(timed(sagas, Quick, station.context())[1])
        saga_id = sagas.start(Big, big, saga_id=f"big-{n}")
        beside.append(timed(sagas, Quick, station.context())[1])
        sagas.result(saga_id)
    assert statistics.median(beside) - statistics.median(alone) < 0.05
