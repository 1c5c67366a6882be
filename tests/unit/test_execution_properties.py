"""Any saga, any sequence of inputs, against a small model of the world outside it.

The world runs the attempts: it decides what each one does, keeps a ledger of the effects, and posts reports that may be
late, doubled or stale. The model knows what was heard of it, and from that alone what must be true. To search further:
SAGA_ACTORS_EXAMPLES=20000 pytest tests/unit/test_execution_properties.py
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st

from saga_actors import inputs
from saga_actors.decision import UNBEGUN_RERUNS, UNDO_RERUNS, Decision, decide
from saga_actors.events import (
    Accepted,
    AttemptStarted,
    Cancelled,
    Ending,
    Event,
    Fault,
    HoldReason,
    Phase,
    PlanAdopted,
    Resolved,
    Retried,
    RetryScheduled,
    RollbackStarted,
    SagaHeld,
    Settled,
    Skipped,
    StepFailed,
    UndoFailed,
    Verdict,
    WorkerId,
)
from saga_actors.execution import Execution, fold
from saga_actors.operation import allowed_actions
from saga_actors.outcomes import Action, SagaState
from saga_actors.plan import OnFailure, OnUnknown, SagaPlan, StepPlan
from saga_actors.retry import Backoff
from saga_actors.status import outcome_of, status_of

WANTED_EXAMPLES = os.environ.get("SAGA_ACTORS_EXAMPLES")
ROUNDS = 10
PROFILE = hypothesis.settings(
    max_examples=int(WANTED_EXAMPLES or 800),
    derandomize=WANTED_EXAMPLES is None,
    database=None,
    report_multiple_bugs=False,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)

RUNNING, COMPENSATING, HELD = SagaState.RUNNING, SagaState.COMPENSATING, SagaState.HELD
COMPLETED, COMPENSATED, FATAL = SagaState.COMPLETED, SagaState.COMPENSATED, SagaState.FATAL
EXECUTE, COMPENSATE = Phase.EXECUTE, Phase.COMPENSATE
OPERATORS = (Retried, Skipped, Resolved)
CERTAIN = (Ending.FAILED, Ending.UNBEGUN)
CUT_SHORT = (Ending.INTERRUPTED, Ending.UNBEGUN)
ASKED_FOR = (
    inputs.CancelRequested,
    inputs.RetryRequested,
    inputs.SettleRequested,
    inputs.SkipRequested,
    inputs.ResolveRequested,
    inputs.PlanOffered,
)

Key = tuple[Phase, str, int]

SITUATIONS = frozenset(
    {
        "a late success goes on",
        "asked again",
        "what came of it could not be used",
        "what its worker could not take is run again",
        "a late success is undone with its own context",
        "a late success is undone though it would not have been",
        "two attempts of a step at once",
        "a second success",
        "an unknown step is undone",
        "an unknown step without an undo",
        "an unknown step is assumed to have failed",
        "unknown, then a clean failure or Abort",
        "a step is ignored",
        "an ignored step is undone",
        "an ignored step succeeds late",
        "held for an unknown outcome",
        "held for an unknown outcome though its failure does not matter",
        "held for an undo cut short too often",
        "held while awaited",
        "held while going back",
        "held for its definition",
        "held again while held",
        "a report while held",
        "fatal",
        "fatal with more left",
        "fatal waits for quiet",
        "rollback waits for quiet",
        "a step is retried",
        "a step is rerun",
        "at most once, and cut short",
        "an undo is retried",
        "an undo is rerun",
        "an undo times out and succeeds late",
        "cancel while awaited",
        "cancel while a retry waits",
        "cancel while ready",
        "cancel while held",
        "cancel after success of the last",
        "deadline while awaited",
        "deadline while ready",
        "deadline while a retry waits",
        "settled as done, going on",
        "settled as done, going back",
        "settled as not done",
        "skipped",
        "retried by an operator",
        "resolved",
        "refused",
        "steps appended",
        "another definition accepted",
        "a stale report",
        "completed",
        "compensated",
        "ended with doubt",
    }
)


T = TypeVar("T")


class Tape:
    """Choices, drawn from bytes; false when they have run out."""

    def __init__(self, choices: bytes) -> None:
        self._choices = list(reversed(choices))
        self.seen: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._choices)

    def below(self, number: int) -> int:
        return self._choices.pop() % number if self._choices else 0

    def often(self, share: float) -> bool:
        return self.below(256) < share * 256

    def one_of(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]


# The world: what attempts really do, and when anybody hears of it.


@attrs.define
class Call:
    """One call of user code, in a worker process."""

    key: Key
    epoch: int
    worker: WorkerId
    running: bool = True
    timed_out: bool = False


FORWARD = {
    "kind": ("success",) * 8 + ("fail", "timeout"),
    "doubtful": ("timeout", "unknown", "success", "silence", "success", "fail"),
    "failing": ("fail", "fail", "abort", "success", "success", "success", "timeout"),
    "slow": ("timeout", "timeout", "timeout", "success", "success", "success", "fail"),
    "deadly": ("death", "death", "death", "success", "success", "fail"),
    "mixed": ("success", "fail", "abort", "unknown", "timeout", "silence", "death", "success", "success", "success"),
}
BACKWARD = FORWARD | {
    "deadly": ("death",) * 40 + ("success",),
    "failing": ("fail", "fail", "abort", "abort", "timeout", "success", "success"),
}


class World:
    """Workers that run attempts, a ledger of their effects, and a mailbox of what they say."""

    def __init__(self, tape: Tape) -> None:
        self.ledger: list[tuple[Phase, str]] = []
        self.calls: dict[Key, Call] = {}
        self.mailbox: list[inputs.Report | inputs.WorkerDied] = []
        self.said: list[inputs.Report | inputs.WorkerDied] = []
        self.workers = [WorkerId(number, 100 + number, 0.0) for number in range(3)]
        self.dead: set[WorkerId] = set()
        self.moods = {
            EXECUTE: tape.one_of([*FORWARD, "slow", "slow"]),
            COMPENSATE: tape.one_of([*BACKWARD, "failing", "failing", "failing", "deadly"]),
        }
        self.tape = tape
        self.patience = tape.one_of([0.5, 0.99])

    def begin(self, event: AttemptStarted) -> None:
        key = (event.phase, event.step, event.attempt)
        self.calls[key] = Call(key, event.epoch, event.worker, running=event.worker not in self.dead)

    def running(self) -> list[Call]:
        return [call for call in self.calls.values() if call.running]

    def goes(self, call: Call) -> None:
        outcomes = (FORWARD if call.key[0] is EXECUTE else BACKWARD)[self.moods[call.key[0]]]
        if call.timed_out and self.tape.often(self.patience):
            return  # not yet
        if call.timed_out:
            outcomes = ("success", "success", "silence", "fail", "death")
        elif call.key[0] is EXECUTE and self.tape.often(0.3):
            outcomes = ("success",)
        self.happens(call, self.tape.one_of(outcomes))

    def happens(self, call: Call, outcome: str) -> None:
        maybe = self.tape.often(0.5)
        if outcome == "death":
            return self.dies(call.worker)
        if outcome == "timeout" and not call.timed_out:
            call.timed_out = True
            return self.fails(call, Ending.TIMED_OUT, retryable=self.tape.often(0.9))
        call.running = False
        if outcome == "success":
            self.ledger.append(call.key[:2])
            context = f"{call.key[1]}/{call.key[2]}".encode() if maybe and call.key[0] is EXECUTE else None
            self.post(inputs.Succeeded(*call.key, call.epoch, context))
        elif outcome == "fail" and self.tape.often(0.2):
            self.fails(call, Ending.UNBEGUN, retryable=True)
        elif outcome == "abort" and self.tape.often(0.5) and call.key[0] is EXECUTE:
            self.ledger.append(call.key[:2])
            self.fails(call, Ending.UNUSABLE, retryable=False)
        elif outcome in ("fail", "abort"):
            self.fails(call, Ending.FAILED, retryable=outcome == "fail")
        else:
            self.ledger += [call.key[:2]] if maybe else []
            if outcome == "unknown":
                self.fails(call, Ending.UNKNOWN, retryable=True)
            else:
                self.post(inputs.Quieted(*call.key, call.epoch))
        return None

    def fails(self, call: Call, ending: Ending, *, retryable: bool) -> None:
        self.post(inputs.Failed(*call.key, call.epoch, ending, Fault(f"{ending} {call.key}", retryable=retryable)))

    def dies(self, worker: WorkerId) -> None:
        self.dead.add(worker)
        for call in self.running():
            if call.worker == worker:
                call.running = False
                self.ledger += [call.key[:2]] if self.tape.often(0.5) else []
        self.workers = [w if w != worker else WorkerId(w.number, w.pid + 10, w.started + 1) for w in self.workers]
        self.post(inputs.WorkerDied(worker))

    def post(self, report: inputs.Report | inputs.WorkerDied) -> None:
        self.mailbox.append(report)
        self.said.append(report)


# The model: what was heard, and what must be true because of it.


class Model:
    """What somebody knows who heard every report in time (P7)."""

    def __init__(self, plan: SagaPlan, context: bytes) -> None:
        self.plan, self.context = plan, context
        self.begun: Counter[tuple[Phase, str]] = Counter()
        self.live: dict[Key, tuple[int, WorkerId]] = {}
        self.timed_out: set[Key] = set()
        self.last: dict[tuple[Phase, str], tuple[Ending, bool]] = {}
        self.tries: Counter[tuple[Phase, str, bool]] = Counter()
        self.due: dict[tuple[Phase, str], float] = {}
        self.doubt: set[str] = set()
        self.before: dict[str, bytes] = {}
        self.after: dict[str, bytes] = {}
        self.settled: dict[str, bool] = {}
        self.ignored: set[str] = set()
        self.undone: set[str] = set()
        self.skipped: set[str] = set()
        self.undo_failed: str | None = None
        self.turned = self.cancelled = False

    def step(self, name: str) -> StepPlan:
        return next(step for step in self.plan.steps if step.name == name)

    def verdict(self, name: str) -> Verdict:
        if name in self.after:
            return Verdict.COMPLETED
        if self.settled.get(name) is False or name not in self.doubt:
            return Verdict.FAILED
        return Verdict.UNKNOWN

    def to_undo(self, step: StepPlan) -> bool:
        if not step.compensable or not self.begun[EXECUTE, step.name] or step.name in self.undone | self.skipped:
            return False
        verdict = self.verdict(step.name)
        assumed = verdict is Verdict.UNKNOWN and step.on_unknown is OnUnknown.ASSUME_FAILED
        return verdict is not Verdict.FAILED and not assumed

    def left(self) -> tuple[str, ...]:
        return tuple(step.name for step in reversed(self.plan.steps) if self.to_undo(step))

    def done(self, name: str) -> bool:
        return name in self.after or name in self.ignored

    def awaited(self, phase: Phase, name: str) -> bool:
        key = (phase, name, self.begun[phase, name])
        over = name in (self.after if phase is EXECUTE else self.undone)
        return key in self.live and key not in self.timed_out and not over

    def is_heard(self, given: inputs.Input) -> bool:
        if isinstance(given, inputs.WorkerDied):
            return any(worker == given.worker for _, worker in self.live.values())
        if not isinstance(given, inputs.Succeeded | inputs.Failed | inputs.Quieted):
            return False
        return self.live.get((given.phase, given.step, given.attempt), (None,))[0] == given.epoch

    def hear(self, given: inputs.Input) -> None:
        if isinstance(given, inputs.WorkerDied):
            for key in [key for key, (_, worker) in self.live.items() if worker == given.worker]:
                self.fails(key, Ending.INTERRUPTED, True)
        elif isinstance(given, inputs.Succeeded):
            self.succeeds(given)
        elif isinstance(given, inputs.Failed):
            self.fails((given.phase, given.step, given.attempt), given.ending, given.fault.retryable)
        elif isinstance(given, inputs.Quieted):
            self.fails((given.phase, given.step, given.attempt), Ending.UNKNOWN, True)

    def succeeds(self, given: inputs.Succeeded) -> None:
        self.live.pop((given.phase, given.step, given.attempt))
        if given.phase is COMPENSATE:
            self.undone.add(given.step)
        elif given.step not in self.after:
            self.completes(given.step, given.context)

    def completes(self, name: str, context: bytes | None) -> None:
        self.after[name] = self.before[name] if context is None else context
        if not self.turned and name not in self.ignored:
            self.context = self.after[name]

    def fails(self, key: Key, ending: Ending, retryable: bool) -> None:
        if self.awaited(*key[:2]) and key[2] == self.begun[key[:2]]:
            self.last[key[:2]] = (ending, retryable)
            if key[0] is EXECUTE and ending not in CERTAIN:
                self.doubt.add(key[1])
        if ending is Ending.TIMED_OUT:
            self.timed_out.add(key)
        else:
            self.live.pop(key)


# A life: one saga, lived through and checked at every event.


class Life:
    """A saga between the world and whoever wants something of it."""

    def __init__(self, plan: SagaPlan, deadline: float | None, choices: bytes) -> None:
        self.tape = Tape(choices)
        self.seen = self.tape.seen
        self.asked = 0
        self.world, self.model = World(self.tape), Model(plan, b"first")
        accepted = Accepted(0.0, "s", plan.saga, plan.plan_id, "digest", b"first", deadline)
        self.plans = {plan.plan_id: plan}
        self.events: list[Event] = [accepted]
        self.e = Execution.begin(plan, accepted)
        self.at, self.epoch = 0.0, 1
        self.restless = self.tape.one_of([0.0, 0.03, 0.1, 0.3])

    # What is done to it.

    def live(self) -> None:
        """Until the tape has run out, anything may happen; for a while also after the end."""
        for_a_while = 6
        while self.tape and for_a_while:
            self.something()
            for_a_while -= self.e.state in (COMPLETED, COMPENSATED) or self.e.resolved is not None

    def something(self) -> None:
        tape, world = self.tape, self.world
        self.at += tape.below(4) / 4
        likely: list[Callable[[], None]] = [self.rarity] if tape.often(self.restless) else []
        if self.e.wanted and self.e.wanted.due is not None and self.e.wanted.due > self.at and tape.often(0.3):
            likely = [lambda: self.give(inputs.CancelRequested("no patience")), self.late, self.late, self.late]
        if not likely:
            likely += [lambda: self.deliver(tape.below(len(world.mailbox)))] * bool(world.mailbox)
            likely += [lambda: world.goes(tape.one_of(world.running()))] * bool(world.running())
            likely += [lambda: self.reserve(in_time=tape.often(0.5))] * bool(self.e.wanted)
            likely += [lambda: self.give(self.operator_asks())] * (self.e.state in (HELD, FATAL))
            likely += [lambda: self.hold(HoldReason.CRASHED)] * (self.e.state is HELD and tape.often(0.1))
        tape.one_of(likely or [self.rarity])()

    def deliver(self, index: int) -> None:
        report = self.world.mailbox.pop(index)
        self.give(report)
        if self.tape.often(0.1):
            self.give(report)

    def reserve(self, *, in_time: bool) -> None:
        if in_time and self.e.wanted and self.e.wanted.due is not None:
            self.at = max(self.at, self.e.wanted.due)
        self.epoch += self.tape.often(0.1)
        self.give(inputs.SlotReserved(self.tape.one_of(self.world.workers), self.epoch))

    def rarity(self) -> None:
        what = self.tape.below(14)
        if what < 2 and self.world.said:
            self.give(self.stale(self.tape.one_of(self.world.said)))
        elif what < 4:
            self.world.dies(self.tape.one_of(self.world.workers))
        elif what < 5:
            self.give(inputs.CancelRequested("no longer wanted"))
        elif what < 6 or (self.e.state is COMPENSATING and self.e.in_doubt):
            reason = self.tape.one_of([HoldReason.CRASHED, HoldReason.CORRUPT, HoldReason.DEFINITION_CHANGED])
            self.hold(reason)
        elif what < 7:
            self.give(self.operator_asks())
        elif what < 9:
            self.give(inputs.PlanOffered(self.another_plan()))
        elif what < 10:
            self.give(inputs.CancelRequested("no longer wanted"))
        elif what < 12:
            self.reserve(in_time=False)
        else:
            self.at += self.tape.below(20)
            self.give(inputs.TimePassed())

    def late(self) -> None:
        self.at = max(self.at, self.e.deadline or 0.0)
        self.give(inputs.TimePassed())

    def stale(self, report: inputs.Report | inputs.WorkerDied) -> inputs.Input:
        if isinstance(report, inputs.WorkerDied):
            return report
        other = COMPENSATE if report.phase is EXECUTE else EXECUTE
        changes: list[dict[str, object]] = [
            {},
            {"epoch": report.epoch + self.tape.one_of([-1, 1])},
            {"attempt": report.attempt + 50},
            {"phase": other, "epoch": 99},
            {"step": "nowhere"},
        ]
        return attrs.evolve(report, **self.tape.one_of(changes))  # type: ignore[arg-type]

    def hold(self, reason: HoldReason) -> None:
        if self.e.state is not HELD or self.tape.often(0.5):
            return self.give(inputs.HoldRequested(reason, "the machinery"))
        self.seen["held again while held"] += 1  # as a journal does that cannot fold the saga
        self.happened([SagaHeld(self.at, reason, "again")])
        return self.standing()

    def operator_asks(self) -> inputs.Input:
        names = [step.name for step in self.e.plan.steps]
        stuck = names[self.e.position[1]] if self.e.position else names[-1]
        settle = self.tape.one_of(self.e.in_doubt or names)
        again = inputs.RetryRequested("ann", "again")
        happened = self.tape.often(0.5)
        context = self.tape.one_of([b"settled", None])
        states = [COMPLETED, COMPENSATED, FATAL, RUNNING]
        asks: list[inputs.Input] = [
            again,
            again,
            *[inputs.SettleRequested(settle, happened, "ann", "asked the bank", context)]
            * (2 + 3 * bool(self.e.in_doubt)),
            inputs.SkipRequested(self.tape.one_of([stuck, stuck, names[0]]), "ann", "done by hand"),
            inputs.PlanOffered(self.another_plan(), "ann", "it is fine"),
            inputs.CancelRequested("no longer wanted", "ann"),
            inputs.ResolveRequested(self.tape.one_of(states), "ann", "enough"),
        ]
        return self.tape.one_of(asks)

    def another_plan(self) -> SagaPlan:
        plan, tape = self.e.plan, self.tape
        index = tape.below(len(plan.steps))
        step, before, after = plan.steps[index], plan.steps[:index], plan.steps[index + 1 :]
        appended = StepPlan(f"more{len(plan.steps)}", compensable=tape.often(0.5))
        changed = [
            (*before, attrs.evolve(step, timeout=step.timeout + 1), *after),
            (*before, step, *after, *([appended] if len(plan.steps) < 7 else [])),
            (*before, attrs.evolve(step, name=f"new{step.name}"), *after),
            (*before, attrs.evolve(step, compensable=not step.compensable), *after),
            (*before, attrs.evolve(step, on_unknown=tape.one_of(list(OnUnknown))), *after),
            (*before, *after) or plan.steps,
            plan.steps,
        ]
        offered = attrs.evolve(plan, steps=tape.one_of(changed))
        self.plans[offered.plan_id] = offered
        return offered

    # What comes of it.

    def give(self, given: inputs.Input) -> None:
        given = self.numbered(given)
        self.notice(given)
        if self.e.state in (RUNNING, COMPENSATING, HELD) and self.model.is_heard(given):
            self.model.hear(given)
        decision = self.decided(given)
        if decision.refused is not None:
            self.seen["refused"] += 1
            assert decision == Decision(self.e, refused=decision.refused)
            return
        self.happened(decision.events)
        assert self.e == decision.execution
        self.asked_again(given)
        self.standing()

    def numbered(self, given: inputs.Input) -> inputs.Input:
        """An operator's input under an id of its own."""
        if isinstance(given, ASKED_FOR) and getattr(given, "by", None) is not None:
            self.asked += 1
            return attrs.evolve(given, request=f"request {self.asked}")
        return given

    def asked_again(self, given: inputs.Input) -> None:
        """What was done under a request is not done again, and not refused either (P9)."""
        if getattr(given, "request", None) in self.e.requests:
            assert decide(self.e, given, self.at, 0.5) == Decision(self.e)
            self.seen["asked again"] += 1

    def decided(self, given: inputs.Input) -> Decision:
        """What is decided, twice: by the saga that lived, and by one folded from its events."""
        roll = self.tape.below(256) / 256
        decision = decide(self.e, given, self.at, roll)
        if self.tape and self.tape.often(0.1):
            folded = fold(iter(self.events), self.plans.__getitem__)
            assert folded == self.e
            assert decide(folded, given, self.at, roll) == decision
            if len(decision.events) > 1 and not isinstance(given, inputs.WorkerDied):
                self.cut_short(decision, roll)
        return decision

    def cut_short(self, decision: Decision, roll: float) -> None:
        """What follows by itself follows also from a fold of the events before it."""
        cut = 1 + self.tape.below(len(decision.events) - 1)
        folded = fold(iter([*self.events, *decision.events[:cut]]), self.plans.__getitem__)
        rest = decide(folded, inputs.TimePassed(), self.at, roll)
        assert rest.events == decision.events[cut:]
        assert rest.execution == decision.execution

    def happened(self, events: Sequence[Event]) -> None:
        for event in events:
            before = self.e
            plan = self.plans[event.plan_id] if isinstance(event, PlanAdopted) else None
            self.e = before.apply(event, plan)
            self.events.append(event)
            self.check(event, before)

    # What must be true of every event.

    def check(self, event: Event, before: Execution) -> None:
        model = self.model
        if before.state.ended:
            assert before.state is FATAL
            assert isinstance(event, OPERATORS)
            assert before.resolved is None
        if model.turned:
            assert self.e.going_back or isinstance(event, Resolved)
            assert self.e.state is not RUNNING
        match event:
            case AttemptStarted(phase=Phase.EXECUTE):
                self.check_begun(event, before)
                self.world.begin(event)
            case AttemptStarted():
                self.check_undo_begun(event)
                self.world.begin(event)
            case RetryScheduled():
                self.check_retry(event)
            case StepFailed():
                self.check_step_failed(event)
            case Cancelled():
                model.cancelled = True
            case RollbackStarted():
                self.check_turned()
            case UndoFailed():
                self.check_undo_failed(event)
            case SagaHeld():
                self.check_held(event, before)
            case Retried():
                model.tries.clear()
                model.due.clear()
                self.seen["retried by an operator"] += 1
            case Settled():
                self.settle(event)
            case Skipped():
                assert model.left()[0] == event.step
                model.skipped.add(event.step)
                self.seen["skipped"] += 1
            case Resolved():
                assert not model.live
                self.seen["resolved"] += 1
            case PlanAdopted():
                self.adopt(event, before)

    def begin(self, event: AttemptStarted) -> None:
        model, step = self.model, (event.phase, event.step)
        model.begun[step] += 1
        assert event.attempt == model.begun[step]
        assert self.at >= model.due.pop(step, 0.0)
        model.live[*step, event.attempt] = (event.epoch, event.worker)
        expected = model.context
        if event.phase is COMPENSATE:
            expected = model.after.get(event.step, model.before[event.step])
        assert self.e.context_for(*step) == expected  # P4

    def check_begun(self, event: AttemptStarted, before: Execution) -> None:
        model = self.model
        assert not model.turned
        assert not model.cancelled
        assert before.deadline is None or self.at < before.deadline
        assert next(s.name for s in model.plan.steps if not model.done(s.name)) == event.step
        assert not model.awaited(EXECUTE, event.step)
        if any(key[:2] == (EXECUTE, event.step) for key in model.live):
            self.seen["two attempts of a step at once"] += 1
        model.before[event.step] = model.context
        self.begin(event)

    def check_undo_begun(self, event: AttemptStarted) -> None:
        model = self.model
        names = [step.name for step in model.plan.steps]
        assert model.turned
        assert model.left()[0] == event.step  # P2, P3: whatever comes later is undone, and this is not
        assert not any(phase is COMPENSATE for phase, _, _ in model.live)
        assert not any(names.index(name) >= names.index(event.step) for _, name, _ in model.live)
        for earlier in names[: names.index(event.step)]:
            assert not model.begun[COMPENSATE, earlier]  # P3
            assert earlier not in model.skipped
        self.begin(event)

    def check_retry(self, event: RetryScheduled) -> None:
        model, key = self.model, (event.phase, event.step)
        ending, retryable = model.last[key]
        assert not model.awaited(*key)
        assert event.phase is EXECUTE or not any(name == event.step for _, name, _ in model.live)
        assert event.rerun == (ending in CUT_SHORT)
        self.seen["what its worker could not take is run again"] += ending is Ending.UNBEGUN
        assert event.rerun or retryable
        step, forward = model.step(event.step), event.phase is EXECUTE
        backoff = step.retries if forward else step.compensate_retries
        assert self.at <= event.due <= self.at + (0 if event.rerun else backoff.max_delay)
        model.due[key] = event.due
        model.tries[*key, event.rerun] += 1
        least = UNBEGUN_RERUNS if ending is Ending.UNBEGUN else 0
        reruns = max(step.reruns, least) if forward else UNDO_RERUNS
        assert model.tries[*key, event.rerun] <= (reruns if event.rerun else backoff.times)
        self.seen[("a step is " if forward else "an undo is ") + ("rerun" if event.rerun else "retried")] += 1

    def check_step_failed(self, event: StepFailed) -> None:
        model, step = self.model, self.model.step(event.step)
        assert not model.awaited(EXECUTE, event.step)
        assert event.verdict is model.verdict(event.step)  # P7
        unknown = event.verdict is Verdict.UNKNOWN
        holds = unknown and step.on_unknown is OnUnknown.HOLD
        assert event.ignored == (step.on_failure is OnFailure.IGNORE and not holds)
        ending, retryable = model.last[EXECUTE, event.step]
        if not model.cancelled:
            interrupted = ending in CUT_SHORT
            least = UNBEGUN_RERUNS if ending is Ending.UNBEGUN else 0
            allowed = max(step.reruns, least) if interrupted else step.retries.times
            assert model.tries[EXECUTE, event.step, interrupted] >= allowed or not (retryable or interrupted)
        if event.ignored:
            model.ignored.add(event.step)
            self.seen["a step is ignored"] += 1
        self.seen["unknown, then a clean failure or Abort"] += unknown and ending is Ending.FAILED
        self.seen["what came of it could not be used"] += ending is Ending.UNUSABLE
        self.seen["at most once, and cut short"] += step.reruns == 0 and ending is Ending.INTERRUPTED
        assumed = unknown and step.on_unknown is OnUnknown.ASSUME_FAILED
        self.seen["an unknown step is assumed to have failed"] += assumed
        self.seen["an unknown step without an undo"] += unknown and not step.compensable

    def check_turned(self) -> None:
        model = self.model
        assert not model.turned
        model.turned = True
        current = next((step for step in model.plan.steps if not model.done(step.name)), None)
        assert self.e.failure is not None
        if not model.cancelled:
            assert current is not None
            assert self.e.failure.step == current.name
            unknown = model.verdict(current.name) is Verdict.UNKNOWN
            assert not (unknown and current.on_unknown is OnUnknown.HOLD)  # P7
        self.seen["rollback waits for quiet"] += bool(model.live)
        self.seen["cancel after success of the last"] += current is None

    def check_undo_failed(self, event: UndoFailed) -> None:
        model = self.model
        assert not model.live
        assert model.left()[0] == event.step
        ending, retryable = model.last[COMPENSATE, event.step]
        times = model.step(event.step).compensate_retries.times
        assert ending not in CUT_SHORT
        assert not retryable or model.tries[COMPENSATE, event.step, False] >= times
        model.undo_failed = event.step
        self.seen["fatal"] += 1
        self.seen["fatal with more left"] += len(model.left()) > 1

    def check_held(self, event: SagaHeld, before: Execution) -> None:
        model = self.model
        if event.reason is HoldReason.UNKNOWN_OUTCOME:
            step = next(step for step in model.plan.steps if not model.done(step.name))
            assert model.verdict(step.name) is Verdict.UNKNOWN
            assert step.on_unknown is OnUnknown.HOLD
            assert not any(name == step.name for _, name, _ in model.live)
            self.seen["held for an unknown outcome"] += 1
            if step.on_failure is OnFailure.IGNORE:
                self.seen["held for an unknown outcome though its failure does not matter"] += 1
        if event.reason is HoldReason.UNDO_INTERRUPTED:
            name = model.left()[0]
            assert model.last[COMPENSATE, name][0] in CUT_SHORT
            assert model.tries[COMPENSATE, name, True] == UNDO_RERUNS
            self.seen["held for an undo cut short too often"] += 1
        self.seen["held while awaited"] += any(model.awaited(*key[:2]) for key in model.live)
        self.seen["held while going back"] += before.state is COMPENSATING
        self.seen["held for its definition"] += event.reason is HoldReason.DEFINITION_CHANGED

    def settle(self, event: Settled) -> None:
        model = self.model
        assert model.verdict(event.step) is Verdict.UNKNOWN
        model.settled[event.step] = event.happened
        if event.happened:
            model.completes(event.step, event.context)
            self.seen["settled as done, going " + ("back" if model.turned else "on")] += 1
            return
        if not model.turned and model.step(event.step).on_failure is OnFailure.IGNORE:
            model.ignored.add(event.step)
        self.seen["settled as not done"] += 1

    def adopt(self, event: PlanAdopted, before: Execution) -> None:
        old, new = before.plan, self.plans[event.plan_id]
        for index, step in enumerate(old.steps):
            if self.model.begun[EXECUTE, step.name]:
                served = new.steps[index]
                assert served.name == step.name  # P14
                assert event.by is not None or served.on_unknown == step.on_unknown
        if event.by is None:
            names = [step.name for step in old.steps]
            same = [step.name for step in new.steps[: len(names)]] == names
            assert self.model.turned or self.model.cancelled or same
            assert before.state is self.e.state
        self.seen["steps appended"] += len(new.steps) > len(old.steps)
        self.seen["another definition accepted"] += event.by is not None
        left, self.model.plan = self.model.left(), new
        for name in set(left) - set(self.model.left()):
            assert event.by is not None  # an operator's word, and only about the unknown
            assert self.model.step(name).compensable
        assert not self.model.turned or left == self.model.left()

    # What must be true at any time, and at an end.

    def standing(self) -> None:
        e, model = self.e, self.model
        assert (outcome_of(e) is not None) == e.state.ended
        turned = e.going_back or (e.resolved is not None and e.failure is not None)
        assert e.left == (model.left() if turned else ())
        for plan, step in zip(e.plan.steps, e.steps, strict=True):
            assert step.verdict in (None, model.verdict(plan.name))
        self.allowed()
        if e.state.ended:
            return self.ended()
        assert {(p, s.name, a.number): (a.epoch, a.worker) for p, s, a in e.attempts} == model.live
        assert status_of(e, served=True).waiting_for is not None
        if e.state is HELD:
            assert e.held is not None
            return None
        assert e.wanted is not None or model.live, "stuck"
        due = e.wanted.due if e.wanted else None
        deadline = e.deadline if e.state is RUNNING and not e.cancelled else None
        expected = min((time for time in (due, deadline) if time is not None), default=None)
        assert e.wakes_at == expected
        if e.state is COMPENSATING and e.position and e.progress(*e.position).undecided:
            stuck = model.plan.steps[e.position[1]].name
            self.seen["fatal waits for quiet"] += not any(name == stuck for _, name, _ in model.live)
        return None

    def allowed(self) -> None:
        """What a status lists is what would be done, and all of it."""
        e, actions = self.e, allowed_actions(self.e)
        if e.state not in (HELD, FATAL):
            assert actions == ()
            return
        stuck = e.plan.steps[e.position[1]].name if e.position else ""
        asks: dict[Action, list[inputs.Input]] = {
            Action.RETRY: [inputs.RetryRequested("ann", "again")],
            Action.SETTLE: [inputs.SettleRequested(step.name, False, "ann", "asked") for step in e.plan.steps],
            Action.SKIP: [inputs.SkipRequested(step.name, "ann", "by hand") for step in e.plan.steps],
            Action.CANCEL: [inputs.CancelRequested("no", "ann")],
            Action.RESOLVE: [inputs.ResolveRequested(COMPENSATED, "ann", "enough")],
        }
        assert stuck or Action.SKIP not in actions
        for action, given in asks.items():
            would = any(decide(e, each, self.at, 0.5).refused is None for each in given)
            assert would == (action in actions), action

    def ended(self) -> None:
        e, model = self.e, self.model
        doubt = [s.name for s in e.plan.steps if model.begun[EXECUTE, s.name] and s.name not in model.undone]
        doubt = [name for name in doubt if model.verdict(name) is Verdict.UNKNOWN and name not in model.skipped]
        assert list(e.in_doubt) == doubt
        self.seen["ended with doubt"] += bool(doubt)
        if e.resolved is not None:
            return
        if e.state is COMPLETED:
            assert all(model.done(step.name) for step in e.plan.steps)
            assert not any(phase is COMPENSATE for phase, _ in model.begun)
            assert not model.cancelled
            assert e.context == model.context
        elif e.state is COMPENSATED:
            assert not model.live
            assert model.left() == ()
            self.nothing_stays()
        else:
            assert e.undo_failure is not None
            assert e.undo_failure.step == model.undo_failed == e.left[0]
            assert not model.live
        self.seen[str(e.state)] += 1

    def nothing_stays(self) -> None:
        """P2, told by the ledger alone: after the last time that a step had its effect, it was undone."""
        for step in self.e.plan.steps:
            name = step.name
            assumed = self.model.verdict(name) is Verdict.UNKNOWN and step.on_unknown is OnUnknown.ASSUME_FAILED
            if not step.compensable or assumed or name in self.model.skipped or self.model.settled.get(name) is False:
                continue
            of_it = [phase for phase, who in self.world.ledger if who == name]
            assert EXECUTE not in of_it or of_it[-1] is COMPENSATE

    # What is worth knowing to have occurred.

    def notice(self, given: inputs.Input) -> None:
        model, e, seen = self.model, self.e, self.seen
        if e.state.ended:
            return
        waiting = [key for key in model.live if model.awaited(*key[:2])]
        retrying = e.wanted is not None and e.wanted.due is not None and e.wanted.due > self.at
        deadline = e.deadline is not None and self.at >= e.deadline and not e.cancelled
        kinds = ["cancel"] * isinstance(given, inputs.CancelRequested)
        kinds += ["deadline"] * deadline
        for kind in kinds if e.state is RUNNING else ():
            seen[f"{kind} while awaited"] += bool(waiting)
            seen[f"{kind} while a retry waits"] += retrying
            seen[f"{kind} while ready"] += e.wanted is not None and not retrying
        seen["cancel while held"] += e.state is HELD and not e.going_back and "cancel" in kinds
        if isinstance(given, inputs.Succeeded | inputs.Failed | inputs.Quieted):
            seen["a report while held"] += e.state is HELD and model.is_heard(given)
            seen["a stale report"] += not model.is_heard(given)
        if isinstance(given, inputs.Succeeded) and model.is_heard(given):
            self.notice_success(given)

    def notice_success(self, given: inputs.Succeeded) -> None:
        model, name, seen = self.model, given.step, self.seen
        late = (given.phase, name, given.attempt) in model.timed_out
        if given.phase is COMPENSATE:
            seen["an undo times out and succeeds late"] += late
            seen["an unknown step is undone"] += name not in model.after
            seen["an ignored step is undone"] += name in model.ignored
            return
        seen["a second success"] += name in model.after
        seen["a late success goes on"] += late and not model.turned and not model.done(name)
        seen["an ignored step succeeds late"] += late and name in model.ignored
        if late and model.turned and model.step(name).compensable and name not in model.after:
            seen["a late success is undone with its own context"] += given.context is not None
            assumed = model.step(name).on_unknown is OnUnknown.ASSUME_FAILED
            seen["a late success is undone though it would not have been"] += assumed

    # How it goes on if the world is fair.

    def bound(self) -> int:
        """Inputs that suffice: a slot, a happening and two reports for each attempt that there may be."""
        attempts = sum(
            2 + s.retries.times + s.reruns + s.compensate_retries.times + UNDO_RERUNS for s in self.e.plan.steps
        )
        return 5 * attempts + len(self.world.mailbox) + 3 * len(self.world.calls) + 10

    def finish(self) -> None:
        """Every attempt is reported in the end, slots are granted: the saga ends or is held, in bounded time (P12)."""
        bound, choose = self.bound(), random.Random(len(self.events))
        while self.e.state in (RUNNING, COMPENSATING):
            self.fair(choose.choice(("success", "fail", "unknown", "timeout", "silence", "death", "abort")))
            bound -= 1
            assert bound > 0, "it goes on for ever"

    def heal(self) -> None:
        """From here all attempts succeed; who retries what is held or fatal sees it end."""
        bound = 2 * self.bound()
        while self.e.state not in (COMPLETED, COMPENSATED) and self.e.resolved is None:
            if self.e.state in (HELD, FATAL):
                self.give(inputs.RetryRequested("ann", "the world is well again"))
            else:
                self.fair("success")
            bound -= 1
            assert bound > 0, "retrying does not help"

    def fair(self, outcome: str) -> None:
        world = self.world
        self.at += 0.1
        if world.mailbox:
            self.give(world.mailbox.pop(0))
        elif world.running():
            world.happens(world.running()[0], outcome)
        else:
            assert self.e.wanted is not None, "stuck"
            self.reserve(in_time=True)


