"""One execution of a saga as a value: what its events make of it. No I/O, clock or randomness.

Everything that changes the state of a saga is in this file, by the table in `transitions`; `decision` says which events
an input brings about. After the model of h11's `_state.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from saga_actors.errors import CorruptionError
from saga_actors.events import (
    Accepted,
    AttemptFailed,
    AttemptQuieted,
    AttemptStarted,
    AttemptSucceeded,
    Cancelled,
    Ending,
    Event,
    HoldReason,
    Phase,
    PlanAdopted,
    Resolved,
    Retried,
    RetryScheduled,
    RollbackStarted,
    SagaCompensated,
    SagaCompleted,
    SagaHeld,
    Settled,
    Skipped,
    StepFailed,
    UndoFailed,
    Verdict,
)
from saga_actors.evolve import Changes, derived, evolve
from saga_actors.outcomes import Failure, SagaState
from saga_actors.plan import OnFailure, SagaPlan, StepPlan
from saga_actors.progress import Attempt, Progress, StepRun, Wanted
from saga_actors.transitions import (
    ACCEPTED,
    BACK,
    COMPENSATED,
    COMPENSATING,
    FATAL,
    HELD,
    RUNNING,
    SAME,
    TRANSITIONS,
)

CUT_SHORT = (Ending.INTERRUPTED, Ending.UNBEGUN)
STEP_HOLDS = (HoldReason.UNKNOWN_OUTCOME, HoldReason.UNDO_INTERRUPTED)

_NOWHERE: dict[SagaState, SagaState | str] = {}


@attrs.frozen(slots=False)
class Execution:
    """A saga as its journal tells it. `applied` is the number of its last event; times are POSIX seconds."""

    saga_id: str
    plan: SagaPlan
    state: SagaState
    steps: tuple[StepRun, ...]
    context: bytes = attrs.field(repr=False)
    digest: str
    created_at: float
    updated_at: float
    deadline: float | None = None
    cursor: int = 0
    applied: int = 1
    cancelled: Cancelled | None = None
    failure: Failure | None = None
    undo_failure: Failure | None = None
    held: SagaHeld | None = None
    held_from: SagaState | None = None
    resolved: Resolved | None = None
    requests: frozenset[str | None] = frozenset()

    @classmethod
    def begin(cls, plan: SagaPlan, event: Accepted) -> Execution:
        """The execution that an `Accepted` event begins."""
        steps, at = (StepRun(),) * len(plan.steps), event.at
        return cls(event.saga_id, plan, RUNNING, steps, event.context, event.digest, at, at, event.deadline)

    def apply(self, event: Event, plan: SagaPlan | None = None) -> Execution:
        """This execution after `event`; `plan` goes with PlanAdopted. `CorruptionError` if the event cannot follow."""
        to = TRANSITIONS.get(type(event), _NOWHERE).get(self.state)
        if to is None:
            raise self._cannot_follow(event)
        changes = self._adopted(event, plan) if isinstance(event, PlanAdopted) else _APPLY[type(event)](self, event)
        state = self.state if to is SAME else self._state_after(event, to)
        if state is not HELD and self.held is not None:
            changes |= {"held": None, "held_from": None}
        changes["state"], changes["applied"], changes["updated_at"] = state, self.applied + 1, event.at
        return evolve(self, changes)

    # What it is.

    @property
    def going_back(self) -> bool:
        """Whether the saga has turned back, also if it is held or ended since."""
        return COMPENSATING in (self.state, self.held_from) or self.state in (COMPENSATED, FATAL)

    @derived
    def position(self) -> tuple[Phase, int] | None:
        """The step that the saga is at, and which way: at the cursor, or the last one not yet quiet and undone."""
        heading = self.held_from if self.state is HELD else self.state
        if heading is RUNNING:
            return (Phase.EXECUTE, self.cursor) if self.cursor < len(self.steps) else None
        if heading not in (COMPENSATING, FATAL):
            return None
        for index in reversed(range(len(self.steps))):
            step = self.steps[index]
            if step.forward.live or step.back.live or step.to_undo(self.plan.steps[index]):
                return Phase.COMPENSATE, index
        return None

    @derived
    def wanted(self) -> Wanted | None:
        """The next attempt, if the saga waits for nothing but its time and a slot."""
        if self.position is None or self.state not in (RUNNING, COMPENSATING):
            return None
        phase, index = self.position
        step, plan, progress = self.steps[index], self.plan.steps[index], self.progress(phase, index)
        if progress.awaited is not None or progress.undecided:
            return None
        if phase is Phase.EXECUTE:
            if self.cancelled or step.verdict:
                return None
        elif step.forward.live or any(each.back.live for each in self.steps):
            return None
        rerun = progress.ending in CUT_SHORT
        return Wanted(phase, plan, progress.begun + 1, progress.due, rerun, self.runs_alone(phase, index))

    @property
    def expires_at(self) -> float | None:
        """The deadline, as long as it can turn the saga back."""
        return self.deadline if self.state is RUNNING and not self.cancelled else None

    @property
    def wakes_at(self) -> float | None:
        """When, in POSIX seconds, the mere passing of time changes something."""
        times = (self.wanted.due if self.wanted is not None else None, self.expires_at)
        return min((time for time in times if time is not None), default=None)

    @property
    def attempts(self) -> list[tuple[Phase, StepPlan, Attempt]]:
        """Every attempt that is not quiet."""
        return [
            (phase, plan, attempt)
            for plan, step in zip(self.plan.steps, self.steps, strict=True)
            for phase, progress in ((Phase.EXECUTE, step.forward), (Phase.COMPENSATE, step.back))
            for attempt in progress.live
        ]

    @property
    def ignored(self) -> tuple[str, ...]:
        """The steps whose failure did not matter."""
        return self._names(lambda step, _: step.ignored and step.verdict is not Verdict.COMPLETED)

    @property
    def in_doubt(self) -> tuple[str, ...]:
        """The steps of which nobody knows whether they happened, and that were not undone."""
        return self._names(lambda step, _: step.verdict is Verdict.UNKNOWN and not (step.undone or step.skipped))

    @property
    def completed_steps(self) -> tuple[str, ...]:
        """The steps that are done, and not undone since."""
        return self._names(lambda step, _: step.verdict is Verdict.COMPLETED and not (step.undone or step.skipped))

    @property
    def left(self) -> tuple[str, ...]:
        """The steps that a rollback still has to undo, in its order."""
        turned = self.going_back or (self.resolved is not None and self.failure is not None)
        return tuple(reversed(self._names(lambda step, plan: step.to_undo(plan)))) if turned else ()

    @property
    def skipped(self) -> tuple[str, ...]:
        """The steps whose undo an operator did by hand."""
        return self._names(lambda step, _: step.skipped)

    def index(self, name: str) -> int:
        """Where the step of this name stands; `CorruptionError` if the plan has none."""
        index = self.plan.places.get(name)
        if index is None:
            raise CorruptionError(f"saga {self.saga_id!r}: its plan has no step {name!r}")
        return index

    def progress(self, phase: Phase, index: int) -> Progress:
        """The attempts of one step in one phase."""
        return self.steps[index].forward if phase is Phase.EXECUTE else self.steps[index].back

    def runs_alone(self, phase: Phase, index: int) -> bool:
        """Whether a step must not share its worker: it must not run twice, or was running in two worker deaths."""
        return self.progress(phase, index).reruns >= 2 or (
            phase is Phase.EXECUTE and self.plan.steps[index].reruns == 0
        )

    def context_for(self, phase: Phase, name: str) -> bytes:
        """The context that an attempt gets (P4)."""
        step = self.steps[self.index(name)]
        if phase is Phase.EXECUTE:
            return self.context
        return step.after if step.verdict is Verdict.COMPLETED else step.before

    def _names(self, chosen: Callable[[StepRun, StepPlan], bool]) -> tuple[str, ...]:
        return tuple(p.name for s, p in zip(self.steps, self.plan.steps, strict=True) if chosen(s, p))

    # What an event makes of it: the fields that change, but for those that `apply` sees to.

    def _cannot_follow(self, event: Event) -> CorruptionError:
        return CorruptionError(
            f"saga {self.saga_id!r}: {type(event).__name__} cannot follow event {self.applied} in state {self.state}; "
            "the journal is damaged, or was changed by hand"
        )

    def _state_after(self, event: Event, to: SagaState | str) -> SagaState:
        if to is BACK or (to is ACCEPTED and self._accepts(event)):
            return self.held_from or RUNNING
        if to is ACCEPTED:
            return self.state
        return event.state if isinstance(event, Resolved) else SagaState(to)

    def _accepts(self, event: Event) -> bool:
        held_for_it = self.held is not None and self.held.reason is HoldReason.DEFINITION_CHANGED
        return held_for_it and isinstance(event, PlanAdopted) and event.by is not None

    def _with_step(self, index: int, **changes: Any) -> Changes:
        steps = list(self.steps)
        steps[index] = evolve(steps[index], changes)
        return {"steps": tuple(steps)}

    def _with_progress(self, phase: Phase, index: int, progress: Progress, **changes: Any) -> Changes:
        side = "forward" if phase is Phase.EXECUTE else "back"
        return self._with_step(index, **{side: progress}, **changes)

    def _started(self, event: AttemptStarted) -> Changes:
        wanted, phase = self.wanted, event.phase
        if wanted is None or wanted.phase is not phase or wanted.step.name != event.step:
            raise self._cannot_follow(event)
        if wanted.attempt != event.attempt:
            raise self._cannot_follow(event)
        index = self.index(event.step)
        changes = {"before": self.context} if phase is Phase.EXECUTE else {}
        return self._with_progress(phase, index, self.progress(phase, index).started(event), **changes)

    def _live(self, event: AttemptSucceeded | AttemptFailed | AttemptQuieted) -> tuple[int, Progress]:
        progress = self.progress(event.phase, index := self.index(event.step))
        if progress.attempt(event.attempt) is None:
            raise self._cannot_follow(event)
        return index, progress

    def _here(self, event: Event, phase: Phase, step: str) -> tuple[int, Progress]:
        index = self.index(step)
        if self.position != (phase, index):
            raise self._cannot_follow(event)
        return index, self.progress(phase, index)

    def _succeeded(self, event: AttemptSucceeded) -> Changes:
        index, progress = self._live(event)
        progress = progress.succeeded(event.attempt)
        if event.phase is Phase.COMPENSATE:
            return self._with_progress(event.phase, index, progress, undone=True)
        return self._done(index, event.context, forward=progress)

    def _done(self, index: int, context: bytes | None, **changes: Any) -> Changes:
        """The step has happened. It moves the saga on if the saga still waits for it, else it only is to be undone."""
        after = context if context is not None else self.steps[index].before
        done = self._with_step(index, verdict=Verdict.COMPLETED, after=after, **changes)
        if self._waits_for(index):
            done["cursor"], done["context"] = index + 1, after
        return done

    def _waits_for(self, index: int) -> bool:
        return index == self.cursor and RUNNING in (self.state, self.held_from)

    def _failed(self, event: AttemptFailed) -> Changes:
        index, progress = self._live(event)
        if progress.awaited != event.attempt:
            raise self._cannot_follow(event)
        return self._with_progress(event.phase, index, progress.failed(event))

    def _quieted(self, event: AttemptQuieted) -> Changes:
        index, progress = self._live(event)
        return self._with_progress(event.phase, index, progress.quieted(event.attempt))

    def _scheduled(self, event: RetryScheduled) -> Changes:
        index, progress = self._here(event, event.phase, event.step)
        return self._with_progress(event.phase, index, progress.scheduled(event))

    def _step_failed(self, event: StepFailed) -> Changes:
        index, progress = self._here(event, Phase.EXECUTE, event.step)
        failed = self._with_step(index, verdict=event.verdict, ignored=event.ignored, forward=progress.closed())
        return failed | {"cursor": index + 1} if event.ignored else failed

    def _turned_back(self, event: RollbackStarted) -> Changes:
        failure = self._step_failure()
        if self.cancelled:
            failure = Failure(kind=self.cancelled.kind, step=None, reason=self.cancelled.reason, cause=failure)
        if failure is None:
            raise self._cannot_follow(event)
        return {"failure": failure}

    def _ended(self, event: SagaCompleted | SagaCompensated) -> Changes:
        if self.position is not None:
            raise self._cannot_follow(event)
        return {}

    def _step_failure(self) -> Failure | None:
        step = self.steps[self.cursor] if self.cursor < len(self.steps) else StepRun()
        return step.failure(self.plan.steps[self.cursor].name) if step.verdict else None

    def _undo_failed(self, event: UndoFailed) -> Changes:
        index, back = self._here(event, Phase.COMPENSATE, event.step)
        return self._with_step(index, back=back.closed()) | {"undo_failure": back.failure(event.step)}

    def _put_on_hold(self, event: SagaHeld) -> Changes:
        return {"held": event, "held_from": self.held_from or self.state}

    def _retried(self, _: Retried) -> Changes:
        if self.position is None:
            return {}
        phase, index = self.position
        progress = self.progress(phase, index).afresh()
        if self.held is not None and self.held.reason not in STEP_HOLDS:  # what came in meanwhile is still to decide
            return self._with_progress(phase, index, progress)
        changes = {"verdict": None} if phase is Phase.EXECUTE else {}
        return self._with_progress(phase, index, progress.closed(), **changes) | {"undo_failure": None}

    def _settled(self, event: Settled) -> Changes:
        index = self.index(event.step)
        if event.happened:
            return self._done(index, event.context)
        ignored = self._waits_for(index) and self.plan.steps[index].on_failure is OnFailure.IGNORE
        failed = self._with_step(index, verdict=Verdict.FAILED, ignored=ignored or self.steps[index].ignored)
        return failed | {"cursor": index + 1} if ignored else failed

    def _skipped(self, event: Skipped) -> Changes:
        return self._with_step(self.index(event.step), skipped=True) | {"undo_failure": None}

    def _resolved(self, event: Resolved) -> Changes:
        """A step that was begun and never decided is left in doubt, if it may have happened."""
        resolved: Changes = {"resolved": event}
        step = self.steps[self.cursor] if self.cursor < len(self.steps) else StepRun()
        if step.verdict or not step.forward.begun:
            return resolved
        return resolved | self._with_step(self.cursor, verdict=step.forward.verdict, forward=step.forward.closed())

    def _adopted(self, event: PlanAdopted, plan: SagaPlan | None) -> Changes:
        if plan is None or plan.plan_id != event.plan_id:
            raise CorruptionError(f"saga {self.saga_id!r}: the journal has no plan {event.plan_id!r}")
        by_name = {p.name: s for p, s in zip(self.plan.steps, self.steps, strict=True)}
        steps = tuple(by_name.get(p.name, StepRun()) for p in plan.steps)
        return {"plan": plan, "steps": steps} | self._asked(event)

    def _asked(self, event: Any) -> Changes:
        return {} if event.request is None else {"requests": self.requests | {event.request}}


_APPLY: dict[type[Any], Callable[[Execution, Any], Changes]] = {
    AttemptStarted: Execution._started,
    AttemptSucceeded: Execution._succeeded,
    AttemptFailed: Execution._failed,
    AttemptQuieted: Execution._quieted,
    RetryScheduled: Execution._scheduled,
    StepFailed: Execution._step_failed,
    Cancelled: lambda e, event: {"cancelled": event} | e._asked(event),
    RollbackStarted: Execution._turned_back,
    SagaCompleted: Execution._ended,
    SagaCompensated: Execution._ended,
    UndoFailed: Execution._undo_failed,
    SagaHeld: Execution._put_on_hold,
    Retried: lambda e, event: e._retried(event) | e._asked(event),
    Settled: lambda e, event: e._settled(event) | e._asked(event),
    Skipped: lambda e, event: e._skipped(event) | e._asked(event),
    Resolved: lambda e, event: e._resolved(event) | e._asked(event),
}


def fold(events: Iterator[Event], plan_of: Callable[[str], SagaPlan]) -> Execution:
    """The execution that these events make, the first of which is `Accepted`; `CorruptionError` if they cannot be."""
    first = next(events, None)
    if not isinstance(first, Accepted):
        raise CorruptionError(f"the first event is {type(first).__name__}; expected Accepted")
    execution = Execution.begin(plan_of(first.plan_id), first)
    for event in events:
        execution = execution.apply(event, plan_of(event.plan_id) if isinstance(event, PlanAdopted) else None)
    return execution
