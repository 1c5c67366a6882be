"""A node is one, comes back whole, and leaves nothing behind; with real processes, and a root that does nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from saga_actors import node
from saga_actors.actors.transport import SealedActorSystem, address_of
from saga_actors.errors import NodeError
from saga_actors.node_folder import NodeFolder, ProcessId, holders, take_lock
from saga_actors.node_spec import Life, NodeSpec
from saga_actors.node_start import StartedNode, ensure_node, node_running, read_life, start_node, wait_for_life

pytestmark = pytest.mark.node

HERE = Path(__file__).parent
LIMIT = 10.0


def eventually(claim: Callable[[], object], within: float = LIMIT) -> None:
    """Wait until the claim holds; fails when the time is over."""
    deadline = time.monotonic() + within
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


class Journal:
    """A journal's place, its node, and whoever was ever seen of its family."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/sagas.db"
        self.folder = NodeFolder.of(self.url)
        self.cwd = str(folder)
        self.started: list[StartedNode] = []
        self.seen: set[ProcessId] = set()

    def spec(self, root: str = "ToyRoot", **options: Any) -> NodeSpec:
        return NodeSpec(self.url, sys_path=(str(HERE),), cwd=self.cwd, root=f"toy_root.{root}", **options)

    def start(self, root: str = "ToyRoot", **options: Any) -> StartedNode:
        self.started.append(start_node(self.spec(root, **options)))
        return self.started[-1]

    def ready(self, root: str = "ToyRoot", **options: Any) -> Life:
        return wait_for_life(self.folder, self.start(root, **options), LIMIT)

    def family(self) -> set[ProcessId]:
        members = {process for process, _ in self.folder.members()}
        self.seen |= members
        return members

    def pid(self, role: str) -> int:
        return next(process.pid for process, its_role in self.folder.members() if its_role == role)

    def later_life(self, than: Life) -> Life:
        eventually(lambda: (life := read_life(self.folder)) is not None and life.life != than.life)
        life = read_life(self.folder)
        assert life is not None
        return life

    @contextlib.contextmanager
    def talk(self, life: Life) -> Iterator[tuple[SealedActorSystem, Any]]:
        system = SealedActorSystem.attach(life.admin_port)
        try:
            yield system, address_of(life.root_port)
        finally:
            system.close()

    def clear(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait(LIMIT)
        for member in self.family() | self.seen:
            member.kill()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A place for a journal, whose node is gone when the test is."""
    journal = Journal(tmp_path)
    yield journal
    journal.clear()


def gone(processes: set[ProcessId]) -> bool:
    return not any(process.alive for process in processes)


def test_the_watchdog_imports_no_thespian() -> None:
    """What guards the processes that run Thespian never imports it."""
    claim = "import saga_actors.node, saga_actors.node_start, sys; assert 'thespian' not in sys.modules"
    subprocess.run([sys.executable, "-c", claim], check=True)


def test_ten_starters_at_once_make_one_node(journal: Journal) -> None:
    """However many start a node on one journal, one serves it and the others hand out its life (P8)."""
    starters = [journal.start() for _ in range(10)]
    lives = {wait_for_life(journal.folder, starter, LIMIT) for starter in starters}
    assert len(lives) == 1
    eventually(lambda: [starter.poll() for starter in starters].count(node.TAKEN) == 9)
    assert [starter.pid for starter in starters if starter.poll() is None] == [lives.pop().watchdog_pid]


def test_a_second_starter_attaches_to_the_node_that_is_there(journal: Journal) -> None:
    """Who asks for a node where one serves gets its life, and starts nothing."""
    life = journal.ready()
    assert ensure_node(journal.spec(), LIMIT) == (life, None)


@pytest.mark.parametrize("victim", ["life", "admin", "ToyRoot"])
def test_a_life_that_lost_a_vital_process_is_replaced_whole(journal: Journal, victim: str) -> None:
    """When system process, admin or root is killed, nothing of that life remains and the next has a fresh port (P1)."""
    first = journal.ready()
    family = journal.family()
    os.kill(journal.pid(victim), signal.SIGKILL)
    second = journal.later_life(first)
    assert (second.number, second.watchdog_pid) == (2, first.watchdog_pid)
    assert second.admin_port != first.admin_port
    assert gone(family)


@pytest.mark.parametrize("victim", ["life", "ToyRoot"])
def test_a_life_that_is_silent_is_replaced_whole(journal: Journal, victim: str) -> None:
    """Hung is treated as dead: a stopped system process or root is killed with its whole life."""
    first = journal.ready(ping_every=0.2, silence=1.0)
    family = journal.family()
    os.kill(journal.pid(victim), signal.SIGSTOP)
    journal.later_life(first)
    assert gone(family)


def test_a_root_that_dies_while_it_begins_ends_the_life_at_once(journal: Journal) -> None:
    """Five lives in 60 s that come to nothing make the node give up, say so in its log, and tell its starter."""
    starter = journal.start("DyingRoot")
    with pytest.raises(NodeError, match="gave up after 5 lives in 60 s; the last: its root is gone"):
        wait_for_life(journal.folder, starter, 30)
    assert starter.returncode == node.GAVE_UP
    assert gone(journal.family())


def test_five_lives_that_were_killed_make_the_node_give_up(journal: Journal) -> None:
    """A node whose lives are killed again and again gives up loudly instead of trying for ever (P12)."""
    life = journal.ready()
    for number in range(1, 6):
        journal.family()
        os.kill(life.root_pid, signal.SIGKILL)
        if number < 5:
            life = journal.later_life(life)
    assert journal.started[0].wait(LIMIT) == node.GAVE_UP
    assert "CRITICAL saga_actors.node: gave up after 5 lives" in journal.folder.log_tail()
    assert gone(journal.seen)


def test_no_life_follows_one_that_no_other_could_better(journal: Journal) -> None:
    """A root that says it is hopeless is believed: one life, and the starter reads why."""
    starter = journal.start("HopelessRoot")
    with pytest.raises(NodeError, match="life 1 is over: the journal is of a newer version"):
        wait_for_life(journal.folder, starter, LIMIT)
    assert starter.returncode == node.HOPELESS


def test_the_family_dies_with_its_watchdog(journal: Journal) -> None:
    """When the watchdog is killed, the kernel ends all the rest, and the next node starts at once (P8)."""
    first = journal.ready()
    family = journal.family()
    os.kill(first.watchdog_pid, signal.SIGKILL)
    eventually(lambda: gone(family))
    assert read_life(journal.folder) is None
    assert not node_running(journal.folder)
    assert journal.ready().watchdog_pid != first.watchdog_pid


def test_a_node_that_follows_a_dead_one_ends_its_survivors(journal: Journal) -> None:
    """A registered process that outlived its watchdog, and holds the lock, is killed by whoever starts next (P8)."""
    abandoned = subprocess.Popen(
        [sys.executable, str(HERE / "abandoned.py"), journal.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with abandoned:
        assert abandoned.stdout is not None
        survivor = ProcessId.of(int(abandoned.stdout.readline()))
        assert survivor is not None
        abandoned.kill()
    assert survivor.alive
    journal.ready()
    assert not survivor.alive


def test_a_node_that_is_told_to_end_drains_and_leaves_nothing(journal: Journal) -> None:
    """SIGTERM has the root drain; then every process is gone, the lock is free, and the exit code is 0."""
    journal.ready()
    family = journal.family()
    journal.started[0].terminate()
    assert journal.started[0].wait(LIMIT) == node.ENDED
    assert gone(family)
    assert not journal.folder.life.exists()
    os.close(take_lock(journal.folder, patience=0))


def test_a_node_that_is_told_to_end_while_it_begins_ends_well(journal: Journal) -> None:
    """A node that does not serve yet is not cut short either: it begins, drains and ends with 0."""
    starter = journal.start()
    eventually(lambda: journal.folder.members())
    starter.terminate()
    assert starter.wait(LIMIT) == node.ENDED
    assert gone(journal.family())


def test_a_root_that_is_done_ends_its_node(journal: Journal) -> None:
    """A node whose root says that it is over ends well, and no life follows."""
    with journal.talk(journal.ready()) as (system, root):
        system.tell(root, "end")
    assert journal.started[0].wait(LIMIT) == node.ENDED
    assert "nobody needs it" in journal.folder.log_tail()


def test_a_node_that_is_told_twice_ends_at_once(journal: Journal) -> None:
    """A second SIGTERM does not wait for a root that never drains; the exit code says that not all was done."""
    journal.ready("StubbornRoot")
    family = journal.family()
    journal.started[0].terminate()
    eventually(lambda: "told to end" in journal.folder.log_tail())
    journal.started[0].terminate()
    assert journal.started[0].wait(LIMIT) == node.FAILED
    assert gone(family)


def test_what_a_step_started_ends_with_its_life(journal: Journal) -> None:
    """A program in a worker's process group is killed with it, never holds the lock; one in its own session is left."""
    life = journal.ready()
    with journal.talk(life) as (system, root):
        ours = ProcessId.of(system.ask(root, ("start", ["sleep", "600"], False), LIMIT))
        detached = ProcessId.of(system.ask(root, ("start", ["sleep", "601"], True), LIMIT))
    assert ours is not None
    assert detached is not None
    journal.seen |= {ours, detached}
    assert holders(journal.folder).isdisjoint({ours.pid, detached.pid})
    os.kill(life.root_pid, signal.SIGKILL)
    journal.later_life(life)
    assert (ours.alive, detached.alive) == (False, True)


def test_actors_run_where_the_client_is(journal: Journal) -> None:
    """A node's actors have the client's working directory and path: the root is imported from there."""
    with journal.talk(journal.ready()) as (system, root):
        assert system.ask(root, "where", LIMIT) == journal.cwd


def test_a_node_cannot_start_where_nothing_is(journal: Journal) -> None:
    """A working directory that is gone is named by the error."""
    journal.cwd += "/gone"
    with pytest.raises(NodeError, match="/gone"):
        journal.start()


def test_a_node_is_private_whatever_the_umask(journal: Journal) -> None:
    """The folder is 0700 and its files 0600, also for a starter that would let everybody in."""
    before = os.umask(0)
    try:
        journal.ready()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in journal.folder.path.iterdir()}
    assert journal.folder.path.stat().st_mode & 0o777 == 0o700
    assert {"lock", "family.jsonl", "life.json", "node.log", "thespian.log"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_a_node_starts_in_less_than_a_second(journal: Journal) -> None:
    """From nothing to a life that serves: 0.3 s on two cores; the claim leaves room for a busy machine."""
    began = time.monotonic()
    journal.ready()
    assert time.monotonic() - began < 3
