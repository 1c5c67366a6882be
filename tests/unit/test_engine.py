"""The supervisor's engine: its turn, its commits, and what it says to clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from engine_rig import ORDER, OTHER, Rig, fail_at, hang, run, start, wait

from saga_actors.actors.limits import Limits
from saga_actors.actors.protocol import (
    Bundle,
    Committed,
    Detach,
    Drain,
    FromWorker,
    Heartbeat,
    Joined,
    Left,
    Load,
    NodeDone,
    Serve,
    Source,
    ToWorker,
)
from saga_actors.errors import CommitUnknownError, EpochError, JournalFullError
from saga_actors.events import Phase
from saga_actors.journal import Appended, Entry, MemoryJournal
from saga_actors.messages import GetStatus, Refusal, Refused, SagaEnded, SagaIsHeld, SagaStarted, StatusIs
from saga_actors.outcomes import Compensated, Completed, SagaState
from saga_actors.plan import OnUnknown, SagaPlan, StepPlan


def test_a_saga_runs_its_steps_in_order_and_whoever_waits_is_told() -> None:
    """P2: every step succeeds, so the saga is completed, with the context of its last step."""
    rig = Rig()
    worker = rig.worker()
    [ended] = rig.send(run("s1"))
    assert isinstance(ended, SagaEnded)
    assert isinstance(ended.encoded, Completed)
    assert ended.encoded.context == b'{"n":1,"reserve":1,"charge":1,"ship":1,"notify":1}'
    assert [key.step for key in worker.ran] == ["reserve", "charge", "ship", "notify"]


def test_a_failed_step_has_the_earlier_ones_undone_in_reverse() -> None:
    """P2, P3: both completed steps with an undo are undone, the later one first."""
    rig = Rig()
    worker = rig.worker(answer=fail_at("ship"))
    [ended] = rig.send(run("s1"))
    assert isinstance(ended.encoded, Compensated)
    assert [key.step for key in worker.ran if key.phase is Phase.COMPENSATE] == ["charge", "reserve"]


class Recording(MemoryJournal):
    """Notes each commit."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[list[str]] = []

    def append(self, epoch: int, entries: Sequence[Entry]) -> Appended:
        self.commits.append([type(event).__name__ for entry in entries for event in entry.events])
        return super().append(epoch, entries)


def test_no_attempt_is_ordered_before_the_journal_says_so() -> None:
    """P5: when an order leaves the engine, its `AttemptStarted` is in the journal; so is what a client is told of."""
    rig = Rig(Recording())
    rig.worker()
    seen: list[Any] = []

    def look(to: str, message: Any) -> bool:
        if isinstance(message, ToWorker):
            for order in message.orders:
                assert f"AttemptStarted {order.key.step} 1" in rig.events("s1")
                seen.append(order)
        if isinstance(message, SagaStarted):
            assert rig.events("s1")
            seen.append(message)
        return False

    rig.lost = look
    rig.send(start("s1"))
    assert len(seen) == 5


def test_the_next_attempt_goes_into_the_commit_of_the_last_success() -> None:
    """P5: with a slot free, intent before effect costs no commit of its own: five for four steps."""
    rig = Rig(Recording())
    rig.worker()
    rig.send(run("s1"))
    assert [len(commit) for commit in rig.journal.commits] == [2, 2, 2, 2, 2]


def test_a_bundle_is_one_commit_and_answered_by_a_bundle() -> None:
    """Batches both ways: a hundred sagas of one client start in one commit."""
    rig = Rig(Recording())
    rig.worker(answer=hang)
    [answer] = rig.send(Bundle(tuple(start(f"s{n}") for n in range(100))))
    assert isinstance(answer, Bundle)
    assert {type(item) for item in answer.items} == {SagaStarted}
    assert len(rig.journal.commits) == 1


def test_the_same_id_is_the_same_saga() -> None:
    """P10: asked again, also after its end, a saga is not run again; another saga or input under its id is refused."""
    rig = Rig()
    worker = rig.worker()
    [first] = rig.send(run("s1"))
    [again] = rig.send(run("s1"))
    assert again.encoded == first.encoded
    assert len(worker.ran) == 4
    for other in (run("s1", digest="e"), run("s1", OTHER)):
        [refused] = rig.send(other)
        assert isinstance(refused, Refused)
        assert refused.code == Refusal.ID_TAKEN


