"""The root supervisor: no threads, no user code, no state. It creates, pings and replaces the others, and nothing else.

Its children in OTP's words: permanent, one for one. It is the only creator of processes, for a fork from a process
with threads can deadlock (trap 12). It knows where everybody is, and whoever is lost is told by it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
from thespian.actors import Actor, ActorExitRequest, ChildActorExited, WakeupMessage

from saga_actors.actors.lifecycle import DRAINED, FAILED, HOPELESS, Begin, Begun, DrainAndEnd, LifeOver, Ping, Pong
from saga_actors.actors.marks import forget_work, has_worked, mark_of
from saga_actors.actors.protocol import (
    Address,
    Birth,
    Born,
    CannotServe,
    Drain,
    Joined,
    Left,
    Locate,
    Located,
    Member,
    Neighbours,
    NodeDone,
    Roster,
)
from saga_actors.actors.status_actor import StatusActor
from saga_actors.actors.supervisor import SagaSupervisor
from saga_actors.actors.telemetry_actor import TelemetryActor
from saga_actors.actors.worker import StepWorker
from saga_actors.events import WorkerId
from saga_actors.node_folder import NodeFolder, ProcessId, children_of, kill_all

log = logging.getLogger("saga_actors.root")

SUPERVISOR, WORKER, STATUS, TELEMETRY = "supervisor", "worker", "status", "telemetry"
CLASSES: dict[str, type[Actor]] = {
    SUPERVISOR: SagaSupervisor,
    WORKER: StepWorker,
    STATUS: StatusActor,
    TELEMETRY: TelemetryActor,
}

DEATHS, DEATHS_PERIOD = 5, 10.0
"""So many deaths in so many seconds of those that count, and the life is given up."""

YOUNG = 2.0
"""A child that dies within so many seconds has died at birth."""

DEATHS_PER_SAGA, DEATHS_BY_SAGAS = 2, 20
"""So many deaths of the supervisor count against the one saga that it was busy with; and against all sagas of a life.

