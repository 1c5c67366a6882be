"""A saga called to account at its end: the promises, by the ledger of what really happened.

The engine's word is taken for three things only: how many attempts it wrote ahead; which of those that never were
called it knows to have begun nowhere; and what operators did, which is what excuses a saga from a rule.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import attrs
from engine_ledger import COMPENSATE, EXECUTE, Ledger

from saga_actors.actors.protocol import Order
from saga_actors.decision import UNBEGUN_RERUNS, UNDO_RERUNS
from saga_actors.events import (
    AttemptFailed,
    AttemptStarted,
    Cancelled,
    Ending,
    Phase,
    Resolved,
    Retried,
    Settled,
    Skipped,
)
from saga_actors.outcomes import Compensated, CompensationFailed, Completed, SagaState
from saga_actors.plan import OnFailure, OnUnknown, SagaPlan, StepPlan

OPERATED = (Retried, Settled, Skipped, Resolved, Cancelled)


@attrs.define(eq=False, slots=False)
class Account:
    """One saga called to account: `events` are its journal, `states` those it was seen in, with the ledger's time."""

    ledger: Ledger
    saga_id: str
    plan: SagaPlan
    first: bytes
    deadline: float | None
    events: Sequence[Any]
    states: Sequence[tuple[int, SagaState]]
    outcome: Any
    seen: Counter[str]

    def __attrs_post_init__(self) -> None:
        self.acts = [event for event in self.events if isinstance(event, OPERATED) and _by_hand(event)]
        self.resolved = any(isinstance(act, Resolved) for act in self.acts)
        self.retries = sum(isinstance(act, Retried) for act in self.acts)
        self.cancelled = any(isinstance(act, Cancelled) for act in self.acts)
        self.skipped = {act.step for act in self.acts if isinstance(act, Skipped)}
        self.settled = {act.step: act for act in self.acts if isinstance(act, Settled)}
        self.forward = {step.name: self.ledger.of(self.saga_id, EXECUTE, step.name) for step in self.plan.steps}
        self.back = {step.name: self.ledger.of(self.saga_id, COMPENSATE, step.name) for step in self.plan.steps}
        self.attempts: dict[tuple[Phase, str], int] = defaultdict(int)
        self.found_unbegun: set[tuple[Phase, str, int]] = set()
        for event in self.events:
            if isinstance(event, AttemptStarted):
                self.attempts[event.phase, event.step] = event.attempt
            elif isinstance(event, AttemptFailed) and event.ending is Ending.UNBEGUN:
                self.found_unbegun.add((event.phase, event.step, event.attempt))

    def check(self) -> None:
        """P2, P3, P4, P6, P7 and P9 for a saga that has ended or is held."""
        self.written_ahead()
        self.reverse_order()
        self.quiet_before_undo()
        self.contexts()
        self.attempts_counted()
        self.holds_for_doubt()
        if not self.resolved:
            self.ended()

    # Which steps there is something about.

    def doubtful(self, step: str) -> bool:
        return any(call.doubtful for call in self.forward[step])

    def undone(self, step: str) -> bool:
        return any(call.how == "succeeded" for call in self.back[step])

    def known_done(self, step: str) -> bool:
        """Whether the engine cannot but know of a success: its worker did not take it to its grave."""
        return any(call.how == "succeeded" and not self.ledger.lost(call) for call in self.forward[step])

    def maybe_known_done(self, step: str) -> bool:
        return any(call.how == "succeeded" for call in self.forward[step])

    def must_undo(self, step: StepPlan) -> bool:
        """Whether the step did or may have happened, and nobody says otherwise."""
        name = step.name
        if not step.compensable or name in self.skipped or not self.doubtful(name):
            return False
        settled = self.settled.get(name)
        if settled is not None and not settled.happened:
            return False
        assumed = step.on_unknown is OnUnknown.ASSUME_FAILED and settled is None
        return self.known_done(name) if assumed else True

    def may_undo(self, step: StepPlan) -> bool:
        """Whether, for all that the engine can know, it may have happened: an attempt was lost with its worker, too."""
        name = step.name
        calls = {call.order.key.attempt: call for call in self.forward[name]}
        for attempt in range(1, self.attempts[EXECUTE, name] + 1):
            call = calls.get(attempt)
            if call is None and (self.saga_id, EXECUTE, name, attempt) not in self.ledger.heard:
                return True
            if call is not None and (call.doubtful or self.ledger.lost(call)):
                return True
        return False

    # The promises.

    def written_ahead(self) -> None:
        for step in self.plan.steps:
            for phase in (EXECUTE, COMPENSATE):
                last = max((order.key.attempt for _, order in self.orders_of(phase, step.name)), default=0)
                assert last <= self.attempts[phase, step.name], "an order that was not written ahead (P5)"
        turned: set[type[Any]] = set()
        for event in self.events:
            turned.add(type(event))
            if isinstance(event, AttemptStarted) and event.phase is EXECUTE:
                assert Cancelled not in turned, "an attempt was begun after a cancel"
                assert self.deadline is None or event.at < self.deadline, "an attempt was begun after the deadline"
        requests = [act.request for act in self.acts]
        assert len(requests) == len(set(requests)), "done twice under one request (P9)"

    def reverse_order(self) -> None:
        """P3: an undo begins after the one of every later step has ended well; never two at a time."""
        undos = sorted((c for calls in self.back.values() for c in calls), key=lambda call: call.began)
        for one, next_one in pairwise(undos):
            assert one.rested is not None
            assert one.rested < next_one.began, "two undos at a time (P3)"
            places = [self.plan.places[call.order.key.step] for call in (one, next_one)]
            assert places[0] >= places[1], "undone in the wrong order (P3)"
        for undo in undos:
            for later in self.plan.steps[self.plan.places[undo.order.key.step] + 1 :]:
                if self.must_undo(later):
                    ended = [call.rested for call in self.back[later.name] if call.how == "succeeded"]
                    before = any(at is not None and at < undo.began for at in ended)
                    assert before, f"{undo.order.key.step} was undone, and {later.name} was not before it (P3)"
                    self.seen["undone in reverse"] += 1

    def quiet_before_undo(self) -> None:
        """P7: no undo of a step begins while an attempt of it, or of a later one, can still act."""
        for index, step in enumerate(self.plan.steps):
            for undo in self.back[step.name]:
                for each in self.plan.steps[index:]:
                    for call in self.forward[each.name]:
                        acts = call.rested is None or call.rested > undo.began
                        assert not acts, f"{step.name} was undone while {each.name} was not quiet (P7)"

    def contexts(self) -> None:
        """P4: each attempt gets the context of the moment, byte by byte."""
        moment: bytes | None = self.first
        for step in self.plan.steps:
            name, forward = step.name, self.orders_of(EXECUTE, step.name)
            given = {order.context for _, order in forward}
            assert len(given) <= 1, "attempts of one step with different contexts (P4)"
            before = given.pop() if given else moment
            assert moment is None or before == moment, f"{name} did not get the context before it (P4)"
            after = self._results(name, before)
            moment = self._moment_after(step, before, after)
            first_wins = moment is not None and step.on_failure is OnFailure.ROLLBACK
            self._undo_contexts(name, before, {moment} if first_wins else after)
        if isinstance(self.outcome, Completed) and not self.resolved:
            assert moment is None or self.outcome.context == moment, "not the last context (P4)"

    def _results(self, name: str, before: bytes | None) -> set[bytes | None]:
        after: set[bytes | None] = {call.after for call in self.forward[name] if call.how == "succeeded"}
        settled = self.settled.get(name)
        if settled is not None and settled.happened:
            after.add(before if settled.context is None else settled.context)
        return after

    def _moment_after(self, step: StepPlan, before: bytes | None, after: set[bytes | None]) -> bytes | None:
        """The context that the next step got; None if there was none, or it is not known."""
        here = self.plan.places[step.name] + 1
        following = self.orders_of(EXECUTE, self.plan.steps[here].name) if here < len(self.plan.steps) else []
        got = following[0][1].context if following else None
        if got is None and isinstance(self.outcome, Completed) and not self.resolved:
            got = self.outcome.context if here == len(self.plan.steps) else None
        if got is None:  # no order of the next one ever left: what it would have had is known where there is no choice
            return next(iter(after)) if len(after) == 1 and step.on_failure is OnFailure.ROLLBACK else None
        if got not in after and before is not None:
            assert step.on_failure is OnFailure.IGNORE, f"the result of {step.name} was made up (P4)"
            assert got == before, f"an ignored step, {step.name}, left something in the context (P4)"
            plainly = [c for c in self.forward[step.name] if c.how == "succeeded" and c.timed_out is None]
            assert all(self.ledger.lost(call) for call in plainly), f"the result of {step.name} was dropped (P4)"
            self.seen["ignored"] += 1
        return got

    def _undo_contexts(self, name: str, before: bytes | None, after: set[bytes | None]) -> None:
        settled = name in self.settled
        undos = self.orders_of(COMPENSATE, name)
        assert settled or len({(order.context, order.outcome) for _, order in undos}) <= 1, "one undo, two contexts"
        for at, order in undos:
            if order.outcome == "completed":
                assert order.context in after, f"{name} was undone with a context that it never had (P4)"
                late = [c for c in self.forward[name] if c.after == order.context and c.timed_out is not None]
                self.seen["late success undone with its own context"] += bool(late) and order.context != before
                continue
            assert order.outcome == "unknown"
            assert before is None or order.context == before, f"{name}, unknown, was not undone as before it (P4)"
            for call in self.forward[name]:
                died = self.ledger.dead.get(call.worker)
                assert call.how != "succeeded" or (died is not None and died < at), f"{name} was known to be done (P4)"
            self.seen["unknown undone"] += 1
            self.seen["unusable undone"] += any(call.how == "unusable" for call in self.forward[name])

    def orders_of(self, phase: Phase, step: str) -> list[tuple[int, Order]]:
        return self.ledger.orders_of(self.saga_id, phase, step)

    def attempts_counted(self) -> None:
        """P6: one key; nothing after a success; as many retries and reruns as were declared, no more and no fewer."""
        for step in self.plan.steps:
            for phase in (EXECUTE, COMPENSATE):
                keys = self.ledger.keys.get((self.saga_id, phase, step.name), ())
                assert len(keys) <= 1, "an effect with two keys (P6)"
                assert all(len(self.ledger.effects[key]) <= 1 for key in keys), "a key for two effects (P6)"
                done = self.ledger.done.get((self.saga_id, phase, step.name))
                for at, order in self.orders_of(phase, step.name):
                    assert done is None or at <= done, f"{order.key} was sent after the success (P6)"
                self._counted(step, phase)

    def _counted(self, step: StepPlan, phase: Phase) -> None:
        times = (step.retries if phase is EXECUTE else step.compensate_retries).times
        reruns = step.reruns if phase is EXECUTE else UNDO_RERUNS
        last, eras = self.attempts[phase, step.name], 1 + self.retries
        kinds = [self._ending(phase, step.name, number) for number in range(1, last + 1)]
        count = Counter(kinds[:-1])
        unbegun = reruns if not count["unbegun"] + count["either"] else max(reruns, UNBEGUN_RERUNS)
        slack = eras - 1
        assert count["final"] <= slack, f"{step.name} was tried again after an Abort (P6)"
        assert count["retry"] <= times * eras + slack, f"{step.name} was retried too often (P6)"
        assert count["interrupted"] <= reruns * eras + slack, f"{step.name} was rerun too often (P6)"
        assert last <= eras * (1 + times + unbegun), f"{step.name} was tried too often (P6)"
        self.seen[f"{phase} retried"] += count["retry"]
        self.seen[f"{phase} rerun"] += count["interrupted"]
        self.seen[f"{phase} taken by no worker, run again"] += count["unbegun"]
        if not self._left_to_itself(phase, step, kinds):
            return
        tried = {"retry": times, "interrupted": reruns, "unbegun": max(reruns, UNBEGUN_RERUNS)}.get(kinds[-1])
        cut_short = count["interrupted"] + count["unbegun"]
        so_far = cut_short if kinds[-1] in ("interrupted", "unbegun") else count["retry"]
        assert tried is None or so_far >= tried, f"{step.name} was given up too early (P6): {kinds}"
        self.seen["given up after all tries"] += tried is not None and tried > 0
        self.seen["at most once, and cut short"] += kinds[-1] == "interrupted" and reruns == 0

    def _left_to_itself(self, phase: Phase, step: StepPlan, kinds: list[str]) -> bool:
        """Whether nothing but the step itself ended its tries, and each of their endings is known."""
        if self.acts or self.deadline is not None or not kinds or "either" in kinds:
            return False
        return not (self.undone(step.name) if phase is COMPENSATE else self.maybe_known_done(step.name))

    def _ending(self, phase: Phase, step: str, attempt: int) -> str:
        """How an attempt must have looked to the engine; "either" where that hung on which word it heard."""
        name = (self.saga_id, phase, step, attempt)
        call = self.ledger.calls.get(name)
        if call is None:
            if name in self.ledger.heard:
                return "unbegun"
            return "either" if name in self.ledger.unbegun or name[1:] in self.found_unbegun else "interrupted"
        if call.how == "died" and call.timed_out is None:
            return "interrupted"
        if self.ledger.lost(call) and name not in self.ledger.heard_late:
            return "either"
        return "retry" if call.retryable else "final"

    def holds_for_doubt(self) -> None:
        """P7: what is to be settled by an operator is held, and does not just go back."""
        if self.cancelled or self.deadline is not None:
            return
        for step in self.plan.steps:
            doubt = self.doubtful(step.name) and not self.maybe_known_done(step.name)
            if doubt and step.on_unknown is OnUnknown.HOLD:
                assert any(state is SagaState.HELD for _, state in self.states), f"{step.name} was not held (P7)"
                self.seen["held for its doubt"] += 1

    def ended(self) -> None:
        """P2, and what an outcome says of what stays."""
        outcome = self.outcome
        if isinstance(outcome, Completed):
            self._completed(outcome)
        elif isinstance(outcome, Compensated):
            self._compensated()
        elif isinstance(outcome, CompensationFailed):
            self._fatal(outcome)
        for step in self.plan.steps if outcome is not None else ():
            settled = step.name in self.settled or step.name in self.skipped
            if self.doubtful(step.name) and not (settled or self.maybe_known_done(step.name) or self.undone(step.name)):
                assert step.name in outcome.in_doubt, f"{step.name} is passed over in silence (P7)"
                self.seen["stays in doubt, and is named"] += 1

    def _completed(self, outcome: Any) -> None:
        assert not any(self.back.values()), "something was undone (P2)"
        assert not self.cancelled, "completed, though it was cancelled"
        for step in self.plan.steps:
            settled = self.settled.get(step.name)
            done = self.maybe_known_done(step.name) or (settled is not None and settled.happened)
            assert done or step.on_failure is OnFailure.IGNORE, f"{step.name} never happened (P2)"
            assert done or step.name in outcome.ignored
            assert self.attempts[EXECUTE, step.name]
            late = [c for c in self.forward[step.name] if c.how == "succeeded" and c.timed_out is not None]
            self.seen["late success goes on"] += bool(late) and self.attempts[EXECUTE, step.name] == 1
            self.seen["two successes, one result"] += (
                sum(call.how == "succeeded" for call in self.forward[step.name]) > 1
            )

    def _compensated(self) -> None:
        for step in self.plan.steps:
            undone = [c.effect for c in self.back[step.name] if c.how == "succeeded" and c.effect is not None]
            assert undone or not self.must_undo(step), f"{step.name} is not undone (P2)"
            assert not self.back[step.name] or self.may_undo(step), f"{step.name} was undone for nothing (P2)"
            effects = [call.effect for call in self.forward[step.name] if call.effect is not None]
            assert not undone or not effects or max(effects) < min(undone), f"{step.name} happened after its undo (P2)"
            known = self.maybe_known_done(step.name) or step.name in self.settled
            assumed = step.on_unknown is OnUnknown.ASSUME_FAILED and not known
            assert not (assumed and self.back[step.name]), f"{step.name} was to be taken for failed, and was undone"
            self.seen["assumed to have failed"] += bool(effects) and not undone and step.compensable

    def _fatal(self, outcome: Any) -> None:
        steps = list(reversed(self.plan.steps))
        must = [step.name for step in steps if self.must_undo(step) and not self.undone(step.name)]
        may = [step.name for step in steps if step.compensable and self.may_undo(step)]
        assert [name for name in outcome.left if name in must] == must, "not all that is left is named (P2)"
        assert set(outcome.left) <= set(may), "more is left than was done (P2)"
        assert outcome.undo.step == outcome.left[0]
        assert not any(self.back[name] for name in outcome.left[1:]), "undone out of order (P3)"
        self.seen["fatal with more left"] += len(outcome.left) > 1


def _by_hand(event: Any) -> bool:
    """Whether an operator did it, and not the clock."""
    return event.request is not None
