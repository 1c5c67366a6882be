"""The step worker: an actor that only carries. What runs, and what is imported, is in `runner` and `loader`."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any

from thespian.actors import ThespianWatch, WatchMessage

from saga_actors.actors.child import Child, settle_in
from saga_actors.actors.clock import Clock
from saga_actors.actors.kill_points import AFTER, BEFORE, passing
from saga_actors.actors.loader import Loader
from saga_actors.actors.marks import note_work
from saga_actors.actors.outbox import Batch
from saga_actors.actors.protocol import (
    Address,
    Birth,
    FromWorker,
    Inventory,
    Load,
    Loaded,
    LoadFailure,
    TakeInventory,
    ToWorker,
)
from saga_actors.actors.runner import Runner
from saga_actors.actors.slots import reserve
from saga_actors.actors.threads import log
from saga_actors.events import WorkerId
from saga_actors.node_folder import NodeFolder
from saga_actors.node_spec import NodeSpec
from saga_actors.plan import SagaPlan

LOOK_EVERY = 0.5
"""Seconds between two looks at what is to be confirmed or sent again, while there is anything of the kind."""


class StepWorker(Child):
    """Runs steps, on threads that wake it through a socketpair; it answers pings at once, whatever they do."""

    def __init__(self) -> None:
        super().__init__()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._runner: Runner | None = None
        self._loader = Loader(self._wake)
        self._supervisor: Address = None
        self._folder: Path | None = None
        self._told = (0, 0, False)
        self._heard = False
        self._unanswered = False

    def watched(self) -> Any:
        """The socket on which the threads say that there is something to send."""
        return ThespianWatch([self._wake_in.fileno()])

    def take(self, message: Any, sender: Address) -> None:
        """One message."""
        if isinstance(message, Birth):
            self._be_born(message, sender)
        elif self._runner is not None:
            self._take(self._runner, message, sender)

    def _take(self, runner: Runner, message: Any, sender: Address) -> None:
        match message:
            case ToWorker() | TakeInventory() | Load() if message.worker not in (None, runner.worker):
                log().warning("a %s for worker %s came here, and is not obeyed", type(message).__name__, message.worker)
            case ToWorker():
                self._run(runner, message, sender)
            case WatchMessage():
                self._drain_wakes()
            case TakeInventory():
                self._tell_inventory(runner, message, sender)
            case Load():
                if runner.admits(message.epoch):
                    self._heed(sender)
                    self._loader.ask(message.sources)
            case _:
                log().warning("a worker was sent a %s, which it does not know", type(message).__name__)
        self._tell_news(runner)

    def _run(self, runner: Runner, message: ToWorker, sender: Address) -> None:
        if message.orders and self._folder is not None:  # before any code of a step can be the death of us
            note_work(self._folder, runner.worker.number)
            self._folder = None
        if runner.take(message):
            self._heed(sender)
            self._unanswered = self._unanswered and not message.stored
        if message.orders and not self._unanswered:
            runner.gather()

    def woken(self) -> None:
        """Send again what may be lost, only a part of it while the supervisor is not heard of: it may be stopped."""
        if self._runner is None:
            return
        self._tell_news(self._runner, confirm=True)
        for batch in self._runner.due_again(one=not self._heard):
            self._tell(self._runner, batch)
            self._heard = False

    def _heed(self, supervisor: Address) -> None:
        """This one has the highest epoch so far."""
        self._supervisor, self._heard = supervisor, True

    # Birth.

    def _be_born(self, birth: Birth, root: Address) -> None:
        born = self.born(birth.role, birth.number)
        if self._runner is None:
            spec: NodeSpec = birth.spec
            self._folder = NodeFolder.of(spec.journal_url).path
            settle_in(spec)
            _lead_a_group()
            worker = WorkerId(born.number, born.pid, born.started)
            self._runner = Runner(
                worker,
                wake=self._wake,
                threads=spec.threads + reserve(spec.threads),
                grace=spec.grace,
                limit=spec.context_limit,
                clock=Clock.of(spec.clock),
                find=self._loader.find,
            )
        self.send(root, born)

    # What the supervisor is told.

    def _tell_inventory(self, runner: Runner, asked: TakeInventory, sender: Address) -> None:
        held = runner.inventory(asked.epoch)
        if held is None:
            return
        self._heed(sender)
        running, reports = held
        loaded = self._loaded(runner, self._loader.plans, {})
        self.send(sender, Inventory(runner.worker, asked.epoch, running, reports, loaded, runner.retiring))

    def _tell_news(self, runner: Runner, *, confirm: bool = False) -> None:
        """Send reports and loads that are new; what has been received is confirmed with them, or with `confirm`.

        Reports gather while earlier ones are not known to be stored, so that under load a commit has company; but not
        when an attempt was not over in time.
        """
        waits = self._unanswered and not confirm and not runner.has_late_news
        for batch in () if waits else runner.unsent():
            self._tell(runner, batch)
            self._unanswered = True
        for plans, failures in self._loader.done():
            self.send(self._supervisor, self._loaded(runner, plans, failures))
        epoch, received, retiring = self._told
        if runner.retiring != retiring or (confirm and (runner.epoch, runner.received) != (epoch, received)):
            self._tell(runner, ())
        if runner.waits or (runner.epoch, runner.received) != self._told[:2]:
            self.wake_in(LOOK_EVERY)

    def _tell(self, runner: Runner, reports: Batch) -> None:
        epoch, received, retiring = self._told = (runner.epoch, runner.received, runner.retiring)
        message = FromWorker(runner.worker, epoch, received, reports, retiring)
        passing(BEFORE, message)
        self.send(self._supervisor, message)
        passing(AFTER, message)

    def _loaded(self, runner: Runner, plans: dict[str, SagaPlan], failures: dict[str, LoadFailure]) -> Loaded:
        return Loaded(runner.worker, plans, failures, self._loader.sources)

    # Being woken.

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it has been woken often enough
            self._wake_out.send(b"x")

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_in.recv(65536)


def _lead_a_group() -> None:
    """Lead a process group, so that what steps start dies with this."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