After the first, the saga comes last; after the second, it is held. What kills still is something else, and so is what
kills with every saga.
"""

VIGIL, VIGIL_AFTER = "vigil", timedelta(seconds=0.1)
"""So long after a death the children are looked at once more, for another that died while this one was replaced."""

DEATH_LIMIT = 5.0
"""Seconds for which the death of a child is waited for that was killed because it should have been dead."""


@attrs.define
class ChildRecord:
    """One child: where it is, and when it was last heard of (monotonic seconds). `born` is None until it serves.

    `process` is None if it was gone as soon as it was made.
    """

    role: str
    number: int
    process: ProcessId | None
    address: Address
    created: float
    heard: float
    born: Born | None = None

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.alive

    @property
    def member(self) -> Member:
        """The child as others are told of it."""
        assert self.born is not None
        return Member(self.role, self.born.pid, self.born.started, self.address)

    @property
    def worker(self) -> WorkerId:
        """The child as a worker."""
        assert self.born is not None
        return WorkerId(self.number, self.born.pid, self.born.started)


class RootSupervisor(Actor):  # type: ignore[misc]
    """Creates the others, pings them, and replaces those that die or fall silent."""

    def __init__(self) -> None:
        super().__init__()
        self._begun: Begin | None = None
        self._life: Address = None
        self._children: list[ChildRecord] = []
        self._numbers: dict[str, int] = {}
        self._deaths: list[float] = []
        self._deadly: list[str] = []
        self._asked: list[tuple[Address, str]] = []
        self._pings = 0
        self._over: LifeOver | None = None

    def receiveMessage(self, message: Any, sender: Address) -> None:
        """One message; an error here ends the life, and the next one begins."""
        try:
            self._take(message, sender)
        except Exception:
            log.exception("the root failed on a %s", type(message).__name__)
            self._end(LifeOver("the root met an error it does not know; see node.log", FAILED))

    def _take(self, message: Any, sender: Address) -> None:
        match message:
            case Begin():
                self._begin(message, sender)
            case Born():
                self._on_born(message, sender)
            case Ping():
                self.send(sender, self._over or Pong(message.number))
            case Pong():
                self._on_pong(sender)
            case WakeupMessage(payload=payload) if payload == VIGIL:
                self._find_the_dead()
            case WakeupMessage():
                self._look_after_children()
            case ChildActorExited():
                self._on_exit(message.childAddress)
            case Locate():
                self._asked.append((sender, message.correlation_id))
                self._tell_where()
            case DrainAndEnd() if self._begun is not None:
                self._tell_supervisor(Drain(self._begun.spec.drain))
            case NodeDone():
                if any(child.role == SUPERVISOR and child.address == sender for child in self._children):
                    self._end(LifeOver(message.reason, DRAINED))
            case CannotServe():
                has_served = self._numbers[SUPERVISOR] > 1
                self._end(LifeOver(message.reason, FAILED if has_served else HOPELESS))
            case ActorExitRequest():
                pass
            case _:
                log.warning("the root was sent a %s, which it does not know", type(message).__name__)

    # Birth.

    def _begin(self, begin: Begin, life: Address) -> None:
        self._life = life
        if self._begun is not None:
            return
        self._begun = begin
        forget_work(self._folder)
        for role in (*[WORKER] * begin.spec.workers, STATUS, TELEMETRY):
            self._create(role)
        self.wakeupAfter(timedelta(seconds=begin.spec.ping_every))

    @property
    def _folder(self) -> Path:
        assert self._begun is not None
        return NodeFolder.of(self._begun.spec.journal_url).path

    def _create(self, role: str) -> None:
        assert self._begun is not None
        number = self._numbers[role] = self._numbers.get(role, 0) + 1
        others = children_of(os.getpid())
        address, now = self.createActor(CLASSES[role]), time.monotonic()
        made = [ProcessId(pid, at.started) for pid, at in children_of(os.getpid()).items() if pid not in others]
        child = ChildRecord(role, number, made[0] if made else None, address, now, now)
        self._children.append(child)
        self._tell_of_birth(child)

    def _tell_of_birth(self, child: ChildRecord) -> None:
        """May be done again: who has been told says only that it was born."""
        assert self._begun is not None
        birth = Birth(child.role, child.number, self._begun.spec, life=self._begun.life)
        if child.role == SUPERVISOR:
            roster = self._roster()
            birth = attrs.evolve(birth, workers=roster.workers, neighbours=roster.neighbours)
        self.send(child.address, birth)

    def _on_born(self, born: Born, sender: Address) -> None:
        child = next((c for c in self._children if c.role == born.role and c.number == born.number), None)
        if child is None or child.born is not None:
            return
        child.born, child.address, child.heard = born, sender, time.monotonic()
        if child.role == SUPERVISOR:
            self.send(self._life, Begun(os.getpid()))
            self._tell_where()
        elif child.role == WORKER:
            self._tell_supervisor(Joined(child.worker, child.address))
        else:
            self._tell_supervisor(self._neighbours())
        if all(c.born for c in self._children) and not any(c.role == SUPERVISOR for c in self._children):
            self._create(SUPERVISOR)

    def _born(self, role: str) -> list[ChildRecord]:
        return [c for c in self._children if c.role == role and c.born]

    def _roster(self) -> Roster:
        return Roster(tuple(Joined(c.worker, c.address) for c in self._born(WORKER)), self._neighbours())

    def _neighbours(self) -> Neighbours:
        status, telemetry = self._born(STATUS), self._born(TELEMETRY)
        return Neighbours(
            root=self.myAddress,
            status=status[0].address if status else None,
            telemetry=telemetry[0].address if telemetry else None,
        )

    def _tell_supervisor(self, message: Any) -> None:
        """Also one that is not born yet: what it is told comes after its birth."""
        for child in self._children:
            if child.role == SUPERVISOR:
                self.send(child.address, message)

    def _tell_where(self) -> None:
        supervisor, status = self._born(SUPERVISOR), self._born(STATUS)
        if not (supervisor and status and self._begun):
            return
        workers = tuple(c.member for c in self._born(WORKER))
        for address, correlation_id in self._asked:
            located = Located(correlation_id, self._begun.life, supervisor[0].member, status[0].member, workers)
            self.send(address, located)
        self._asked = []

    # Life and death.

    def _on_pong(self, sender: Address) -> None:
        for child in self._children:
            if child.address == sender:
                child.heard = time.monotonic()

    def _look_after_children(self) -> None:
        assert self._begun is not None
        spec, now = self._begun.spec, time.monotonic()
        self._pings += 1
        self._find_the_dead()
        for child in list(self._children):
            if now - child.heard > spec.silence or (child.born is None and now - child.created > spec.start_limit):
                self._kill_silent(child)
            else:
                self.send(child.address, Ping(self._pings))
                if child.born is None:
                    self._tell_of_birth(child)
        self._tell_supervisor(self._roster())
        self.wakeupAfter(timedelta(seconds=spec.ping_every))

    def _kill_silent(self, child: ChildRecord) -> None:
        """Kill it; its death is told later, and only then it is replaced: two never stand side by side."""
        assert child.process is not None
        log.error("%s %d (pid %d) is silent, and is killed", child.role, child.number, child.process.pid)
        child.process.kill()

    def _on_exit(self, address: Address) -> None:
        child = next((c for c in self._children if c.address == address), None)
        if child is None:
            return
        if child.process is not None and child.alive:  # somebody says that it exited: two never stand side by side
            kill_all([child.process], DEATH_LIMIT)
        self._children.remove(child)
        pid = child.process.pid if child.process else None
        log.error("%s %d (pid %s) is dead; it is replaced", child.role, child.number, pid)
        if child.role == WORKER and child.born:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.born.pid, signal.SIGKILL)
            self._tell_supervisor(Left(child.worker))
        if self._too_many_deaths(child):
            self._give_up(f"{child.role} died too often: {DEATHS} deaths in {DEATHS_PERIOD:g} s")
        else:
            self._create(child.role)
            self.wakeupAfter(VIGIL_AFTER, VIGIL)

    def _find_the_dead(self) -> None:
        """Those of whose deaths Thespian tells nobody: it was busy making a process, or they had no address yet."""
        for child in list(self._children):
            if not child.alive:
                self._on_exit(child.address)

    def _too_many_deaths(self, child: ChildRecord) -> bool:
        if not self._counts(child):
            return False
        now = time.monotonic()
        self._deaths = [at for at in self._deaths if now - at < DEATHS_PERIOD] + [now]
        return len(self._deaths) >= DEATHS

    def _counts(self, child: ChildRecord) -> bool:
        """Whether a death counts against the node, and not against the step or the saga that caused it."""
        if child.role == SUPERVISOR:
            return not self._died_of_a_saga(child)
        if child.role == WORKER:
            return not has_worked(self._folder, child.number)
        return time.monotonic() - child.created <= YOUNG

    def _died_of_a_saga(self, supervisor: ChildRecord) -> bool:
        mark = mark_of(self._folder, supervisor.process) if supervisor.process is not None else None
        if mark is None:
            return False
        log.error("it was busy with saga %r", mark.saga_id)
        self._deadly.append(mark.saga_id)
        return self._deadly.count(mark.saga_id) <= DEATHS_PER_SAGA and len(self._deadly) <= DEATHS_BY_SAGAS

    def _give_up(self, reason: str) -> None:
        log.critical("the life is given up: %s", reason)
        self._end(LifeOver(reason, FAILED))

    def _end(self, over: LifeOver) -> None:
        """Say so, and again at each ping, until we are killed."""
        self._over = self._over or over
        self.send(self._life, self._over)
