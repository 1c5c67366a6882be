"""`doctor`: what it finds, one thing at a time; and that it changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from cli_rig import JOURNAL, Types
from journal_cases import made_older, tamper
from stories import Story

from saga_actors.actors import journal_findings
from saga_actors.actors.key import KEY_FILE_VARIABLE
from saga_actors.journal import SqliteJournal, sqlite_survey
from saga_actors.node_folder import NodeFolder, ProcessId, sign_lock, take_lock
from saga_actors.node_spec import Life

SUBJECTS = ["journal", "pages", "sagas", "disk", "node", "processes", "orphans", "ports", "log", "modes"]


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key of the test's own."""
    key = tmp_path / "key"
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(key))
    key.write_bytes(bytes(32))
    key.chmod(0o600)
    return key


@pytest.fixture
def folder(tmp_path: Path) -> NodeFolder:
    """That of the journal's node, though there is none."""
    folder = NodeFolder.of(f"sqlite:///{tmp_path}/sagas.db")
    folder.make()
    return folder


@attrs.frozen
class Seen:
    """What the doctor said: of each thing whether it is well, and the sentence; and all of it as JSON."""

    code: int
    said: dict[str, tuple[bool, str]]
    facts: dict[str, dict[str, Any]]

    @property
    def wrong(self) -> list[str]:
        return [subject for subject, (well, _) in self.said.items() if not well]


def seen(types: Types, *options: str) -> Seen:
    """Ask the doctor, as a program and as a person does, and see that both are told the same."""
    ran = types("doctor", *JOURNAL, *options, "-o", "json")
    told = json.loads(ran.out)
    said = {each["subject"]: (each["ok"], each["says"]) for each in told["findings"]}
    assert told["ok"] == all(well for well, _ in said.values()) == (ran.code == 0)
    lines = types("doctor", *JOURNAL, *options).out.splitlines()
    shown = [line for line in lines if not line.startswith(" ")]
    assert [line.split()[:2] for line in shown] == [
        ["ok" if well else "wrong", subject] for subject, (well, _) in said.items()
    ]
    return Seen(ran.code, said, {each["subject"]: each["facts"] for each in told["findings"]})


def test_all_is_well_with_a_journal_that_nobody_serves(types: Types, journal_here: SqliteJournal) -> None:
    """A line for each thing, and exit 0."""
    Story(journal_here, 1, "ord_1").completes()
    found = seen(types)
    assert (found.code, list(found.said), found.wrong) == (0, SUBJECTS, [])
    assert "sagas.db, version 3, " in found.said["journal"][1]
    assert found.said["sagas"] == (True, "1 completed")
    assert found.said["node"] == (True, "none, and nothing waits for one")
    assert found.facts["sagas"]["completed"] == 1


def test_it_changes_nothing_and_makes_nothing(types: Types, journal_here: SqliteJournal) -> None:
    """Neither beside a journal that was closed, nor beside a copy, nor where there is none; not even a key."""
    Story(journal_here, 1, "ord_1").completes()
    journal_here.close()
    os.unlink("key")
    shutil.copy("sagas.db", "copy.db")
    os.chmod("copy.db", 0o600)

    def files() -> dict[str, int]:
        return {name: os.stat(name).st_mtime_ns for name in os.listdir() if name != "sagas.db-shm"}

    before = files()
    assert types("doctor", "--deep", *JOURNAL).code == 0
    assert types("doctor", "--deep", "-j", "sqlite:///copy.db").code == 0
    assert types("doctor", "--deep", "-j", "sqlite:///none.db").code == 1
    assert files() == before


def test_a_journal_that_is_not_there_is_wrong(types: Types) -> None:
    """The rest is looked at all the same."""
    found = seen(types)
    assert found.wrong == ["journal"]
    assert "there is no journal at" in found.said["journal"][1]
    assert list(found.said) == [each for each in SUBJECTS if each not in ("pages", "sagas")]


def test_a_file_of_something_else_is_no_journal(types: Types) -> None:
    """It says what was expected."""
    Path("sagas.db").write_text("my notes\n" * 200)
    os.chmod("sagas.db", 0o600)
    found = seen(types)
    assert found.wrong == ["journal"]
    assert "no SQLite file" in found.said["journal"][1]


def test_an_older_journal_is_said_to_be_made_newer(types: Types, journal_here: SqliteJournal, tmp_path: Path) -> None:
    """That is no fault of it."""
    journal_here.close()
    made_older(tmp_path / "sagas.db")
    found = seen(types, "--deep")
    assert found.wrong == []
    assert "version 2, which its next node makes 3" in found.said["journal"][1]


