"""The reckoning that the tests with kills rely on: it finds nothing in what is sound, and each broken promise."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
from accounts import Account, sightings
from killing import BEGUN, FAILED, WORKED, Careless, Delicate, Journey, Line

from saga_actors import Compensated, CompensationFailed, Completed, Failure, FailureKind, Outcome, Saga
from saga_actors.events import AttemptStarted, AttemptSucceeded, Event, Phase, WorkerId

FAILURE = Failure(FailureKind.FAILED, "last", "no", attempts=1)
WORKER = WorkerId(1, 10, 1.0)
FORWARD = ["one", "two", "three", "last"]
BACKWARD = ["undo-three", "undo-two", "undo-one"]


class Book:
    """A ledger and a journal in the making; a second passes between two lines."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.events: list[Event] = []

    def begin(self, call: str, done: list[str], attempt: int = 1, pid: int = 10, outcome: str | None = None) -> None:
        step, is_undo = call.removeprefix("undo-"), call.startswith("undo-")
        phase = Phase.COMPENSATE if is_undo else Phase.EXECUTE
        self.events.append(AttemptStarted(self.now, phase, step, attempt, 1, WORKER))
        undoes = f"key of {step}" if is_undo else None
        outcome = outcome or ("completed" if is_undo else None)
        line = Line(
            BEGUN,
            "it",
            call,
            attempt,
            f"key of {call}",
            undoes,
            outcome,
            tuple(done),
            (pid, 1),
            self.now,
            is_ahead=True,
        )
        self.lines.append(line)

    def end(self, how: str = WORKED) -> None:
        begun = next(line for line in reversed(self.lines) if line.what == BEGUN)
        self.lines.append(attrs.evolve(begun, what=how, at=self.now))
        if how == WORKED:
            is_undo = begun.call.startswith("undo-")
            phase = Phase.COMPENSATE if is_undo else Phase.EXECUTE
            self.events.append(AttemptSucceeded(self.now, phase, begun.call.removeprefix("undo-"), begun.attempt))

    @property
    def now(self) -> float:
        return float(len(self.lines))

    def account(self, outcome: Outcome[dict[str, object]], saga: type[Saga] = Journey) -> Account:
        seen = sightings(self.lines)
        return Account("it", saga.definition, outcome, self.lines, tuple(self.events), seen)

    def alter(self, call: str, **changes: object) -> None:
        """Say something else of these calls."""
        self.lines = [attrs.evolve(line, **changes) if line.call == call else line for line in self.lines]


def completed() -> Book:
    book = Book()
    for number, name in enumerate(FORWARD):
        book.begin(name, FORWARD[:number])
        book.end()
    return book


def compensated() -> Book:
    book = Book()
    for number, name in enumerate(FORWARD):
        book.begin(name, FORWARD[:number])
        book.end(FAILED if name == "last" else WORKED)
    for number, name in enumerate(BACKWARD):
        book.begin(name, FORWARD[: 3 - number])
        book.end()
    return book


DONE = Completed({}, saga_id="it")
UNDONE = Compensated(FAILURE, {}, saga_id="it")


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    """Done, undone, and done again after a crash."""
    assert completed().account(DONE).faults() == []
    assert compensated().account(UNDONE).faults() == []
    book = Book()
    book.begin("one", [])
    book.begin("one", [], attempt=2, pid=11)
    book.end()
    for number, name in enumerate(FORWARD[1:], 1):
        book.begin(name, FORWARD[:number], pid=11)
        book.end()
    assert book.account(DONE).faults() == []


def test_an_ignored_step_may_fail() -> None:
    """It is not in the contexts after it, and need not have worked."""
    book = Book()
    for name, done, how in [
        ("before", [], WORKED),
        ("extra", ["before"], FAILED),
        ("after", ["before"], WORKED),
        ("last", ["before", "after"], WORKED),
    ]:
        book.begin(name, done)
        book.end(how)
    assert book.account(Completed({}, saga_id="it", ignored=("extra",)), Careless).faults() == []
    assert book.account(Completed({}, saga_id="it"), Careless).faults()


