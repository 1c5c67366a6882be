"""A process kills itself at each point where it matters, with sagas of every kind in flight, and no promise is broken.

`SAGA_ACTORS_KILL_POINTS=all` runs the whole matrix, and not only a spread of it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from pathlib import Path

import attrs
import pytest
from kill_runs import AT_BIRTH, AT_THE_END, ON_THE_WAY, WAYS, Cell, have_own_key, run

from saga_actors.actors.kill_points import AFTER, BEFORE, POINTS, KillPoint, _nothing, passage, passing
from saga_actors.events import Phase

IN_PARALLEL = 3


def passages(point: str) -> tuple[int, ...]:
    what = point.partition("-")[2]
    return AT_BIRTH.get(what) or AT_THE_END.get(what) or ON_THE_WAY


def matrix(point: str) -> list[Cell]:
    """Every kind of saga at every passage; at every other one the whole node dies."""
    return [Cell(point, kind, nth, nth % 2 == 0) for nth in passages(point) for kind in WAYS]


def spread(point: str) -> list[Cell]:
    """Every kind of saga, each at one of the passages, and for every third point one run more: 120 in all."""
    place = POINTS.index(point)
    turn = cycle(passages(point))
    for _ in range(place):
        next(turn)
    kinds = [*WAYS, *([] if place % 3 else ["undo-fails-once"])]
    return [Cell(point, kind, next(turn), number == place % 4) for number, kind in enumerate(kinds)]


CELLS = matrix if os.environ.get("SAGA_ACTORS_KILL_POINTS") == "all" else spread


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    """Processes to run in, each with a key of its own."""
    context = multiprocessing.get_context("spawn")
    keys = tmp_path_factory.mktemp("keys")
    with ProcessPoolExecutor(IN_PARALLEL, context, initializer=have_own_key, initargs=(keys,)) as made:
        yield made


@pytest.mark.node
@pytest.mark.parametrize("point", POINTS)
def test_a_process_dies_there_and_no_promise_is_broken(point: str, tmp_path: Path, pool: ProcessPoolExecutor) -> None:
    """P1 to P7, by a ledger outside: the sagas of every kind that were in flight go on when it is replaced."""
    cells = CELLS(point)
    folders = [tmp_path / str(number) for number in range(len(cells))]
    faults = [fault for found in pool.map(run, cells, folders) for fault in found]
    assert not faults, "\n".join(faults)


def test_the_runs_are_many_and_of_every_kind() -> None:
    """Every point with every kind of saga, 120 runs at least; and the whole matrix has them all."""
    cells = [cell for point in POINTS for cell in spread(point)]
    assert len(cells) == len(set(cells)) >= 120
    assert {(cell.point, cell.kind) for cell in cells} == {(point, kind) for point in POINTS for kind in WAYS}
    assert {cell.nth for cell in cells} == {*ON_THE_WAY, *AT_BIRTH["inventory"]}
    assert {attrs.evolve(cell, whole=False) for cell in cells} <= {
        attrs.evolve(cell, whole=False) for point in POINTS for cell in matrix(point)
    }


def test_a_point_is_fatal_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its nth passage by whomever, and never again."""
    killed: list[int] = []
    monkeypatch.setattr("saga_actors.actors.kill_points.os.kill", lambda *given: killed.append(given[0]))
    first, second = (KillPoint("before-epoch:3", tmp_path) for _ in range(2))
    for point in (first, second):
        point.passing(BEFORE, "epoch")
        point.passing(AFTER, "epoch")
    assert killed == []
    for point in (first, second):
        point.passing(BEFORE, "epoch")
        point.passing(BEFORE, "epoch")
    assert killed == [os.getpid()]
    assert passage(tmp_path, 3).exists()
    assert not passage(tmp_path, 4).exists()


def test_the_way_an_attempt_goes_is_part_of_its_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An undo passes points of its own."""
    killed: list[int] = []
    monkeypatch.setattr("saga_actors.actors.kill_points.os.kill", lambda *given: killed.append(given[0]))
    point = KillPoint("before-undo-effect-call:1", tmp_path)
    point.passing(BEFORE, "effect-call", Phase.EXECUTE)
    assert killed == []
    point.passing(BEFORE, "effect-call", Phase.COMPENSATE)
    assert killed == [os.getpid()]


@pytest.mark.parametrize("told", ["", "before-epoch", "before-epoch:0", "before-epoch:x", "sometime:1"])
def test_what_names_no_point_is_refused(tmp_path: Path, told: str) -> None:
    """A test with a slip in its name would else kill nobody, and pass."""
    with pytest.raises(ValueError, match="expected a point and a number, such as before-accept-commit:1"):
        KillPoint(told, tmp_path)


def test_nothing_is_armed_without_the_variable() -> None:
    """Here, as for every user, to pass is to call a function that does nothing."""
    assert passing is _nothing
