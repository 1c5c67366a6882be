"""Which saga gets the next slot."""

from __future__ import annotations

import sys

import pytest

from saga_actors.actors.protocol import AttemptKey
from saga_actors.actors.slots import Slots, Waiting
from saga_actors.events import Phase, WorkerId

ONE, TWO = WorkerId(1, 101, 1.0), WorkerId(2, 102, 2.0)
KINDS = dict.fromkeys(("orders", "refunds", "mails"))


def slots(threads: int = 4, workers: tuple[WorkerId, ...] = (ONE,)) -> Slots:
    """Workers that serve all three sagas."""
    made = Slots(threads)
    for worker in workers:
        made.join(worker)
        made.serves(worker, KINDS)
    made.recovered()
    return made


def key(saga_id: str) -> AttemptKey:
    return AttemptKey(saga_id, Phase.EXECUTE, "a", 1, 1)


def give_all(made: Slots) -> list[str]:
    """Give out what can be given out; the sagas in that order."""
    given: list[str] = []
    while (found := made.next()) is not None:
        waiting, worker = found
        made.occupy(key(waiting.saga_id), worker, waiting)
        given.append(waiting.saga_id)
    return given


def test_sagas_of_one_class_are_served_in_the_order_in_which_they_came() -> None:
    """First come, first served, within the slots there are."""
    made = slots(3)
    for n in range(5):
        made.want(Waiting(f"s{n}", "orders"))
    assert give_all(made) == ["s0", "s1", "s2"]
    made.release(key("s1"))
    assert give_all(made) == ["s3"]


def test_what_has_begun_goes_before_what_has_not() -> None:
    """A saga keeps the place in which it came, for all its steps."""
    made = slots(1)
    for name in ("a", "b", "c"):
        made.want(Waiting(name, "orders", new=True))
    assert give_all(made) == ["a"]
    made.release(key("a"))
    made.want(Waiting("a", "orders"))
    assert give_all(made) == ["a"]
    made.release(key("a"))
    assert give_all(made) == ["b"]


def test_classes_take_turns() -> None:
    """P11: a thousand orders before it do not keep a refund waiting."""
    made = slots(4)
    for n in range(1000):
        made.want(Waiting(f"o{n}", "orders"))
    made.want(Waiting("r0", "refunds"))
    made.want(Waiting("m0", "mails"))
    assert set(give_all(made)) == {"o0", "r0", "m0", "o1"}


def test_no_class_takes_more_than_three_quarters_while_another_waits() -> None:
    """P11: the last quarter is kept for others; with nobody else there, a class may have it all."""
    made = slots(8)
    for n in range(20):
        made.want(Waiting(f"o{n}", "orders"))
    made.want(Waiting("r0", "refunds"))
    assert len([name for name in give_all(made) if name.startswith("o")]) == 7
    alone = slots(8)
    for n in range(20):
        alone.want(Waiting(f"o{n}", "orders"))
    assert len(give_all(alone)) == 8


def test_a_class_that_has_it_all_gives_way_to_another_and_its_compensations_do_not() -> None:
    """P11: a slot that becomes free goes to the other class, though it is not its turn; but not before an undo."""
    made = slots(8)
    for n in range(20):
        made.want(Waiting(f"o{n}", "orders"))
    assert len(give_all(made)) == 8
    for n in range(3):
        made.want(Waiting(f"r{n}", "refunds"))
    assert give_all(made) == ["r0"]  # from the reserve
    made.release(key("o0"))
    assert give_all(made) == []  # which is given back
    made.release(key("o1"))
    assert give_all(made) == ["r1"]
    for n in range(3):
        made.want(Waiting(f"undo{n}", "orders", urgent=True))
    assert give_all(made) == ["undo0", "undo1"]
    made.release(key("o2"))
    assert give_all(made) == ["undo2"]


def test_long_steps_of_one_class_keep_neither_another_nor_a_compensation_waiting() -> None:
    """P11: there is a reserve of a quarter, of which a class gets an eighth of all slots at most."""
    made = slots(16)
    for n in range(100):
        made.want(Waiting(f"o{n}", "orders"))
    assert len(give_all(made)) == 16
    for n in range(100):
        made.want(Waiting(f"r{n}", "refunds"))
    assert give_all(made) == ["r0", "r1"]
    made.want(Waiting("undo0", "orders", urgent=True))
    made.want(Waiting("m0", "mails"))
    made.want(Waiting("m1", "mails"))
    made.want(Waiting("undo1", "orders", urgent=True))
    assert give_all(made) == ["undo0", "undo1"]
    made.release(key("undo0"))
    made.release(key("r0"))
    assert set(give_all(made)) == {"r2", "m0"}


def test_the_reserve_is_not_for_a_class_whose_own_workers_are_full() -> None:
    """P12: that another worker has free slots, which cannot run it, makes no difference."""
    made = Slots(4)
    for worker, saga in ((ONE, "orders"), (TWO, "refunds")):
        made.join(worker)
        made.serves(worker, {saga: None})
    for n in range(9):
        made.want(Waiting(f"o{n}", "orders"))
    assert len(give_all(made)) == 4


