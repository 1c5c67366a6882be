"""A coordinator for tests: its sagas run in this process, on a clock that the test turns, and as a script has it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

from saga_actors.actors.archive import Archive
from saga_actors.actors.offer import Offer
from saga_actors.actors.protocol import Order, Serve
from saga_actors.coordination import Coordination
from saga_actors.coordinator import Coordinator
from saga_actors.definition import Saga, registered_sagas
from saga_actors.errors import NotServedError, SagaActorsError
from saga_actors.events import Phase
from saga_actors.journal import JournalUrl
from saga_actors.node_spec import NodeSpec
from saga_actors.plan import SagaPlan
from saga_actors.retry import seconds
from saga_actors.testing.hand import Call
from saga_actors.testing.scripts import Act
from saga_actors.testing.stage import BEGINNING, Stage


class Rehearsal(Coordinator):
    """Runs sagas in this process: the real state machine, journal records and supervision, and no process but this.

    Everything that a coordinator does it does, and so it can stand in for one. Steps are called on this thread, one
    after the other, unless `script` says what an attempt does instead. Time stands still but for what is waited for,
    which is over at once: a retry in an hour, or a timeout. `start` only begins a saga; `proceed` and `advance` let it
    go on. Nothing is kept when the object is gone.
    """

    def __init__(self, *sagas: type[Saga[Any]], now: datetime | None = None) -> None:
        known = {saga.definition.name: saga for saga in sagas or registered_sagas()}
        self._scripts: dict[tuple[str, bool], list[Act | None]] = {}
        self.stage = Stage(known, self._act_of, BEGINNING if now is None else now.timestamp())
        plans = {name: saga.definition.plan for name, saga in known.items()}
        client: Any = _Client(self.stage, plans)
        archive = Archive(JournalUrl(None), lambda _: self.stage.journal)
        self._verbs = Coordination(NodeSpec("memory://"), Offer(()), self._waiting, client=client, archive=archive)

    # What happens.

    def script(self, step: str, *acts: Act | None, undo: bool = False) -> None:
        """What the attempts of this step (with `undo`, of its compensation) do, the first one first.

        None, and every attempt after those named, calls the step's own code.
        """
        self._scripts[step, undo] = list(acts)

    def proceed(self) -> None:
        """Let everything happen that needs no time."""
        self.stage.turn(0.0)

    def advance(self, time: float | timedelta) -> None:
        """Turn the clock, and let everything happen that becomes due."""
        self.stage.turn(seconds(time, "time"))

    def crash(self) -> None:
        """The supervisor dies, and another recovers from the journal."""
        self.stage.kill_supervisor()
        self.stage.settle()

    @property
    def now(self) -> datetime:
        """The time of this rehearsal."""
        return datetime.fromtimestamp(self.stage.now, UTC)

    @property
    def calls(self) -> Sequence[Call]:
        """Every call of a step's or a compensation's code, in order."""
        return tuple(self.stage.calls)

    def undone(self, saga_id: str | None = None) -> list[str]:
        """The steps whose compensations were called, in the order in which they first were."""
        undone = [call.step for call in self.calls if call.undo and saga_id in (None, call.saga_id)]
        return list(dict.fromkeys(undone))

    def _act_of(self, order: Order) -> Act | None:
        acts = self._scripts.get((order.key.step, order.key.phase is Phase.COMPENSATE), [])
        return acts[order.key.attempt - 1] if order.key.attempt <= len(acts) else None


class _Client:
    """Asks the stage, where a client asks its node; the answer is there at once."""

    alive = connected = True

    def __init__(self, stage: Stage, plans: dict[str, SagaPlan]) -> None:
        self._stage, self._plans = stage, plans

    def ask(self, message: Any, *, to_status: bool = False) -> Future[Any]:
        answered: Future[Any] = Future()
        if isinstance(message, Serve):
            names = [source.saga for source in message.sources]
            raise NotServedError(f"this rehearsal was not made with {', '.join(names)}; name the class: Rehearsal(...)")
        answered.set_result(self._stage.ask(message))
        return answered

    def ask_many(self, messages: Sequence[Any]) -> list[Future[Any]]:
        return [self.ask(message) for message in messages]

    def forget(self, correlation_id: str) -> None: ...

    def fingerprint(self, saga: str) -> str | None:
        plan = self._plans.get(saga)
        return None if plan is None else plan.fingerprint

    def forget_served(self) -> None: ...

    def located(self) -> Any:
        raise SagaActorsError("a rehearsal has no node whose actors could be found; connect(url) is for that")

    def leave(self, drain: float) -> None: ...

    def close(self) -> None: ...
