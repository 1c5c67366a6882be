"""A storm over the real engine: simulated workers and operators who do what chance has them do, and a ledger of it.

Messages get lost, come twice, late and out of order; workers die; supervisors die between any two turns and in their
commits; operators cancel sagas, and do with the held and fatal ones what their status allows.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from engine_ledger import Call
from engine_rig import Rig
from engine_world import Hand, World, any_plan

from saga_actors.actors.inquiry import Inquiry
from saga_actors.actors.limits import Limits
from saga_actors.actors.protocol import Joined, Left, Neighbours, Roster, Serve, Source
from saga_actors.actors.protocol import ToWorker as ToWorkerMessage
from saga_actors.errors import JournalFullError
from saga_actors.events import WorkerId
from saga_actors.journal import MemoryJournal
from saga_actors.journal.port import Appended
from saga_actors.messages import (
    CancelSaga,
    GetStatus,
    OperationDone,
    Refused,
    ResolveSaga,
    RetrySaga,
    SagaStarted,
    SettleStep,
    SkipUndo,
    StartSaga,
)
from saga_actors.outcomes import Action, SagaState

SAGAS = 5
LEFT_FATAL = ("s0", "s1")
"""No operator comes for these once they are fatal."""

RUNNING, COMPENSATING, HELD = SagaState.RUNNING, SagaState.COMPENSATING, SagaState.HELD
COMPLETED, COMPENSATED, FATAL = SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.FATAL
ANN = {"by": "ann", "reason": "asked the bank"}


class KilledError(BaseException):
    """The supervisor's process is gone in the middle of a turn."""


class MortalJournal(MemoryJournal):
    """A journal in whose next commit something may befall its supervisor."""

    fate = ""

    def __init__(self, seen: Counter[str]) -> None:
        super().__init__()
        self.seen = seen

    def append(self, epoch: int, entries: Any) -> Appended:
        fate, self.fate = self.fate, ""
        self.seen[f"supervisor killed {fate} its commit" if fate != "disk full" else fate] += bool(fate)
        if fate == "disk full":
            raise JournalFullError("no room")
        if fate == "before":
            raise KilledError
        appended = super().append(epoch, entries)
        if fate == "after":
            raise KilledError
        return appended