def test_a_saga_whose_first_attempt_was_not_written_down_does_not_wait_for_itself() -> None:
    """Its place in the class is its own, whoever stands before it in the queue."""
    made = slots(4)
    made.serves(ONE, {"orders": 1})
    made.want(Waiting("o0", "orders", new=True))
    made.want(Waiting("o1", "orders", new=True))
    assert give_all(made) == ["o0"]
    made.release(key("o0"))
    made.want(Waiting("o0", "orders", new=True))
    assert give_all(made) == ["o0"]


def test_compensations_and_reruns_go_first() -> None:
    """Urgent work is given out before what came earlier."""
    made = slots(1)
    made.want(Waiting("new", "orders"))
    made.want(Waiting("undo", "orders", urgent=True))
    assert give_all(made) == ["undo"]


def test_async_steps_have_slots_of_their_own() -> None:
    """A full pool of threads does not keep an async step waiting."""
    made = slots(1)
    made.want(Waiting("blocking", "orders"))
    made.want(Waiting("blocked", "orders"))
    made.want(Waiting("async", "orders", is_async=True))
    assert set(give_all(made)) == {"blocking", "async"}


def test_what_must_run_alone_gets_a_worker_to_itself() -> None:
    """It waits until a worker is empty, that worker takes nothing meanwhile, and nothing joins it there."""
    made = slots(4, (ONE, TWO))
    for n in range(2):
        made.want(Waiting(f"s{n}", "orders"))
    assert give_all(made) == ["s0", "s1"]
    made.want(Waiting("alone", "orders", alone=True))
    assert give_all(made) == []
    made.want(Waiting("s2", "refunds"))
    assert give_all(made) == ["s2"]
    made.release(key("s0"))
    made.release(key("s1"))
    made.release(key("s2"))
    given = made.next()
    assert given is not None
    waiting, worker = given
    made.occupy(key("alone"), worker, waiting)
    for n in range(9):
        made.want(Waiting(f"t{n}", "orders"))
    assert len(give_all(made)) == 4
    made.release(key("alone"))
    assert len(give_all(made)) == 4


def test_a_worker_is_kept_free_only_while_somebody_must_run_alone() -> None:
    """P11: a saga that was to run alone and now wants something else gives the worker back to all."""
    made = slots(2)
    made.want(Waiting("s0", "orders"))
    assert give_all(made) == ["s0"]
    made.want(Waiting("s1", "orders", alone=True))
    assert give_all(made) == []
    made.want(Waiting("s1", "orders", urgent=True))
    assert give_all(made) == ["s1"]


def test_a_worker_gets_only_what_it_serves_and_nothing_once_it_retires() -> None:
    """A saga waits for a worker that has loaded its class and takes work."""
    made = Slots(4)
    made.join(ONE)
    made.want(Waiting("s0", "orders"))
    assert give_all(made) == []
    made.serves(ONE, {"orders": None})
    made.retire(ONE, True)
    assert give_all(made) == []
    made.retire(ONE, False)
    assert give_all(made) == ["s0"]


def test_a_dead_worker_gives_its_attempts_back() -> None:
    """What ran in it is known, and its slots are gone with it."""
    made = slots(2, (ONE,))
    made.want(Waiting("s0", "orders"))
    give_all(made)
    assert made.leave(ONE) == [key("s0")]
    assert made.busy == 0
    made.want(Waiting("s0", "orders"))
    assert give_all(made) == []


def test_a_saga_that_waits_no_more_is_skipped() -> None:
    """Dropping is cheap: its place in the queue is passed over; wanting twice is one place."""
    made = slots(4)
    made.want(Waiting("s0", "orders"))
    made.want(Waiting("s0", "orders"))
    made.want(Waiting("s1", "orders"))
    made.drop("s0")
    assert give_all(made) == ["s1"]


def test_a_class_that_nobody_serves_keeps_no_slots_from_the_others() -> None:
    """Its sagas wait for their definition, not for a slot."""
    made = slots(4)
    made.want(Waiting("u0", "unserved"))
    for n in range(4):
        made.want(Waiting(f"o{n}", "orders"))
    assert len(give_all(made)) == 4


def test_a_class_begins_no_more_sagas_than_its_limit_and_keeps_no_turn_from_others() -> None:
    """P11, P12: later steps of those in flight pass; when one ends, whoever came first begins."""
    made = slots(8)
    made.serves(ONE, {"orders": 2})
    for n in range(5):
        made.want(Waiting(f"o{n}", "orders", new=True))
    for n in range(3):
        made.want(Waiting(f"r{n}", "refunds", new=True))
    assert give_all(made) == ["o0", "r0", "o1", "r1", "r2"]
    made.release(key("o0"))
    made.want(Waiting("o0", "orders"))
    made.want(Waiting("o9", "orders", new=True))
    assert give_all(made) == ["o0"]
    made.end("o1")
    assert give_all(made) == ["o2"]
    made.drop("o3")
    made.end("o0")
    assert give_all(made) == ["o4"]


