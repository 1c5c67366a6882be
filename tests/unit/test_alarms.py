"""The supervisor's alarms."""

from __future__ import annotations

from saga_actors.actors.alarms import Alarms


def test_sagas_are_woken_in_the_order_of_their_times_and_once() -> None:
    """Whoever is due comes out, the earliest first, and never again for the same alarm."""
    alarms = Alarms()
    for saga_id, at in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        alarms.set(saga_id, at)
    assert alarms.next == 1.0
    assert alarms.due(2.0) == ["a", "b"]
    assert alarms.due(2.0) == []
    assert alarms.due(3.0) == ["c"]


def test_an_alarm_that_was_moved_or_dropped_wakes_nobody_at_its_old_time() -> None:
    """The last word counts, also if the time is set back to an earlier one."""
    alarms = Alarms()
    alarms.set("moved", 1.0)
    alarms.set("moved", 5.0)
    alarms.set("dropped", 1.0)
    alarms.drop("dropped")
    assert alarms.due(4.0) == []
    assert alarms.due(5.0) == ["moved"]
    alarms.set("back", 9.0)
    alarms.set("back", 7.0)
    assert alarms.due(8.0) == ["back"]
    assert alarms.due(10.0) == []


def test_alarms_that_mean_nothing_any_more_do_not_pile_up() -> None:
    """P12: a hundred thousand sagas that end long before their deadlines leave a bounded number of entries."""
    alarms = Alarms()
    for n in range(100_000):
        alarms.set(f"s{n}", 1e9 + n)
        alarms.drop(f"s{n}")
    assert len(alarms) <= 1_001