# The tests.

backoffs = st.builds(
    Backoff,
    times=st.integers(0, 2),
    first_delay=st.sampled_from([0.0, 0.5, 3.0]),
    max_delay=st.just(3.0),
    jitter=st.sampled_from([0.0, 1.0]),
)
rarely_else = st.sampled_from
steps = st.builds(
    StepPlan,
    name=st.just(""),
    compensable=rarely_else([True, True, False]),
    retries=backoffs,
    reruns=st.integers(0, 2),
    on_failure=rarely_else([OnFailure.ROLLBACK, OnFailure.ROLLBACK, OnFailure.IGNORE]),
    on_unknown=rarely_else([OnUnknown.COMPENSATE, OnUnknown.COMPENSATE, OnUnknown.HOLD, OnUnknown.ASSUME_FAILED]),
    compensate_retries=backoffs,
)
delicate = st.builds(  # much is tried late, and little twice
    StepPlan,
    name=st.just(""),
    compensable=st.just(True),
    retries=st.sampled_from([Backoff(0), Backoff(1, first_delay=3.0, max_delay=3.0, jitter=0.0)]),
    on_failure=st.sampled_from([OnFailure.ROLLBACK, OnFailure.IGNORE, OnFailure.IGNORE]),
    on_unknown=rarely_else([OnUnknown.COMPENSATE, OnUnknown.ASSUME_FAILED]),
    compensate_retries=st.just(Backoff(0)),
)
sizes = st.sampled_from([1, 2, 3, 3, 4, 5])
kinds = st.sampled_from([steps, delicate])
plans = (
    st.tuples(kinds, sizes)
    .flatmap(lambda drawn: st.lists(drawn[0], min_size=drawn[1], max_size=drawn[1]))
    .map(lambda made: SagaPlan("Any", tuple(attrs.evolve(step, name=f"s{n}") for n, step in enumerate(made))))
)
deadlines = st.sampled_from([None, None, None, 3.0, 30.0, 60.0])
lengths = st.sampled_from([30, 120, 200, 300, 400, 600])


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """A saga, and what is going to happen: not drawn byte by byte, for a life is long; it shrinks by its length."""
    plan, deadline, length = draw(plans), draw(deadlines), draw(lengths)
    seed = f"{draw(st.integers(0, 2**23))} {plan.plan_id} {deadline} {length}"
    return Life(plan, deadline, random.Random(seed).randbytes(length))


