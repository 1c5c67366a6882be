"""How the node of a journal is: its life, its processes, what is left of earlier ones, its ports, and its log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import psutil  # type: ignore[import-untyped, unused-ignore]

from saga_actors.actors.finding import Finding, found, in_bytes, in_utc, several
from saga_actors.errors import JournalError
from saga_actors.journal import JournalUrl, open_reader
from saga_actors.node_folder import NodeFolder, ProcessId, has_open, holder, holders
from saga_actors.node_log import Entry, entries
from saga_actors.outcomes import SagaState

WATCHDOG = "watchdog"
A_STEPS_OWN = "started by a step"

LOOPBACK = ("127.0.0.1", "::1")

LOG_READ = 1_000_000
"""So many bytes of the end of node.log are looked through."""

LONG_AGO = timedelta(hours=1)
"""An error before that is told, and no matter any more: what goes on is said again."""


def node_findings(url: JournalUrl) -> Iterator[Finding]:
    """All of them."""
    node = Node.of(url)
    yield found("node", lambda: _node(url, node))
    yield found("processes", lambda: _processes(node))
    yield found("orphans", lambda: _orphans(node))
    yield found("ports", lambda: _ports(node))
    yield found("log", lambda: _log(node.folder))


@attrs.frozen
class Node:
    """The watchdog of a journal, if it lives, and the processes below it with their roles, as they are now."""

    folder: NodeFolder
    watchdog: ProcessId | None
    roles: dict[int, str]

    @classmethod
    def of(cls, url: JournalUrl) -> Node:
        """Have a look at it."""
        folder = NodeFolder.of(str(url))
        watchdog = holder(folder)
        return cls(folder, watchdog, {} if watchdog is None else _roles(folder, watchdog.pid))


def _roles(folder: NodeFolder, watchdog: int) -> dict[int, str]:
    registered = {process.pid: role for process, role in folder.members()}
    try:
        below = psutil.Process(watchdog).children(recursive=True)
    except psutil.NoSuchProcess:
        return {}
    return {watchdog: WATCHDOG, **{each.pid: registered.get(each.pid, A_STEPS_OWN) for each in below}}


def _node(url: JournalUrl, node: Node) -> Finding:
    if node.watchdog is None:
        return _no_node(url)
    life = node.folder.present_life()
    pid = node.watchdog.pid
    since = datetime.fromtimestamp(psutil.Process(pid).create_time(), UTC)
    facts = {
        "pid": pid,
        "since": since,
        "life": None if life is None else life.number,
        "modules": [] if life is None else list(life.modules),
    }
    says = f"pid {pid}, since {in_utc(since)}"
    if life is None:
        return Finding("node", False, f"{says}, and not ready; if that lasts, see {node.folder.log}", facts)
    if not _has(node, url.path):
        why = f"{says}, and what it has open is not the file that is at this path now; end it: saga-actors down"
        return Finding("node", False, why, facts)
    return Finding("node", True, f"{says}, in its {_ordinal(life.number)} life", facts)


def _no_node(url: JournalUrl) -> Finding:
    try:
        with closing(open_reader(url)) as reader:
            counts = reader.counts()
    except JournalError:
        return Finding("node", True, "none", {"pid": None})
    waiting = counts[SagaState.RUNNING] + counts[SagaState.COMPENSATING]
    if waiting:
        wait = f"{several(waiting, 'unfinished saga')} {'waits' if waiting == 1 else 'wait'}"
        why = f"none, for which {wait}; start one: saga-actors up"
        return Finding("node", False, why, {"pid": None})
    return Finding("node", True, "none, and nothing waits for one", {"pid": None})


def _has(node: Node, journal: Path) -> bool:
    """Whether one of its processes has this very file open; taken to be so where we may not look."""
    if not all(os.access(f"/proc/{pid}/fd", os.R_OK) for pid in node.roles):
        return True
    with suppress(FileNotFoundError):
        wanted = journal.stat()
        return any(has_open(pid, wanted) for pid in node.roles)
    return False


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _processes(node: Node) -> Finding:
    sizes = {pid: _memory(pid) for pid in node.roles}
    facts = {"processes": [{"pid": pid, "role": node.roles[pid], "bytes": sizes[pid]} for pid in sizes]}
    if not sizes:
        return Finding("processes", True, "none", facts)
    details = tuple(f"{pid:>7}  {in_bytes(size):>7}  {node.roles[pid]}" for pid, size in sizes.items())
    return Finding("processes", True, f"{len(sizes)}, of {in_bytes(sum(sizes.values()))} together", facts, details)


def _memory(pid: int) -> int:
    """Bytes, its share of what it shares; 0 if it has gone."""
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_full_info().pss)
    return 0


def _orphans(node: Node) -> Finding:
    """Of this journal's family, and not below its living watchdog."""
    family = {process.pid for process, _ in node.folder.members() if process.alive}
    with suppress(FileNotFoundError):
        family |= holders(node.folder)
    left = sorted(pid for pid in family - node.roles.keys() if ProcessId.of(pid) is not None)
    if not left:
        return Finding("orphans", True, "none", {"pids": []})
    pids = ", ".join(map(str, left))
    return Finding(
        "orphans", False, f"{pids}; the next node ends them, or: kill -9 {pids.replace(',', '')}", {"pids": left}
    )


def _ports(node: Node) -> Finding:
    ours = [pid for pid, role in node.roles.items() if role != A_STEPS_OWN]
    open_ports = {(pid, *address) for pid in ours for address in _listening(pid)}
    facts = {"ports": [{"pid": pid, "host": host, "port": port} for pid, host, port in sorted(open_ports)]}
    beyond = [f"{host}:{port} of {pid}" for pid, host, port in sorted(open_ports) if host not in LOOPBACK]
    if beyond:
        why = f"{', '.join(beyond)} can be reached from elsewhere; no port of ours, so a step must have opened it"
        return Finding("ports", False, why, facts)
    return Finding("ports", True, f"{len(open_ports)}, on 127.0.0.1 only" if open_ports else "none", facts)


def _listening(pid: int) -> Iterator[tuple[str, int]]:
    with suppress(psutil.NoSuchProcess):
        for each in psutil.Process(pid).net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN:
                yield each.laddr.ip, each.laddr.port


def _log(folder: NodeFolder) -> Finding:
    last = _last_error(folder.log) or _last_error(folder.earlier_log)
    if last is None:
        return Finding("log", True, "no error", {"path": str(folder.log), "last_error": None, "at": None})
    facts = {"path": str(folder.log), "last_error": last.text, "at": last.at}
    says = f"the last error is of {in_utc(last.at)}: {last.text}"
    if datetime.now(UTC) - last.at > LONG_AGO:
        return Finding("log", True, says, facts)
    return Finding("log", False, f"{says}; see {folder.log}", facts)


def _last_error(log: Path) -> Entry | None:
    """What was wrong last; nothing of single sagas, which have a history of their own."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_READ))
            end = file.read().decode(errors="replace")
    except FileNotFoundError:
        return None
    errors = [entry for entry in entries(end) if entry.is_error and not entry.is_of_one_saga]
    return errors[-1] if errors else None
