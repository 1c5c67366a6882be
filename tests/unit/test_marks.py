"""Marks in a node's folder: they outlive the process that set them, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from saga_actors.actors import marks as marks_module
from saga_actors.actors.marks import FileMarks, Mark, MemoryMarks, Suspect, mark_of
from saga_actors.actors.suspects import MOST, Suspects
from saga_actors.node_folder import ProcessId


@attrs.define
class Supervisors:
    """Supervisors of one node that die one after the other, in this process, under pids of their own."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    pid: int = 1_000_000

    def begin(self) -> tuple[FileMarks, Suspects]:
        """The next one, whose predecessor is dead from here."""
        self.pid += 1
        with self.monkeypatch.context() as patch:
            patch.setattr(marks_module.ProcessId, "of", lambda _: self.now)
            marks = FileMarks(self.folder)
            return marks, Suspects(marks)

    @property
    def now(self) -> ProcessId:
        return ProcessId(self.pid, 77)


@pytest.fixture
def supervisors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisors:
    return Supervisors(tmp_path, monkeypatch)


def test_a_mark_outlives_the_process_that_set_it(tmp_path: Path) -> None:
    """P11: the root and the next supervisor find it, whatever the saga is called."""
    program = f"""
import os, signal
from pathlib import Path
from saga_actors.actors.marks import FileMarks
from saga_actors.node_folder import ProcessId
marks = FileMarks(Path({str(tmp_path)!r}))
marks.keep()
marks.set("bestellung-ä 7", 12)
me = ProcessId.of(os.getpid())
print(me.pid, me.started, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    pid, started = map(int, done.stdout.split())
    assert mark_of(tmp_path, ProcessId(pid, started)) == Mark("bestellung-ä 7", 12)
    assert FileMarks(tmp_path).left == Mark("bestellung-ä 7", 12)


def test_a_process_that_was_busy_with_no_saga_leaves_no_mark(supervisors: Supervisors) -> None:
    """P11: its death counts against none; neither before its first saga, nor after its last."""
    marks, _ = supervisors.begin()
    assert mark_of(supervisors.folder, supervisors.now) is None
    marks.set("s1", 3)
    assert mark_of(supervisors.folder, supervisors.now) == Mark("s1", 3)
    marks.clear()
    assert mark_of(supervisors.folder, supervisors.now) is None
    assert supervisors.begin()[0].suspects == {}


def test_a_shorter_mark_leaves_nothing_of_a_longer_one(supervisors: Supervisors) -> None:
    """One page serves all sagas, one after the other."""
    marks, _ = supervisors.begin()
    marks.set("x" * 200, 10_000)
    marks.clear()
    marks.set("s1")
    assert FileMarks(supervisors.folder).left == Mark("s1", 0)


def test_a_mark_is_of_one_process_only(supervisors: Supervisors) -> None:
    """P12: whoever dies before it has set one is not excused by that of another."""
    supervisors.begin()[0].set("s1")
    before = supervisors.now
    assert mark_of(supervisors.folder, attrs.evolve(before, started=78)) is None
    assert mark_of(supervisors.folder / "nowhere", before) is None
    supervisors.begin()
    assert mark_of(supervisors.folder, supervisors.now) is None


def test_one_death_is_counted_once(supervisors: Supervisors) -> None:
    """P11: also when the next supervisor dies between having counted it and having taken the mark over."""
    supervisors.begin()[0].set("s1")
    page = supervisors.folder / marks_module.MARK_FILE
    left = page.read_bytes()
    assert supervisors.begin()[0].suspects == {"s1": Suspect(0, 1)}
    page.write_bytes(left)
    assert supervisors.begin()[0].suspects == {"s1": Suspect(0, 1)}


def test_two_deaths_in_a_row_are_a_verdict(supervisors: Supervisors) -> None:
    """P12: just there, with nothing between them; told from the files alone."""
    for _ in range(2):
        marks, suspects = supervisors.begin()
        assert suspects.verdict("s1") is None
        marks.set("s1", 4)
    _, suspects = supervisors.begin()
    assert "died 2 times in a row while it decided about it as of event 4" in (suspects.verdict("s1") or "")
    suspects.drop("s1")
    _, suspects = supervisors.begin()
    assert suspects.verdict("s1") is None


def test_a_saga_that_was_folded_well_or_got_further_is_not_the_one() -> None:
    """P11: two deaths with progress between them are two first ones."""
    marks = MemoryMarks()
    for mark in (Mark("folded"), Mark("further", 3), Mark("further", 5)):
        marks.set(*mark)
        suspects = Suspects(marks)
    suspects.folded("folded")
    suspects.folded("further")
    assert marks.suspects == {"further": Suspect(5, 1)}
    marks.set("folded")
    assert Suspects(marks).verdict("folded") is None


def test_marks_of_another_boot_count_for_nothing(supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch) -> None:
    """P11: when the machine goes, whoever was being folded is not to blame."""
    supervisors.begin()[0].set("s1")
    supervisors.begin()[0].set("s2")
    marks = FileMarks(supervisors.folder)
    assert (marks.left, marks.suspects) == (Mark("s2"), {"s1": Suspect(0, 1)})
    monkeypatch.setattr(marks_module, "boot_id", lambda: "another")
    marks = FileMarks(supervisors.folder)
    assert (marks.left, marks.suspects) == (None, {})


def test_files_that_are_damaged_count_for_nothing(tmp_path: Path) -> None:
    """P12: a node must start whatever is in its folder."""
    (tmp_path / marks_module.MARK_FILE).write_bytes(b"\xff" * 99)
    (tmp_path / marks_module.SUSPECTS_FILE).write_text("{")
    marks = FileMarks(tmp_path)
    assert (marks.left, marks.suspects) == (None, {})
    marks.keep()
    marks.set("s1")
    assert FileMarks(tmp_path).left == Mark("s1")


def test_without_room_for_the_suspects_a_supervisor_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P12: what cannot be kept is forgotten; the mark itself has its room from the beginning."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    marks = FileMarks(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(marks_module, "open_private", full)
        Suspects(marks)
    marks.set("s1")
    me = ProcessId.of(os.getpid())
    assert me is not None
    assert mark_of(tmp_path, me) == Mark("s1")


def test_suspects_are_bounded() -> None:
    """P12: of very many the oldest are let go."""
    marks = MemoryMarks()
    for n in range(MOST + 10):
        marks.set(f"s{n}")
        Suspects(marks)
    assert list(marks.suspects) == [f"s{n}" for n in range(10, MOST + 10)]
