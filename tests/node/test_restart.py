"""Processes of a node die or fall silent, and its sagas go on; with real processes."""

from __future__ import annotations

import time

import pytest
from flows import Late, Once, Program, Stubborn, Trip
from station import Station, kinds

from saga_actors import Compensated, CompensationFailed, Completed, Coordinator, SagaState, WaitingFor
from saga_actors.events import (
    AttemptFailed,
    AttemptQuieted,
    AttemptStarted,
    Ending,
    Event,
    Phase,
    RetryScheduled,
)
from saga_actors.node_folder import ProcessId

pytestmark = pytest.mark.node

IMPATIENT = {"ping_every": 0.2, "silence": 1.5}
"""A node that takes a child for dead sooner than after 10 s of silence."""


def supervisor_of(sagas: Coordinator) -> int:
    """The pid of the saga supervisor, as the root reports it."""
    return sagas.locate()[1].supervisor.pid


def attempts(history: tuple[Event, ...], step: str, phase: Phase = Phase.EXECUTE) -> list[AttemptStarted]:
    """The attempts that were begun of a step."""
    return [e for e in kinds(history, AttemptStarted) if (e.step, e.phase) == (step, phase)]


def living(pid: int) -> ProcessId:
    """A process that is there now."""
    found = ProcessId.of(pid)
    assert found is not None
    return found


# The saga supervisor.


def test_a_step_that_runs_while_the_supervisor_is_killed_is_adopted(station: Station) -> None:
    """The next supervisor is there within a second; the worker survives, and the step is called once (P6, P8)."""
    sagas = station.coordinator()
    saga_id = sagas.start(Trip, station.context(gates=["hotel"]), saga_id="trip")
    (call,) = station.until_called("hotel")
    first = supervisor_of(sagas)
    station.kill(first)
    began = time.monotonic()
    station.until(lambda: "epoch 2 begins" in station.log())
    assert time.monotonic() - began < 1.0  # it is 0.03 s where nothing else runs
    station.outside.open("trip-hotel")
    assert isinstance(sagas.result(saga_id, Trip), Completed)
    assert supervisor_of(sagas) != first
    assert station.outside.names(saga_id) == ["flight", "hotel", "car", "mail"]
    history = sagas.history(saga_id)
    assert [(e.attempt, e.epoch) for e in attempts(history, "hotel")] == [(1, 1)]
    assert [e.epoch for e in attempts(history, "car")] == [2]
    assert call.pid in {member.pid for member in sagas.locate()[1].workers}


def test_a_result_that_no_supervisor_heard_of_is_adopted(station: Station) -> None:
    """What ended while the supervisor was stopped, and then killed, is not run again (P6)."""
    sagas = station.coordinator()
    saga_id = sagas.start(Trip, station.context(gates=["hotel"]), saga_id="trip")
    station.until_called("hotel")
    first = supervisor_of(sagas)
    station.stop(first)
    station.outside.open("trip-hotel")
    station.until(lambda: {"name": "hotel"} in station.outside.lines("ended"))
    station.kill(first)
    assert isinstance(sagas.result(saga_id, Trip), Completed)
    assert station.outside.names(saga_id) == ["flight", "hotel", "car", "mail"]
    assert len(attempts(sagas.history(saga_id), "hotel")) == 1


def test_a_rollback_goes_on_backwards_after_the_supervisor_was_killed(station: Station) -> None:
    """Each undo is called once, in reverse, with the context of its moment, also after the restart (P2, P3, P4)."""
    sagas = station.coordinator()
    saga_id = sagas.start(Trip, station.context(failing=["mail"], gates=["undo-hotel"]), saga_id="trip")
    station.until_called("undo-hotel")
    station.kill(supervisor_of(sagas))
    station.outside.open("trip-undo-hotel")
    outcome = sagas.result(saga_id, Trip)
    assert isinstance(outcome, Compensated)
    assert (outcome.failure.step, outcome.failure.error_type) == ("mail", "RuntimeError")
    calls = [(call.name, call.done) for call in station.outside.calls(saga_id=saga_id)]
    assert calls == [
        ("flight", ()),
        ("hotel", ("flight",)),
        ("car", ("flight", "hotel")),
        ("mail", ("car", "flight", "hotel")),
        ("undo-car", ("car", "flight", "hotel")),
        ("undo-hotel", ("flight", "hotel")),
        ("undo-flight", ("flight",)),
    ]