def test_a_class_at_its_limit_is_not_another_that_waits() -> None:
    """It could not take the quarter that would be kept for it, so the others may have it all."""
    made = slots(8)
    made.serves(ONE, {"refunds": 1})
    for n in range(3):
        made.want(Waiting(f"r{n}", "refunds", new=True))
    for n in range(20):
        made.want(Waiting(f"o{n}", "orders", new=True))
    assert len(give_all(made)) == 8


def test_a_class_with_a_limit_begins_nothing_until_all_that_are_in_flight_are_known() -> None:
    """P12: after a restart those that had begun come back one after the other, and not in the order of the queue."""
    made = Slots(8)
    made.join(ONE)
    made.serves(ONE, {"orders": 2, "refunds": None})
    for name in ("o0", "o1", "r0"):
        made.want(Waiting(name, "orders" if name[0] == "o" else "refunds", new=True))
    assert give_all(made) == ["r0"]
    made.begun("o8", "orders")
    made.want(Waiting("o9", "orders", urgent=True))
    made.recovered()
    assert give_all(made) == ["o9", "o0"]


def test_a_limit_is_the_one_of_the_worker_whose_definition_is_in_force() -> None:
    """It is that of the worker that has served the class for longest; when that one has gone, of the next."""
    made = Slots(8)
    made.recovered()
    for worker, limit in ((ONE, 1), (TWO, None)):
        made.join(worker)
        made.serves(worker, {"orders": limit})
    for n in range(3):
        made.want(Waiting(f"o{n}", "orders", new=True))
    assert give_all(made) == ["o0"]
    made.leave(ONE)
    assert give_all(made) == ["o1", "o2"]


def test_with_all_slots_taken_asking_costs_nothing_however_many_wait() -> None:
    """P12: neither the queues nor the workers are looked through; ten thousand waiting make no difference."""
    made = slots(2)
    for n in range(10_000):
        made.want(Waiting(f"o{n}", "orders"))
    assert len(give_all(made)) == 2
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    assert made.next() is None
    sys.setprofile(None)
    assert calls < 20


# Keeping a slot.


def following(saga_id: str) -> AttemptKey:
    return AttemptKey(saga_id, Phase.EXECUTE, "b", 1, 1)


def test_a_saga_whose_turn_it_is_anyway_keeps_its_slot() -> None:
    """Only new ones of its class wait, and it has begun; its slot passes to its next attempt, and is counted once."""
    made = slots(2)
    for name in ("a", "b", "c"):
        made.want(Waiting(name, "orders", new=True))
    assert give_all(made) == ["a", "b"]
    kept = made.keep(key("a"))
    assert kept is not None
    assert (kept.worker, kept.is_async) == (ONE, False)
    made.pass_on(key("a"), following("a"))
    assert (made.holds(key("a")), made.holds(following("a")), made.busy) == (False, True, 2)
    assert give_all(made) == []
    made.release(following("a"))
    assert give_all(made) == ["c"]


@pytest.mark.parametrize(
    "other",
    [Waiting("x", "refunds", new=True), Waiting("x", "orders"), Waiting("x", "orders", urgent=True)],
    ids=["another class", "one of its class that has begun", "a compensation"],
)
def test_a_saga_that_others_come_before_keeps_no_slot(other: Waiting) -> None:
    """P11: it takes its place in the queue, as without this short cut."""
    made = slots(1)
    made.want(Waiting("a", "orders", new=True))
    give_all(made)
    made.want(other)
    assert made.keep(key("a")) is None
    made.drop("x")
    assert made.keep(key("a")) is not None


def test_no_slot_is_kept_in_a_worker_that_retires_or_of_an_attempt_that_has_none() -> None:
    """What is given up, or unknown, cannot be gone on in."""
    made = slots(1)
    assert made.keep(key("a")) is None
    made.want(Waiting("a", "orders", new=True))
    give_all(made)
    made.retire(ONE, True)
    assert made.keep(key("a")) is None


def test_no_slot_is_kept_in_a_worker_of_which_the_reserve_is_in_use() -> None:
    """P11: the reserve is for those who would else wait, and is given back."""
    made = slots(4)
    for n in range(4):
        made.want(Waiting(f"s{n}", "orders", new=True))
    give_all(made)
    made.want(Waiting("urgent", "orders", urgent=True))
    assert give_all(made) == ["urgent"]
    assert made.keep(key("s0")) is None
    made.release(key("urgent"))
    assert made.keep(key("s0")) is not None


def test_no_worker_is_kept_empty_for_somebody_who_runs_elsewhere() -> None:
    """P11: the one that was kept retired for a moment, so that another was kept as well, and taken."""
    made = slots(4, (ONE, TWO))
    for n in range(6):
        made.want(Waiting(f"b{n}", "orders"))
    give_all(made)
    made.want(Waiting("alone", "refunds", alone=True))
    assert give_all(made) == []
    (kept,) = [room.worker for room in made._rooms.values() if room.kept]
    made.retire(kept, True)
    assert give_all(made) == []
    for n in range(6):
        made.release(key(f"b{n}"))
    assert give_all(made) == ["alone"]
    made.retire(kept, False)
    made.release(key("alone"))
    for n in range(8):
        made.want(Waiting(f"c{n}", "orders"))
    assert len(give_all(made)) == 8
