"""A storm over the real engine: simulated workers, clients, operators, clock and journal, and a ledger of all they do.

Messages get lost, come twice, late and out of order; workers and clients die; supervisors die between any two turns, in
their commits and while they send; one may only sleep, and wake beside its successor; disks are full, commits end in
doubt, and the clock jumps.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from engine_client import Client
from engine_desk import Desk
from engine_ledger import Call
from engine_mail import ROOT, Letter, Mail, items_of
from engine_supervisor import FATES, MortalJournal, Supervisor
from engine_witness import Witness
from engine_world import CLASSES, Hand, World, any_plan

from saga_actors.actors.limits import Limits
from saga_actors.actors.protocol import Bundle, Joined, Left, Neighbours, Roster, ToWorker
from saga_actors.events import WorkerId
from saga_actors.messages import Refused, RunSaga, SettleStep, StartSaga
from saga_actors.plan import SagaPlan

LIMITS = Limits(threads=2)
NEIGHBOURS = ("root", "status", "telemetry")
"""They are told things, and nothing comes of it here."""

CRASHES = ("killed", "worker")
ACCIDENTS = (*CRASHES, *CRASHES, "stopped", "cut", "client", "clock")
"""What befalls a process, or the clock, apart from what becomes of commits."""

PING = 1.0
"""Seconds between two times that the root says who is there."""


class Storm:
    """All that there is of a node and its clients, from a seed. `boss` is the supervisor, `sleeper` one before it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 1_000.0
        self.events = self.events_until_calm = self.crashes = 0
        self.diary: list[str] | None = None
        sagas = [f"s{number}" for number in range(self.chance.choice([3, 3, 4, 5]))]
        self.world = World(self.chance, sagas, self.begins)
        self.ledger, self.seen = self.world.ledger, self.world.seen
        self.mail = Mail(self.chance, self.seen)
        self.journal = MortalJournal(self.seen)
        classes = [any_plan(number) for number in self.chance.sample(range(CLASSES), 3)]
        self.plans = {plan.saga: plan for plan in classes}
        self.starts = {saga_id: self._start(saga_id, self.chance.choice(classes)) for saga_id in sagas}
        self.desk = Desk(self.journal, self.ledger, self.chance, lambda: self.now, self.seen)
        self.witness = Witness(self.journal, self.ledger, self.desk.requests, sagas, self.seen)
        self.clients: dict[str, Client] = {self.desk.address: self.desk}
        for mine in (sagas[::2], sagas[1::2]):
            self.add_client(self.starts[saga_id] for saga_id in mine)
        self.hands: dict[str, Hand] = {}
        self.workers: dict[str, Hand] = {}
        self.boss = self._supervisor()
        self.sleeper: Supervisor | None = None
        self.is_awake = self.cut = False
        self.unread: list[Letter] = []
        self._pinged_at = 0.0
        for _ in range(2):
            self.add_worker()

    def _start(self, saga_id: str, plan: SagaPlan) -> RunSaga | StartSaga:
        kind = self.chance.choice([RunSaga, StartSaga])
        return kind(
            correlation_id=f"start-{saga_id}",
            saga_id=saga_id,
            saga=plan.saga,
            fingerprint=plan.fingerprint,
            digest="d",
            context=b'{"saga":"%s"}' % saga_id.encode(),
            deadline=self.chance.choice([None] * 6 + [1_010.0, 1_030.0]),
        )

    @property
    def happened(self) -> int:
        """How much has: letters that arrived, were lost or late, time that passed, and what befell processes."""
        return self.events + self.mail.faults

    def note(self, what: str) -> None:
        """Something has happened; a diary is kept for those who replay it."""
        self.events += 1
        if self.diary is not None:
            self.diary.append(f"{self.now - 1_000:9.2f} s  {what}")

    def begins(self, call: Call) -> None:
        self.note("" if self.diary is None else f"{call.order.key} begins in worker {call.worker.number}")
        self.witness.sees_begin(call)

    # Letters, and the turns of supervisors.

    def deliver(self, letter: Letter) -> None:
        """To a worker, a client or a neighbour; whoever is dead hears nothing."""
        sender, to, message = letter
        if to in self.workers:
            hand = self.workers[to]
            for said in hand.hears(message, sender):
                self.mail.post(to, hand.where, said)
            self.bury()
        elif to in self.clients:
            client = self.clients[to]
            for said in client.hears(message):
                self.mail.post(to, client.where, said)

    def take(self, letters: list[Letter]) -> None:
        """Deliver these; what is for one supervisor goes into one turn of it."""
        boss, sleeper = self.boss, self.sleeper
        for letter in letters:
            self.note("" if self.diary is None else "{} -> {}: {}".format(*letter))
        if mine := [letter for letter in letters if letter.to == boss.address]:
            self.turn(boss, mine)
        if len(mine) == len(letters):
            return
        if sleeper is not None:
            self.is_for_the_sleeper(sleeper, [letter for letter in letters if letter.to == sleeper.address])
        for letter in letters:
            self.deliver(letter)

    def is_for_the_sleeper(self, sleeper: Supervisor, letters: list[Letter]) -> None:
        """What comes for one that sleeps lies before it until it wakes."""
        if not self.is_awake:
            self.unread += letters
        elif letters:
            self.turn(sleeper, letters)

    def turn(self, boss: Supervisor, letters: list[Letter]) -> None:
        """One turn of a supervisor, which may be its last; one that lets time pass, without letters."""
        outgoing = boss.turn(letters)
        if self.cut and outgoing:
            self.cut, boss.alive = False, False
            outgoing = outgoing[: self.chance.randrange(len(outgoing))]
            self.seen["killed while it sent"] += 1
        self.sends(boss, outgoing)
        if not boss.alive:
            self.has_ended(boss)
        if turned := self.witness.watches([item for letter in letters for item in items_of(letter.message)]):
            self.note(turned)

    def sends(self, boss: Supervisor, outgoing: Iterable[tuple[Any, Any]]) -> None:
        for to, message in outgoing:
            if isinstance(message, ToWorker):
                self.seen["adoption"] += self.ledger.goes_out(message, self.hands[to].told)
            for item in items_of(message):
                self.witness.is_told(item)
            if to not in NEIGHBOURS:
                self.mail.post(boss.address, to, message)

    # What befalls processes.

    def _supervisor(self) -> Supervisor:
        workers = [Joined(hand.worker, hand.address) for hand in self.workers.values()]
        return Supervisor(self.journal, workers, lambda: self.now, LIMITS)

    def new_supervisor(self, *, stopped: bool = False) -> None:
        """The root replaces it. What was on its way to one that is dead is lost; what that sent may still come (P8)."""
        old = self.boss
        old.alive = stopped
        if stopped:
            self.sleeper, self.is_awake, self.unread = old, False, []
        else:
            self.mail.keep(lambda letter: letter.to != old.address and self._arrives(letter, old))
        self.crashes += not stopped
        self.boss = self._supervisor()
        self.note(f"{old.address} {'is stopped' if stopped else 'is dead'}, {self.boss.address} begins")
        self.sends(self.boss, self.boss.first)

    def _arrives(self, letter: Letter, dead: Supervisor) -> bool:
        return letter.sender != dead.address or self.chance.random() < 0.7

    def has_ended(self, boss: Supervisor) -> None:
        if boss is self.boss:
            self.new_supervisor()
        else:
            self.sleeper, self.is_awake = None, False
            self.note(f"{boss.address} ends beside its successor")

    def wakes(self) -> None:
        """One that was taken for dead wakes beside its successor, and does what it had been about to do."""
        if self.sleeper is not None and not self.is_awake:
            self.is_awake = True
            self.seen["two supervisors at a time"] += 1
            self.note(f"{self.sleeper.address} wakes")
            self.turn(self.sleeper, self.unread)

    def goes_on_beside(self) -> None:
        """Somebody who is not the supervisor any more still acts as one, until it finds out."""
        if self.sleeper is not None and self.is_awake:
            self.turn(self.sleeper, [])
        if self.sleeper is not None and self.is_awake and self.chance.random() < 0.2:
            self.sleeper.looks_after_its_tenure()
            assert not self.sleeper.alive, "it does not know that its epoch is over (P8)"
            self.has_ended(self.sleeper)

    def add_worker(self) -> None:
        number = len(self.hands) + 1
        hand = Hand(WorkerId(number, 100 + number, 1.0), f"worker-{number}", plans=self.plans, world=self.world)
        self.workers[hand.address] = self.hands[hand.address] = hand
        self.mail.post(ROOT, self.boss.address, Joined(hand.worker, hand.address))

    def bury(self) -> None:
        """Those workers are gone that have died just now, and the root makes others."""
        for hand in [hand for hand in self.workers.values() if hand.dies]:
            del self.workers[hand.address]
            cut = self.ledger.dies(hand.worker)
            for call in cut:
                self.seen["died " + ("after" if call.effect else "before") + " its effect"] += 1
            self.seen["neighbours cut short"] += len(cut) > 1
            self.crashes += 1
            self.note(f"{hand.address} dies with {[call.order.key for call in cut]}")
            self.mail.post(ROOT, self.boss.address, Left(hand.worker))
            self.add_worker()

    def worker_dies(self) -> None:
        self.workers[self.chance.choice(sorted(self.workers))].dies = True
        self.bury()

    def add_client(self, starts: Iterable[RunSaga | StartSaga]) -> None:
        client = Client(f"client-{len(self.clients)}-{self.crashes}", starts, lambda: self.now)
        self.clients[client.address] = client

    def client_dies(self) -> None:
        """Its program is started again, and asks for the same sagas under the same ids (P10)."""
        dead = self.chance.choice([client for client in self.clients.values() if client.starts])
        self.seen["client killed"] += 1
        self.note(f"{dead.address} dies")
        self.crashes += 1
        del self.clients[dead.address]
        self.add_client(dead.starts.values())

    # Time.

    def finish(self) -> None:
        """Attempts do something."""
        for hand in list(self.workers.values()):
            for said in hand.finish():
                self.mail.post(hand.address, hand.where, said)
        self.bury()

    def passes(self, seconds: float) -> None:
        """Time passes, and each says again what it is not sure was heard."""
        self.now += seconds
        self.note("")
        self.turn(self.boss, [])
        self.goes_on_beside()
        if self.now - self._pinged_at >= PING:
            self._pinged_at = self.now
            workers = tuple(Joined(hand.worker, hand.address) for hand in self.workers.values())
            self.mail.post(ROOT, self.boss.address, Roster(workers, Neighbours("root", "status")))
        for hand in self.workers.values():
            for said in hand.repeats(self.now):
                self.mail.post(hand.address, hand.where, said)
        for client in self.clients.values():
            self._finds_its_supervisor(client)
            for said in client.goes_out():
                self.mail.post(client.address, client.where, said)

    def _finds_its_supervisor(self, client: Client) -> None:
        """One that is dead is found out at once, one that only sleeps after a while."""
        if client.where == self.boss.address:
            return
        is_there = self.sleeper is not None and client.where == self.sleeper.address
        if not is_there or self.chance.random() < 0.3:
            client.turns_to(self.boss.address)

    # Operators.

    def operate(self, saga_id: str, *, directly: bool = False) -> None:
        """An operator comes for a saga; `directly`, what its status allows must be done."""
        message = self.desk.decides(saga_id)
        if message is None:
            return
        self.witness.suspect = saga_id
        self.desk.ask(message)
        if directly:
            self.turn(self.boss, [Letter(self.desk.address, self.boss.address, message)])
            answers = [m for m in self.mail.to(self.desk.address) if not isinstance(m, Bundle)]
            answers = [m for m in answers if m.correlation_id == message.correlation_id]
            assert answers, f"{message} was not answered"
            too_late = isinstance(message, SettleStep) and message.happened  # what is before it may be undone by now
            refused = any(isinstance(answer, Refused) for answer in answers)
            assert too_late or not refused, f"{message} was allowed, and refused: {answers}"

    # The weather.

    def step(self) -> None:
        """One thing happens."""
        drawn = self.chance.random()
        if drawn < 0.62 and self.mail:
            self.deliver_some(self.chance.choice([1, 1, 1, 2, 3]))
        elif drawn < 0.74:
            self.passes(self.chance.choice([0.01, 0.6, 1.1]))
        elif drawn < 0.90:
            self.finish()
        elif drawn < 0.925:
            waiting = [saga_id for saga_id in self.starts if self.desk.waits_for_operator(saga_id)]
            self.operate(self.chance.choice(waiting or [*self.starts]))
        elif drawn < 0.945:
            self.befalls(self.chance.choice(ACCIDENTS))
        elif drawn < 0.97:
            self.journal.fate = self.chance.choice(FATES)
        else:
            self.wakes()

    def befalls(self, what: str) -> None:
        """A process or the clock has had an accident."""
        if what == "worker":
            self.worker_dies()
        elif what == "client":
            self.client_dies()
        elif what == "cut":
            self.cut = True
        elif what == "clock":
            self.seen["clock jumped"] += 1
            self.passes(self.chance.choice([12.0, 100.0, 4_000.0, -3.0, -20.0]))
        else:
            self.seen["killed between turns"] += what == "killed"
            self.new_supervisor(stopped=what == "stopped")

    def deliver_some(self, count: int) -> None:
        drawn = [self.mail.draw() for _ in range(count) if self.mail]
        self.take([letter for letter in drawn if letter is not None])

    def clears_up(self) -> None:
        """The storm is over: nothing more befalls anybody, but letters get lost for a while."""
        self.events_until_calm = self.happened
        self.journal.fate, self.cut = "", False
        self.world.calm, self.world.haste = True, max(self.world.haste, 0.5)
        self.wakes()

    def comes_to_rest(self) -> bool:
        """Whether all that is under way arrives, every saga ends or is held, and is told of, in bounded time (P12)."""
        for round_ in range(400):
            self.mail.reliable = round_ > 2
            for _ in range(400):
                if not self.mail:
                    break
                self.deliver_some(20)
            if self.at_rest:
                return True
            self.finish()
            self.finish()
            self.passes(1.1)
        self.witness.suspect = next(filter(self._goes_on, self.starts), self.witness.suspect)
        return False

    @property
    def at_rest(self) -> bool:
        if self.sleeper is not None or any(self._goes_on(saga_id) for saga_id in self.starts):
            return False
        return all(client.satisfied for client in self.clients.values())

    def _goes_on(self, saga_id: str) -> bool:
        row = self.journal.find(saga_id)
        return row is None or row.state.unfinished
