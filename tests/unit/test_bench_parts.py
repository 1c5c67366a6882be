"""What the bench is made of: its arguments, its place, its gate and its look at processes."""

from __future__ import annotations

import os
import threading
import time
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from saga_actors.bench import machine
from saga_actors.bench.errors import BenchError
from saga_actors.bench.family import ALL_ROLES, cpu_seconds, used_since
from saga_actors.bench.gate import Gate
from saga_actors.bench.load import Mode, how_many
from saga_actors.bench.place import place, url_of
from saga_actors.bench.sagas import MOST_STEPS, Case, context_of, pass_gate, saga_for
from saga_actors.bench.settings import Settings, read
from saga_actors.definition import importable

Partition = namedtuple("Partition", "mountpoint fstype")


def test_without_arguments_all_modes_of_success_and_rollback_are_measured() -> None:
    """What the command line leaves out is what `Settings` says."""
    assert read([]) == Settings()
    assert Settings().modes == (Mode.ONE, Mode.THREADS, Mode.ALL)
    assert Settings().cases == (Case.SUCCESS, Case.ROLLBACK)


def test_arguments_narrow_what_is_measured() -> None:
    """Each has its place in the settings."""
    given = "--sagas 5 --concurrency 64 --case slow --steps 2 --workers 3 --unfinished 0 --rounds 1 --idle 0.5 -o json"
    assert read([*given.split(), "--journal", "sqlite:///a.db"]) == Settings(
        5, (Mode.THREADS,), (Case.SLOW,), 2, 3, "sqlite:///a.db", 0, 1, 0.5, True
    )


@pytest.mark.parametrize(
    "wrong",
    ["--sagas 0", "--sagas many", "--concurrency 2", "--case other", f"--steps {MOST_STEPS + 1}", "--idle 0", "--x"],
)
def test_arguments_that_mean_nothing_are_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is measured, with what was wrong."""
    with pytest.raises(SystemExit) as ended:
        read(wrong.split())
    assert ended.value.code == 2
    assert wrong.split()[0] in capsys.readouterr().err


def test_fewer_are_run_one_at_a_time() -> None:
    """A thousand, one after the other, would take longer than they tell; slow ones even more so."""
    assert how_many(Mode.ALL, Case.SUCCESS, 1_000) == how_many(Mode.THREADS, Case.SLOW, 1_000) == 1_000
    assert how_many(Mode.ONE, Case.SUCCESS, 1_000) > how_many(Mode.ONE, Case.SLOW, 1_000) > 0
    assert how_many(Mode.ONE, Case.SUCCESS, 3) == 3


def test_its_journals_are_in_a_folder_that_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In $TMPDIR where it is set; whatever was put there goes with it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with place(None) as here:
        (here.fresh("one") / "file").touch()
        assert here.folder.parent == tmp_path
        assert here.journal == url_of(here.folder / "sagas.db")
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_exists_is_not_filled_with_sagas(tmp_path: Path) -> None:
    """The bench makes its own; what it is given by mistake may be somebody's."""
    (tmp_path / "sagas.db").touch()
    with pytest.raises(BenchError, match=r"sagas\.db already"), place(url_of(tmp_path / "sagas.db")):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["sagas.db"]


def test_other_journals_lie_beside_the_one_that_is_named(tmp_path: Path) -> None:
    """So that they are on the same disk."""
    with place(url_of(tmp_path / "mine.db")) as here:
        assert here.journal == url_of(tmp_path / "mine.db")
        assert here.folder.parent == tmp_path


def test_a_place_where_no_folder_can_be_made_is_refused(tmp_path: Path) -> None:
    """In words, and not in a traceback."""
    with pytest.raises(BenchError, match="no folder can be made"), place(url_of(tmp_path / "missing" / "sagas.db")):
        pytest.fail("it was taken")


@pytest.mark.parametrize(("kind", "syncs"), [("ext4", True), ("tmpfs", False)])
def test_a_file_system_in_memory_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, syncs: bool
) -> None:
    """The nearest mount point counts, and not the root's."""
    mounts = [Partition("/", "xfs"), Partition(str(tmp_path), kind)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    (tmp_path / "below").mkdir()
    found = machine.Machine.here(tmp_path / "below")
    assert (found.file_system, found.syncs) == (kind, syncs)
    assert machine.file_system(Path("/")) == "xfs"


def test_workers_find_every_saga_of_the_bench() -> None:
    """Each class is bound to its own name in its module, and has as many steps as its name says."""
    for case in Case:
        for steps in range(1, MOST_STEPS + 1):
            saga = saga_for(case, steps)
            assert importable(saga).module == "saga_actors.bench.sagas"
            assert len(saga.definition.steps) == steps


def test_a_step_waits_at_a_gate_until_it_opens(tmp_path: Path) -> None:
    """And one that comes later does not wait at all."""
    passed: list[int] = []
    with Gate(tmp_path / "gate") as gate:
        context = context_of(1) | {"gate": str(gate.path)}
        waiting = threading.Thread(target=lambda: passed.append(pass_gate(context)["done"]))
        waiting.start()
        waiting.join(0.05)
        assert passed == []
        gate.open()
        waiting.join(10.0)
        assert passed == [1]
        assert pass_gate(context) == {"done": 1}
        gate.open()


def test_the_cpu_of_a_process_is_told_to_less_than_a_tick() -> None:
    """A hundredth of a second, in which the kernel's own tables count, is longer than a saga takes."""
    before = cpu_seconds(os.getpid())
    deadline = time.process_time() + 0.002
    while time.process_time() < deadline:
        pass
    assert 0.002 <= cpu_seconds(os.getpid()) - before < 1.0
    assert cpu_seconds(os.getppid()) > 0


def test_a_process_that_is_gone_has_used_nothing() -> None:
    """It may end between two looks."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert cpu_seconds(child) == 0.0


def test_a_role_never_gives_cpu_back() -> None:
    """A worker that died has taken what it used with it, and all roles are told of."""
    assert used_since({"workers": 5.0, "client": 1.0}, {"client": 3.0}) == dict.fromkeys(ALL_ROLES, 0.0) | {
        "client": 2.0
    }