def test_a_damaged_file_is_told_with_what_to_do(types: Types, journal_here: SqliteJournal, tmp_path: Path) -> None:
    """It is the same look as a node's, before it begins."""
    Story(journal_here, 1, "ord_1").completes()
    tamper(tmp_path / "sagas.db", "DROP INDEX saga_by_state")
    found = seen(types)
    assert found.wrong == ["pages"]
    assert "saga_by_state" in found.said["pages"][1]
    assert "end its node, and restore a backup of it, or what `sqlite3" in found.said["pages"][1]


def test_what_is_not_looked_at_is_said(
    types: Types, journal_here: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A big journal is not looked through in the time that there is; with --deep it takes the time it takes."""
    Story(journal_here, 1, "ord_1").completes()
    monkeypatch.setattr(journal_findings, "LONGEST", 0.0)
    monkeypatch.setattr(sqlite_survey, "STEPS", 10)
    assert seen(types).said["pages"] == (True, "sound as far as 0 s went; --deep looks at all of them")
    assert seen(types, "--deep").said["pages"] == (True, "sound")


DAMAGE = {
    "a record": ("UPDATE event SET at = at + 1 WHERE position = 2", "saga 'ord_1', record 2: its checksum"),
    "a lost record": ("DELETE FROM event WHERE position = 3", "saga 'ord_1', record 3"),
    "a summary": ("UPDATE saga SET digest = 'x'", "the summary of saga 'ord_1' (number 1) is corrupt"),
    "a plan": ("UPDATE plan SET body = x'7b7d'", "its checksum does not match"),
    "a lost summary": ("DELETE FROM saga", "6 events that belong to no saga"),
    "a tombstone": (
        "INSERT INTO tombstone VALUES ('ord_9', 'place-order', 'completed', 'd', 1.0, 2.0, 3.0, 4)",
        "the tombstone of saga 'ord_9' is corrupt",
    ),
}


@pytest.mark.parametrize(("statement", "why"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_deep_look_finds_every_bad_record(
    types: Types, journal_here: SqliteJournal, tmp_path: Path, statement: str, why: str
) -> None:
    """Each is told below; a look that is not deep reads no records (P13)."""
    Story(journal_here, 1, "ord_1").completes()
    tamper(tmp_path / "sagas.db", statement)
    assert seen(types).wrong == []
    found = seen(types, "--deep")
    assert found.wrong == ["records"]
    assert any(why in flaw for flaw in found.facts["records"]["flaws"])
    assert why in types("doctor", "--deep", *JOURNAL).out


def test_a_deep_look_says_how_much_it_read(types: Types, journal_here: SqliteJournal) -> None:
    """Sagas, their events, and what was left of those that were pruned."""
    for number in range(3):
        Story(journal_here, 1, f"ord_{number}", at=1_000.0 + 100 * number).completes()
    assert journal_here.prune(1, 1_050.0, ["completed"], at=2_000.0).sagas == 1  # type: ignore[list-item]
    assert seen(types, "--deep").said["records"] == (True, "sound: 12 events of 2 sagas, and 1 tombstone")


def test_sagas_that_wait_for_a_node_are_wrong(types: Types, journal_here: SqliteJournal) -> None:
    """It says how to start one."""
    Story(journal_here, 1, "ord_1").starts()
    found = seen(types)
    assert found.wrong == ["node"]
    assert found.said["node"][1] == "none, for which 1 unfinished saga waits; start one: saga-actors up"


def test_a_disk_that_is_about_to_be_full_is_wrong(
    types: Types, journal_here: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With less than 100 MB free."""
    usage = shutil.disk_usage(".")._replace(free=99_000_000)
    monkeypatch.setattr(journal_findings.shutil, "disk_usage", lambda _: usage)
    found = seen(types)
    assert found.wrong == ["disk"]
    assert found.said["disk"][1].startswith("only 99 MB free; make room")


def test_a_journal_that_others_can_read_is_wrong(types: Types, journal_here: SqliteJournal, key: Path) -> None:
    """So is a key, or anything in the folder; what is said mends it."""
    folder = Path("sagas.db.node")
    folder.mkdir(0o700)
    (folder / "node.log").touch(0o600)
    for path, mode in ((Path("sagas.db"), 0o644), (key, 0o640), (folder, 0o755), (folder / "node.log", 0o604)):
        before = path.stat().st_mode
        path.chmod(mode)
        found = seen(types)
        assert found.wrong == ["modes"]
        command = found.said["modes"][1].partition("; ")[2]
        assert command == f"chmod go= {path.absolute()}"
        subprocess.run(command, shell=True, check=True)
        assert path.stat().st_mode == before
    assert seen(types).code == 0


@contextmanager
def sleeper(*open_files: Path) -> Iterator[ProcessId]:
    """A process that has these files open, and waits."""
    files = [file.open("rb") for file in open_files]
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        pass_fds=[file.fileno() for file in files],
    )
    process = ProcessId.of(child.pid)
    assert process is not None
    with child:
        try:
            yield process
        finally:
            child.kill()
            for file in files:
                file.close()


