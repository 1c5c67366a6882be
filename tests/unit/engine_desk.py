"""Operators: they look at sagas, and do with them one of the things that their status allows, or cancel them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from engine_client import Client
from engine_ledger import Ledger
from engine_supervisor import MortalJournal

from saga_actors.actors.inquiry import Inquiry
from saga_actors.actors.protocol import Bundle
from saga_actors.messages import (
    CancelSaga,
    GetStatus,
    OperationDone,
    Refused,
    ResolveSaga,
    RetrySaga,
    SagaCancelled,
    SettleStep,
    SkipUndo,
)
from saga_actors.outcomes import Action, Cancellation, SagaState, SagaStatus

RUNNING, COMPENSATING, HELD = SagaState.RUNNING, SagaState.COMPENSATING, SagaState.HELD
COMPLETED, COMPENSATED, FATAL = SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.FATAL

MENDED = ("s2",)
"""Operators come for these once they are fatal, and leave the others so."""

ANN = {"by": "ann", "reason": "asked the bank"}


class Desk(Client):
    """What operators asked for, by request, and what they were answered."""

    def __init__(
        self,
        journal: MortalJournal,
        ledger: Ledger,
        chance: random.Random,
        clock: Callable[[], float],
        seen: Counter[str],
    ) -> None:
        super().__init__("operator", (), clock)
        self._inquiry = Inquiry(journal)
        self._journal, self._ledger, self._chance, self._seen = journal, ledger, chance, seen
        self.requests: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}

    @property
    def satisfied(self) -> bool:
        """Whether each request has been answered."""
        return self.requests.keys() <= self.answers.keys()

    def waits_for_operator(self, saga_id: str) -> bool:
        """Whether the saga is held, or is fatal and one of those that somebody comes for."""
        row = self._journal.find(saga_id)
        if row is None or row.state is HELD:
            return row is not None
        resolved = any(m.saga_id == saga_id for m in self.requests.values() if isinstance(m, ResolveSaga))
        return row.state is FATAL and saga_id in MENDED and not resolved

    def decides(self, saga_id: str) -> Any:
        """What an operator asks for who looks at this saga; None, if nothing."""
        answer: Any = self._inquiry.answer(GetStatus("g", saga_id), ())
        if isinstance(answer, Refused):
            return None
        status, request = answer.status, f"q{len(self.requests)}"
        message = self._decides(status, {"correlation_id": request, "saga_id": saga_id, **ANN})
        if message is not None:
            self.requests[request] = message
        return message

    def _decides(self, status: SagaStatus, names: dict[str, Any]) -> Any:
        if status.state in (RUNNING, COMPENSATING, COMPLETED):
            return CancelSaga(**names)
        actions = list(status.allowed_actions)
        if Action.RESOLVE in actions and len(actions) > 1 and self._chance.random() < 0.8:
            actions.remove(Action.RESOLVE)
        if not actions or (status.state is FATAL and status.saga_id not in MENDED):
            return None
        return self._operation(self._chance.choice(actions), names, status)

    def _operation(self, action: Action, names: dict[str, Any], status: SagaStatus) -> Any:
        if action is Action.RETRY:
            return RetrySaga(**names)
        if action is Action.SKIP:
            return SkipUndo(step=status.current_step or status.left[0], **names)
        if action is Action.CANCEL:
            return CancelSaga(**names)
        if action is Action.RESOLVE:
            return ResolveSaga(state=self._chance.choice([COMPLETED, COMPENSATED, FATAL]), **names)
        assert action is Action.SETTLE
        step = self._chance.choice(status.in_doubt)
        happened = self._ledger.happened(status.saga_id, step)
        context = b'{"settled":"%s"}' % step.encode() if happened and self._chance.random() < 0.5 else None
        return SettleStep(step=step, happened=happened, context=context, **names)

    def hears(self, message: Any) -> list[Any]:
        """P9: what was said to be done is done, whoever asks again; a refusal of an earlier copy may come after it."""
        for item in message.items if isinstance(message, Bundle) else (message,):
            if item.correlation_id in self.requests:
                done = isinstance(self.answers.get(item.correlation_id), OperationDone)
                self._seen["operator: asked twice, done once"] += done and isinstance(item, OperationDone)
                if not done:
                    self.answers[item.correlation_id] = item
        return super().hears(message)

    def check(self) -> None:
        """P9: what was said to be done is in the journal."""
        for request, message in self.requests.items():
            answer = self.answers[request]
            asked = (stored.event for stored in self._journal.load(message.saga_id))
            done = any(getattr(event, "request", None) == request for event in asked)
            said = isinstance(answer, OperationDone) or (
                isinstance(answer, SagaCancelled) and answer.answer is Cancellation.ACCEPTED
            )
            assert done or not said, f"{message} was said to be done, and is not (P9)"
            if isinstance(answer, SagaCancelled):
                self._seen["cancel accepted" if said else "cancel too late"] += 1
            self._seen.update(f"operator: {what}" for what in _names(message) if done)


def _names(message: Any) -> Iterator[str]:
    name = type(message).__name__.removesuffix("Saga").removesuffix("Step").removesuffix("Undo").lower()
    if isinstance(message, SettleStep):
        name += ", happened" if message.happened else ", did not happen"
    yield name