def test_an_undo_that_fails_after_a_restart_is_fatal(station: Station) -> None:
    """The outcome names what is left to undo, and nothing earlier is undone out of order (P2, P3)."""
    sagas = station.coordinator()
    context = station.context(failing=["car"], aborting=["undo-hotel"], gates=["undo-hotel"])
    saga_id = sagas.start(Trip, context, saga_id="trip")
    station.until_called("undo-hotel")
    station.kill(supervisor_of(sagas))
    station.outside.open("trip-undo-hotel")
    outcome = sagas.result(saga_id, Trip)
    assert isinstance(outcome, CompensationFailed)
    assert (outcome.undo.step, outcome.left) == ("hotel", ("hotel", "flight"))
    assert station.outside.names(saga_id) == ["flight", "hotel", "car", "undo-hotel"]


def test_two_hundred_sagas_in_flight_survive_the_supervisor(station: Station) -> None:
    """All of them end, and no step is called twice (P1, P6)."""
    sagas = station.coordinator(threads=8)
    ids = [sagas.start(Trip, station.context(gates=["hotel"], gate="all"), saga_id=f"trip-{n}") for n in range(200)]
    station.until_called("hotel", times=10)
    station.kill(supervisor_of(sagas))
    station.outside.open("all")
    assert all(isinstance(sagas.result(saga_id, Trip), Completed) for saga_id in ids)
    calls = [(call.saga_id, call.name) for call in station.outside.calls()]
    assert len(calls) == len(set(calls)) == 800


def test_a_retry_is_made_when_it_is_due_whoever_supervises_then(station: Station) -> None:
    """The due time is the journal's: a killed supervisor neither forgets nor hurries it."""
    sagas = station.coordinator()
    saga_id = sagas.start(Stubborn, station.context(failing_first=["call"]))
    station.until(lambda: kinds(sagas.history(saga_id), RetryScheduled))
    station.kill(supervisor_of(sagas))
    assert isinstance(sagas.result(saga_id, Stubborn), Completed)
    history = sagas.history(saga_id)
    (retry,) = kinds(history, RetryScheduled)
    first, second = attempts(history, "call")
    assert (first.attempt, second.attempt, first.epoch, second.epoch) == (1, 2, 1, 2)
    assert 0 <= second.at - retry.due < 2.0


# A worker.


def test_a_step_whose_worker_is_killed_is_run_again_with_its_key(station: Station) -> None:
    """It is the next attempt, in another process, and uses up no retry (P6)."""
    sagas = station.coordinator()
    saga_id = sagas.start(Trip, station.context(gates=["hotel"]), saga_id="trip")
    (first,) = station.until_called("hotel")
    station.kill(first.pid)
    first_again, second = station.until_called("hotel", times=2)
    station.outside.open("trip-hotel")
    assert isinstance(sagas.result(saga_id, Trip), Completed)
    assert first_again == first
    assert (second.attempt, second.key, second.pid != first.pid) == (2, first.key, True)
    assert station.outside.names(saga_id) == ["flight", "hotel", "hotel", "car", "mail"]
    (retry,) = kinds(sagas.history(saga_id), RetryScheduled)
    assert retry.rerun
    station.until(lambda: len(sagas.locate()[1].workers) == 2)


def test_a_step_that_may_not_be_run_again_is_undone_instead(station: Station) -> None:
    """With reruns=0 a step is called at most once; it may have happened, and so its undo is called (P6, P7)."""
    sagas = station.coordinator()
    saga_id = sagas.start(Once, station.context(gates=["call"]))
    (call,) = station.until_called("call")
    station.kill(call.pid)
    outcome = sagas.result(saga_id, Once)
    assert isinstance(outcome, Compensated)
    assert outcome.failure.kind == "interrupted"
    assert station.outside.names(saga_id) == ["call", "undo-call"]


def test_what_a_step_started_ends_with_its_worker(station: Station) -> None:
    """A killed worker takes the programs of its process group along."""
    sagas = station.coordinator()
    saga_id = sagas.start(Program, station.context(gates=["begin"]), saga_id="it")
    (call,) = station.until_called("begin")
    program = living(int((station.folder / "program").read_text()))
    station.kill(call.pid)
    station.until(lambda: not program.alive)
    station.outside.open("it-begin")
    assert isinstance(sagas.result(saga_id, Program), Completed)


