"""A node's folder: who holds the lock, who is registered, which life is there."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from saga_actors import node_folder
from saga_actors.errors import JournalUrlError, NodeError, NodeUnreachableError
from saga_actors.node_folder import LockTakenError, NodeFolder, ProcessId, children_of, kill_all, sign_lock, take_lock
from saga_actors.node_spec import Life, LifeOrder, NodeSpec
from saga_actors.node_start import StartedNode, wait_for_life


@pytest.fixture
def folder(tmp_path: Path) -> NodeFolder:
    """The folder of a journal's node, made."""
    folder = NodeFolder.of(f"sqlite:///{tmp_path}/sagas.db")
    folder.make()
    return folder


@contextlib.contextmanager
def sleeper(*descriptors: int) -> Iterator[ProcessId]:
    """A process that does nothing, with these descriptors open."""
    with subprocess.Popen(["sleep", "600"], pass_fds=descriptors) as process:
        identity = ProcessId.of(process.pid)
        assert identity is not None
        try:
            yield identity
        finally:
            process.kill()


def me() -> ProcessId:
    process = ProcessId.of(os.getpid())
    assert process is not None
    return process


def life_of(watchdog: ProcessId) -> Life:
    return Life("a1", 1, watchdog.pid, watchdog.started, 2, 3, 4, 5, "2026-01-01T00:00:00+00:00")


def test_the_folder_lies_beside_the_journal(tmp_path: Path) -> None:
    """One journal has one node, also when its file is reached through a link."""
    (tmp_path / "link.db").symlink_to(tmp_path / "sagas.db")
    assert NodeFolder.of(f"sqlite:///{tmp_path}/link.db").path == tmp_path / "sagas.db.node"
    assert NodeFolder.of(f"sqlite:///{tmp_path}/my%20sagas.db").path == tmp_path / "my sagas.db.node"


def test_a_journal_at_a_relative_path_has_no_node() -> None:
    """What would mean another file in another working directory is refused."""
    with pytest.raises(NodeError, match="absolute path"):
        NodeFolder.of("sqlite:///sagas.db")


@pytest.mark.parametrize("url", ["memory://", "postgres:///x", "/tmp/sagas.db"])
def test_a_journal_without_a_file_has_no_node(url: str) -> None:
    """A node's folder lies beside a file; where there is none, the error says what a URL looks like."""
    with pytest.raises(JournalUrlError, match="sqlite:///"):
        NodeFolder.of(url)


def test_the_folder_and_its_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """0700 and 0600 with a umask of 0, also for what was there before with other modes."""
    before = os.umask(0)
    try:
        folder = NodeFolder.of(f"sqlite:///{tmp_path}/sagas.db")
        folder.path.mkdir(mode=0o777)
        folder.log.touch(mode=0o666)
        folder.make()
        folder.publish(life_of(me()))
    finally:
        os.umask(before)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.path.iterdir()} == {0o600}


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Nobody can have a node write into another folder."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sagas.db.node").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NodeError, match="is a link"):
        NodeFolder.of(f"sqlite:///{tmp_path}/sagas.db").make()


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    """The error names the folder, the reason and the remedy."""
    with pytest.raises(NodeError, match="put the journal in a folder this user may write to"):
        NodeFolder.of(f"sqlite:///{tmp_path}/missing/sagas.db").make()


def test_a_process_is_known_by_its_start_time() -> None:
    """A pid of today does not make a process that of yesterday."""
    assert me().alive
    assert not attrs.evolve(me(), started=me().started - 1).alive


def test_a_process_that_only_has_the_pid_is_not_killed() -> None:
    """Killing by a registered pid never hits its successor."""
    with sleeper() as process:
        assert kill_all([attrs.evolve(process, started=process.started + 1)], within=1) == []
        assert process.alive


def test_killing_waits_for_the_death() -> None:
    """When `kill_all` is back, those processes run no more."""
    with sleeper() as one, sleeper() as other:
        assert {one.pid, other.pid} <= set(children_of(os.getpid()))
        assert kill_all([one, other], within=10) == []
        assert (one.alive, other.alive) == (False, False)


def test_members_are_read_as_they_were_registered(folder: NodeFolder) -> None:
    """A line cut short by a full disk takes nobody else with it."""
    folder.register(me(), "one")
    with folder.family.open("a") as file:
        file.write('{"pid": 1, "sta\n')
    folder.register(me(), "other")
    assert folder.members() == [(me(), "one"), (me(), "other")]
    folder.forget_members()
    assert folder.members() == []


