"""Which deaths count against the node, as the root sees them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from saga_actors.actors import marks, root
from saga_actors.actors.lifecycle import Begin
from saga_actors.actors.root import DEATHS, DEATHS_BY_SAGAS, STATUS, SUPERVISOR, WORKER, ChildRecord, RootSupervisor
from saga_actors.node_folder import NodeFolder, ProcessId
from saga_actors.node_spec import NodeSpec


class Root:
    """A root, the folder of its node, and children that die."""

    def __init__(self, folder: Path, now: list[float]) -> None:
        spec = NodeSpec(f"sqlite:///{folder}/sagas.db")
        self.folder = NodeFolder.of(spec.journal_url).path
        NodeFolder(self.folder).make()
        self.now = now
        self.root: Any = RootSupervisor()
        self.root._begun = Begin(spec, "life")
        self.number = 0

    def loses(self, role: str, *, after: float = 0.1, worked: bool = False) -> bool:
        """Whether the life is given up over the death of a child of this age."""
        self.number += 1
        if worked:
            marks.note_work(self.folder, self.number)
        child = ChildRecord(role, self.number, ProcessId.of(os.getpid()), None, self.now[0], self.now[0])
        self.now[0] += after
        given_up: bool = self.root._too_many_deaths(child)
        return given_up

    def marks(self, saga_id: str | None) -> None:
        """A supervisor is busy with this saga; it is this process."""
        made = marks.FileMarks(self.folder)
        made.keep()
        if saga_id is not None:
            made.set(saga_id, 3)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    now = [100.0]
    monkeypatch.setattr(root.time, "monotonic", lambda: now[0])
    return Root(tmp_path, now)


def test_a_worker_that_was_given_a_step_never_counts(node: Root) -> None:
    """P11: however young it dies, and however often."""
    assert not any(node.loses(WORKER, worked=True) for _ in range(100))


@pytest.mark.parametrize("age", [0.1, 2.4])
def test_workers_that_die_at_birth_or_idle_end_the_life(node: Root, age: float) -> None:
    """P12: the fifth in ten seconds does, whatever had died while it worked."""
    for _ in range(DEATHS - 1):
        assert not node.loses(WORKER, after=age)
        assert not node.loses(WORKER, worked=True, after=0.0)
    assert node.loses(WORKER, after=age)


def test_what_a_worker_of_an_earlier_life_did_is_no_excuse(node: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """P12: the workers of each life are numbered from one."""
    for number in range(1, DEATHS + 1):
        marks.note_work(node.folder, number)
    begin, node.root._begun = node.root._begun, None
    monkeypatch.setattr(RootSupervisor, "_create", lambda *_: None)
    monkeypatch.setattr(RootSupervisor, "wakeupAfter", lambda *_: None)
    node.root._begin(begin, "life")
    assert [node.loses(WORKER) for _ in range(DEATHS)] == [False] * (DEATHS - 1) + [True]


def test_others_count_when_they_die_young(node: Root) -> None:
    """P12: a status actor that has served for a while may be replaced as often as it dies."""
    assert not any(node.loses(STATUS, after=2.1) for _ in range(20))
    assert [node.loses(STATUS) for _ in range(DEATHS)] == [False] * (DEATHS - 1) + [True]


def test_a_supervisor_that_was_busy_with_no_saga_counts(node: Root) -> None:
    """P12: whatever ended it, it was none of the sagas."""
    node.marks(None)
    assert [node.loses(SUPERVISOR) for _ in range(DEATHS)] == [False] * (DEATHS - 1) + [True]


def test_two_deaths_for_each_of_ten_sagas_do_not_count(node: Root) -> None:
    """P11: so many it takes to find and hold them, and the node serves on; another twenty in that life would count."""
    for saga_id in [f"s{n}" for n in range(10)] * 2:
        node.marks(saga_id)
        assert not node.loses(SUPERVISOR)
    assert DEATHS_BY_SAGAS == 20
    node.marks("yet another")
    assert [node.loses(SUPERVISOR) for _ in range(DEATHS)] == [False] * (DEATHS - 1) + [True]


def test_a_saga_that_goes_on_killing_counts(node: Root) -> None:
    """P12: it should have been held after two deaths, so something else is wrong."""
    node.marks("s1")
    assert [node.loses(SUPERVISOR) for _ in range(2 + DEATHS)] == [False] * (1 + DEATHS) + [True]


def test_a_mark_that_another_process_has_left_is_no_excuse(node: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """P12: a supervisor that dies before it can set a mark has died of itself."""
    node.marks("s1")
    other = ProcessId(os.getpid(), 1)
    assert marks.mark_of(node.folder, other) is None
    monkeypatch.setattr(root.ProcessId, "of", lambda _: other)
    assert [node.loses(SUPERVISOR) for _ in range(DEATHS)] == [False] * (DEATHS - 1) + [True]
