"""What may surprise in a definition, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from saga_actors.cli.unwinding import Unwinding
from saga_actors.plan import SagaPlan, StepPlan


def caveats(plan: SagaPlan, unwound: Sequence[Unwinding], deadline: float | None = None) -> list[str]:
    """Each in a sentence; `unwound` is what `unwindings` says of this plan, `deadline` is in seconds."""
    found = [*_kept_for_good(unwound), *_last_that_fails(plan, unwound)]
    return found if deadline is None else [*found, *_too_short(plan, deadline)]


def _kept_for_good(unwound: Sequence[Unwinding]) -> list[str]:
    """Steps that nothing undoes, though one behind them can roll the saga back."""
    found: dict[str, list[str]] = {}
    for unwinding in unwound:
        for step in unwinding.kept:
            found.setdefault(step, []).append(unwinding.step)
    return [_kept(step, _named(list(dict.fromkeys(after)))) for step, after in found.items()]


def _kept(step: str, after: str) -> str:
    return (
        f"nothing undoes {step}, and {after} can still fail: if its effect must not stay, give it a compensate, or put "
        f"it behind {after}"
    )


def _last_that_fails(plan: SagaPlan, unwound: Sequence[Unwinding]) -> list[str]:
    """A last step without an undo, whose failure undoes all the others."""
    last = plan.steps[-1]
    undone = next(each.undone for each in unwound if each.step == last.name)
    if last.compensable or not undone:
        return []
    return [
        f"a failure of {last.name}, the last step, undoes all that was done before ({_named(list(undone))}): if that "
        'is not meant, declare it with on_failure="ignore"'
    ]


def _too_short(plan: SagaPlan, deadline: float) -> list[str]:
    once = sum(step.timeout for step in plan.steps)
    if deadline < once:
        return [
            f"a deadline of {as_typed(deadline)} is shorter than the timeouts of all steps together "
            f"({as_typed(once)}, without retries): a saga may turn back though every step ended in its time; give it "
            "at least that, or the steps shorter timeouts"
        ]
    most = sum(map(_longest, plan.steps))
    if deadline < most:
        return [
            f"a deadline of {as_typed(deadline)} is shorter than all attempts of all steps with the waits between them "
            f"({as_typed(most)}): a saga may turn back while a step still has retries left; give it at least that, or "
            "the steps fewer retries"
        ]
    return []


def _longest(step: StepPlan) -> float:
    """Seconds until the last retry has timed out, with the longest waits; but for slots and crashes."""
    retries = step.retries
    return step.timeout * (1 + retries.times) + sum(retries.delay(n, roll=0.0) for n in range(1, retries.times + 1))


def as_typed(seconds: float) -> str:
    """A span to the millisecond, as `--deadline` takes it."""
    whole, thousandths = divmod(round(seconds * 1_000), 1_000)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    second = f"{rest}.{thousandths:03}".rstrip("0") if thousandths else str(rest)
    parts = [f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (second, "s")) if count not in (0, "0")]
    return "".join(parts) or "0s"


def _named(steps: list[str]) -> str:
    return steps[0] if len(steps) == 1 else f"{', '.join(steps[:-1])} and {steps[-1]}"
