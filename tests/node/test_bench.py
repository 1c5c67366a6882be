"""The bench works, and what it writes is whole; nothing here is timed."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from test_examples import those_in

from saga_actors.bench.floor import Floor
from saga_actors.bench.sagas import Case, context_of, saga_for
from saga_actors.events import Event
from saga_actors.journal import open_reader
from saga_actors.journal.records import decode_event
from saga_actors.outcomes import SagaState

pytestmark = pytest.mark.node

SMALL = ["--sagas", "20", "--rounds", "2", "--unfinished", "50", "--idle", "0.3"]
LIMIT = 90.0
ROLES = ("client", "supervisor", "workers", "telemetry", "status", "root", "rest")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "saga_actors", "bench", *arguments]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder)}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the bench to its end, with its journals in `folder`."""
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    """What a small run wrote, and nothing else, to its standard output."""
    written: dict[str, Any] = json.loads(run(folder, *SMALL, "-o", "json").stdout)
    return written


def expected() -> Iterator[str]:
    """The names of all figures of such a run."""
    yield from ("disk.fdatasync_per_s", "disk.commits_per_s", "disk.group_commits_per_s", "disk.grouped_entries_per_s")
    yield from ("start_s", "floor.start_s", "status.p50_ms", "status.p99_ms", "floor.status_ms", "idle_cpu_percent")
    yield from ("memory.idle_mb", "memory.peak_mb", "memory.unfinished_mb", "journal.kb_per_saga")
    for sagas in (20, 50):
        yield from (f"recovery.{sagas}.{what}_s" for what in ("first", "all", "status"))
        yield f"floor.recovery.{sagas}.all_s"
    for case in ("success", "rollback"):
        ours = [f"{case}.{mode}" for mode in ("one", "threads", "all")]
        for name in (*ours, f"floor.{case}.one", f"floor.{case}.all"):
            yield from (f"{name}.{what}" for what in ("sagas_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_ms"))
            if not name.startswith("floor"):
                yield from (f"{name}.cpu_ms.{role}" for role in ROLES)


def test_every_figure_is_there(document: dict[str, Any]) -> None:
    """Those that the package's docstring names, and no others."""
    assert set(document) == {"machine", "settings", "figures"}
    assert set(document["figures"]) == set(expected())


def test_every_figure_is_a_finite_positive_number(document: dict[str, Any]) -> None:
    """In every round; only a role may have done nothing, and a node may have slept while it was idle."""
    for name, figure in document["figures"].items():
        rounds = figure["rounds"]
        idle = ".cpu_ms." in name or name == "idle_cpu_percent"
        assert rounds, name
        assert all(math.isfinite(number) and (number > 0 or (idle and number == 0)) for number in rounds), name
        assert figure["value"] == statistics.median(rounds), name


def test_every_round_is_told(document: dict[str, Any]) -> None:
    """What is taken in each round has a number for each."""
    for name in ("success.all.sagas_per_s", "floor.rollback.one.p50_ms", "disk.commits_per_s", "recovery.20.all_s"):
        assert len(document["figures"][name]["rounds"]) == 2, name


def test_a_ratio_is_a_figure_by_another(document: dict[str, Any]) -> None:
    """Round by round; and the figures of which the issue of speed speaks have one."""
    figures = document["figures"]
    for name, figure in figures.items():
        ratio = figure["ratio"]
        if ratio is not None and len(figure["rounds"]) == len(figures[ratio["of"]]["rounds"]):
            pairs = zip(figure["rounds"], figures[ratio["of"]]["rounds"], strict=True)
            assert ratio["rounds"] == pytest.approx([mine / other for mine, other in pairs]), name
            assert ratio["value"] == statistics.median(ratio["rounds"]), name
    for case in ("success", "rollback"):
        assert figures[f"{case}.all.sagas_per_s"]["ratio"]["of"] == f"floor.{case}.all.sagas_per_s"
        assert figures[f"{case}.one.p50_ms"]["ratio"]["of"] == f"floor.{case}.one.p50_ms"


