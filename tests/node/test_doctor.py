"""`saga-actors doctor` on a real node, and `backup` while it writes."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flows import Trip
from premises import Premises
from terminal import PATIENCE, piped, terminal
from waiting import eventually

from saga_actors import Coordinator
from saga_actors.execution import fold
from saga_actors.journal import open_reader
from saga_actors.node_folder import holder
from saga_actors.outcomes import SagaState

pytestmark = pytest.mark.node

HERE = str(Path(__file__).parent)
ROLES = ["RootSupervisor", "SagaSupervisor", "StatusActor", "StepWorker", "StepWorker", "admin", "life", "watchdog"]


def environment(premises: Premises) -> dict[str, str]:
    return {"PYTHONPATH": HERE, "SAGA_ACTORS_JOURNAL": premises.url}


def doctor(premises: Premises) -> dict[str, dict[str, Any]]:
    """What it finds, by subject."""
    ran = piped("doctor", "--deep", "-o", "json", cwd=premises.folder, **environment(premises))
    told = json.loads(ran.stdout)
    assert ran.returncode == (0 if told["ok"] else 1), ran.stderr
    return {each["subject"]: each for each in told["findings"]}


def wrong(premises: Premises) -> list[str]:
    return [subject for subject, finding in doctor(premises).items() if not finding["ok"]]


def test_a_node_that_serves_is_well(premises: Premises) -> None:
    """Each process of it is told with its role, its ports are of this host, and it is in its first life."""
    sagas = premises.coordinator()
    sagas.run(Trip, premises.context())
    found = doctor(premises)
    assert [subject for subject in found if not found[subject]["ok"]] == []
    processes = found["processes"]["facts"]["processes"]
    assert {process.pid for process in premises.family()} == {each["pid"] for each in processes}
    assert [role for role in sorted(each["role"] for each in processes) if role in ROLES] == ROLES
    assert all(each["bytes"] > 1_000_000 for each in processes)
    assert {each["host"] for each in found["ports"]["facts"]["ports"]} == {"127.0.0.1"}
    assert found["node"]["facts"]["pid"] == holder(premises.node).pid  # type: ignore[union-attr]
    assert found["sagas"]["says"] == "1 completed"


def test_a_node_that_was_killed_is_missed_by_its_sagas(premises: Premises) -> None:
    """The doctor says how many wait, and that nothing is left of it; with the next node all is well again."""
    sagas = premises.coordinator()
    sagas.start(Trip, premises.context(gates=["hotel"]), saga_id="t1")
    premises.until_called("hotel")
    watchdog = holder(premises.node)
    assert watchdog is not None
    premises.kill(watchdog.pid)
    sagas.close(0.0)
    eventually(lambda: not premises.family(), PATIENCE)
    found = doctor(premises)
    assert found["node"]["says"].startswith("none, for which 1 unfinished saga waits; start one")
    assert found["orphans"]["ok"]
    again = premises.coordinator()
    premises.outside.open("t1-hotel")
    again.result("t1")
    assert "node" not in wrong(premises)


def test_the_doctor_reads_well_in_a_terminal(premises: Premises) -> None:
    """In 80 columns, with what is wrong in red, and what is told of it beside it."""
    premises.coordinator().run(Trip, premises.context())
    (premises.folder / "sagas.db").chmod(0o644)
    with terminal("doctor", cwd=premises.folder, **environment(premises)) as shown:
        assert shown.ends() == 1
    assert max(map(len, shown.text.splitlines())) <= 80
    assert "\x1b[1;31mwrong" in shown.raw
    assert "chmod go= " in shown.text
    with terminal("doctor", cwd=premises.folder, NO_COLOR="1", **environment(premises)) as plain:
        assert plain.ends() == 1
    assert "\x1b[1;31m" not in plain.raw


@contextmanager
def load(sagas: Coordinator, premises: Premises) -> Iterator[None]:
    """Sagas begin and end, one behind the other, while the block runs."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            started = [sagas.start(Trip, premises.context()) for _ in range(10)]
            for saga_id in started:
                sagas.result(saga_id)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join(PATIENCE)
    assert not worker.is_alive()


def folded(path: Path) -> dict[str, SagaState]:
    """Every saga of a journal, by what its events say."""
    reader = open_reader(f"sqlite:///{path}")
    rows = reader.list(limit=100_000).rows
    states = {
        row.saga_id: fold((stored.event for stored in reader.load(row.saga_id)), reader.plan).state for row in rows
    }
    reader.close()
    assert states == {row.saga_id: row.state for row in rows}
    return states


def test_a_copy_that_was_made_under_load_is_a_journal(premises: Premises) -> None:
    """Every saga in it folds, what was there before is in it, and a node goes on from it."""
    sagas = premises.coordinator()
    sagas.run(Trip, premises.context(), saga_id="first")
    sagas.start(Trip, premises.context(gates=["hotel"]), saga_id="waiting")
    premises.until_called("hotel", saga_id="waiting")
    sizes = []
    with load(sagas, premises):
        for number in range(4):
            copy = f"copy-{number}.db"
            ran = piped("backup", copy, cwd=premises.folder, **environment(premises))
            assert ran.returncode == 0, ran.stderr
            states = folded(premises.folder / copy)
            assert (states["first"], states["waiting"]) == (SagaState.COMPLETED, SagaState.RUNNING)
            sizes.append(len(states))
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    restored = premises.folder / "restored"
    restored.mkdir()
    shutil.move(premises.folder / "copy-3.db", restored / "sagas.db")
    premises.outside.open("waiting-hotel")
    with Coordinator(f"sqlite:///{restored}/sagas.db", sagas=["flows"]) as other:
        assert other.result("waiting", timeout=PATIENCE).context["did_mail"]
        assert len(other.list(limit=1_000)) == sizes[-1]