def test_a_worker_that_dies_while_a_supervisor_is_born_is_missed_by_nobody(station: Station) -> None:
    """The new supervisor was told of a worker that died before it could listen; its step is run again (P1, P6)."""
    sagas = station.coordinator()
    saga_id = sagas.start(Trip, station.context(gates=["hotel"]), saga_id="trip")
    (call,) = station.until_called("hotel")
    first = living(station.pid("SagaSupervisor"))
    station.kill(first.pid)
    station.until(lambda: station.replaced("SagaSupervisor", first))
    station.kill(call.pid)
    station.until_called("hotel", times=2)
    station.outside.open("trip-hotel")
    assert isinstance(sagas.result(saga_id, Trip), Completed)


@pytest.mark.parametrize("role", ["StepWorker", "StatusActor", "TelemetryActor", "SagaSupervisor"])
def test_a_child_that_dies_at_birth_is_replaced(station: Station, role: str) -> None:
    """Also one that never came to say that it was there; the life goes on."""
    sagas = station.coordinator(workers=1)
    sagas.have_served()
    for _ in range(3):
        victim = living(station.pid(role))
        station.kill(victim.pid)
        station.until(lambda victim=victim: station.replaced(role, victim))
    assert isinstance(sagas.run(Trip, station.context()), Completed)
    assert "life 2" not in station.log()


# A step that does not end in time.


def test_a_step_that_hangs_is_undone_once_its_worker_is_dead(station: Station) -> None:
    """No undo begins while the attempt runs; its worker is given up and killed, and its neighbours run again (P7)."""
    sagas = station.coordinator(workers=1, spec={"grace": 1.0})
    neighbour = sagas.start(Trip, station.context(gates=["hotel"]), saga_id="trip")
    (beside,) = station.until_called("hotel")
    saga_id = sagas.start(Late, station.context(gates=["slow"]), saga_id="late")
    (slow,) = station.until_called("slow")
    assert slow.pid == beside.pid
    assert sagas.list(saga="flows:Late")[0].state in (SagaState.RUNNING, SagaState.COMPENSATING)
    assert isinstance(sagas.result(saga_id, Late), Compensated)
    calls = station.outside.calls(saga_id=saga_id)
    assert [(call.name, call.done) for call in calls] == [
        ("first", ()),
        ("slow", ("first",)),
        ("undo-slow", ("first",)),
        ("undo-first", ("first",)),
    ]
    assert calls[2].at - slow.at >= 1.5
    assert calls[2].pid != slow.pid
    assert endings(sagas.history(saga_id), "slow") == [
        ("AttemptStarted", Phase.EXECUTE),
        (Ending.TIMED_OUT, Phase.EXECUTE),
        ("AttemptQuieted", Phase.EXECUTE),
        ("AttemptStarted", Phase.COMPENSATE),
    ]
    station.outside.open("trip-hotel")
    assert isinstance(sagas.result(neighbour, Trip), Completed)
    assert [call.attempt for call in station.outside.calls("hotel")] == [1, 2]


def test_a_success_that_comes_late_is_undone_with_its_own_context(station: Station) -> None:
    """What a step says after its time, and before it is killed, is its result; its worker lives on (P4, P7)."""
    sagas = station.coordinator(workers=1)
    saga_id = sagas.start(Late, station.context(gates=["slow"]), saga_id="late")
    (slow,) = station.until_called("slow")
    station.until(lambda: sagas.status(saga_id).waiting_for is WaitingFor.QUIET)
    station.kill(supervisor_of(sagas))
    station.until(lambda: sagas.locate()[1].supervisor.pid)
    assert station.outside.names(saga_id) == ["first", "slow"]
    station.outside.open("late-slow")
    assert isinstance(sagas.result(saga_id, Late), Compensated)
    calls = [(call.name, call.done, call.pid) for call in station.outside.calls(saga_id=saga_id)][2:]
    assert calls == [("undo-slow", ("first", "slow"), slow.pid), ("undo-first", ("first",), slow.pid)]