@pytest.mark.slow
def test_whatever_happens_a_saga_is_done_or_undone_in_order_and_never_stuck() -> None:
    """P2, P3, P4, P6, P7, P9, P12 hold for any definition and any sequence of inputs, folded or lived through."""
    seen: Counter[str] = Counter()

    @PROFILE
    @hypothesis.given(lives())
    def any_life(life: Life) -> None:
        life.live()
        life.finish()
        life.heal()
        for situation in +life.seen:
            hypothesis.event(situation)
        seen.update(life.seen)

    for seed in range(ROUNDS):  # one as a rule; what hypothesis draws varies with its version and the modules loaded
        hypothesis.seed(seed if WANTED_EXAMPLES is None else random.getrandbits(32))(any_life)()
        if not SITUATIONS - set(+seen):
            break
    print(*sorted(seen.items(), key=lambda item: item[1]), sep="\n")  # shown when it fails
    assert not SITUATIONS - set(+seen), f"never occurred: {sorted(SITUATIONS - set(+seen))}"
    assert set(seen) <= SITUATIONS


@pytest.mark.slow
@hypothesis.settings(PROFILE, max_examples=max(PROFILE.max_examples // 5, 1))
@hypothesis.given(lives())
def test_every_prefix_of_a_journal_folds_into_the_saga_that_was_lived(life: Life) -> None:
    """P1, P9: a restart at any event finds the execution that was there."""
    first = life.e
    life.live()
    lived = [first]
    for event in life.events[1:]:
        lived.append(lived[-1].apply(event, life.plans.get(getattr(event, "plan_id", ""))))
    for end in {1, len(life.events), *range(3, len(life.events), 7)}:
        assert fold(iter(life.events[:end]), life.plans.__getitem__) == lived[end - 1]
    assert lived[-1] == life.e
