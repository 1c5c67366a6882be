"""The saga supervisor's decisions, as a plain class: messages in, messages out; clock, chance and journal passed in.

One turn of its loop: tell the saga actors what happened, give free slots to those that want one, append the events of
all of them in one commit; and only then release orders, answers and receipts (P5). What was not committed has not
happened: an exception that escapes from here ends the process, and the next supervisor folds the journal again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from saga_actors.actors.alarms import Alarms
from saga_actors.actors.clients import Clients, Peer
from saga_actors.actors.commits import Commits, log
from saga_actors.actors.holds import Holds
from saga_actors.actors.inquiry import Inquiry
from saga_actors.actors.kill_points import AFTER, BEFORE, passing
from saga_actors.actors.limits import BEATS_HEARD, Limits
from saga_actors.actors.marks import Marks, MemoryMarks
from saga_actors.actors.neighbourhood import Neighbourhood
from saga_actors.actors.protocol import (
    Address,
    AttemptKey,
    Bundle,
    CaughtUp,
    Drain,
    FromWorker,
    Inventory,
    Joined,
    Left,
    Loaded,
    Neighbours,
    Posted,
    Roster,
)
from saga_actors.actors.reception import Reception
from saga_actors.actors.recovery import Recovery
from saga_actors.actors.saga import Decided
from saga_actors.actors.saga_system import SagaCrashedError
from saga_actors.actors.sagas import Sagas, Tracked
from saga_actors.actors.slots import KeptSlot, Slots, Waiting
from saga_actors.actors.team import Team
from saga_actors.actors.turn import Turn
from saga_actors.errors import CorruptionError
from saga_actors.events import Ending, HoldReason
from saga_actors.inputs import Failed, Input, PlanOffered, SlotReserved, TimePassed
from saga_actors.journal.port import Journal
from saga_actors.messages import Refusal, Refused
from saga_actors.outcomes import SagaState


class Engine:
    """One supervisor's share of a journal, under one epoch."""

    def __init__(
        self,
        journal: Journal,
        inquiry: Inquiry,
        *,
        epoch: int,
        limits: Limits,
        clock: Callable[[], float],
        roll: Callable[[], float],
        position: int = 0,
        took_over: bool = False,
        marks: Marks | None = None,
    ) -> None:
        self.journal = journal
        self.epoch = epoch
        self.limits = limits
        self.clock = clock
        self.neighbourhood = Neighbourhood(position)
        marks = marks or MemoryMarks()
        self.sagas = Sagas(journal, clock, roll, marks)
        self.team = Team(epoch)
        self.slots = Slots(limits.threads)
        self.clients = Clients(clock())
        self.knows_clients_at = clock() + (BEATS_HEARD if took_over else 0.0)
        self.turn = Turn()
        self.unfinished = journal.count_unfinished()
        self.out: list[tuple[Address, Any]] = []
        self.done = False
        self.recovery = Recovery(self, marks)
        self._reception = Reception(self, inquiry)
        self._commits = Commits(self)
        self._alarms = Alarms()
        self._drain_until: float | None = None
        self._farewell_at = 0.0
        self.holds = Holds(self)

    # Messages in, messages out.

    def handle(self, message: Any, sender: Address) -> list[tuple[Address, Any]]:
        """Take a message, or a bundle of them, through one turn; what is to be sent. Nothing, once all is done."""
        self.take(message, sender)
        return self.finish_turn()

    def take(self, message: Any, sender: Address) -> None:
        """Take a message, or a bundle of them, into this turn; nothing comes of it before that is finished."""
        if self.done:
            return
        if isinstance(message, Bundle):
            peer = Peer(sender, bundled=True)
            for item in message.items:
                self._take(item, peer)
        else:
            self._take(message, Peer(sender))

    def tick(self) -> list[tuple[Address, Any]]:
        """Let time pass: timers, recovery, what is sent again, and the end of a node that nobody needs."""
        now = self.clock()
        if self.done:
            return self._farewell_again(now)
        for saga_id in self._alarms.due(now):
            if self.sagas.get(saga_id) is not None:
                self.happen(saga_id, TimePassed())
        self.recovery.go_on()
        self._commits.tick(now)
        if self._commits.have_room(now):
            self.holds.tick()
        self._reception.tick()
        self.out += self.team.overdue(now)
        linger = self.limits.linger
        if linger is not None and self._drain_until is None and self.clients.alone_for(now) > linger:
            self.drain(linger)
        return self.finish_turn()

    @property
    def next_tick(self) -> float:
        """Seconds until `tick` has something to do."""
        if self.done:
            return 1.0
        if self.recovery.going_on:
            return 0.0
        due = self.due_at
        return 1.0 if due is None else min(1.0, max(0.001, due - self.clock()))

    @property
    def due_at(self) -> float | None:
        """When something is due that was put off, in POSIX seconds; None if nothing was."""
        moments = (self._alarms.next, self.neighbourhood.news_at(), None if self.done else self._drain_until)
        return min((moment for moment in moments if moment is not None), default=None)

    def _take(self, message: Any, peer: Peer) -> None:
        match message:
            case FromWorker():
                self.report(message)
            case Inventory():
                self.recovery.inventory(message)
            case Loaded():
                self.slots.serves(message.worker, self.team.loaded(message))
                self._reception.loaded()
            case Joined():
                self.recovery.join(message)
            case Left():
                self.recovery.left(message.worker)
            case Neighbours():
                self.neighbourhood.meet(message)
            case Roster():
                self.recovery.compare(message)
            case CaughtUp():
                self.neighbourhood.listeners_heard(message.position)
            case Drain():
                self.drain(message.seconds)
            case _:
                self._reception.take(message, peer)

    def report(self, message: FromWorker) -> None:
        """Reports of a worker; each is told to its saga, and a receipt goes out once that is durable."""
        if not self.team.has(message.worker):  # dead, or another node's; one that is about to join says it again
            return
        self.team.confirmed(message)
        self.slots.retire(message.worker, message.retiring)
        gives = self._gives_slots()
        for posted in message.reports:
            self._one_report(message, posted, gives)

    def _one_report(self, message: FromWorker, posted: Posted, gives: bool) -> None:
        report, saga_id = posted.report, posted.saga_id
        key = AttemptKey(saga_id, report.phase, report.step, report.attempt, report.epoch)
        is_quiet = not (isinstance(report, Failed) and report.ending is Ending.TIMED_OUT)
        tracked = self.tracked(saga_id)
        if tracked is not None:
            kept = self._kept_slot(tracked, key) if gives and is_quiet else None
            decided = self.happen(saga_id, report, kept)
            if decided is None:
                return
            self.let_rest(saga_id, decided)
            if kept is not None and decided.order is not None:
                self.slots.pass_on(key, decided.order[1].key)
        if is_quiet:
            self.slots.release(key)
        if tracked is None and self.holds.concerns(saga_id):
            return  # the worker keeps it, until an operator has made something of the saga
        self.turn.receipts[message.worker].append((posted.serial, saga_id))

    def _kept_slot(self, tracked: Tracked, key: AttemptKey) -> KeptSlot | None:
        """The slot in which the saga may go on at once, without a place in the queue, for it would be first there."""
        if key.epoch != self.epoch:
            return None
        plan = tracked.decided.plan
        served = self.team.served(plan.saga)
        return self.slots.keep(key) if served is not None and served.plan_id == plan.plan_id else None

    def _gives_slots(self) -> bool:
        return self._drain_until is None and self._commits.have_room(self.clock())

    # Sagas.

    def tracked(self, saga_id: str) -> Tracked | None:
        """The saga, restored if it must be; None if it is completed, compensated, unknown or cannot be read."""
        tracked = self.sagas.get(saga_id)
        if tracked is not None or saga_id in self.holds.illegible:
            return tracked
        try:
            row = self.journal.find(saga_id)
            if row is None or row.state in (SagaState.COMPLETED, SagaState.COMPENSATED):
                return None
        except CorruptionError as corruption:
            self.holds.hold(saga_id, HoldReason.CORRUPT, str(corruption))
            return None
        return self.sagas.get(saga_id) if self.recovery.restore(saga_id) else None

    def happen(self, saga_id: str, given: Input, kept: KeptSlot | None = None) -> Decided | None:
        """Tell a tracked saga that this happened, and where it may go on at once.

        None if its actor raised; it is restarted from the journal.
        """
        tracked = self.sagas.get(saga_id)
        assert tracked is not None
        try:
            decided = self.sagas.happen(tracked, given, kept)
        except SagaCrashedError as crash:
            self._restart(saga_id, crash)
            return None
        self.stage(saga_id, tracked)
        return decided

    def let_rest(self, saga_id: str, decided: Decided) -> None:
        """Let the actor go of a saga that was restored to hear something, and has made nothing of it."""
        if not decided.state.unfinished and saga_id not in self.turn.shares:
            self.sagas.end(saga_id)

    def stage(self, saga_id: str, tracked: Tracked) -> None:
        """What a saga has just decided goes into this turn."""
        self.turn.stage(saga_id, tracked)
        self.watch(saga_id, tracked.decided)
        if not tracked.decided.state.unfinished:
            self.slots.end(saga_id)

    def watch(self, saga_id: str, decided: Decided) -> None:
        """Queue the saga, and set its timer, as it stands now."""
        now, execution = self.clock(), decided.execution
        wanted, wakes_at = execution.wanted, execution.expires_at
        if wanted is None:
            self.slots.drop(saga_id)
        elif wanted.due is not None and wanted.due > now:
            self.slots.drop(saga_id)
            wakes_at = wanted.due if wakes_at is None else min(wanted.due, wakes_at)
        else:
            self.slots.want(decided.waiting)
        if wakes_at is not None:
            self._alarms.set(saga_id, wakes_at)
        else:
            self._alarms.drop(saga_id)

    def _restart(self, saga_id: str, crash: SagaCrashedError) -> None:
        log().error("the actor of saga %r raised: %s; it is restarted from the journal", saga_id, crash)
        too_often = self.sagas.crashed(saga_id)
        self.withdraw(saga_id)
        try:
            row = self.journal.find(saga_id)
        except CorruptionError as corruption:
            self.holds.hold(saga_id, HoldReason.CORRUPT, str(corruption))
            return
        if row is None:
            self.refuse_start(saga_id, Refusal.BAD_REQUEST, f"the saga's actor raised: {crash}")
        elif too_often:
            self.holds.hold(saga_id, HoldReason.CRASHED, f"its actor raised again and again: {crash}")
        else:
            self.recovery.restore(saga_id)

    def withdraw(self, saga_id: str) -> None:
        """Nothing that this saga decided in this turn has happened."""
        for key in self.turn.withdraw(saga_id):
            self.slots.take_back(key)
            self.team.not_given(key)
        self.slots.drop(saga_id)
        self._alarms.drop(saga_id)
        self.sagas.end(saga_id)

    # The turn: give out slots, commit, release.

    def finish_turn(self) -> list[tuple[Address, Any]]:
        """Give out slots, write what was decided in one commit, and say what is to be sent now."""
        if self.done:
            return []
        self._fill_slots()
        self._commits.commit(self.turn)
        self._release()
        self.turn = Turn()
        self._reception.operators.sweep()
        self._finish_draining()
        self.out += self.neighbourhood.news(self.team.all_served, self.clock())
        out, self.out = self.out, []
        return out + self.clients.outgoing()

    def _fill_slots(self) -> None:
        if not self._gives_slots():
            return
        while (found := self.slots.next()) is not None:
            waiting, worker = found
            if not self._goes_on(waiting):
                continue
            passing(BEFORE, "slot")
            decided = self.happen(waiting.saga_id, SlotReserved(worker, self.epoch))
            if decided is not None and decided.order is not None:
                self.slots.occupy(decided.order[1].key, worker, waiting)
                passing(AFTER, "slot")

    def _goes_on(self, waiting: Waiting) -> bool:
        """Whether the saga may run on the plan that is served (P14); it takes that over if it can, else it is held."""
        tracked, served = self.sagas.get(waiting.saga_id), self.team.served(waiting.saga)
        if tracked is None or served is None:
            return False
        if served.plan_id == tracked.decided.plan.plan_id:
            return True
        if tracked.durable:
            self.happen(waiting.saga_id, PlanOffered(served))  # if it takes that over, it is queued again as it is now
        else:
            self.withdraw(waiting.saga_id)
            self.refuse_start(waiting.saga_id, Refusal.NOT_SERVED, "its definition has just changed; start it again")
        return False

    def refuse_start(self, saga_id: str, code: str, why: str) -> None:
        """Nothing came of starting this saga: tell whoever wanted it."""
        for waiter in self.clients.waiting_for(saga_id):
            self.clients.answer(waiter.peer, Refused(waiter.correlation_id, code, why))
        self.disappoint(saga_id, code, why)
        for roll in self.turn.enrolled.pop(saga_id, ()):
            roll.refused[saga_id] = (code, why)
        self.slots.end(saga_id)

    def disappoint(self, saga_id: str, code: str, why: str) -> None:
        """Nothing came of what was decided about this saga: tell whoever was to be answered."""
        for waiter in self.turn.disappointed.pop(saga_id, ()):
            self.clients.answer(waiter.peer, Refused(waiter.correlation_id, code, why))

    def _release(self) -> None:
        receipts = {worker: [serial for serial, _ in given] for worker, given in self.turn.receipts.items()}
        self.out += self.team.tell(self.turn.orders, receipts, self.clock())
        for _, waiter, answer in self.turn.answers:
            self.clients.answer(waiter.peer, answer)
        for roll in self.turn.rolls:
            self.clients.answer(roll.waiter.peer, roll.answer)
        for saga_id, share in self.turn.shares.items():
            if not share.tracked.decided.state.unfinished:
                self._let_go(saga_id, share.tracked.decided)

    def _let_go(self, saga_id: str, decided: Decided) -> None:
        self.clients.tell_end(saga_id, decided.ending(""))
        self.slots.drop(saga_id)
        self._alarms.drop(saga_id)
        self.sagas.end(saga_id)

    # The end of a node.

    @property
    def draining(self) -> bool:
        """Whether no attempt is begun any more, and no saga accepted."""
        return self._drain_until is not None

    def drain(self, seconds: float) -> None:
        """Begin no more attempts, wait so many seconds at most for those in flight, and end."""
        if self._drain_until is None:
            passing(BEFORE, "drain")
            log().info("draining for at most %.1f s", seconds)
            self._drain_until = self.clock() + seconds

    def _finish_draining(self) -> None:
        now = self.clock()
        if self._drain_until is None or (self.slots.busy and now < self._drain_until):
            return
        self.out += self.neighbourhood.catch_up(now)
        if self.neighbourhood.caught_up(now):
            self.done = True
            passing(AFTER, "drain")
            self._reception.dismiss()
            self.out += self._farewell_again(now)

    def _farewell_again(self, now: float) -> list[tuple[Address, Any]]:
        """Tell the root that all is done, each second, for the word may be lost; the journal is closed by now."""
        if now < self._farewell_at:
            return []
        self._farewell_at = now + 1.0
        return [self.neighbourhood.farewell(f"drained; {self.unfinished} unfinished sagas stay")]