def test_a_doubled_start_makes_one_saga() -> None:
    """P10: two messages for one id in one turn are one saga, and both are answered."""
    rig = Rig()
    worker = rig.worker()
    [answer] = rig.send(Bundle((start("s1"), start("s1"))))
    assert [type(item) for item in answer.items] == [SagaStarted, SagaStarted]
    assert len(worker.ran) == 4


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (run("s1", SagaPlan("shop:Unknown", (StepPlan("a"),))), Refusal.NOT_SERVED),
        (run("s1", SagaPlan("shop:PlaceOrder", (StepPlan("a"),))), Refusal.MISMATCH),
        (run("s1", context=b"{" + b" " * 200 + b"}"), Refusal.TOO_LARGE),
        (run("bad\nid"), Refusal.BAD_REQUEST),
        (wait("nobody"), Refusal.UNKNOWN_SAGA),
    ],
)
def test_what_cannot_be_taken_is_refused_and_nothing_is_journalled(message: Any, code: str) -> None:
    """Bad input is answered with a code and a remedy, before anything is written."""
    rig = Rig(Recording(), limits=Limits(context_limit=100))
    rig.worker()
    [refused] = rig.send(message)
    assert isinstance(refused, Refused)
    assert refused.code == code
    assert rig.journal.commits == []


def test_more_unfinished_sagas_than_may_be_are_refused() -> None:
    """P12: the limit counts what is in one bundle too, and room is made by an end."""
    rig = Rig(limits=Limits(max_unfinished=2))
    worker = rig.worker(answer=hang)
    [answer] = rig.send(Bundle((start("s1"), start("s2"), start("s3"))))
    assert [type(item) for item in answer.items].count(SagaStarted) == 2
    worker.answer = fail_at()
    for said in worker.finish():
        rig.send(said, worker.address)
    [started] = rig.send(start("s3"))
    assert isinstance(started, SagaStarted)


class Faulty(MemoryJournal):
    """Raises at the next append, if it is told to."""

    fault: Exception | None = None

    def append(self, epoch: int, entries: Sequence[Entry]) -> Appended:
        if self.fault is not None:
            raise self.fault
        return super().append(epoch, entries)


def test_a_full_disk_refuses_new_sagas_and_lets_the_running_ones_wait() -> None:
    """P1: nothing is accepted without room; a running saga goes on when there is room again, and runs no step twice."""
    rig = Rig(Faulty())
    worker = rig.worker(answer=hang)
    rig.send(run("s1"))
    rig.journal.fault = JournalFullError("the disk is full")
    [refused] = rig.send(start("s2"))
    assert refused.code == Refusal.OVERLOADED
    worker.answer = fail_at()
    for said in worker.finish():
        rig.send(said, worker.address)
    assert rig.events("s1")[-1] == "AttemptStarted reserve 1"
    rig.journal.fault = None
    rig.tick(2.0)
    rig.send(worker.say(tuple(worker.reports.values())), worker.address)
    assert isinstance(rig.inbox["client"][-1], SagaEnded)
    assert [key.step for key in worker.ran] == ["reserve", "charge", "ship", "notify"]


@pytest.mark.parametrize("fault", [CommitUnknownError("perhaps"), EpochError("another")])
def test_a_commit_of_which_nobody_knows_ends_the_process(fault: Exception) -> None:
    """P5, P8: such an error escapes, nothing of the turn is sent, and the next supervisor folds the journal again."""
    rig = Rig(Faulty())
    rig.worker()
    rig.journal.fault = fault
    with pytest.raises(type(fault)):
        rig.send(run("s1"))
    assert rig.inbox["client"] == []


def test_a_retry_waits_for_its_time() -> None:
    """A retry is not begun before it is due, and is when it is."""
    rig = Rig()
    worker = rig.worker(answer=fail_at("charge", retryable=True))
    rig.send(run("s1"))
    assert [key.step for key in worker.ran] == ["reserve", "charge"]
    rig.tick(9.0)
    assert len(worker.ran) == 2
    worker.answer = fail_at()
    rig.tick(1.5)
    assert [key.attempt for key in worker.ran if key.step == "charge"] == [1, 2]
    assert isinstance(rig.inbox["client"][-1].encoded, Completed)


def test_a_saga_that_nobody_serves_waits_until_somebody_does() -> None:
    """A saga whose class is not served waits for its definition; it is not held."""
    rig = Rig()
    worker = rig.worker(answer=hang)
    rig.send(start("s1"))
    rig.kill(worker)
    rig.begin()
    rig.settle(1.0)
    [status] = rig.send(GetStatus("q", "s1"))
    assert isinstance(status, StatusIs)
    assert status.status.state is SagaState.RUNNING
    rig.worker(2)
    rig.settle(1.0)
    assert rig.events("s1")[-1] == "SagaCompleted"


def test_a_saga_goes_on_with_appended_steps_and_is_held_by_others() -> None:
    """P14: a served definition with steps behind the cursor is taken over; one that moves a started step holds."""
    for steps, end in (((*ORDER.steps, StepPlan("thank")), "SagaCompleted"), (ORDER.steps[1:], "SagaHeld")):
        rig = Rig()
        worker = rig.worker(answer=fail_at("charge", retryable=True))
        rig.send(run("s1"))
        rig.kill(worker)
        rig.begin()
        served = rig.worker(2)
        rig.kill(served)
        changed = SagaPlan(ORDER.saga, steps)
        served.plans[ORDER.saga] = changed
        rig.begin()
        rig.workers[served.address] = served
        rig.send(Joined(served.worker, served.address))
        rig.settle(20.0)
        assert rig.events("s1")[-1] == end


