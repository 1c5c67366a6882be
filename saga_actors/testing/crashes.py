"""A crash before and after every record of a saga, and at every call of its code: what comes of each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic

import attrs

from saga_actors.actors.protocol import Order
from saga_actors.definition import Saga
from saga_actors.errors import SagaHeldError
from saga_actors.events import Phase
from saga_actors.outcomes import C
from saga_actors.testing.hand import Call
from saga_actors.testing.rehearsal import Rehearsal
from saga_actors.testing.scripts import Act, dies

SAGA_ID = "rehearsed"


@attrs.frozen
class Crash:
    """What came of one crash. `flaws` are the promises that were not kept, each in a sentence; none, if all is well.

    `world` is what `observe` answered at the end, or None.
    """

    at: str
    state: str
    calls: tuple[str, ...]
    world: Any = None
    flaws: tuple[str, ...] = ()


@attrs.frozen
class Crashes:
    """What came of all of them; `without` is the run in which nothing crashed."""

    without: Crash
    each: tuple[Crash, ...]

    @property
    def flawed(self) -> tuple[Crash, ...]:
        """Those after which something was not as it should be."""
        return tuple(crash for crash in self.each if crash.flaws)

    def check(self) -> None:
        """AssertionError with every flaw, if there is one."""
        if self.flawed:
            told = [f"{crash.at}: {flaw}" for crash in self.flawed for flaw in crash.flaws]
            raise AssertionError(f"{len(self.flawed)} of {len(self.each)} crashes do harm:\n" + "\n".join(told))


def crash_everywhere(
    saga: type[Saga[C]],
    context: C,
    *,
    script: Callable[[Rehearsal], None] = lambda rehearsal: None,
    reset: Callable[[], None] = lambda: None,
    observe: Callable[[], Any] | None = None,
) -> Crashes:
    """Run the saga once without a crash, and once more for each place at which its processes may die.

    These are: the supervisor before and after every commit, and the worker before and after every call of a step or a
    compensation. `reset` makes the outside world new before each run, `script` prepares the rehearsal. After each crash
    it is seen to that the saga came to the same end, that no effect had two keys, that undos came in reverse, each with
    the context that its step had left, and that nothing ran again that was not cut short. With `observe`, which answers
    how the outside world stands, that it is the same as without the crash: so a step that acts twice for one key shows.

    Only crashes that are before the end of the run without one are tried; a saga has about five per step.
    """
    return _Tries(saga, context, script, reset, observe).all()


@attrs.frozen
class _Tries(Generic[C]):
    saga: type[Saga[C]]
    context: C
    script: Callable[[Rehearsal], None]
    reset: Callable[[], None]
    observe: Callable[[], Any] | None

    def all(self) -> Crashes:
        without, rehearsal = self._run("no crash", lambda _: None)
        commits, calls = rehearsal.stage.journal.commits, list(rehearsal.calls)
        crashes = [
            self._supervisor(number, after, without) for number in range(1, commits + 1) for after in (False, True)
        ]
        crashes += [self._worker(call, ran, without) for call in calls for ran in (False, True)]
        return Crashes(without, tuple(crashes))

    def _supervisor(self, number: int, after: bool, without: Crash) -> Crash:
        def prepare(rehearsal: Rehearsal) -> None:
            rehearsal.stage.journal.deadly = lambda commit, is_after: (commit, is_after) == (number, after)

        at = f"supervisor killed {'after' if after else 'before'} commit {number}"
        return self._judged(at, prepare, without)

    def _worker(self, call: Call, ran: bool, without: Crash) -> Crash:
        wanted = (call.step, call.undo, call.attempt)

        def prepare(rehearsal: Rehearsal) -> None:
            before = rehearsal.stage.act_of

            def act_of(order: Order) -> Act | None:
                name = (order.key.step, order.key.phase is Phase.COMPENSATE, order.key.attempt)
                return dies(ran=ran) if name == wanted else before(order)

            rehearsal.stage.act_of = act_of

        attempt = f", attempt {call.attempt}" if call.attempt > 1 else ""
        at = f"worker killed {'after' if ran else 'before'} {call}{attempt}"
        return self._judged(at, prepare, without)

    def _judged(self, at: str, prepare: Callable[[Rehearsal], None], without: Crash) -> Crash:
        crash, rehearsal = self._run(at, prepare)
        flaws = list(_flaws(rehearsal.calls))
        if crash.state != without.state:
            flaws.append(f"it ended as {crash.state}, and without the crash as {without.state}")
        if crash.world != without.world:
            flaws.append(f"the world is {crash.world!r}, and without the crash {without.world!r}")
        return attrs.evolve(crash, flaws=tuple(flaws))

    def _run(self, at: str, prepare: Callable[[Rehearsal], None]) -> tuple[Crash, Rehearsal]:
        self.reset()
        rehearsal = Rehearsal(self.saga)
        self.script(rehearsal)
        prepare(rehearsal)
        with suppress(SagaHeldError):
            rehearsal.run(self.saga, self.context, saga_id=SAGA_ID)
        state = str(rehearsal.status(SAGA_ID).state)
        world = None if self.observe is None else self.observe()
        return Crash(at, state, tuple(str(call) for call in rehearsal.calls), world), rehearsal


def _flaws(calls: Any) -> list[str]:
    """What the calls alone say against the promises."""
    flaws: list[str] = []
    keys: dict[tuple[str, bool], str] = {}
    undone: list[str] = []
    done = list(dict.fromkeys(call.step for call in calls if not call.undo))
    for call in calls:
        if keys.setdefault((call.step, call.undo), call.key) != call.key:
            flaws.append(f"{call} was called with two keys")
        if call.undo and call.step not in undone:
            undone.append(call.step)
    if undone != sorted(undone, key=lambda step: done.index(step) if step in done else -1, reverse=True):
        flaws.append(f"undone in the order {', '.join(undone)}; done in the order {', '.join(done)}")
    return flaws
