"""Whether each compensation undoes what its step did, and whether both may be called twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

import attrs

from saga_actors.definition import Saga
from saga_actors.outcomes import C, SagaState
from saga_actors.testing.hand import Call
from saga_actors.testing.rehearsal import Rehearsal
from saga_actors.testing.scripts import dies, late

SAGA_ID = "rehearsed"


@attrs.frozen
class UndoReport:
    """What `observe` answered around one step: before it, after it, and once it was undone; `flaws` in sentences."""

    step: str
    before: Any
    after: Any
    undone: Any
    flaws: tuple[str, ...] = ()


def undo_check(
    saga: type[Saga[C]], context: C, observe: Callable[[], Any], *, reset: Callable[[], None] = lambda: None
) -> tuple[UndoReport, ...]:
    """Call each step that has a compensation twice, with one key, then its compensation twice; and look at the world.

    `observe` answers how the outside world stands, as something that can be compared and is not changed afterwards
    (a copy); `reset` makes the world new. It is expected that a second call changes nothing, and that the undo leaves
    what was before the step. Steps before it are done as they are. A step with `reruns=0` is called once.

    Raises AssertionError if there is any flaw, with all of them; else the reports are the answer.
    """
    check = _Check(saga, context, observe, reset)
    reports = tuple(check.of(step.name, step.reruns > 0) for step in saga.definition.plan.steps if step.compensable)
    if flaws := [flaw for report in reports for flaw in report.flaws]:
        raise AssertionError("\n".join(flaws))
    return reports


@attrs.frozen
class _Check(Generic[C]):
    saga: type[Saga[C]]
    context: C
    observe: Callable[[], Any]
    reset: Callable[[], None]

    def of(self, step: str, twice: bool) -> UndoReport:
        """Have the saga turned back while this step ends late, so that it is undone with what it returned."""
        self.reset()
        rehearsal = Rehearsal(self.saga)
        seen: dict[bool, list[tuple[Any, Any]]] = {False: [], True: []}
        before: list[Any] = []

        def witness(call: Call, is_over: bool) -> None:
            if call.step != step:
                return
            if not is_over:
                before.append(self.observe())
            else:
                seen[call.undo].append((before.pop(), self.observe()))

        rehearsal.stage.witness = witness
        rehearsal.script(step, *([dies(ran=True)] if twice else []), late())
        rehearsal.script(step, dies(ran=True), undo=True)
        rehearsal.start(self.saga, self.context, saga_id=SAGA_ID)
        rehearsal.proceed()
        rehearsal.cancel(SAGA_ID, "the check turns it back")
        rehearsal.result(SAGA_ID)
        state = rehearsal.status(SAGA_ID).state
        if state is not SagaState.COMPENSATED or not seen[True]:
            why = rehearsal.status(SAGA_ID).failure
            return UndoReport(step, None, None, None, (f"{step} could not be checked: the saga is {state} ({why})",))
        return _judged(step, seen[False], seen[True])


def _judged(step: str, calls: list[tuple[Any, Any]], undos: list[tuple[Any, Any]]) -> UndoReport:
    before, after = calls[0]
    undone = undos[0][1]
    flaws: list[str] = []
    if calls[-1][1] != after:
        flaws.append(f"{step} acts twice for one key: called again it left {calls[-1][1]!r}, and at first {after!r}")
    if undone != before:
        flaws.append(f"the undo of {step} left {undone!r}, and before the step it was {before!r}")
    if undos[-1][1] != undone:
        flaws.append(f"the undo of {step} acts twice for one key: called again it left {undos[-1][1]!r}")
    return UndoReport(step, before, after, undone, tuple(flaws))
