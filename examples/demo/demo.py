"""Four orders on a real node, two of them with a process killed under them; `make demo` runs it.

Everything it prints was read back: from the journal, by way of the coordinator, and from the ledger of the world
outside. Everything it claims is checked; the exit code is 1 if anything was not as it should be.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil  # type: ignore[import-untyped, unused-ignore]
from shop import FOLDER, PATIENCE, Call, PlaceOrder, World, eventually

from saga_actors import Coordinator
from saga_actors.cli.main import main as saga_actors
from saga_actors.events import AttemptFailed, AttemptStarted, AttemptSucceeded, Ending, Event


class Demo:
    """The orders, one method each; and the claims that did not hold."""

    def __init__(self, url: str, sagas: Coordinator, world: World) -> None:
        self.url = url
        self.sagas = sagas
        self.world = world
        self.broken: list[str] = []
        self._family: set[psutil.Process] = set()

    # The orders.

    def an_order_completes(self) -> None:
        title("1. An order that completes")
        self.sagas.start(PlaceOrder, order("ord_101"), saga_id="ord_101")
        self.tell_end("ord_101")
        self.claim("every step was called once", ["reserve", "charge", "ship", "confirm"], self.asked("ord_101"))
        self.claim("it ended as completed", "completed", self.state("ord_101"))

    def an_order_is_rolled_back(self) -> None:
        title("2. An order whose shipment fails: what was done is undone, in reverse")
        self.sagas.start(PlaceOrder, order("ord_102", to="the Moon"), saga_id="ord_102")
        self.tell_end("ord_102")
        undone = self.world.calls("ord_102")[3:]
        self.claim("the payment was undone first, then the reservation", ["refund", "release"], whats(undone))
        self.claim(
            "each undo was given the order as it was when its step was done",
            [("paid", "ch_250"), ("reserved", None)],
            [(call.order["stage"], call.order.get("charge")) for call in undone],
        )
        self.claim("it ended as compensated", "compensated", self.state("ord_102"))

    def the_supervisor_is_killed(self) -> None:
        title("3. An order during whose payment the saga supervisor is killed")
        call = self.start_and_stop_at("bank", "ord_103")
        before = self.sagas.locate()[1].supervisor.pid
        print(f"   worker {call.pid} waits for the bank; supervisor {before} gets SIGKILL")
        os.kill(before, signal.SIGKILL)
        after = eventually(lambda: self.other_supervisor(before), "another supervisor")
        print(f"   supervisor {after} has taken over; the bank answers")
        self.world.answer("bank", "ord_103")
        self.tell_end("ord_103")
        self.claim("the worker outlived the supervisor", True, call.pid in self.workers())
        self.claim("the bank was called once", 1, self.asked("ord_103").count("charge"))
        payment, shipment = self.begun("ord_103")[1:3]
        self.claim("what was begun under one supervisor went on under the next", True, payment.epoch < shipment.epoch)
        self.claim("it ended as completed", "completed", self.state("ord_103"))

    def a_worker_is_killed(self) -> None:
        title("4. An order whose worker is killed in a step: the step is run again, with the same key")
        call = self.start_and_stop_at("carrier", "ord_104")
        print(f"   worker {call.pid} waits for the carrier, and gets SIGKILL")
        worker = next(psutil.Process(pid) for pid in self.workers() if pid == call.pid)
        worker.kill()
        worker.wait(PATIENCE)
        self.world.answer("carrier", "ord_104")
        self.tell_end("ord_104")
        ships = [call for call in self.world.calls("ord_104") if call.what == "ship"]
        self.claim(
            "the carrier was called twice, from two processes", (2, 2), (len(ships), len({c.pid for c in ships}))
        )
        self.claim("both calls had the same key", 1, len({call.key for call in ships}))
        failed = [event for event in self.sagas.history("ord_104") if isinstance(event, AttemptFailed)]
        self.claim("the journal says that the first was cut short", [Ending.INTERRUPTED], [e.ending for e in failed])
        self.claim("it ended as completed", "completed", self.state("ord_104"))

    def an_operator_looks(self) -> None:
        title("What an operator sees of two of them: saga-actors show ord_102; saga-actors show ord_104\n")
        for order_id in ("ord_102", "ord_104"):
            saga_actors(["show", order_id, "-j", self.url])
            print()
        history = self.sagas.history("ord_104")
        self.claim("every attempt that was begun has its end", attempts(history), ends(history))

    def nothing_is_left(self) -> None:
        title("The coordinator is closed, and its node with it")
        _, alive = psutil.wait_procs(self._family, timeout=PATIENCE)
        self.claim(f"none of its {len(self._family)} processes is left", [], [process.pid for process in alive])

    # How.

    def start_and_stop_at(self, who: str, order_id: str) -> Call:
        """Start an order, and wait until `who` was called for it, and does not answer."""
        self.world.silence(who, order_id)
        self.sagas.start(PlaceOrder, order(order_id), saga_id=order_id)
        self.meet_family()
        calls = self.world.calls
        return eventually(
            lambda: next((call for call in calls(order_id) if call.who == who), None), f"a call to the {who}"
        )

    def other_supervisor(self, than: int) -> int | None:
        """The pid of the supervisor, as the root reports it, if it is another one."""
        pid: int = self.sagas.locate()[1].supervisor.pid
        return pid if pid != than else None

    def workers(self) -> list[int]:
        """The pids of the step workers, as the root reports them."""
        return [worker.pid for worker in self.sagas.locate()[1].workers]

    def meet_family(self) -> None:
        """Note every process of the node, to see later that none is left."""
        watchdog = psutil.Process(self.sagas.locate()[0].watchdog_pid)
        self._family |= {watchdog, *watchdog.children(recursive=True)}

    def tell_end(self, order_id: str) -> None:
        """Wait for the end of an order; print the ledger's lines for it, and what became of it."""
        self.sagas.result(order_id, PlaceOrder, timeout=PATIENCE)
        self.meet_family()
        for call in self.world.calls(order_id):
            known = ", ".join(f"{name} {value}" for name, value in call.order.items() if name != "order_id")
            print(f"   {call.who:9} {call.what:8} key {call.key[:8]}  worker {call.pid}  given: {known}")
        status = self.sagas.status(order_id)
        why = f", for {status.failure.step} failed: {status.failure.reason}" if status.failure else ""
        print(f"   {order_id} {status.state}{why}")

    def asked(self, order_id: str) -> list[str]:
        return whats(self.world.calls(order_id))

    def state(self, order_id: str) -> str:
        return str(self.sagas.status(order_id).state)

    def begun(self, order_id: str) -> list[AttemptStarted]:
        return [event for event in self.sagas.history(order_id) if isinstance(event, AttemptStarted)]

    def claim(self, what: str, expected: object, found: object) -> None:
        """Say that something is so, if it is."""
        if found == expected:
            print(f"   ok: {what}")
        else:
            print(f"   WRONG: {what}: expected {expected!r}, found {found!r}")
            self.broken.append(what)


