"""What operators ask of the supervisor: it tells the saga, and answers once that is durable (P9).

Whatever is asked for is done once: the id of the message is journalled with what was done, and asked again, also at
another supervisor, the saga says so.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from saga_actors.actors.clients import Refusing, Waiter
from saga_actors.actors.inquiry import pruned
from saga_actors.actors.neighbourhood import CATCH_UP
from saga_actors.actors.saga import Decided
from saga_actors.actors.sagas import Tracked
from saga_actors.decision import decide
from saga_actors.errors import CorruptionError, JournalFullError, NotAllowedError
from saga_actors.execution import Execution
from saga_actors.inputs import (
    CancelRequested,
    Input,
    PlanOffered,
    ResolveRequested,
    RetryRequested,
    SettleRequested,
    SkipRequested,
)
from saga_actors.messages import (
    AcceptPlan,
    CancelSaga,
    DropTombstones,
    OperationDone,
    PruneSagas,
    Refusal,
    Refused,
    ResolveSaga,
    RetrySaga,
    SagaCancelled,
    SagasPruned,
    SettleStep,
    SkipUndo,
    checked_id,
)
from saga_actors.outcomes import Cancellation
from saga_actors.plan import SagaPlan

if TYPE_CHECKING:
    from saga_actors.actors.engine import Engine

Operation = CancelSaga | RetrySaga | SettleStep | SkipUndo | ResolveSaga | AcceptPlan
Sweep = PruneSagas | DropTombstones


MOST_REFUSED = 10_000
"""So many refused messages are remembered, whose copies may still come."""


class _Asked(NamedTuple):
    """Something to remove, once the listeners were told of what lies up to `position`, or at `until`."""

    message: Sweep
    waiter: Waiter
    position: int
    until: float


class Operators:
    """Does for operators what they ask for, or says why it makes no sense."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sweeps: list[_Asked] = []
        self._refused: OrderedDict[str, str] = OrderedDict()

    def operate(self, message: Operation, waiter: Waiter) -> None:
        """Tell the saga; raises Refusing."""
        engine, saga_id = self._engine, checked_id(message.saga_id)
        if message.correlation_id in self._refused:
            raise Refusing(Refusal.NOT_ALLOWED, self._refused[message.correlation_id])
        tracked = engine.tracked(saga_id)
        if tracked is None and isinstance(message, RetrySaga | ResolveSaga) and saga_id in engine.holds.illegible:
            tracked = self._illegible(message, waiter)
            if tracked is None:
                return
        if tracked is None:
            self._of_the_past(message, waiter)
            return
        if isinstance(message, SettleStep) and len(message.context or b"") > engine.limits.context_limit:
            most = engine.limits.context_limit
            raise Refusing(Refusal.TOO_LARGE, f"the context has {len(message.context or b'')} bytes; at most {most}")
        given = self._given(message, tracked.decided.plan.saga)
        if isinstance(message, AcceptPlan) and message.dry_run:
            self._rehearse(tracked, given, waiter)
            return
        decided = engine.happen(saga_id, given)
        if decided is None:
            raise Refusing(Refusal.CORRUPT, f"the actor of saga {saga_id!r} raised; see node.log")
        self._answer(message, waiter, decided)

    def _given(self, message: Operation, saga: str) -> Input:
        request = message.correlation_id
        match message:
            case CancelSaga():
                return CancelRequested(message.reason, message.by, request)
            case RetrySaga():
                return RetryRequested(message.by, message.reason, request)
            case SettleStep():
                return SettleRequested(
                    message.step, message.happened, message.by, message.reason, message.context, request
                )
            case SkipUndo():
                return SkipRequested(message.step, message.by, message.reason, request)
            case ResolveSaga():
                return ResolveRequested(message.state, message.by, message.reason, request)
            case AcceptPlan():
                return PlanOffered(self._served(saga, message), message.by, message.reason, request)

    def _served(self, saga: str, message: AcceptPlan) -> SagaPlan:
        served = self._engine.team.served(saga)
        if served is None:
            raise Refusing(Refusal.NOT_SERVED, f"the node does not serve {saga}; have it served first")
        if served.fingerprint != message.fingerprint:
            raise Refusing(
                Refusal.MISMATCH,
                f"the node serves {saga} with the fingerprint {served.fingerprint}, not {message.fingerprint}",
            )
        return served

    def _answer(self, message: Operation, waiter: Waiter, decided: Decided) -> None:
        """Answer after the commit; at once, if it was refused."""
        engine, saga_id, state = self._engine, message.saga_id, decided.state
        if decided.refused is None and self._is_done(message, decided):
            if state.unfinished and not decided.new:
                engine.slots.begun(saga_id, decided.plan.saga)
            answer = _done(message, decided.execution)
        else:
            engine.let_rest(saga_id, decided)
            if not isinstance(message, CancelSaga):
                self._remember(message, f"saga {saga_id!r}: {decided.refused}")
                raise Refusing(Refusal.NOT_ALLOWED, self._refused[message.correlation_id])
            answer = SagaCancelled(waiter.correlation_id, saga_id, _too_late(decided.execution))
        engine.turn.answers.append((saga_id, waiter, answer))

    def _is_done(self, message: Operation, decided: Decided) -> bool:
        """Whether this very message has done it; a saga may have been cancelled by another, or by its deadline."""
        return message.correlation_id in decided.execution.requests

    def _remember(self, message: Operation, why: str) -> None:
        """What was refused stays refused, also to a copy that comes when it would make sense (P12: for a while)."""
        self._refused[message.correlation_id] = why
        while len(self._refused) > MOST_REFUSED:
            self._refused.popitem(last=False)

    def _rehearse(self, tracked: Tracked, given: Input, waiter: Waiter) -> None:
        engine, execution = self._engine, tracked.decided.execution
        decision = decide(execution, given, engine.clock(), 0.0)
        engine.let_rest(execution.saga_id, tracked.decided)
        if decision.refused is not None:
            raise Refusing(Refusal.NOT_ALLOWED, f"saga {execution.saga_id!r}: {decision.refused}")
        done = OperationDone(waiter.correlation_id, execution.saga_id, decision.execution.state)
        engine.clients.answer(waiter.peer, done)

    # Sagas that cannot be told.

    def _illegible(self, message: RetrySaga | ResolveSaga, waiter: Waiter) -> Tracked | None:
        """One whose records could not be read or folded: read it again, or end it without that."""
        engine, saga_id = self._engine, message.saga_id
        if isinstance(message, RetrySaga):
            tracked = engine.holds.read_again(saga_id)
            if tracked is None:
                raise Refusing(Refusal.CORRUPT, f"saga {saga_id!r} still cannot be read; see node.log, or resolve it")
            return tracked
        try:
            row = engine.journal.find(saga_id)
            if row is None or row.state is not message.state:  # else it was asked for twice
                by, reason, request = message.by, message.reason, message.correlation_id
                engine.journal.end(engine.epoch, saga_id, message.state, by, reason, engine.clock(), request)
        except (NotAllowedError, CorruptionError) as wrong:
            raise Refusing(Refusal.NOT_ALLOWED, str(wrong)) from wrong
        except JournalFullError as full:
            raise Refusing(Refusal.OVERLOADED, f"{full}; nothing was changed") from full
        engine.clients.answer(waiter.peer, OperationDone(waiter.correlation_id, saga_id, message.state))
        return None

    def _of_the_past(self, message: Operation, waiter: Waiter) -> None:
        """One that has completed or been compensated: what is asked for may have been done by then."""
        engine, saga_id, journal = self._engine, message.saga_id, self._engine.journal
        try:
            row = journal.find(saga_id)
            if row is None:
                raise self.nowhere(saga_id)
            if saga_id in engine.holds.illegible:
                raise Refusing(Refusal.CORRUPT, f"saga {saga_id!r} is held: {row.held_reason}; resolve it, or retry it")
            execution = engine.recovery.read(saga_id)
        except CorruptionError as corruption:
            raise Refusing(Refusal.CORRUPT, str(corruption)) from corruption
        if message.correlation_id in execution.requests:
            engine.clients.answer(waiter.peer, _done(message, execution))
        elif isinstance(message, CancelSaga):
            late = SagaCancelled(waiter.correlation_id, saga_id, _too_late(execution))
            engine.clients.answer(waiter.peer, late)
        else:
            why = f"saga {saga_id!r} is {execution.state}, and there is nothing to do about it any more"
            raise Refusing(Refusal.NOT_ALLOWED, why)

    def nowhere(self, saga_id: str) -> Refusing:
        """What there is to say of a saga that has no summary in the journal."""
        try:
            stone = self._engine.journal.tombstone(saga_id)
        except CorruptionError as corruption:
            return Refusing(Refusal.CORRUPT, str(corruption))
        if stone is None:
            return Refusing(Refusal.UNKNOWN_SAGA, f"the journal has no saga {saga_id!r}")
        return Refusing(Refusal.PRUNED, pruned(stone))

    # Removing.

    def sweep_later(self, message: Sweep, waiter: Waiter) -> None:
        """Remove what is asked for once this turn is durable, for it may reopen what would be removed.

        The listeners of telemetry are told first, for what is removed they cannot be told any more; one that is slow
        keeps nobody waiting for longer than it would the end of the node.
        """
        position, sent = self._engine.neighbourhood.tell_listeners()
        self._engine.out += sent
        self._sweeps.append(_Asked(message, waiter, position, self._engine.clock() + CATCH_UP))

    def sweep(self) -> None:
        """Remove some of what was asked for; each message stands for a bounded batch, and whoever wants more asks."""
        if not self._sweeps:
            return
        now, asked = self._engine.clock(), self._sweeps
        self._sweeps = []
        for sweep in asked:
            if now < sweep.until and not self._engine.neighbourhood.have_heard(sweep.position):
                self._sweeps.append(sweep)
            else:
                self._engine.clients.answer(sweep.waiter.peer, self._swept(sweep.message))

    def _swept(self, message: Sweep) -> SagasPruned | Refused:
        journal, epoch = self._engine.journal, self._engine.epoch
        try:
            if isinstance(message, PruneSagas):
                self._engine.clients.ends.forget()
                now, after = self._engine.clock(), message.after or 0
                pruned = journal.prune(epoch, message.before, message.states, at=now, after=after)
            else:
                pruned = journal.drop_tombstones(epoch, message.before)
        except JournalFullError as full:
            return Refused(message.correlation_id, Refusal.OVERLOADED, f"{full}; nothing was removed")
        return SagasPruned(message.correlation_id, pruned.sagas, pruned.next)


def _done(message: Operation, execution: Execution) -> SagaCancelled | OperationDone:
    if isinstance(message, CancelSaga):
        return SagaCancelled(message.correlation_id, message.saga_id, Cancellation.ACCEPTED)
    return OperationDone(message.correlation_id, message.saga_id, execution.state)


def _too_late(execution: Execution) -> Cancellation:
    """Why a saga cannot be cancelled any more."""
    return Cancellation(execution.state) if execution.state.ended else Cancellation.ALREADY_GOING_BACK
