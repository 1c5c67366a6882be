"""How far one step has come: which attempts there were, which still run, what is to be decided, what it came to."""

from __future__ import annotations

import attrs

from saga_actors.events import AttemptFailed, AttemptStarted, Ending, Fault, Phase, RetryScheduled, Verdict, WorkerId
from saga_actors.evolve import evolve
from saga_actors.outcomes import Failure, FailureKind
from saga_actors.plan import OnUnknown, StepPlan


@attrs.frozen
class Attempt:
    """One call of an execute or a compensate that is not quiet yet."""

    number: int
    epoch: int
    worker: WorkerId


@attrs.frozen
class Wanted:
    """The next attempt, not begun: it wants a slot once `due` (POSIX seconds) has come; None: at once.

    `alone`: in a worker that runs nothing else.
    """

    phase: Phase
    step: StepPlan
    attempt: int
    due: float | None
    rerun: bool
    alone: bool


@attrs.frozen(slots=False)
class Progress:
    """The attempts of one step in one phase.

    `live` are those not quiet; `awaited` the one whose report the saga waits for; `undecided` says that the last
    awaited attempt ended without success and nothing has been decided about it; `doubtful` that some attempt may have
    had its effect, whatever later ones said (P7).
    """

    begun: int = 0
    live: tuple[Attempt, ...] = ()
    awaited: int | None = None
    retries: int = 0
    reruns: int = 0
    due: float | None = None
    undecided: bool = False
    doubtful: bool = False
    ending: Ending | None = None
    fault: Fault | None = None

    def attempt(self, number: int) -> Attempt | None:
        """The live attempt of this number."""
        for attempt in self.live:
            if attempt.number == number:
                return attempt
        return None

    def started(self, event: AttemptStarted) -> Progress:
        attempt = Attempt(event.attempt, event.epoch, event.worker)
        return evolve(
            self,
            {
                "begun": event.attempt,
                "live": (*self.live, attempt),
                "awaited": event.attempt,
                "due": None,
                "undecided": False,
            },
        )

    def failed(self, event: AttemptFailed) -> Progress:
        return evolve(
            self,
            {
                "live": self.live if event.ending is Ending.TIMED_OUT else self._live_but(event.attempt),
                "awaited": None,
                "undecided": True,
                "doubtful": self.doubtful or not event.ending.certain,
                "ending": event.ending,
                "fault": event.fault,
            },
        )

    def quieted(self, number: int) -> Progress:
        return evolve(self, {"live": self._live_but(number)})

    def succeeded(self, number: int) -> Progress:
        return evolve(self, {"live": self._live_but(number), "awaited": None, "undecided": False, "due": None})

    def scheduled(self, event: RetryScheduled) -> Progress:
        return evolve(
            self,
            {
                "due": event.due,
                "undecided": False,
                "retries": self.retries + (not event.rerun),
                "reruns": self.reruns + event.rerun,
            },
        )

    def _live_but(self, number: int) -> tuple[Attempt, ...]:
        return tuple([attempt for attempt in self.live if attempt.number != number])

    def closed(self) -> Progress:
        """Nothing more is tried."""
        return evolve(self, {"due": None, "undecided": False})

    def afresh(self) -> Progress:
        """All retries and reruns anew, the next one at once; attempts keep their numbers, doubt stays."""
        return evolve(self, {"retries": 0, "reruns": 0, "due": None})

    @property
    def verdict(self) -> Verdict:
        """What the step comes to if nothing more is tried and there was no success (P7)."""
        return Verdict.UNKNOWN if self.doubtful else Verdict.FAILED

    def failure(self, step: str, kind: FailureKind | None = None) -> Failure:
        """What the last failed attempt said, as the failure of `step`."""
        fault = self.fault
        return Failure(
            kind=kind or (self.ending or Ending.FAILED).failure_kind,
            step=step,
            reason=fault.reason if fault else "",
            error_type=fault.error_type if fault else None,
            attempts=self.begun,
            traceback=fault.traceback if fault else None,
        )


@attrs.frozen(slots=False)
class StepRun:
    """What has become of one step. `before` and `after` are the saga's context around it (P4)."""

    forward: Progress = Progress()
    back: Progress = Progress()
    verdict: Verdict | None = None
    ignored: bool = False
    undone: bool = False
    skipped: bool = False
    before: bytes = attrs.field(default=b"", repr=False)
    after: bytes = attrs.field(default=b"", repr=False)

    def failure(self, name: str) -> Failure:
        """Why the step, called `name`, did not succeed; a clean failure does not hide an earlier doubt (P7)."""
        ending = self.forward.ending
        after_doubt = ending is not None and ending.certain and self.verdict is Verdict.UNKNOWN
        return self.forward.failure(name, FailureKind.UNKNOWN if after_doubt else None)

    def to_undo(self, plan: StepPlan) -> bool:
        """Whether a rollback has to undo this step: it was, or may have been, done."""
        if not plan.compensable or self.undone or self.skipped:
            return False
        if self.verdict is Verdict.UNKNOWN:
            return plan.on_unknown is not OnUnknown.ASSUME_FAILED
        return self.verdict is Verdict.COMPLETED
