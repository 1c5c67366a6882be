"""What the supervisor says to those outside: it starts sagas, lets one wait for them, and serves definitions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from saga_actors.actors.clients import Peer, Refusing, Waiter
from saga_actors.actors.inquiry import Inquiry
from saga_actors.actors.operators import Operation, Operators, Sweep
from saga_actors.actors.protocol import Alive, Detach, Detached, Heartbeat, LoadFailure, Serve, Serving
from saga_actors.actors.saga_system import SagaCrashedError
from saga_actors.actors.turn import Roll
from saga_actors.errors import CorruptionError, SagaIdError, UnknownSagaError
from saga_actors.events import Accepted
from saga_actors.messages import (
    AwaitSaga,
    GetHistory,
    GetStatus,
    ListSagas,
    NewSaga,
    Refusal,
    Refused,
    RunSaga,
    SagaEnded,
    SagaIsHeld,
    SagaStarted,
    StartSaga,
    StartSagas,
    checked_id,
)
from saga_actors.outcomes import SagaState
from saga_actors.plan import SagaPlan
from saga_actors.status import outcome_of

if TYPE_CHECKING:
    from saga_actors.actors.engine import Engine


IMPORT_PATIENCE = 30.0
"""Seconds for which whoever has a saga served waits for a worker to import it."""


OF_THE_CLASS = (Refusal.DRAINING, Refusal.NOT_SERVED, Refusal.MISMATCH)
"""Refusals that are for all sagas of a class, and are said once."""


class Reception:
    """Answers clients and actors."""

    def __init__(self, engine: Engine, inquiry: Inquiry) -> None:
        self._engine = engine
        self._inquiry = inquiry
        self.operators = Operators(engine)
        self._serves: list[tuple[float, Waiter, Serve]] = []
        self._departing: list[Waiter] = []
        self._drain = 0.0

    def take(self, message: Any, peer: Peer) -> None:
        """One message from outside."""
        engine = self._engine
        match message:
            case RunSaga() | StartSaga():
                self._guarded(self._start, message, peer)
            case StartSagas():
                self._guarded(self._start_all, message, peer)
            case AwaitSaga():
                self._guarded(self._await, message, peer)
            case _ if isinstance(message, Operation):
                self._guarded(self.operators.operate, message, peer)
            case _ if isinstance(message, Sweep):
                self.operators.sweep_later(message, Waiter(peer, message.correlation_id))
            case GetStatus() | ListSagas() | GetHistory():
                engine.clients.answer(peer, self._inquiry.answer(message, engine.team.all_served))
            case Heartbeat():
                engine.clients.heard(message.client, engine.clock())
                engine.clients.answer(peer, Alive(message.correlation_id, engine.epoch))
            case Serve():
                self._serve(message, Waiter(peer, message.correlation_id))
            case Detach():
                self._detach(message, Waiter(peer, message.correlation_id))
            case _:
                log().warning("the supervisor was sent a %s, which it does not know", type(message).__name__)

    def _guarded(self, taken: Any, message: Any, peer: Peer) -> None:
        try:
            taken(message, Waiter(peer, message.correlation_id))
        except Refusing as refusal:
            self._engine.clients.answer(peer, Refused(message.correlation_id, refusal.code, str(refusal)))
        except SagaIdError as wrong:
            self._engine.clients.answer(peer, Refused(message.correlation_id, Refusal.BAD_REQUEST, str(wrong)))

    # Starting and waiting.

    def _start(self, message: RunSaga | StartSaga, waiter: Waiter) -> None:
        if not self._known(message.saga, message):
            self._begin(self._admitting(message), message, message.deadline)
        if isinstance(message, RunSaga):
            self._wait(message.saga_id, waiter)
        else:
            self._started(waiter, message.saga_id)

    def _start_all(self, message: StartSagas, waiter: Waiter) -> None:
        """Start several, each for itself: one that is refused keeps no other from being accepted."""
        turn, roll = self._engine.turn, Roll(waiter)
        plan: SagaPlan | None = None
        for one in message.sagas:
            try:
                if not self._known(message.saga, one):
                    plan = plan or self._admitting(message)
                    self._begin(plan, one, message.deadline)
                turn.enrolled.setdefault(one.saga_id, []).append(roll)
            except Refusing as refusal:
                if refusal.code in OF_THE_CLASS:
                    raise  # nothing was begun, for the first that is not known asks
                roll.refused[one.saga_id] = (refusal.code, str(refusal))
            except SagaIdError as wrong:
                roll.refused[one.saga_id] = (Refusal.BAD_REQUEST, str(wrong))
        turn.rolls.append(roll)

    def _begin(self, plan: SagaPlan, new: RunSaga | StartSaga | NewSaga, deadline: float | None) -> None:
        engine, saga_id = self._engine, new.saga_id
        self._admit(new)
        accepted = Accepted(engine.clock(), saga_id, plan.saga, plan.plan_id, new.digest, new.context, deadline)
        try:
            begun = engine.sagas.begin(plan, accepted)
        except SagaCrashedError as crash:
            raise Refusing(Refusal.BAD_REQUEST, f"the saga's actor raised: {crash}") from crash
        engine.stage(saga_id, begun)

    def _started(self, waiter: Waiter, saga_id: str) -> None:
        """Say that the saga is ours, once that is durable."""
        started, tracked = SagaStarted(waiter.correlation_id, saga_id), self._engine.sagas.get(saga_id)
        if tracked is not None and not tracked.durable:
            self._engine.turn.answers.append((saga_id, waiter, started))
        else:
            self._engine.clients.answer(waiter.peer, started)

    def _known(self, wanted: str, new: RunSaga | StartSaga | NewSaga) -> bool:
        """Whether this very saga has been accepted already (P10)."""
        tracked = self._engine.sagas.get(checked_id(new.saga_id))
        if tracked is not None:
            saga, digest = tracked.decided.plan.saga, tracked.decided.execution.digest
        else:
            row = self._row(new.saga_id) or self._tombstone(new.saga_id)
            if row is None:
                return False
            saga, digest = row.saga, row.digest
        if saga != wanted:
            raise Refusing(Refusal.ID_TAKEN, f"saga id {new.saga_id!r} belongs to a {saga}; choose another id")
        if digest != new.digest:
            raise Refusing(
                Refusal.ID_TAKEN,
                f"saga id {new.saga_id!r} was started with another context; the same id stands for the same saga "
                "with the same input, so choose another id, or ask for its result",
            )
        return True

    def _admitting(self, message: RunSaga | StartSaga | StartSagas) -> SagaPlan:
        """The plan by which sagas of this class are accepted now."""
        engine = self._engine
        if engine.draining:
            raise Refusing(Refusal.DRAINING, "the node is ending; start the saga at the next one")
        plan = engine.team.served(message.saga)
        if plan is None:
            failure = engine.team.failure(message.saga)
            why = f": {failure.message}" if failure else "; have it served first"
            raise Refusing(Refusal.NOT_SERVED, f"the node does not serve {message.saga}{why}")
        if plan.fingerprint != message.fingerprint:
            raise Refusing(
                Refusal.MISMATCH,
                f"the node serves another definition of {message.saga} than yours "
                f"({plan.fingerprint}, not {message.fingerprint}); restart whichever of the two is older",
            )
        return plan

    def _admit(self, new: RunSaga | StartSaga | NewSaga) -> None:
        engine = self._engine
        if not new.context:  # asked after by someone who did not know whether it had come
            raise Refusing(Refusal.UNKNOWN_SAGA, f"the journal has no saga {new.saga_id!r}; send its context, too")
        if len(new.context) > engine.limits.context_limit:
            raise Refusing(
                Refusal.TOO_LARGE,
                f"the context has {len(new.context)} bytes; the node takes {engine.limits.context_limit} at most",
            )
        if engine.unfinished + engine.turn.accepted >= engine.limits.max_unfinished:
            raise Refusing(
                Refusal.OVERLOADED, f"{engine.unfinished} sagas are unfinished, as many as may be; try again later"
            )

    def _await(self, message: AwaitSaga, waiter: Waiter) -> None:
        self._wait(checked_id(message.saga_id), waiter)

    def _wait(self, saga_id: str, waiter: Waiter) -> None:
        """Answer when the saga ends; now, if it has, or is held."""
        engine = self._engine
        if (ended := engine.clients.ends.find(saga_id)) is not None:
            engine.clients.answer(waiter.peer, attrs.evolve(ended, correlation_id=waiter.correlation_id))
            return
        tracked = engine.sagas.get(saga_id)
        row = None if tracked is not None and tracked.decided.state.unfinished else self._row(saga_id)
        if tracked is None and row is None:
            raise self.operators.nowhere(saga_id)
        if row is None or row.state.unfinished:
            engine.clients.wait(saga_id, waiter)
            return
        if row.state is SagaState.HELD:
            answer: Any = SagaIsHeld(waiter.correlation_id, saga_id, row.held_reason or "")
        else:
            answer = self._ended(waiter.correlation_id, saga_id)
        engine.clients.answer(waiter.peer, answer)

    def _ended(self, correlation_id: str, saga_id: str) -> SagaEnded:
        try:
            execution = self._engine.recovery.read(saga_id)
        except (CorruptionError, UnknownSagaError) as flaw:
            raise Refusing(Refusal.CORRUPT, str(flaw)) from flaw
        outcome = outcome_of(execution)
        if outcome is None:
            raise Refusing(Refusal.CORRUPT, f"saga {saga_id!r} is {execution.state}, though its summary says it ended")
        return SagaEnded(correlation_id, saga_id, execution.plan.saga, outcome)

    def _row(self, saga_id: str) -> Any:
        try:
            return self._engine.journal.find(saga_id)
        except CorruptionError as corruption:
            raise Refusing(Refusal.CORRUPT, str(corruption)) from corruption

    def _tombstone(self, saga_id: str) -> Any:
        try:
            return self._engine.journal.tombstone(saga_id)
        except CorruptionError as corruption:
            raise Refusing(Refusal.CORRUPT, str(corruption)) from corruption

    # Definitions.

    def _serve(self, message: Serve, waiter: Waiter) -> None:
        engine = self._engine
        asked = [s for s in message.sources if engine.team.served(s.saga) is None]
        if asked:
            engine.out += engine.team.serve(asked)
        self._serves.append((engine.clock() + IMPORT_PATIENCE, waiter, message))
        self.loaded()

    def tick(self) -> None:
        """Time has passed."""
        self.loaded()
        self._end_if_alone(self._engine.clock())

    def loaded(self) -> None:
        """A worker has loaded something, or time has passed: answer those whose sagas are decided on."""
        team, now = self._engine.team, self._engine.clock()
        undecided: list[tuple[float, Waiter, Serve]] = []
        for until, waiter, serve in self._serves:
            names = [source.saga for source in serve.sources]
            if now < until and not all(team.served(name) is not None or team.answered(name) for name in names):
                undecided.append((until, waiter, serve))
            else:
                self._engine.clients.answer(waiter.peer, self._serving(waiter.correlation_id, names))
        self._serves = undecided

    def _serving(self, correlation_id: str, names: list[str]) -> Serving:
        team = self._engine.team
        plans = {name: plan.fingerprint for name in names if (plan := team.served(name)) is not None}
        late = LoadFailure("import", f"no worker had imported it after {IMPORT_PATIENCE:g} s; see node.log")
        failures = {name: team.failure(name) or late for name in names if name not in plans}
        return Serving(correlation_id, plans, failures)

    # Clients that go.

    def _detach(self, message: Detach, waiter: Waiter) -> None:
        engine, now = self._engine, self._engine.clock()
        engine.clients.gone(message.client, now)
        if not message.client or engine.limits.linger is None or not engine.clients.nobody_left(now):
            engine.clients.answer(waiter.peer, Detached(waiter.correlation_id, engine.unfinished, ending=False))
            return
        self._departing.append(waiter)
        self._drain = message.drain
        self._end_if_alone(now)

    def _end_if_alone(self, now: float) -> None:
        """End for those who left last; a supervisor that took over in mid-life first hears who else is there."""
        engine = self._engine
        if not self._departing or engine.draining or now < engine.knows_clients_at:
            return
        if engine.clients.nobody_left(now):
            engine.drain(self._drain)
            return
        for waiter in self._departing:
            engine.clients.answer(waiter.peer, Detached(waiter.correlation_id, engine.unfinished, ending=False))
        self._departing = []

    def dismiss(self) -> None:
        """The node has drained: tell those who left last."""
        for waiter in self._departing:
            detached = Detached(waiter.correlation_id, self._engine.unfinished, ending=True)
            self._engine.clients.answer(waiter.peer, detached)
        self._departing = []


def log() -> logging.Logger:
    """Looked up each time, for a child replaces all loggers when it is born."""
    return logging.getLogger("saga_actors.supervisor")