def endings(history: tuple[Event, ...], step: str) -> list[tuple[str, Phase]]:
    """What happened to the attempts of a step until the first of its undo."""
    told: list[tuple[str, Phase]] = []
    for event in kinds(history, AttemptStarted, AttemptFailed, AttemptQuieted):
        if event.step == step:
            told.append((event.ending if isinstance(event, AttemptFailed) else type(event).__name__, event.phase))
        if (event.step, event.phase) == (step, Phase.COMPENSATE):
            break
    return told


# The whole node.


def test_a_node_that_was_killed_whole_is_started_again_and_resumes(station: Station) -> None:
    """All processes die at once; the next coordinator starts a node, and what was accepted ends (P1)."""
    first = station.coordinator()
    saga_id = first.start(Trip, station.context(gates=["hotel"]), saga_id="trip")
    (call,) = station.until_called("hotel")
    family = station.family()
    for process in sorted(family, key=lambda process: process.pid):
        process.kill()
    station.until(lambda: not any(process.alive for process in family))
    station.outside.open("trip-hotel")
    second = station.coordinator()
    assert isinstance(second.result(saga_id, Trip), Completed)
    assert station.outside.names(saga_id) == ["flight", "hotel", "hotel", "car", "mail"]
    assert [each.key for each in station.outside.calls("hotel")] == [call.key, call.key]


@pytest.mark.parametrize("victim", ["watchdog", "RootSupervisor", "admin"])
def test_a_wait_outlives_the_life_of_its_node(station: Station, victim: str) -> None:
    """Whoever waits for a saga while the node loses a vital process gets its outcome in the same call (P1)."""
    sagas = station.coordinator()
    saga_id = sagas.start(Trip, station.context(gates=["hotel"]), saga_id="trip")
    (call,) = station.until_called("hotel")
    worker, life = living(call.pid), sagas.locate()[0]
    station.kill(life.watchdog_pid if victim == "watchdog" else station.pid(victim))
    station.until(lambda: not worker.alive)
    station.outside.open("trip-hotel")
    assert isinstance(sagas.result(saga_id, Trip), Completed)
    assert sagas.locate()[0].life != life.life
    assert len(station.outside.calls("hotel")) == 2


# The others.


def test_a_status_actor_that_is_killed_is_replaced(station: Station) -> None:
    """Status is answered again, also in the very call that meets the dead one."""
    sagas = station.coordinator()
    saga_id = sagas.start(Trip, station.context(gates=["hotel"]), saga_id="trip")
    station.until_called("hotel")
    first = sagas.locate()[1].status.pid
    station.kill(first)
    assert sagas.status(saga_id).current_step == "hotel"
    assert sagas.locate()[1].status.pid != first
    station.until(lambda: sagas.status(saga_id).served)


@pytest.mark.parametrize("victim", ["SagaSupervisor", "StepWorker", "StatusActor", "TelemetryActor"])
def test_a_child_that_is_silent_is_killed_and_replaced(station: Station, victim: str) -> None:
    """Hung is treated as dead, two never stand side by side, and the saga ends all the same (P11)."""
    sagas = station.coordinator(workers=1, spec=IMPATIENT)
    saga_id = sagas.start(Trip, station.context(gates=["hotel"]), saga_id="trip")
    station.until_called("hotel")
    stopped = living(station.pid(victim))
    station.stop(stopped.pid)
    station.until(lambda: not stopped.alive)
    station.until(lambda: station.replaced(victim, stopped))
    station.outside.open("trip-hotel")
    assert isinstance(sagas.result(saga_id, Trip), Completed)
    station.until(lambda: sagas.status(saga_id).served)
    assert f"(pid {stopped.pid}) is silent, and is killed" in station.log()
    assert "life 2" not in station.log()


def test_no_process_is_left_when_the_last_coordinator_is_closed(station: Station) -> None:
    """Also after every kind of child was replaced once."""
    sagas = station.coordinator()
    sagas.have_served()
    for role in ("StepWorker", "StatusActor", "TelemetryActor", "SagaSupervisor"):
        victim = living(station.pid(role))
        station.kill(victim.pid)
        station.until(lambda role=role, victim=victim: station.replaced(role, victim))
    assert isinstance(sagas.run(Trip, station.context()), Completed)
    family = station.family()
    sagas.close()
    station.until(lambda: not any(process.alive for process in family))