class Storm(Rig):
    """A rig whose messages wait in a pool, among workers and operators who do what chance has them do."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pool: list[tuple[str, str, Any]] = []
        self.workers: dict[str, Any]
        self.hands: dict[str, Hand] = {}
        self.states: dict[str, list[tuple[int, SagaState]]] = {f"s{n}": [] for n in range(SAGAS)}
        self.world = World(self.chance, self.states, self.may_begin)
        self.ledger, self.seen = self.world.ledger, self.world.seen
        self.requests: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}
        self.reliable = False
        self.classes = [any_plan(self.chance, f"shop:Class{n}") for n in range(3)]
        self.starts = {saga_id: self._start(saga_id) for saga_id in self.states}
        super().__init__(MortalJournal(self.seen), limits=Limits(threads=2))

    def _start(self, saga_id: str) -> StartSaga:
        plan, deadline = self.chance.choice(self.classes), self.chance.choice([None] * 6 + [1_010.0, 1_030.0])
        return StartSaga(
            correlation_id=f"start-{saga_id}",
            saga_id=saga_id,
            saga=plan.saga,
            fingerprint=plan.fingerprint,
            digest="d",
            context=b'{"saga":"%s"}' % saga_id.encode(),
            deadline=deadline,
        )

    def may_begin(self, call: Call) -> None:
        """P7: nothing begins of a saga that says that it is undone, or fatal."""
        row = self.journal.find(call.order.key.saga_id)
        assert row is not None
        assert row.state not in (COMPENSATED, FATAL), f"{call.order.key} began though the saga was {row.state}"

    # Messages.

    def _deliver(self, outgoing: list[tuple[Any, Any]]) -> None:
        for to, message in outgoing:
            if to in self.hands and isinstance(message, ToWorkerMessage):
                self.ledger.goes_out(self.hands[to].worker, message, self.hands[to].told)
            if isinstance(message, SagaStarted):
                assert self.journal.find(message.saga_id) is not None, "accepted, and not written (P1)"
            self.pool.append(("engine", to, message))

    def say_to_engine(self, sender: str, message: Any) -> None:
        self.pool.append((sender, "engine", message))

    def deliver_one(self) -> None:
        """Any message of the pool; those of the root in order."""
        at = self.chance.randrange(len(self.pool))
        if self.pool[at][0] == "root":
            at = next(i for i, (who, _, _) in enumerate(self.pool) if who == "root")
        drawn = 1.0 if self.reliable else self.chance.random()
        letter = self.pool[at]
        if drawn >= 0.06 or drawn < 0.03:
            del self.pool[at]
        if drawn < 0.06:
            self.seen["lost" if drawn < 0.03 else "doubled"] += 1
        if drawn >= 0.03:
            self.deliver(*letter)

    def deliver(self, sender: str, to: str, message: Any) -> None:
        if to == "engine":
            self.turn(lambda: self.engine.handle(message, sender), message)
        elif to in self.workers:
            for said in self.workers[to].take(message):
                self.say_to_engine(to, said)
            self.bury()
        elif to == "operator":
            self.is_answered(message)

    def turn(self, take: Callable[[], Any], cause: Any = None) -> None:
        """One turn of the engine, which may be its last."""
        try:
            self._deliver(take())
        except KilledError:
            self.new_supervisor()
        self.watch(cause)

    def watch(self, cause: Any) -> None:
        """P9: a status never goes back, and what has ended changes by an operator's hand only."""
        for saga_id, states in self.states.items():
            row = self.journal.find(saga_id)
            if row is None or (states and states[-1][1] is row.state):
                continue
            before = states[-1][1] if states else RUNNING
            by_hand = cause is not None and self.requests.get(getattr(cause, "correlation_id", "")) == cause
            by_hand = by_hand and cause.saga_id == saga_id
            assert before not in (COMPLETED, COMPENSATED), f"{saga_id} was {before}, and is {row.state} (P9)"
            assert before not in (HELD, FATAL) or by_hand, f"{saga_id} was {before}, and is {row.state} by itself (P9)"
            went_back = any(state in (COMPENSATING, FATAL) for _, state in states)
            ends_by_hand = isinstance(cause, ResolveSaga)
            assert not went_back or ends_by_hand or row.state not in (RUNNING, COMPLETED), f"{saga_id} turned (P9)"
            if row.state in (COMPENSATED, FATAL) or (ends_by_hand and by_hand):
                assert not self.ledger.running(saga_id), f"{saga_id} is {row.state}, and something of it runs (P7)"
            states.append((self.ledger.tick(), row.state))

    # What befalls processes.

    def add_worker(self) -> None:
        number = len(self.hands) + 1
        plans = {plan.saga: plan for plan in self.classes}
        hand = Hand(WorkerId(number, 100 + number, 1.0), f"worker-{number}", plans=plans, world=self.world)
        self.workers[hand.address] = self.hands[hand.address] = hand
        self.say_to_engine("root", Joined(hand.worker, hand.address))

    def bury(self) -> None:
        """Those workers are gone that have died just now, and the root makes others."""
        for hand in [hand for hand in self.workers.values() if hand.dies]:
            del self.workers[hand.address]
            cut = self.ledger.dies(hand.worker)
            for call in cut:
                self.seen["died " + ("after" if call.effect else "before") + " its effect"] += 1
            self.seen["neighbours cut short"] += len(cut) > 1
            self.say_to_engine("root", Left(hand.worker))
            self.add_worker()

    def new_supervisor(self) -> None:
        """What was on its way to the old one is lost; what that sent may still come (P8)."""
        self.pool = [letter for letter in self.pool if letter[1] != "engine" and self.chance.random() < 0.7]
        self.begin()

    def finish(self) -> None:
        for hand in list(self.workers.values()):
            for said in hand.finish():
                self.say_to_engine(hand.address, said)
        self.bury()

    def passes(self, seconds: float) -> None:
        """Time passes, and each says again what it is not sure was heard."""
        self.now += seconds
        self.turn(self.engine.tick)
        roster = Roster(tuple(Joined(h.worker, h.address) for h in self.workers.values()), Neighbours("root", "status"))
        self.say_to_engine("root", roster)
        self.say_to_engine("client", Serve("serve", tuple(Source(plan.saga, "shop") for plan in self.classes)))
        for saga_id, start in self.starts.items():
            if self.journal.find(saga_id) is None and not (self.chance.random() < 0.7 and not self.world.calm):
                self.say_to_engine("client", start)
        for request, message in self.requests.items():
            if request not in self.answers:
                self.say_to_engine("operator", message)
        for hand in self.workers.values():
            self.say_to_engine(hand.address, hand.say(tuple(hand.reports.values())))

    # Operators.

    def ask(self, message: Any, *, directly: bool = False) -> None:
        self.requests[message.correlation_id] = message
        if directly:
            self.deliver("operator", "engine", message)
        self.say_to_engine("operator", message)

    def is_answered(self, message: Any) -> None:
        """P9: what was said to be done is done, whoever asks again."""
        request = message.correlation_id
        done = isinstance(self.answers.get(request), OperationDone)
        self.seen["operator: asked twice, done once"] += done and isinstance(message, OperationDone)
        if not done:  # a refusal of an earlier copy may come after it
            self.answers[request] = message

    def operate(self, saga_id: str, *, directly: bool = False) -> None:
        """An operator looks at a saga, and does one of the things that its status allows."""
        inquiry = Inquiry(self.journal)
        answer: Any = inquiry.answer(GetStatus("g", saga_id), ())
        if isinstance(answer, Refused):
            return
        status, request = answer.status, f"q{len(self.requests)}"
        names: dict[str, Any] = {"correlation_id": request, "saga_id": saga_id, **ANN}
        if status.state in (RUNNING, COMPENSATING, COMPLETED):
            self.ask(CancelSaga(**names))
            return
        actions = list(status.allowed_actions)
        if Action.RESOLVE in actions and len(actions) > 1 and self.chance.random() < 0.8:
            actions.remove(Action.RESOLVE)
        if not actions or (saga_id in LEFT_FATAL and status.state is FATAL):
            return
        action = self.chance.choice(actions)
        message = self._operation(action, names, status)
        self.ask(message, directly=directly)
        if directly:
            answers = [m for _, to, m in self.pool if to == "operator" and m.correlation_id == request]
            assert answers, f"{action} was not answered"
            too_late = isinstance(message, SettleStep) and message.happened  # what is before it may be undone by now
            refused = any(isinstance(answer, Refused) for answer in answers)
            assert too_late or not refused, f"{action} was allowed, and refused: {answers}"

    def _operation(self, action: Action, names: dict[str, Any], status: Any) -> Any:
        if action is Action.RETRY:
            return RetrySaga(**names)
        if action is Action.SKIP:
            return SkipUndo(step=status.current_step or status.left[0], **names)
        if action is Action.CANCEL:
            return CancelSaga(**names)
        if action is Action.RESOLVE:
            return ResolveSaga(state=self.chance.choice([COMPLETED, COMPENSATED, FATAL]), **names)
        assert action is Action.SETTLE
        step = self.chance.choice(status.in_doubt)
        happened = self.ledger.happened(status.saga_id, step)
        context = b'{"settled":"%s"}' % step.encode() if happened and self.chance.random() < 0.5 else None
        return SettleStep(step=step, happened=happened, context=context, **names)

    # The weather.

    def step(self) -> None:
        """One thing happens."""
        drawn = self.chance.random()
        if drawn < 0.7 and self.pool:
            self.deliver_one()
        elif drawn < 0.8:
            self.passes(self.chance.choice([0.01, 0.6, 1.1]))
        elif drawn < 0.93:
            self.finish()
        elif drawn < 0.95:
            waiting = [saga_id for saga_id in self.states if self.waits_for_operator(saga_id)]
            self.operate(self.chance.choice(waiting or sorted(self.states)))
        elif drawn < 0.96:
            self.seen["supervisor killed between turns"] += 1
            self.new_supervisor()
        elif drawn < 0.975:
            self.journal.fate = self.chance.choice(["before", "after", "disk full"])
        elif self.workers:
            self.workers[self.chance.choice(sorted(self.workers))].dies = True
            self.bury()

    def comes_to_rest(self) -> bool:
        """Whether all that is under way arrives, and every saga ends or is held, in bounded time (P12)."""
        for round_ in range(400):
            if round_ in (0, 2) and self.chance.random() < 0.3:
                self.new_supervisor()
            self.reliable = round_ > 5
            while self.pool:
                self.deliver_one()
            if self.at_rest:
                return True
            self.finish()
            self.passes(0.6)
        return False

    @property
    def at_rest(self) -> bool:
        rows = [self.journal.find(saga_id) for saga_id in self.states]
        if not all(row is not None and not row.state.unfinished for row in rows):
            return False
        return self.requests.keys() <= self.answers.keys()

    def waits_for_operator(self, saga_id: str) -> bool:
        state = self.states[saga_id][-1][1] if self.states[saga_id] else RUNNING
        if state is HELD:
            return True
        resolved = any(m.saga_id == saga_id for m in self.requests.values() if isinstance(m, ResolveSaga))
        return state is FATAL and saga_id not in LEFT_FATAL and not resolved
