"""One node in one process, on a clock that the test turns: the engine, its journal, and workers that can die."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from saga_actors.actors.engine import Engine
from saga_actors.actors.inquiry import Inquiry
from saga_actors.actors.limits import Limits
from saga_actors.actors.protocol import CatchUp, CaughtUp, Joined, Left, Neighbours, Order
from saga_actors.definition import Saga
from saga_actors.errors import SagaActorsError
from saga_actors.journal import Entry, MemoryJournal
from saga_actors.journal.port import Appended
from saga_actors.testing.hand import Call, Hand
from saga_actors.testing.scripts import Act

BEGINNING = 1_800_000_000.0
"""When a rehearsal begins, unless it is told otherwise; POSIX seconds."""

LONGEST = 365 * 86_400.0
"""Seconds of its own time within which a rehearsed saga comes to an end, or is said to be stuck."""

TICK = 0.001
"""Seconds by which time passes at the least."""

LOOK = 1.0
"""Seconds between two looks of a supervisor at the clock."""

IDLE = 10
"""So often time passes with nothing to wait for, before whoever asked is told that nothing will come of it."""

CLIENT = "client"


class Killed(BaseException):
    """The supervisor's process is gone in the middle of a turn."""


class MortalJournal(MemoryJournal):
    """A journal at whose commits a supervisor may die: `deadly` is asked before (False) and after (True) each."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0
        self.deadly: Callable[[int, bool], bool] = lambda _number, _after: False

    def append(self, epoch: int, entries: Sequence[Entry]) -> Appended:
        if not entries:
            return super().append(epoch, entries)
        self.commits += 1
        number = self.commits
        if self.deadly(number, False):
            raise Killed
        appended = super().append(epoch, entries)
        if self.deadly(number, True):
            raise Killed
        return appended


class Stage:
    """The node of a rehearsal. Nothing happens on it by itself: messages and time are brought to it."""

    def __init__(
        self, sagas: Mapping[str, type[Saga[Any]]], act_of: Callable[[Order], Act | None], now: float = BEGINNING
    ) -> None:
        self.journal = MortalJournal()
        self.now = now
        self.calls: list[Call] = []
        self.deaths = 0
        self.witness: Callable[[Call, bool], None] = lambda _call, _is_over: None
        self._sagas, self.act_of = sagas, act_of
        self._answers: dict[str, Any] = {}
        self._letters: list[tuple[Any, Any]] = []
        self._workers: dict[str, Hand] = {}
        self._numbers = 0
        self._engine = self._begin()
        for _ in range(2):
            self._hire()
        self.settle()

    # What is brought to it.

    def ask(self, message: Any) -> Any:
        """The answer to a client's message; time passes until there is one, all at once."""
        until, deaths = self.now + LONGEST, -1
        idle = 0
        while True:
            if deaths != self.deaths:  # whoever asked asks the next supervisor again
                deaths = self.deaths
                self._handle(message, CLIENT)
            self.settle(message.correlation_id)
            if (answer := self._answers.pop(message.correlation_id, None)) is not None:
                return answer
            idle = idle + 1 if self._is_idle else 0
            if idle > IDLE or self.now > until:
                raise SagaActorsError(f"nothing comes of {message}: nobody does anything, and nothing is due")
            self._pass()

    def settle(self, wanted: str = "") -> None:
        """Let everything happen that needs no time; no more than it takes for the `wanted` answer."""
        while self._letters and wanted not in self._answers:
            to, message = self._letters.pop(0)
            self._deliver(to, message)

    def turn(self, seconds: float) -> None:
        """Let so much time pass, with everything that becomes due in it."""
        until = self.now + seconds
        self.settle()
        while (due := self._next()) <= until:
            self._pass_to(due)
            self.settle()
        self.now = until
        self._tick()
        self.settle()

    def kill_supervisor(self) -> None:
        """SIGKILL, and another takes its place."""
        self.deaths += 1
        self._letters = [letter for letter in self._letters if letter[0] in self._workers]
        self._engine = self._begin()

    def kill_worker(self, hand: Hand) -> None:
        """The worker is gone with what it ran, and another takes its place."""
        hand.dead = True
        self._bury()

    # How.

    def _begin(self) -> Engine:
        engine = Engine(
            self.journal,
            Inquiry(self.journal),
            epoch=self.journal.take_epoch("rehearsal"),
            limits=Limits(),
            clock=lambda: self.now,
            roll=lambda: 0.5,
            took_over=bool(self._workers),
        )
        self._letters += engine.handle(Neighbours("root", "status", "telemetry"), "root")
        for hand in self._workers.values():
            self._letters += engine.handle(Joined(hand.worker, hand.address), "root")
        return engine

    def _hire(self) -> None:
        self._numbers += 1
        hand = Hand(
            self._numbers,
            self._sagas,
            self.calls,
            lambda order: self.act_of(order),
            lambda call, is_over: self.witness(call, is_over),
            lambda: self.now,
        )
        self._workers[hand.address] = hand
        self._handle(Joined(hand.worker, hand.address), "root")

    def _deliver(self, to: Any, message: Any) -> None:
        if to == CLIENT:
            self._answers[message.correlation_id] = message
        elif isinstance(message, CatchUp):
            self._handle(CaughtUp(message.position), to)
        elif (hand := self._workers.get(to)) is not None:
            for said in hand.take(message):
                self._handle(said, hand.address)
            self._bury()

    def _handle(self, message: Any, sender: str) -> None:
        try:
            self._letters += self._engine.handle(message, sender)
        except Killed:
            self.kill_supervisor()

    def _tick(self) -> None:
        try:
            self._letters += self._engine.tick()
        except Killed:
            self.kill_supervisor()

    def _bury(self) -> None:
        for hand in [hand for hand in self._workers.values() if hand.dead]:
            del self._workers[hand.address]
            self._handle(Left(hand.worker), "root")
            self._hire()

    # Time.

    @property
    def _is_idle(self) -> bool:
        return self._engine.due_at is None and not any(hand.later for hand in self._workers.values())

    def _next(self) -> float:
        """When the next thing is due; a look at the clock, if nothing is."""
        due = self._engine.due_at
        later = [at for hand in self._workers.values() for at, _ in hand.later]
        return min([self.now + LOOK if due is None else max(due, self.now + TICK), *later])

    def _pass(self) -> None:
        self._pass_to(self._next())

    def _pass_to(self, moment: float) -> None:
        self.now = max(self.now, moment)
        for hand in list(self._workers.values()):
            due = [what for at, what in hand.later if at <= self.now]
            hand.later = [(at, what) for at, what in hand.later if at > self.now]
            for what in due:
                what()
            for said in hand.news():
                self._handle(said, hand.address)
        self._bury()
        self._tick()