def test_whoever_has_a_saga_served_is_not_kept_waiting_by_an_import_that_hangs() -> None:
    """P12: after 30 seconds without a word from any worker, the answer says so."""
    rig = Rig()
    worker = rig.worker()
    rig.lost = lambda _to, message: isinstance(message, Load)
    rig.send(Serve("q", (Source("shop:Slow", "shop"),)))
    rig.settle(29.0)
    assert rig.inbox["client"] == []
    rig.settle(2.0)
    assert "shop:Slow" in rig.inbox["client"][-1].failures
    assert worker.ran == []


def test_the_last_client_of_a_lingering_node_ends_it() -> None:
    """A node that lingers drains when its last client says goodbye, and tells it how many sagas stay."""
    rig = Rig(limits=Limits(linger=10.0))
    worker = rig.worker(answer=hang)
    for client in ("one", "two"):
        rig.send(Heartbeat("h", client))
    rig.send(start("s1"))
    [first] = rig.send(Detach("d", "one", 5.0))
    assert not first.ending
    assert rig.send(Detach("d", "two", 5.0)) == []
    assert rig.send(start("s2"))[0].code == Refusal.DRAINING
    worker.answer = fail_at()
    for said in worker.finish():
        rig.send(said, worker.address)
    assert rig.inbox["client"][-1].ending
    assert rig.inbox["client"][-1].unfinished == 1
    assert isinstance(rig.inbox["root"][-1], NodeDone)
    assert [key.step for key in worker.ran] == ["reserve"]


def test_a_client_that_vanishes_does_not_keep_a_node() -> None:
    """Without heartbeats a lingering node drains; one that does not linger stays."""
    for linger, ends in ((10.0, True), (None, False)):
        rig = Rig(limits=Limits(linger=linger))
        rig.send(Heartbeat("h", "one"))
        rig.settle(25.0)
        assert any(isinstance(message, NodeDone) for message in rig.inbox["root"]) is ends


def test_draining_waits_for_no_longer_than_it_may() -> None:
    """An attempt that does not end in time is left to the next node, which finds it in the journal."""
    rig = Rig()
    rig.worker(answer=hang)
    rig.send(start("s1"))
    rig.send(Drain(5.0), "root")
    rig.tick(4.0)
    assert not any(isinstance(message, NodeDone) for message in rig.inbox["root"])
    rig.tick(2.0)
    assert isinstance(rig.inbox["root"][-1], NodeDone)


def test_the_word_that_a_node_is_done_is_said_until_it_is_heard() -> None:
    """Messages are hints: it is repeated each second, and nothing else is done or written any more."""
    rig = Rig(Recording())
    rig.worker()
    rig.send(Drain(5.0), "root")
    rig.tick(1.0)
    rig.tick(1.0)
    assert [type(message) for message in rig.inbox["root"]] == [NodeDone] * 3
    assert rig.send(start("s1")) == []
    assert rig.journal.commits == []


def test_a_node_that_ends_waits_for_its_listeners_but_not_for_ever() -> None:
    """The last events are told before the end; listeners that hang keep the node for two seconds at most."""
    rig = Rig()
    rig.telemetry_listens = False
    rig.worker()
    rig.send(run("s1"))
    rig.send(Drain(5.0), "root")
    rig.tick(1.0)
    assert not any(isinstance(message, NodeDone) for message in rig.inbox["root"])
    rig.tick(1.5)
    assert isinstance(rig.inbox["root"][-1], NodeDone)


def test_telemetry_is_told_of_commits_but_not_of_each() -> None:
    """Hints are bounded in time, and the last commit is never kept back for long."""
    rig = Rig()
    rig.worker()
    for n in range(20):
        rig.send(run(f"s{n}"))
    rig.tick(0.1)
    hints = [message for message in rig.inbox["telemetry"] if isinstance(message, Committed)]
    assert len(hints) <= 3
    assert hints[-1].position == rig.journal.end_position()


def test_a_held_saga_is_told_of_as_held() -> None:
    """Whoever runs or awaits a saga that is held hears so at once."""
    plan = SagaPlan("shop:Refund", (StepPlan("refund", reruns=0, on_unknown=OnUnknown.HOLD),))
    rig = Rig()
    worker = rig.worker(answer=hang)
    worker.plans[plan.saga] = plan
    rig.begin()
    rig.tick()
    rig.send(run("s1", plan))
    rig.kill(worker)
    rig.send(Left(worker.worker), "root")
    assert isinstance(rig.inbox["client"][-1], SagaIsHeld)
    [again] = rig.send(wait("s1"))
    assert isinstance(again, SagaIsHeld)


def test_a_message_that_means_nothing_changes_nothing() -> None:
    """An unknown message is logged by its type; the engine goes on."""
    rig = Rig()
    worker = rig.worker()
    assert rig.send("what") == []
    assert rig.send(FromWorker(worker.worker, 1, 0)) == []
    assert isinstance(rig.send(run("s1"))[0], SagaEnded)
