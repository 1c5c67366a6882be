"""What clients cost each other: many at once, and many that are stopped; with real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import attrs
import pytest
from crowds import Awaited, Quick
from premises import Premises
from station import EFFECTIVE

from saga_actors import Coordinator, SagaState

pytestmark = pytest.mark.node


@attrs.define
class Clients:
    """Client processes, and what each has said so far, by its pid."""

    said: dict[int, list[str]] = attrs.Factory(dict)

    def listen(self, program: subprocess.Popen[str]) -> None:
        assert program.stdout
        for line in program.stdout:
            _, pid, word = line.split()
            self.said.setdefault(int(pid), []).append(word)

    def all_say(self, word: str, count: int) -> bool:
        return sum(words[-1] == word for words in list(self.said.values())) == count

    def send(self, signum: int) -> None:
        for pid in self.said:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)


@contextlib.contextmanager
def clients(premises: Premises, count: int, role: str) -> Iterator[Clients]:
    """So many clients in this role, each a process; none of them is left."""
    script = premises.write("crowd.py", f"from clients import main\n\nmain(URL, FOLDER, {count}, {role!r})\n")
    program = premises.begin(script)
    family = Clients()
    listener = threading.Thread(target=family.listen, args=(program,), daemon=True)
    listener.start()
    try:
        yield family
        program.wait(EFFECTIVE)
    finally:
        family.send(signal.SIGKILL)
        listener.join(10)


def rate(sagas: Coordinator, premises: Premises, times: int = 100) -> float:
    """Sagas per second, one at a time."""
    began = time.monotonic()
    for _ in range(times):
        sagas.run(Quick, premises.context(), timeout=20)
    return times / (time.monotonic() - began)


def test_stopped_clients_that_are_owed_answers_slow_nobody_down(premises: Premises) -> None:
    """P11, P12: 30 clients with 40 answers each unread, more than a process may send at a time; later they get them."""
    with premises.coordinator(sagas=["crowds"]) as sagas:
        sagas.run(Quick, premises.context())
        with clients(premises, 30, "wait") as crowd:
            premises.until(lambda: crowd.all_say("ready", 30))
            before = rate(sagas, premises)
            crowd.send(signal.SIGSTOP)
            premises.outside.open("all")
            premises.until(lambda: not sagas.list(state=SagaState.RUNNING, saga=Awaited, limit=1))
            during = rate(sagas, premises)
            assert crowd.all_say("ready", 30)
            crowd.send(signal.SIGCONT)
            premises.until(lambda: crowd.all_say("good", 30))
    assert during > before / 2


def test_each_of_fifty_clients_gets_its_own_answers(premises: Premises) -> None:
    """Fifty processes run sagas and ask for their status at once; every outcome is that of the saga asked for."""
    with premises.coordinator(sagas=["crowds"]) as sagas:
        sagas.run(Quick, premises.context())
        with clients(premises, 50, "run") as crowd:
            premises.until(lambda: crowd.all_say("good", 50))
    assert len(crowd.said) == 50
