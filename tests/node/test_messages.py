"""Sagas for code that lives among actors: messages to the supervisor and the status actor of a real node."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from flows import Late, Trip
from station import Station

from saga_actors import Completed, Node, SagaActorsError, SagaState, connect
from saga_actors.messages import (
    AwaitSaga,
    GetStatus,
    ListSagas,
    Refusal,
    Refused,
    RunSaga,
    SagaEnded,
    SagasAre,
    SagaStarted,
    StartSaga,
    StatusIs,
    new_id,
)

pytestmark = pytest.mark.node

EXAMPLE = Path(__file__).parents[2] / "examples" / "message_level.py"
LIMIT = 30.0


@pytest.fixture
def node(station: Station) -> Iterator[Node]:
    """A node that serves `Trip` and nothing else."""
    with connect(station.url, sagas=[Trip]) as node:
        yield node


def test_the_example_prints_what_it_was_answered() -> None:
    """Asked from outside and sent by an actor of its own, sagas run; both addresses tell of them, and refuse."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stderr == ""
    *told, unknown, unknown_too, taken = ran.stdout.splitlines()
    history = (
        "ord_2: Accepted, AttemptStarted, AttemptSucceeded, AttemptStarted, AttemptFailed, StepFailed, "
        "RollbackStarted, AttemptStarted, AttemptSucceeded, SagaCompensated"
    )
    assert told == [
        "ord_1: Completed, {'total': 250, 'reserved': True, 'charged': 250}",
        "ord_2: Compensated, {'total': 2500, 'reserved': True}",
        "ord_3: started",
        "ord_4: Completed, as the shop was told: {'total': 40, 'reserved': True, 'charged': 40}",
        "ord_2: compensated, says the supervisor",
        "4 sagas, says the supervisor",
        history,
        "ord_2: compensated, says the status actor",
        "4 sagas, says the status actor",
        history,
    ]
    assert unknown == unknown_too
    assert unknown.startswith("refused, unknown_saga: the journal ")
    assert taken.startswith("refused, id_taken: saga id 'ord_1' was started with another context")


def test_asking_twice_runs_a_saga_once(node: Node, station: Station) -> None:
    """Messages are hints: the same one again, before or after the end, is answered and starts nothing (P10)."""
    question = RunSaga.of(Trip, station.context(), saga_id="trip")
    node.system.tell(node.supervisor, question)
    for _ in range(2):
        answer = node.system.ask(node.supervisor, question, LIMIT)
        assert isinstance(answer, SagaEnded)
        assert answer.correlation_id == question.correlation_id
        assert isinstance(answer.outcome(Trip), Completed)
    assert station.outside.names("trip") == ["flight", "hotel", "car", "mail"]


def test_a_saga_that_was_started_is_waited_for_by_anybody(node: Node, station: Station) -> None:
    """What one starts, another may wait for, by its id alone."""
    started = node.system.ask(
        node.supervisor, StartSaga.of(Trip, station.context(gates=["car"]), saga_id="trip"), LIMIT
    )
    assert isinstance(started, SagaStarted)
    station.until_called("car")
    status = node.system.ask(node.status_actor, GetStatus(new_id(), "trip"), LIMIT)
    assert isinstance(status, StatusIs)
    assert (status.status.current_step, status.status.completed_steps) == ("car", ("flight", "hotel"))
    with node.system.private() as other:
        other.tell(node.supervisor, AwaitSaga("mine", "trip"))
        station.outside.open("trip-car")
        ended = other.listen(LIMIT)
    assert isinstance(ended, SagaEnded)
    assert ended.correlation_id == "mine"


def test_a_question_is_answered_by_the_next_supervisor(node: Node, station: Station) -> None:
    """A supervisor that was killed answers no more; the one at `node.supervisor` then does, about the same saga."""
    question = RunSaga.of(Trip, station.context(gates=["car"]), saga_id="trip")
    first = node.supervisor
    node.system.tell(first, question)
    station.until_called("car")
    station.kill(station.pid("SagaSupervisor"))
    station.outside.open("trip-car")
    station.until(lambda: node.supervisor != first)
    ended = node.system.ask(node.supervisor, question, LIMIT)
    assert isinstance(ended, SagaEnded)
    assert station.outside.names("trip") == ["flight", "hotel", "car", "mail"]