def test_what_a_dead_node_left_is_found(types: Types, journal_here: SqliteJournal, folder: NodeFolder) -> None:
    """By the register of its processes, and by the lock that they have inherited."""
    with sleeper() as registered, sleeper(folder.lock) as forked:
        folder.register(registered, "StepWorker")
        found = seen(types)
        assert found.wrong == ["orphans"]
        assert found.facts["orphans"]["pids"] == sorted([registered.pid, forked.pid])
        assert f"the next node ends them, or: kill -9 {registered.pid} {forked.pid}" in found.said["orphans"][1]
    assert seen(types).code == 0


@pytest.fixture
def watchdog(folder: NodeFolder, journal_here: SqliteJournal) -> Iterator[NodeFolder]:
    """This process serves the journal, by all that is to be seen of it."""
    lock = take_lock(folder)
    sign_lock(lock)
    me = ProcessId.of(os.getpid())
    assert me is not None
    folder.publish(Life("l", 2, me.pid, me.started, 1, me.pid, 1, me.pid, "", ("shop",)))
    yield folder
    os.close(lock)


def test_a_node_and_its_processes_are_told(types: Types, watchdog: NodeFolder) -> None:
    """Its pid, since when it is there, how often it began anew; and of each process its role and what it takes up."""
    with sleeper() as worker:
        watchdog.register(worker, "StepWorker")
        found = seen(types)
        shown = types("doctor", *JOURNAL).out
    assert found.wrong == []
    assert found.said["node"][1].startswith(f"pid {os.getpid()}, since 20")
    assert found.said["node"][1].endswith(", in its second life")
    roles = {each["pid"]: each["role"] for each in found.facts["processes"]["processes"]}
    assert {os.getpid(): "watchdog", worker.pid: "StepWorker"}.items() <= roles.items()
    assert f"{worker.pid}" in shown
    assert found.said["orphans"] == (True, "none")


def test_a_node_that_is_not_ready_is_wrong(types: Types, watchdog: NodeFolder) -> None:
    """It may be in its first second; if that lasts, its log says why."""
    watchdog.withdraw()
    assert seen(types).wrong == ["node"]


def test_a_journal_that_was_put_under_a_running_node_is_wrong(types: Types, watchdog: NodeFolder) -> None:
    """What the node writes goes to a file that nobody finds any more."""
    os.rename("sagas.db", "old.db")
    shutil.copy("old.db", "sagas.db")
    os.chmod("sagas.db", 0o600)
    found = seen(types)
    assert found.wrong == ["node"]
    assert "what it has open is not the file that is at this path now" in found.said["node"][1]


@pytest.mark.parametrize(("host", "wrong"), [("127.0.0.1", []), ("0.0.0.0", ["ports"])])
def test_a_port_that_others_can_reach_is_wrong(types: Types, watchdog: NodeFolder, host: str, wrong: list[str]) -> None:
    """None of ours is."""
    with socket.create_server((host, 0)) as server:
        found = seen(types)
        port = server.getsockname()[1]
    assert found.wrong == wrong
    assert {"pid": os.getpid(), "host": host, "port": port} in found.facts["ports"]["ports"]


def test_the_last_error_of_a_node_is_told(types: Types, journal_here: SqliteJournal, folder: NodeFolder) -> None:
    """It counts for an hour; what is said of single sagas, or by others, is in no case it."""

    def line(ago: timedelta, level: str, logger: str, text: str) -> str:
        return f"{datetime.now(UTC) - ago:%Y-%m-%d %H:%M:%S},123Z 4711 {level} {logger}: {text}\n"

    minute, day = timedelta(minutes=1), timedelta(days=1)
    folder.log.write_text(
        line(day, "CRITICAL", "saga_actors.node", "gave up after 5 lives")
        + line(minute, "ERROR", "saga_actors.saga", "ord_1 is fatal")
        + line(minute, "ERROR", "shop", "no stock")
        + line(minute, "INFO", "saga_actors.node", "life 1 serves on port 1")
    )
    found = seen(types)
    assert found.wrong == []
    assert found.said["log"][1].endswith(": gave up after 5 lives")
    with folder.log.open("a") as log:
        log.write(line(minute, "ERROR", "saga_actors.root", "StepWorker 1 is \x1b[2J dead") + "Traceback\n")
    found = seen(types)
    assert found.wrong == ["log"]
    assert f"StepWorker 1 is \x1b[2J dead; see {folder.log}" in found.said["log"][1]
    assert "\x1b" not in types("doctor", *JOURNAL).out


def test_one_look_that_fails_does_not_keep_it_from_the_others(
    types: Types, journal_here: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as a finding."""

    def fail(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(journal_findings.shutil, "disk_usage", fail)
    found = seen(types)
    assert found.wrong == ["disk"]
    assert found.said["disk"][1] == "not seen: [Errno 13] Permission denied"
    assert list(found.said) == SUBJECTS