def test_a_published_life_is_found_until_it_is_withdrawn(folder: NodeFolder) -> None:
    """Clients see a life when it is ready, and not when it is over."""
    assert folder.present_life() is None
    folder.publish(life_of(me()))
    assert folder.present_life() == life_of(me())
    folder.withdraw()
    assert folder.present_life() is None


def test_the_life_of_a_dead_watchdog_is_none(folder: NodeFolder) -> None:
    """What a killed node left behind attracts nobody."""
    folder.publish(life_of(attrs.evolve(me(), started=1)))
    assert folder.present_life() is None


def test_a_lock_that_a_living_watchdog_holds_is_taken(folder: NodeFolder) -> None:
    """A second node is refused, and told by whom (P8)."""
    lock = take_lock(folder)
    sign_lock(lock)
    with pytest.raises(LockTakenError, match=str(os.getpid())):
        take_lock(folder)
    os.close(lock)
    os.close(take_lock(folder))


def test_a_survivor_that_holds_the_lock_is_ended(folder: NodeFolder) -> None:
    """The lock of a dead watchdog is had by killing the family that was registered (P8)."""
    with sleeper(lock := take_lock(folder)) as survivor:
        folder.register(survivor, "worker")
        os.close(lock)  # unsigned: its watchdog is dead
        os.close(take_lock(folder))
        assert not survivor.alive
    assert folder.members() == []


def test_a_stranger_that_holds_the_lock_is_named_and_not_killed(folder: NodeFolder) -> None:
    """A process that is not registered with its start time is left alone, and the error says which it is."""
    with sleeper(lock := take_lock(folder)) as stranger:
        folder.register(attrs.evolve(stranger, started=stranger.started + 1), "worker")
        os.close(lock)
        with pytest.raises(NodeError, match=f"not by a node; end process {stranger.pid}"):
            take_lock(folder, patience=0.1)
        assert stranger.alive


def test_a_long_log_is_put_aside(folder: NodeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither node.log nor what is kept of it grows without limit (P12), and who has it open goes on writing to it."""
    monkeypatch.setattr(node_folder, "LOG_LIMIT", 10)
    with open(folder.open_log(), "w") as log:
        for text, now, earlier in (
            ("short", "short", None),
            (", too long", "", ", too long"),
            ("new", "new", ""),
        ):
            log.write(text)
            log.flush()
            folder.shorten_log()
            assert folder.log.read_text() == now
            assert not earlier or folder.earlier_log.read_text() == earlier
    assert folder.earlier_log.stat().st_mode & 0o777 == 0o600


def test_a_long_log_goes_also_when_there_is_no_room_to_keep_it(
    folder: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be what fills the disk."""
    monkeypatch.setattr(node_folder, "LOG_LIMIT", 10)
    folder.log.write_text("much too long")
    (folder.path / "node.log.new").symlink_to("/dev/full")  # which is not followed
    folder.shorten_log()
    assert folder.log.read_text() == ""
    assert not folder.earlier_log.exists()


def test_the_tail_of_the_log_begins_where_this_node_began(folder: NodeFolder) -> None:
    """An error quotes what its own node said, and not an earlier one."""
    folder.log.write_text("earlier\nnow\n")
    assert folder.log_tail(since=8) == "now"


def test_a_spec_crosses_processes_unchanged() -> None:
    """What a node was started with is what its lives get."""
    spec = NodeSpec("sqlite:////sagas.db", sys_path=("/a", "/b"), telemetry=("shop:on_event",), linger=2.5)
    assert NodeSpec.from_json(spec.to_json()) == spec
    order = LifeOrder("a1", spec, 3, 4)
    assert LifeOrder.from_json(order.to_json()) == order


@pytest.mark.parametrize("text", ["", "[]", '{"journal": "sqlite:////x"}'])
def test_a_spec_that_is_none_is_refused(text: str) -> None:
    """A node that is started by hand says what it wants on its standard input."""
    with pytest.raises(NodeError, match="NodeSpec as JSON"):
        NodeSpec.from_json(text)


def test_a_node_that_is_killed_while_it_begins_is_looked_for_again(tmp_path: Path) -> None:
    """P11: somebody killed it; whoever waits for it may start another, and is not told that it cannot be had."""
    folder = NodeFolder.of(f"sqlite:///{tmp_path}/journal.db")
    killed = StartedNode(["sleep", "60"])
    killed.kill()
    killed.wait()
    with pytest.raises(NodeUnreachableError, match="killed by signal 9"):
        wait_for_life(folder, killed, 10.0)
