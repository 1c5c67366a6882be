"""Many clients, each a process, which says when it is `ready`, and at the end whether all was `good`."""

from __future__ import annotations

import os
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

from crowds import Awaited, Quick

from saga_actors import Completed, Coordinator

WAITS = 40
RUNS = 10


def say(number: int, word: str) -> None:
    """A line, in one write so that lines never mix."""
    os.write(1, f"{number} {os.getpid()} {word}\n".encode())


def wait_for_many(sagas: Coordinator, number: int, folder: str) -> str:
    """Start sagas that end when the test says so, and wait for all of them at once; whether each answer is its own."""
    names = [f"client-{number}-{n}" for n in range(WAITS)]
    contexts = [{"folder": folder, "mine": name, "longer": n / WAITS} for n, name in enumerate(names)]
    sagas.start_many(Awaited, contexts, saga_ids=names)
    asking = threading.Barrier(WAITS + 1)

    def result(name: str) -> bool:
        asking.wait()
        outcome = sagas.result(name)
        return isinstance(outcome, Completed) and outcome.context is not None and outcome.context["seen"] == name

    with ThreadPoolExecutor(WAITS) as threads:
        answers = [threads.submit(result, name) for name in names]
        asking.wait()
        say(number, "ready")
        return "good" if all(answer.result() for answer in answers) else "wrong"


def run_many(sagas: Coordinator, number: int, folder: str) -> str:
    """Run sagas two at a time; whether each outcome is that of the saga that was run."""
    say(number, "ready")

    def run(n: int) -> bool:
        name = f"client-{number}-{n}"
        outcome = sagas.run(Quick, {"folder": folder, "secret": name}, saga_id=name)
        mine = isinstance(outcome, Completed) and outcome.context["did_only"] == name and outcome.saga_id == name
        return mine and sagas.status(name).saga_id == name

    with ThreadPoolExecutor(2) as threads:
        return "good" if all(threads.map(run, range(RUNS))) else "wrong"


def be(number: int, url: str, folder: str, role: str) -> None:
    """One client, in a process of its own."""
    try:
        with Coordinator(url, node="attach", sagas=["crowds"]) as sagas:
            say(number, (wait_for_many if role == "wait" else run_many)(sagas, number, folder))
    except BaseException:
        traceback.print_exc()
        say(number, "failed")
        os._exit(1)
    os._exit(0)


def main(url: str, folder: str, count: int, role: str) -> None:
    """Be so many clients, and wait for them."""
    children = []
    for number in range(count):
        child = os.fork()
        if not child:
            be(number, url, folder, role)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
