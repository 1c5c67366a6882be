"""The web shop: an application under uvicorn, with several workers and a node, while its processes are killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pages import follow
from waiting import eventually

from saga_actors import Coordinator
from saga_actors.node_folder import NodeFolder, holders, kill_all

pytestmark = [pytest.mark.node, pytest.mark.slow]

SOURCE = Path(__file__).parents[2] / "examples" / "web_shop"
STOCK = 10_000
PRICE = 20
ORDERS = 400
WORKERS = 3
LIMIT = 90.0


class WebShop:
    """A copy of the example; every process that is begun here is ended with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/sagas.db"
        self.node = NodeFolder.of(self.url)
        self._begun: list[subprocess.Popen[bytes]] = []
        shutil.copytree(SOURCE, folder, dirs_exist_ok=True)

    def begin(self, log: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """A Python program, in the folder, in a process group of its own."""
        command = [sys.executable, "-m", module, *arguments]
        with (self.folder / log).open("ab") as out:
            process = subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=out, start_new_session=True)
        self._begun.append(process)
        return process

    def says(self, log: str, word: str) -> int:
        """How often the word is in a log."""
        path = self.folder / log
        return path.read_text().count(word) if path.exists() else 0

    def up(self) -> subprocess.Popen[bytes]:
        """A node in the foreground, when it is ready."""
        before = self.says("up.log", "ready")
        process = self.begin("up.log", "saga_actors", "up")
        eventually(lambda: self.says("up.log", "ready") > before, LIMIT)
        return process

    def serve(self) -> tuple[subprocess.Popen[bytes], str]:
        """The application, when all its workers are there; and its address."""
        process = self.begin("web.log", "uvicorn", "app:app", "--workers", str(WORKERS), "--port", "0")
        eventually(lambda: self.says("web.log", "startup complete") >= WORKERS, LIMIT)
        line = next(line for line in (self.folder / "web.log").read_text().splitlines() if "running on" in line)
        return process, next(word for word in line.split() if word.startswith("http"))

    def placed(self) -> int:
        return self.says("web.log", "201 Created")

    def one(self, role: str) -> int:
        """The pid of the process that was registered last in this role."""
        return [process.pid for process, its_role in self.node.members() if its_role == role and process.alive][-1]

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / "shop.db")) as database:
            return database.execute(query).fetchall()

    def end(self) -> None:
        """Kill all that is left."""
        for process in self._begun:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert kill_all([process for process, _ in self.node.members()], 10.0) == []


@pytest.fixture
def web_shop(tmp_path: Path) -> Iterator[WebShop]:
    made = WebShop(tmp_path)
    yield made
    made.end()


def workers_of(uvicorn: subprocess.Popen[bytes]) -> list[int]:
    """Its children that serve; one more tracks what they share."""
    children = Path(f"/proc/{uvicorn.pid}/task/{uvicorn.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_customers_are_told_the_truth_whatever_is_killed(web_shop: WebShop) -> None:
    """P1, P2, P6, P10: every order ends, is in the books once or not at all, and its customer knows which."""
    node = web_shop.up()
    uvicorn, address = web_shop.serve()
    customers = web_shop.begin("customers.log", "customers", address, str(ORDERS))

    def strike(pid: int) -> None:
        """When some more orders were placed."""
        until = web_shop.placed() + 25
        eventually(lambda: web_shop.placed() >= until or customers.poll() is not None, LIMIT)
        os.kill(pid, signal.SIGKILL)

    strike(web_shop.one("StepWorker"))
    strike(workers_of(uvicorn)[0])
    strike(web_shop.one("SagaSupervisor"))
    strike(web_shop.one("admin"))
    strike(node.pid)
    again = threading.Thread(target=lambda: (node.wait(), web_shop.up()))  # as a service manager does
    again.start()
    strike(workers_of(uvicorn)[-1])
    assert customers.wait(LIMIT) == 0, (web_shop.folder / "customers.log").read_text()
    again.join()

    told = (web_shop.folder / "customers.log").read_text()
    kept = sum(1 + number % 7 for number in range(ORDERS) if number % 7 < 5)
    lost = sum(1 for number in range(ORDERS) if number % 7 >= 5)
    assert f"{ORDERS - lost} placed, {lost} not; paid {kept * PRICE}\n" in told
    assert web_shop.rows("SELECT count FROM stock") == [(STOCK - kept,)]
    for table in ("reservations", "payments"):
        query = f"SELECT count(*), count(DISTINCT order_id) FROM {table} WHERE NOT undone"
        assert web_shop.rows(query) == [(ORDERS - lost, ORDERS - lost)]
        assert web_shop.rows(f"SELECT count(*) FROM {table} WHERE undone") == [(lost,)]
    assert web_shop.rows("SELECT count(*), count(DISTINCT order_id) FROM parcels") == [(ORDERS - lost,) * 2]
    with Coordinator(web_shop.url, node="attach") as sagas:
        ended = sagas.list(limit=2 * ORDERS)
    assert sorted(saga.state for saga in ended) == ["compensated"] * lost + ["completed"] * (ORDERS - lost)


def test_workers_let_go_and_leave_the_node_to_others(web_shop: WebShop) -> None:
    """The application ends when it is told to, with its workers; the node goes on until it is told as well."""
    node = web_shop.up()
    uvicorn, address = web_shop.serve()
    assert web_shop.begin("customers.log", "customers", address, "20").wait(LIMIT) == 0
    uvicorn.terminate()
    assert uvicorn.wait(LIMIT) in (0, -signal.SIGTERM)
    assert web_shop.says("web.log", "Traceback") == 0
    assert node.poll() is None
    node.terminate()
    assert node.wait(LIMIT) == 0
    assert holders(web_shop.node) == set()


def test_its_page_can_be_followed(web_shop: WebShop) -> None:
    """Each command prints what is shown."""
    try:
        assert follow((SOURCE / "README.md").read_text(), web_shop.folder) > 10
    finally:
        for file in ("web.pid", "customers.pid"):
            with contextlib.suppress(OSError):
                os.kill(int((web_shop.folder / file).read_text()), signal.SIGTERM)
    assert holders(web_shop.node) == set()
