"""A journal on a disk that fails at each of its operations in turn."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
from engine_rig import Rig, fail_at, hang, run, start, succeed
from journal_cases import birth, ended, further, started, succeeded
from journal_vfs import Disk, Fault, abandon, chance_of, disk

from saga_actors.actors.protocol import Order
from saga_actors.errors import CommitUnknownError, EpochError, JournalError, JournalFullError
from saga_actors.events import HoldReason
from saga_actors.inputs import Report
from saga_actors.journal import SqliteJournal
from saga_actors.messages import Refusal, SagaEnded, SagaStarted
from saga_actors.outcomes import SagaState

BIG = b'{"n":"' + b"x" * 9_000 + b'"}'
PRUNED = [SagaState.COMPLETED]

Step = Callable[[SqliteJournal], object]
STEPS: tuple[Step, ...] = (
    lambda journal: journal.take_epoch("tests"),
    lambda journal: journal.append(1, [birth("a", started()), birth("b"), birth("c", started(), succeeded())]),
    lambda journal: journal.append(1, [further("a", 3, succeeded(context=BIG)), ended("b", 2), further("c", 4)]),
    lambda journal: journal.append(1, [birth("d", context=BIG), ended("c", 5)]),
    lambda journal: journal.hold(1, "a", HoldReason.CORRUPT, "a bad record", 5.0),
    lambda journal: journal.end(1, "a", SagaState.FATAL, "ann", "by hand", 6.0),
    lambda journal: journal.prune(1, 100.0, PRUNED, at=7.0, limit=1),
    lambda journal: journal.prune(1, 100.0, PRUNED, at=8.0),
    lambda journal: journal.drop_tombstones(1, 7.5),
    lambda journal: journal.append(1, [further("d", 2), birth("e")]),
    lambda journal: journal.checkpoint(),
    lambda journal: journal.append(1, [further("d", 3, succeeded(context=BIG))]),
    lambda journal: journal.close(),
)
TABLES = ("owner", "saga", "event", "plan", "tombstone", "sqlite_sequence")
State = dict[str, list[Any]]


def state(journal: SqliteJournal) -> State:
    """All that it holds."""
    return {table: journal._db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in TABLES}


@pytest.fixture(autouse=True)
def no_real_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is durable is what the simulated disk says."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@attrs.define
class Course:
    """How the script goes without a fault: what the disk is asked, and the state before each step and at the end."""

    operations: list[str]
    states: list[State]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    states = []
    with disk() as sound:
        journal = SqliteJournal(tmp_path_factory.mktemp("states") / "sagas.db", vfs=sound.name)
        for step in STEPS:
            states.append(state(journal))
            step(journal)
    with disk() as counted:
        journal = SqliteJournal(tmp_path_factory.mktemp("operations") / "sagas.db", vfs=counted.name)
        for step in STEPS:
            step(journal)
        return Course(list(counted.operations), [*states, states[-1]])


@attrs.define
class Fate:
    """What one run of the script came to: how it ended, and the states in which the journal may be now."""

    how: str
    allowed: list[State]


def attempt(disk: Disk, path: Path, course: Course) -> tuple[SqliteJournal | None, Fate]:
    """Run the script up to its first error; what is only for want of room is tried again."""
    try:
        journal = SqliteJournal(path, vfs=disk.name)
    except JournalError:
        return None, Fate("not opened", [course.states[0]])
    how = "nothing noticed"
    for number, step in enumerate(STEPS):
        before, after = course.states[number : number + 2]
        try:
            try:
                step(journal)
            except JournalFullError:
                how = "no room, and went on"
                assert state(journal) == before
                step(journal)
        except CommitUnknownError:
            return journal, Fate("commit unknown", [before, after])
        except JournalError:
            return journal, Fate("not begun", [before])
    return journal, Fate(how, [course.states[-1]])


EXPECTED = {
    Fault.EIO: {"not opened", "commit unknown", "not begun", "nothing noticed"},
    Fault.FULL: {"not opened", "no room, and went on", "nothing noticed"},
    Fault.SYNC: {"not opened", "commit unknown", "not begun", "nothing noticed"},
    Fault.TORN: {"not opened", "commit unknown", "not begun"},
    Fault.POWER: {"not opened", "commit unknown", "not begun"},
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
def test_a_fault_at_any_operation_loses_nothing_and_is_told_as_what_it_is(
    tmp_path: Path, course: Course, fault: Fault
) -> None:
    """P1, P5, P8: what `append` returned is there; an unknown commit is there wholly, or not at all.

    For want of room surely nothing was written, and the same writer goes on. After any other error the next one empties
    the log before it reads, so that not even a loss of power takes away what it has read.
    """
    fates: Counter[str] = Counter()
    places = [nth for nth, operation in enumerate(course.operations, 1) if fault.befalls(operation)]
    for nth in places:
        folder = tmp_path / str(nth)
        folder.mkdir()
        with disk() as failing:
            failing.fail(fault, nth)
            journal, fate = attempt(failing, folder / "sagas.db", course)
            assert failing.has_happened, (nth, course.operations[nth - 1])
            fates[fate.how] += 1
            if journal is not None:
                abandon(failing, journal)
            if fault is Fault.POWER:
                failing.lose_power(chance_of(nth))
            failing.mended()
            _goes_on(failing, folder / "sagas.db", fate, (nth, course.operations[nth - 1], fate.how))
    print(f"{fault}: {len(places)} places, {dict(fates)}")
    assert set(fates) == EXPECTED[fault]


def _goes_on(disk: Disk, path: Path, fate: Fate, where: object) -> None:
    """The next writer finds a state that may be, keeps it though the power is lost then, and can write."""
    for never in (None, lambda: 0.0):
        if never is not None:
            disk.lose_power(never)
        journal = SqliteJournal(path, vfs=disk.name)
        assert fate.how == "not opened" or Path(f"{path}-wal").stat().st_size == 0, where
        found = state(journal)
        assert found in fate.allowed, where
        fate.allowed = [found]
        assert journal._db.execute("PRAGMA integrity_check").get == "ok", where
        if never is None:
            abandon(disk, journal)
    epoch = journal.take_epoch("the next")
    assert not journal.append(epoch, [birth("new")]).why
    with pytest.raises(EpochError):
        journal.append(epoch - 1, [further("new", 2)])
    assert len(journal.load("new")) == 1
    abandon(disk, journal)


@pytest.mark.slow
def test_a_failed_sync_and_a_loss_of_power_while_the_next_writer_opens_lose_nothing(
    tmp_path: Path, course: Course
) -> None:
    """P1: the part of the log that was never durable is made so before a page of it is moved, at whichever instant."""
    syncs = [nth for nth, operation in enumerate(course.operations, 1) if Fault.SYNC.befalls(operation)]
    tried = 0
    for nth in syncs[-8:]:
        for instant in range(1 + nth % 9, 1_000, 9):
            (folder := tmp_path / f"{nth}-{instant}").mkdir()
            with disk() as failing:
                failing.fail(Fault.SYNC, nth)
                journal, fate = attempt(failing, folder / "sagas.db", course)
                assert journal is not None
                abandon(failing, journal)
                failing.fail(Fault.POWER, instant)
                with suppress(JournalError):
                    abandon(failing, SqliteJournal(folder / "sagas.db", vfs=failing.name))
                if not failing.has_happened:
                    break
                failing.lose_power(chance_of(instant))
                failing.mended()
                _goes_on(failing, folder / "sagas.db", fate, (nth, instant))
                tried += 1
    print(f"power lost at {tried} instants of opening after a failed sync")
    assert tried > 100


def shop(journal: SqliteJournal) -> Rig:
    """An engine on this journal, with a worker in which a saga named "back" goes back, and one named "slow" waits."""
    rig = Rig(journal)
    rig.worker(1, lambda order: hang(order) if order.key.saga_id == "slow" else answer(order))
    return rig


def answer(order: Order) -> Report | None:
    """As `shop` says."""
    return fail_at("charge")(order) if order.key.saga_id == "back" else succeed(order)


ENDS = {"on": SagaState.COMPLETED, "back": SagaState.COMPENSATED, "slow": SagaState.COMPLETED}


def play(rig: Rig) -> None:
    """Three sagas, an idle while in which the log is moved, and the end of the slow one."""
    for saga_id in ENDS:
        rig.send(run(saga_id))
    rig.tick(0.5)
    rig.tick(1.5)
    rig.tick(1.5)
    for worker in rig.workers.values():
        worker.answer = answer
        for said in worker.finish():
            rig.send(said, worker.address)
    rig.settle(3)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault.EIO, Fault.FULL, Fault.SYNC, Fault.TORN], ids=lambda fault: fault.name.lower())
def test_an_engine_meets_a_fault_at_any_operation_and_all_sagas_come_to_their_ends(
    tmp_path: Path, fault: Fault
) -> None:
    """P1, P5, P6: for want of room it goes on by itself, after anything else its successor does; no step runs twice."""
    with disk() as counted:
        rig = shop(SqliteJournal(tmp_path / "sagas.db", vfs=counted.name))
        counted.fail(None, 0)
        play(rig)
        operations = list(counted.operations)
    assert "truncate wal" in operations  # it was moved when nobody did anything
    successors: Counter[bool] = Counter()
    places = [nth for nth, operation in enumerate(operations, 1) if fault.befalls(operation)]
    for nth in places[:: len(places) // 30 or 1]:
        (folder := tmp_path / str(nth)).mkdir()
        with disk() as failing:
            rig = shop(SqliteJournal(folder / "sagas.db", vfs=failing.name))
            failing.fail(fault, nth)
            try:
                play(rig)
            except JournalError:
                abandon(failing, rig.journal)
                rig.journal = SqliteJournal(folder / "sagas.db", vfs=failing.name)
                rig.begin()
            assert failing.has_happened
            successors[rig.engine.epoch > 1] += 1
            _all_end(rig)
            abandon(failing, rig.journal)
    print(f"{fault}: {sum(successors.values())} places, {successors[True]} of them the end of a supervisor")
    assert set(successors) <= ({False} if fault is Fault.FULL else {True} if fault is Fault.TORN else {True, False})


def _all_end(rig: Rig) -> None:
    """Clients ask again, as they do, until each saga is where it should be; each attempt was run once, in order."""
    for _ in range(3):
        for saga_id in ENDS:
            rig.send(run(saga_id))
        for worker in rig.workers.values():
            worker.answer = answer
            for said in (*worker.finish(), worker.say(tuple(worker.reports.values()))):
                rig.send(said, worker.address)
        rig.settle(2)
    assert {saga_id: rig.journal.find(saga_id).state for saga_id in ENDS} == ENDS
    ran = [key[:4] for worker in rig.workers.values() for key in worker.ran]
    assert len(ran) == len(set(ran)) == 4 + 3 + 4


def test_a_full_disk_refuses_new_sagas_and_all_go_on_when_there_is_room(tmp_path: Path) -> None:
    """P1, P12: what runs waits as long as it takes, in the same supervisor; what is refused is told why."""
    with disk() as small:
        rig = shop(SqliteJournal(tmp_path / "sagas.db", vfs=small.name))
        for saga_id in ("slow", "on"):
            rig.send(run(saga_id))
        small.full = True
        [refused] = rig.send(start("late"))
        assert (refused.code, "no room on the disk" in refused.message) == (Refusal.OVERLOADED, True)
        [worker] = rig.workers.values()
        worker.answer = answer
        for said in worker.finish():
            rig.send(said, worker.address)
        for _ in range(20):
            rig.tick(1.0)
            assert [told.code for told in rig.send(start("late"))] == [Refusal.OVERLOADED]
        assert rig.events("slow")[-1] == "AttemptStarted reserve 1"
        small.full = False
        rig.tick(2.0)
        assert isinstance(rig.send(start("late"))[0], SagaStarted)
        rig.send(worker.say(tuple(worker.reports.values())), worker.address)
        rig.settle(5)
        ended = {told.saga_id for told in rig.inbox["client"] if isinstance(told, SagaEnded)}
        assert ended == {"slow", "on"}
        assert rig.journal.find("late").state is SagaState.COMPLETED
        assert rig.engine.epoch == 1
        rig.journal.close()
