"""A saga, a step or a birth that kills its process each time: what ends is that saga, that step, or that node."""

from __future__ import annotations

import pytest
from deadly import Deadly, Neighbour
from station import Station, kinds

from saga_actors import Compensated, Completed, SagaHeldError, SagaState, WaitingFor
from saga_actors.events import AttemptFailed, Ending, Phase
from saga_actors.node import GAVE_UP
from saga_actors.node_folder import ProcessId
from saga_actors.node_spec import NodeSpec
from saga_actors.node_start import start_node

pytestmark = pytest.mark.node

IN_A_LIFE = """
import os, sys
if "saga_actors.actors.life" in sys.orig_argv:
"""

FOLDING_KILLS = """
    import saga_actors.execution as execution
    fold = execution.fold

    def deadly(*args):
        folded = fold(*args)
        if folded.saga_id in {ids} and sys._getframe(1).f_globals["__name__"] == "saga_actors.actors.saga":
            with open({notes!r}, "a") as notes:
                notes.write(folded.saga_id + "\\n")
            os._exit(3)
        return folded

    execution.fold = deadly
"""

BIRTH_KILLS = """
    import saga_actors.actors.worker as worker
    worker.StepWorker._be_born = lambda *_: os._exit(3)
"""


def customize(station: Station, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have the processes of a node's lives begin with this."""
    folder = station.folder / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(IN_A_LIFE + code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.parametrize("killers", [1, 4])
def test_sagas_whose_folding_kills_the_supervisor_are_held_and_two_hundred_others_complete(
    station: Station, monkeypatch: pytest.MonkeyPatch, killers: int
) -> None:
    """P1, P11, P12: each after two deaths, which count against it alone: the node's life stays the same."""
    bad, notes = [f"bad-{n}" for n in range(killers)], station.folder / "notes"
    customize(station, monkeypatch, FOLDING_KILLS.format(ids=bad, notes=str(notes)))
    sagas = station.coordinator(sagas=["deadly"])
    good = [f"good-{n}" for n in range(200)]
    every = [*good[:100], *bad, *good[100:]]
    gated = station.context(does={"first": ["wait", "wait"]})
    for saga_id in every:
        sagas.start(Neighbour, gated, saga_id=saga_id)
    station.until_called("first", times=64)
    station.kill(station.pid("SagaSupervisor"))
    station.until(lambda: notes.exists() and len(notes.read_text().split()) == 2 * killers)
    for saga_id in every:
        station.outside.open(f"{saga_id}-first")
    assert all(isinstance(sagas.result(saga_id, Neighbour), Completed) for saga_id in good)
    for saga_id in bad:
        with pytest.raises(SagaHeldError, match="died 2 times in a row while it folded it"):
            sagas.result(saga_id, Neighbour)
        assert sagas.status(saga_id).state is SagaState.HELD
    assert len(notes.read_text().split()) == 2 * killers
    assert "life 2" not in station.log()


def test_a_step_that_kills_its_worker_each_time_ends_its_own_saga_alone(station: Station) -> None:
    """P6, P11: after two deaths it waits for a worker to itself; after seven it ends by the rule of `reruns`."""
    sagas = station.coordinator(sagas=["deadly"], workers=1)
    deadly = ["die", "wait die", *["die"] * 9]
    sagas.start(Deadly, station.context(does={"deadly": deadly}), saga_id="bad")
    station.until_called("deadly", times=2)
    good = [f"good-{n}" for n in range(10)]
    for saga_id in good:
        sagas.start(Neighbour, station.context(does={"first": ["wait", "wait"]}), saga_id=saga_id)
    station.until_called("first", times=10)
    station.outside.open("bad-deadly")
    station.until_called("first", times=20)
    station.until(lambda: sagas.status("bad").waiting_for is WaitingFor.SLOT)
    assert len(station.outside.calls("deadly")) == 2
    for saga_id in good:
        station.outside.open(f"{saga_id}-first")
    assert all(isinstance(sagas.result(saga_id, Neighbour), Completed) for saga_id in good)
    outcome = sagas.result("bad", Deadly)
    assert isinstance(outcome, Compensated)
    assert outcome.failure.step == "deadly"
    calls = station.outside.calls("deadly")
    assert len(calls) == len({call.pid for call in calls}) == 7
    assert len({call.key for call in calls}) == 1
    failed = [event for event in kinds(sagas.history("bad"), AttemptFailed) if event.phase is Phase.EXECUTE]
    assert [event.ending for event in failed] == [Ending.INTERRUPTED] * 7
    assert "life 2" not in station.log()


def test_workers_that_die_at_birth_each_time_make_the_node_give_up(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P12: nothing could ever be run, and it is said loudly."""
    customize(station, monkeypatch, BIRTH_KILLS)
    with start_node(NodeSpec(station.url, cwd=str(station.folder))) as node:
        assert node.wait(60) == GAVE_UP
    assert "worker died too often" in station.log()
    assert "gave up after 5 lives" in station.log()


def test_two_workers_that_die_at_once_are_both_replaced_at_once(station: Station) -> None:
    """P11: Thespian tells only of the first; no ping is needed to find the other."""
    sagas = station.coordinator(sagas=["deadly"], spec={"ping_every": 50.0, "silence": 100.0})
    sagas.have_served()
    for _ in range(3):
        before = living_workers(station)
        assert len(before) == 2
        for worker in before:
            station.kill(worker.pid)
        station.until(lambda before=before: len(living_workers(station) - before) == 2)


def living_workers(station: Station) -> set[ProcessId]:
    return {process for process, role in station.node.members() if role == "StepWorker" and process.alive}
