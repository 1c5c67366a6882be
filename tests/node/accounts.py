"""What one saga of `killing` did, held against the promises: by its ledger outside, its journal, and its outcome."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

import attrs
from killing import BEGUN, FAILED, WORKED, Line

from saga_actors import Compensated, CompensationFailed, Completed, Outcome
from saga_actors.definition import Definition, Step
from saga_actors.events import AttemptStarted, AttemptSucceeded, Event

Sightings = Mapping[tuple[int, int], float]
"""When a process (its pid and its start) was last seen alive, in POSIX seconds."""


def sightings(lines: Iterable[Line]) -> dict[tuple[int, int], float]:
    """What a ledger itself says of who was alive when."""
    seen: dict[tuple[int, int], float] = {}
    for line in lines:
        seen[line.process] = max(line.at, seen.get(line.process, 0.0))
    return seen


@attrs.frozen
class Account:
    """One saga that has ended; `seen` says of processes when they certainly lived."""

    saga_id: str
    definition: Definition
    outcome: Outcome[dict[str, object]]
    lines: list[Line]
    events: tuple[Event, ...]
    seen: Sightings

    def faults(self) -> list[str]:
        """What breaks a promise; none, if all is well."""
        checks = (self._ends, self._order, self._contexts, self._writes_ahead, self._keys, self._repeats)
        return [f"{self.saga_id}: {fault}" for check in checks for fault in check()]

    def unexplained(self) -> list[str]:
        """Calls that were made again though none was cut short by a crash."""
        return [f"{self.saga_id}: {fault}" for fault in self._unexplained()]

    @property
    def _steps(self) -> tuple[Step[object], ...]:
        return self.definition.steps

    def _calls(self, name: str) -> list[Line]:
        return [line for line in self.lines if line.call == name and line.what == BEGUN]

    def _ended(self, name: str, how: str) -> list[Line]:
        return [line for line in self.lines if line.call == name and line.what == how]

    def _may_have_happened(self, step: str) -> bool:
        return len(self._calls(step)) > len(self._ended(step, FAILED))

    # P2, P7.

    def _ends(self) -> Iterator[str]:
        match self.outcome:
            case Completed():
                yield from self._completed()
            case Compensated():
                yield from self._undone(self._undoable)
            case CompensationFailed(undo=undo, left=left):
                names = [step.name for step in self._undoable]
                if not (left and left[0] == undo.step):
                    yield f"P2: {undo.step} could not be undone, and {left} is left"
                yield from self._undone([s for s in self._undoable if names.index(s.name) > names.index(left[0])])
                yield from (f"P3: {name} was undone, and is left" for name in left[1:] if self._calls(f"undo-{name}"))

    def _completed(self) -> Iterator[str]:
        for step in self._steps:
            if not self._ended(step.name, WORKED) and step.name not in self.outcome.ignored:
                yield f"P2: completed, and {step.name} never worked"
            if self._calls(f"undo-{step.name}"):
                yield f"P2: completed, and {step.name} was undone"

    @property
    def _undoable(self) -> list[Step[object]]:
        return [step for step in self._steps if step.compensate is not None]

    def _undone(self, steps: Iterable[Step[object]]) -> Iterator[str]:
        begun = {event.step for event in self.events if isinstance(event, AttemptStarted)}
        for step in steps:
            is_undone = bool(self._ended(f"undo-{step.name}", WORKED))
            if self._may_have_happened(step.name) and not is_undone:
                yield f"P2, P7: {step.name} may have happened, and was not undone"
            if is_undone and step.name not in begun:
                yield f"P2: {step.name} was undone, and never began"

    # P3, and the order forward.

    def _order(self) -> Iterator[str]:
        names = [step.name for step in self._steps]
        backwards = [f"undo-{name}" for name in reversed(names)]
        place = {line: number for number, line in enumerate(self.lines)}
        for order in (names, backwards):
            called = [name for name in order if self._calls(name)]
            for earlier, later in pairwise(called):
                began = place[self._calls(later)[0]]
                is_through = any(place[line] < began for line in self._ended(earlier, WORKED))
                if not is_through and earlier not in self.outcome.ignored:
                    yield f"P3: {later} began before {earlier} had ended well"
        undos = [place[line] for line in self.lines if line.call.startswith("undo-")]
        if undos and any(place[line] > min(undos) for line in self.lines if line.call in names and line.what == BEGUN):
            yield "P2: a step began after an undo"

    # P4.

    def _contexts(self) -> Iterator[str]:
        names = [step.name for step in self._steps]
        for line in (line for line in self.lines if line.what == BEGUN):
            step = line.call.removeprefix("undo-")
            had = set(names[: names.index(step)])
            if line.outcome == "completed":
                had.add(step)
            if set(line.done) - {"extra"} != had - {"extra"}:
                yield f"P4: {line.call} ({line.outcome}) found {line.done}"
            if line.outcome == "unknown" and self._succeeded(step):
                yield f"P4: {step} succeeded, and its undo was told that nobody knew"

    def _succeeded(self, step: str) -> bool:
        return any(isinstance(e, AttemptSucceeded) and e.phase == "execute" and e.step == step for e in self.events)

    # P5.

    def _writes_ahead(self) -> Iterator[str]:
        yield from (f"P5: {line.call} was called before the journal had it" for line in self.lines if not line.is_ahead)

    # P6.

    def _keys(self) -> Iterator[str]:
        keys: dict[str, set[str]] = {}
        for line in self.lines:
            keys.setdefault(line.call, set()).add(line.key)
        yield from (f"P6: {call} was called with {len(found)} keys" for call, found in keys.items() if len(found) > 1)
        if len(set().union(*keys.values())) < len(keys):
            yield "P6: two effects had one key"
        for line in self.lines:
            step = line.call.removeprefix("undo-")
            if line.undoes is not None and step in keys and line.undoes not in keys[step]:
                yield f"P6: {line.call} was not told the key of {step}"

    def _repeats(self) -> Iterator[str]:
        attempts = [(line.call, line.attempt) for line in self.lines if line.what == BEGUN]
        twice = {attempt for attempt in attempts if attempts.count(attempt) > 1}
        yield from (f"P6: {call} was called twice as attempt {number}" for call, number in twice)
        yield from self._unexplained()
        if len(self._calls("once")) > 1:
            yield "P6: what may be run once was run again"
        done: set[tuple[str, str]] = set()
        for event in self.events:
            if isinstance(event, AttemptSucceeded):
                done.add((event.phase, event.step))
            elif isinstance(event, AttemptStarted) and (event.phase, event.step) in done:
                yield f"P6: {event.step} ({event.phase}) was begun again after it had succeeded"

    def _unexplained(self) -> Iterator[str]:
        """A call is made again if the one before failed, or its process died; of both, it must have been so by then."""
        for call in {line.call for line in self.lines}:
            for first, again in pairwise(self._calls(call)):
                failed = [line for line in self._ended(call, FAILED) if line.attempt == first.attempt]
                has_failed = any(line.at <= again.at for line in failed)
                if not has_failed and self.seen.get(first.process, 0.0) >= again.at:
                    yield f"P6: {call} was called again while {first.process} lived"
