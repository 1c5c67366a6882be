"""Somebody who watches a storm: what begins, what clients are told, and how the states of sagas follow each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from engine_ledger import Call, Ledger
from engine_supervisor import MortalJournal

from saga_actors.messages import ResolveSaga, SagaEnded, SagaStarted
from saga_actors.outcomes import Compensated, Completed, SagaState

RUNNING, COMPENSATING, HELD = SagaState.RUNNING, SagaState.COMPENSATING, SagaState.HELD
COMPLETED, COMPENSATED, FATAL = SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.FATAL


class Witness:
    """It says at once that a promise is broken. `suspect` is the saga that it looked at last.

    `states` are those that each saga was seen in, with the ledger's time; `requests` what operators asked for.
    """

    def __init__(
        self,
        journal: MortalJournal,
        ledger: Ledger,
        requests: Mapping[str, Any],
        sagas: Iterable[str],
        seen: Counter[str],
    ) -> None:
        self.suspect = ""
        self.states: dict[str, list[tuple[int, SagaState]]] = {saga_id: [] for saga_id in sagas}
        self._journal, self._ledger, self._requests, self._seen = journal, ledger, requests, seen
        self._position = 0

    def sees_begin(self, call: Call) -> None:
        """P5, P7: nothing begins before that is written, nor of a saga that says that it is undone, or fatal."""
        key = call.order.key
        self.suspect = key.saga_id
        row = self._journal.find(key.saga_id)
        assert row is not None
        assert key[:4] in self._journal.begun, f"{key} began before the journal said so (P5)"
        assert row.state not in (COMPENSATED, FATAL), f"{key} began though the saga was {row.state} (P7)"

    def is_told(self, answer: Any) -> None:
        """P1, P5: what a client is told is durable by then."""
        if isinstance(answer, SagaStarted | SagaEnded):
            self.suspect = answer.saga_id
            row = self._journal.find(answer.saga_id)
            assert row is not None, f"{answer.saga_id} is said to be accepted, and is not written (P1)"
            if isinstance(answer, SagaEnded):
                states = {state for _, state in self.states[answer.saga_id]} | {row.state}
                assert _end_of(answer) in states, f"{answer.saga_id} is said to have ended, and is {row.state} (P5)"

    def watches(self, causes: list[Any]) -> str:
        """P9: a status never goes back, and what has ended changes by an operator's hand only; what has turned now."""
        if self._journal.end_position() == self._position:
            return ""
        self._position = self._journal.end_position()
        turned = [self._watches(saga_id, causes) for saga_id in self.states]
        return ", ".join(each for each in turned if each)

    def _watches(self, saga_id: str, causes: list[Any]) -> str:
        row, states = self._journal.find(saga_id), self.states[saga_id]
        if row is None or (states and states[-1][1] is row.state):
            return ""
        self.suspect = saga_id
        acts = [cause for cause in causes if getattr(cause, "saga_id", "") == saga_id]
        self._turns(saga_id, row.state, [act for act in acts if act.correlation_id in self._requests])
        states.append((self._ledger.tick(), row.state))
        self._seen["hold"] += row.state is HELD
        return f" {saga_id} is {row.state}"

    def _turns(self, saga_id: str, state: SagaState, acts: list[Any]) -> None:
        states = [before for _, before in self.states[saga_id]]
        before, ends_by_hand = states[-1] if states else RUNNING, any(isinstance(act, ResolveSaga) for act in acts)
        assert before not in (COMPLETED, COMPENSATED), f"{saga_id} was {before}, and is {state} (P9)"
        assert before not in (HELD, FATAL) or acts, f"{saga_id} was {before}, and is {state} by itself (P9)"
        went_back = COMPENSATING in states or FATAL in states
        assert not went_back or ends_by_hand or state not in (RUNNING, COMPLETED), f"{saga_id} turned (P9)"
        if state in (COMPENSATED, FATAL) or ends_by_hand:
            assert not self._ledger.running(saga_id), f"{saga_id} is {state}, and something of it runs (P7)"


def _end_of(answer: SagaEnded) -> SagaState:
    kind = type(answer.encoded)
    return COMPLETED if kind is Completed else COMPENSATED if kind is Compensated else FATAL
