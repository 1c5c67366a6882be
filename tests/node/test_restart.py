"""Processes of a node die or fall silent, and no saga notices; with real processes."""

from __future__ import annotations

import time

import pytest
from flows import Late, Once, Program, Stubborn, Trip
from station import Station, kinds

from saga_actors import Compensated, Completed, Coordinator, SagaState
from saga_actors.events import AttemptFailed, AttemptQuieted, AttemptStarted, Ending, RetryScheduled
from saga_actors.node_folder import ProcessId

pytestmark = pytest.mark.node


def supervisor_of(sagas: Coordinator) -> int:
    """The pid of the saga supervisor, as the root reports it."""
    return sagas.locate()[1].supervisor.pid


def started(sagas: Coordinator, saga_id: str, step: str) -> list[AttemptStarted]:
    """The attempts of a step that the journal has."""
    return [event for event in kinds(sagas.history(saga_id), AttemptStarted) if event.step == step]


def test_an_attempt_that_runs_while_the_supervisor_is_killed_is_adopted(station: Station) -> None:
    """The supervisor is replaced within a second, its worker goes on, and the step is called once (P6, P8)."""
    sagas = station.coordinator()
    saga_id = sagas.start(Trip, station.context(gates=["hotel"]), saga_id="trip")
    (call,) = station.until_called("hotel")
    first = supervisor_of(sagas)
    station.kill(first)
    began = time.monotonic()
    station.until(lambda: station.pid("SagaSupervisor") != first)
    assert supervisor_of(sagas) != first
    assert time.monotonic() - began < 3
    station.outside.open("trip-hotel")
    assert isinstance(sagas.result(saga_id, Trip), Completed)
    assert station.outside.names(saga_id) == ["flight", "hotel", "car", "mail"]
    assert [(event.attempt, event.epoch) for event in started(sagas, saga_id, "hotel")] == [(1, 1)]
    assert [event.epoch for event in started(sagas, saga_id, "car")] == [2]
    assert call.pid in {member.pid for member in sagas.locate()[1].workers}