def order(order_id: str, to: str = "Berlin") -> dict[str, Any]:
    return {"order_id": order_id, "total": 250, "to": to, "stage": "new"}


def whats(calls: Sequence[Call]) -> list[str]:
    return [call.what for call in calls]


def attempts(history: Sequence[Event]) -> set[tuple[str, str, int]]:
    return {(e.phase, e.step, e.attempt) for e in history if isinstance(e, AttemptStarted)}


def ends(history: Sequence[Event]) -> set[tuple[str, str, int]]:
    return {(e.phase, e.step, e.attempt) for e in history if isinstance(e, AttemptSucceeded | AttemptFailed)}


def title(text: str) -> None:
    print(f"\n{text}")


def main() -> int:
    """Run the demo; the exit code."""
    with tempfile.TemporaryDirectory(prefix="saga-demo-") as folder:
        os.environ[FOLDER] = folder
        url = f"sqlite:///{quote(folder)}/sagas.db"
        with Coordinator(url) as sagas:
            demo = Demo(url, sagas, World(Path(folder)))
            print(f"A node with a journal in {folder}/sagas.db")
            demo.an_order_completes()
            demo.an_order_is_rolled_back()
            demo.the_supervisor_is_killed()
            demo.a_worker_is_killed()
            demo.an_operator_looks()
        demo.nothing_is_left()
    print(f"\n{len(demo.broken)} claims did not hold" if demo.broken else "\nAll of it was so.")
    return 1 if demo.broken else 0


if __name__ == "__main__":
    sys.exit(main())
