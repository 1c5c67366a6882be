"""How many commits a saga takes, and what goes into each."""

from __future__ import annotations

from typing import Any

from engine_rig import ORDER, OTHER, Rig, fail_at
from test_engine_start_many import new, starting

from saga_actors.actors.limits import Limits
from saga_actors.events import AttemptStarted, AttemptSucceeded, Event
from saga_actors.journal import MemoryJournal


class Keeping(MemoryJournal):
    """Keeps what was in each commit, by saga."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[dict[str, tuple[Event, ...]]] = []

    def append(self, epoch: int, entries: Any) -> Any:
        self.commits.append({entry.saga_id: entry.events for entry in entries})
        return super().append(epoch, entries)


def kinds(rig: Rig, saga_id: str) -> list[list[str]]:
    return [[type(event).__name__ for event in commit[saga_id]] for commit in rig.journal.commits if saga_id in commit]


def test_an_intent_goes_into_the_commit_of_the_success_before_it() -> None:
    """P5: four steps take five commits, and none is of an intent alone."""
    rig = Rig(Keeping())
    rig.worker()
    rig.send(starting(new("a")))
    both = ["AttemptSucceeded", "AttemptStarted"]
    assert kinds(rig, "a") == [["Accepted", "AttemptStarted"], both, both, both, ["AttemptSucceeded", "SagaCompleted"]]


def test_sagas_that_have_begun_go_on_while_new_ones_wait() -> None:
    """Each saga of many has as few commits as one alone, and the first ends long before the last begins."""
    rig = Rig(Keeping(), limits=Limits(threads=4))
    rig.worker()
    rig.send(starting(*(new(f"s{n}") for n in range(40))))
    assert all(len(kinds(rig, f"s{n}")) <= 6 for n in range(40))
    ended = next(n for n, commit in enumerate(rig.journal.commits) if "SagaCompleted" in str(commit.get("s0")))
    begun = next(n for n, commit in enumerate(rig.journal.commits) if "AttemptStarted" in str(commit.get("s39")))
    assert ended < begun


def test_a_saga_goes_on_in_the_slot_that_it_has_and_the_worker_never_has_more() -> None:
    """P11: what is started and not ended is never more than there are slots, whoever keeps what."""
    rig = Rig(Keeping(), limits=Limits(threads=4))
    rig.worker(answer=fail_at("charge"))
    rig.send(starting(*(new(f"s{n}") for n in range(20))))
    rig.send(starting(*(new(f"r{n}") for n in range(20)), correlation_id="others", plan=OTHER))
    live: set[tuple[str, str, str]] = set()
    most = 0
    for commit in rig.journal.commits:
        for saga_id, events in commit.items():
            for event in events:
                if isinstance(event, AttemptStarted):
                    live.add((saga_id, event.phase, event.step))
                elif hasattr(event, "attempt") and not isinstance(event, AttemptStarted):
                    live.discard((saga_id, event.phase, event.step))
        most = max(most, len(live))
    assert not live
    assert 0 < most <= 5  # four, and one in reserve
    assert rig.journal.count_unfinished() == 0
    assert ORDER.steps[0].compensable
    assert any(isinstance(event, AttemptSucceeded) for commit in rig.journal.commits for event in commit.get("r0", ()))