def test_figures_of_one_run_agree(document: dict[str, Any]) -> None:
    """Roles add up to the whole, percentiles are in order, and the last saga goes on no sooner than the first."""
    figures = document["figures"]
    for name in (f"{case}.{mode}" for case in ("success", "rollback") for mode in ("one", "threads", "all")):
        for number in range(2):
            whole = figures[f"{name}.cpu_ms"]["rounds"][number]
            assert sum(figures[f"{name}.cpu_ms.{role}"]["rounds"][number] for role in ROLES) == pytest.approx(whole)
            p50, p95, p99 = (figures[f"{name}.p{percent}_ms"]["rounds"][number] for percent in (50, 95, 99))
            assert p50 <= p95 <= p99
    for sagas in (20, 50):
        assert figures[f"recovery.{sagas}.first_s"]["value"] <= figures[f"recovery.{sagas}.all_s"]["value"]


def test_it_says_on_what_it_was_run(document: dict[str, Any], folder: Path) -> None:
    """The machine and the settings, so that two runs can be compared."""
    machine, settings = document["machine"], document["settings"]
    assert all(machine[key] for key in ("cpus", "python", "saga_actors", "thespian", "sqlite", "kernel", "file_system"))
    assert machine["folder"].startswith(str(folder))
    assert (settings["sagas"], settings["rounds"], settings["unfinished"]) == (20, 2, 50)


def test_it_leaves_nothing_behind(document: dict[str, Any], folder: Path) -> None:
    """No process, and no file."""
    assert document["figures"]
    assert those_in(folder) == []
    assert list(folder.iterdir()) == []


def of_the_floor(folder: Path) -> list[Event]:
    """What the floor program writes of one saga of two steps that is rolled back."""
    file = folder / "floor.db"
    with closing(Floor(file)) as floor:
        floor.run(Case.ROLLBACK, saga_for(Case.ROLLBACK, 2), [context_of(1)])
    with closing(apsw.Connection(str(file))) as db:
        return [decode_event(*row) for row in db.execute("SELECT kind, at, body, context FROM event ORDER BY seq")]


def kinds(events: Sequence[Event]) -> list[tuple[str, ...]]:
    """What they are, and of which step and which way."""
    return [(type(e).__name__, str(getattr(e, "phase", "")), getattr(e, "step", "")) for e in events]


def test_a_part_of_it_is_a_table_and_its_journal_is_kept(tmp_path: Path) -> None:
    """One case and one concurrency, as text; the journal that was named has the sagas, with the floor's events."""
    url = f"sqlite:///{tmp_path}/kept.db"
    small = ["--sagas", "10", "--rounds", "1", "--unfinished", "0", "--idle", "0.2", "--steps", "2"]
    done = run(tmp_path, *small, "--case", "rollback", "--concurrency", "all", "--journal", url)
    names = [line.split()[0] for line in done.stdout.splitlines() if "." in line.split(" ")[0]]
    assert {"rollback.all.sagas_per_s", "floor.rollback.all.sagas_per_s", "memory.idle_mb"} <= set(names)
    assert not [name for name in names if "success" in name or ".one." in name or ".threads." in name]
    with closing(open_reader(url)) as reader:
        counts = reader.counts()
        histories = [[stored.event for stored in reader.load(row.saga_id)] for row in reader.list().rows]
    wanted = kinds(of_the_floor(tmp_path))
    assert [kinds(events) for events in histories] == [wanted] * 21
    assert counts[SagaState.COMPENSATED] == sum(counts.values()) == 21  # one at first, ten timed, ten watched
    assert those_in(tmp_path) == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_bench_that_is_interrupted_ends_its_nodes(tmp_path: Path, signum: signal.Signals) -> None:
    """In the middle of a round: no figures, no process and no file."""
    large = ["--sagas", "50000", "--rounds", "1", "--idle", "0.1"]
    bench = subprocess.Popen(
        command(*large),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert bench.stderr is not None
    with bench:
        try:
            assert any("an idle node" in line for line in iter(bench.stderr.readline, ""))
            bench.send_signal(signum)
            figures, said = bench.communicate(timeout=LIMIT)
        finally:
            bench.kill()
    assert (bench.returncode, figures) == (130, ""), said
    assert "Traceback" not in said
    assert those_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