def test_a_node_that_was_killed_is_the_next_life(node: Node, station: Station) -> None:
    """Its system is that of the life which it has now: it is asked, and makes actors."""
    station.kill(station.pid("admin"))
    before = node.system
    station.until(lambda: node.system is not before)
    assert isinstance(node.system.ask(node.supervisor, ListSagas(new_id()), LIMIT), SagasAre)
    assert node.system.createActor("thespian.actors.ActorTypeDispatcher")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: RunSaga.of(Late, {}), Refusal.NOT_SERVED),
        (lambda: StartSaga.of(Late, {}), Refusal.NOT_SERVED),
        (lambda: attrs.evolve(RunSaga.of(Trip, {}), fingerprint="other"), Refusal.MISMATCH),
        (lambda: attrs.evolve(RunSaga.of(Trip, {}), saga_id="a\nb"), Refusal.BAD_REQUEST),
        (lambda: attrs.evolve(RunSaga.of(Trip, {}), context=b"x" * 1_000_001), Refusal.TOO_LARGE),
        (lambda: AwaitSaga(new_id(), "nobody"), Refusal.UNKNOWN_SAGA),
        (lambda: ListSagas(new_id(), limit=0), Refusal.BAD_REQUEST),
    ],
)
def test_what_is_not_taken_is_refused(node: Node, make: Any, code: str) -> None:
    """The refusal carries the question's correlation id and a code, and nothing was journalled."""
    question = make()
    refused = node.system.ask(node.supervisor, question, LIMIT)
    assert isinstance(refused, Refused)
    assert (refused.correlation_id, refused.code) == (question.correlation_id, code)
    assert refused.message
    sagas = node.system.ask(node.status_actor, ListSagas(new_id()), LIMIT)
    assert sagas.sagas == ()


def test_the_status_actor_refuses_what_is_for_the_supervisor(node: Node, station: Station) -> None:
    """It starts nothing, and says whom to ask."""
    refused = node.system.ask(node.status_actor, RunSaga.of(Trip, station.context()), LIMIT)
    assert isinstance(refused, Refused)
    assert refused.code == Refusal.BAD_REQUEST
    assert "send it to the supervisor" in refused.message


def test_what_makes_no_sense_is_not_even_made() -> None:
    """A message with a value of the wrong kind raises where it is made, and does not quote the value."""
    with pytest.raises(SagaActorsError, match=r"GetStatus\.saga_id is of type int; expected str"):
        GetStatus(new_id(), 5)  # type: ignore[arg-type]
    with pytest.raises(SagaActorsError, match=r"RunSaga\.context is of type dict; expected bytes"):
        attrs.evolve(RunSaga.of(Trip, {}), context={"secret": 1})


def test_what_nobody_knows_is_logged_and_harms_nothing(node: Node, station: Station) -> None:
    """Neither the supervisor nor the status actor ends over a stranger's message (P11)."""
    pids = station.pid("SagaSupervisor"), station.pid("StatusActor")
    for address in node.supervisor, node.status_actor:
        node.system.tell(address, "hello")
        node.system.tell(address, {"what": "is this"})
    ended = node.system.ask(node.supervisor, RunSaga.of(Trip, station.context(), saga_id="trip"), LIMIT)
    assert isinstance(ended, SagaEnded)
    status = node.system.ask(node.status_actor, GetStatus(new_id(), "trip"), LIMIT)
    assert status.status.state is SagaState.COMPLETED
    assert (station.pid("SagaSupervisor"), station.pid("StatusActor")) == pids
    assert "was sent a str, which it does not know" in station.log()


def test_only_workers_and_clients_import_a_context(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root, supervisor, status actor and whoever else carries a context have not imported its module."""
    marks = station.folder / "marks"
    marks.mkdir()
    monkeypatch.setenv("MARKED_FOLDER", str(marks))
    marked = importlib.import_module("marked")
    with connect(station.url, sagas=[marked.Post]) as node:
        question = RunSaga.of(marked.Post, marked.Parcel(7), saga_id="post")
        ended = node.system.ask(node.supervisor, question, LIMIT)
        assert ended.outcome(marked.Post).context == marked.Parcel(7, stamped=True)
        for address in node.supervisor, node.status_actor:
            assert node.system.ask(address, GetStatus(new_id(), "post"), LIMIT).status.state is SagaState.COMPLETED
        roles = {process.pid: role for process, role in station.node.members()}
        marked_by = {int(mark.name) for mark in marks.iterdir()} - {os.getpid()}
        assert {roles[pid] for pid in marked_by} == {"StepWorker"}
        assert {"RootSupervisor", "SagaSupervisor", "StatusActor", "TelemetryActor"} <= set(roles.values())