def drop(book: Book, call: str) -> None:
    book.lines = [line for line in book.lines if line.call != call]


def swap(book: Book) -> None:
    """The undos of the first two steps the wrong way round."""
    two = [line for line in book.lines if line.call == "undo-two"]
    book.lines = [line for line in book.lines if line.call != "undo-two"] + two


def call_again(book: Book, call: str, pid: int = 10) -> None:
    """Once more, at the end."""
    first = next(line for line in book.lines if line.call == call)
    again = attrs.evolve(first, attempt=2, at=book.now, process=(pid, 1))
    book.lines += [again, attrs.evolve(again, what=WORKED, at=book.now + 1)]


def begin_again(book: Book) -> None:
    book.events.append(AttemptStarted(99.0, Phase.EXECUTE, "one", 2, 2, WORKER))


BROKEN: dict[str, tuple[Callable[[], Book], Outcome[dict[str, object]], Callable[[Book], object]]] = {
    "P2: completed, and three never worked": (completed, DONE, lambda book: drop(book, "three")),
    "P2: completed, and three was undone": (compensated, DONE, lambda book: None),
    "P2, P7: two may have happened, and was not undone": (compensated, UNDONE, lambda book: drop(book, "undo-two")),
    "P3: undo-one began before undo-two": (compensated, UNDONE, swap),
    "P2: a step began after an undo": (compensated, UNDONE, lambda book: call_again(book, "last")),
    "P4: two (None) found ()": (completed, DONE, lambda book: book.alter("two", done=())),
    "P4: undo-two (completed) found ('one',)": (
        compensated,
        UNDONE,
        lambda book: book.alter("undo-two", done=("one",)),
    ),
    "P4: two succeeded, and its undo": (
        compensated,
        UNDONE,
        lambda book: book.alter("undo-two", outcome="unknown", done=("one",)),
    ),
    "P5: two was called before": (completed, DONE, lambda book: book.alter("two", is_ahead=False)),
    "P6: two effects had one key": (completed, DONE, lambda book: book.alter("two", key="key of one")),
    "P6: undo-two was not told the key": (compensated, UNDONE, lambda book: book.alter("undo-two", undoes="another")),
    "P6: one was called again while (10, 1) lived": (completed, DONE, lambda book: call_again(book, "one")),
    "P6: one was called with 2 keys": (
        completed,
        DONE,
        lambda book: book.lines.append(attrs.evolve(book.lines[0], key="new")),
    ),
    "P6: one was called twice as attempt 1": (completed, DONE, lambda book: book.lines.append(book.lines[0])),
    "P6: one (execute) was begun again": (completed, DONE, begin_again),
    "P2: two could not be undone": (
        compensated,
        CompensationFailed(FAILURE, attrs.evolve(FAILURE, step="two"), saga_id="it", context={}, left=("one",)),
        lambda book: None,
    ),
    "P3: one was undone, and is left": (
        compensated,
        CompensationFailed(FAILURE, attrs.evolve(FAILURE, step="two"), saga_id="it", context={}, left=("two", "one")),
        lambda book: None,
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_each_broken_promise_is_found(fault: str) -> None:
    """Whatever one thing is changed in what was sound."""
    make, outcome, break_it = BROKEN[fault]
    book = make()
    break_it(book)
    assert [found for found in book.account(outcome).faults() if fault in found]


def test_what_may_run_once_is_not_run_again_even_after_a_crash() -> None:
    """P6, with `reruns=0`."""
    book = Book()
    book.begin("before", [])
    book.end()
    book.begin("once", ["before"])
    book.begin("once", ["before"], attempt=2, pid=11)
    book.end()
    book.begin("after", ["before", "once"], pid=11)
    book.end()
    faults = book.account(DONE, Delicate).faults()
    assert faults == ["it: P6: what may be run once was run again"]
