"""The testing kit's checks of user code: a crash everywhere, and undos that undo."""

from __future__ import annotations

from typing import Any

import pytest

from saga_actors import Saga, current_step, step
from saga_actors.testing import Rehearsal, aborts, crash_everywhere, undo_check

KEYS: dict[str, str] = {}
"""A world that remembers each key, and acts once for all calls that have it."""

COUNT: list[str] = []
"""One that acts each time that it is called."""


def book(context: dict[str, Any]) -> dict[str, Any]:
    here = current_step()
    KEYS[here.idempotency_key] = here.step
    return {here.step: True}


def unbook(context: dict[str, Any]) -> None:
    KEYS.pop(str(current_step().undoes_key), None)


def count(context: dict[str, Any]) -> None:
    COUNT.append(current_step().step)


def uncount(context: dict[str, Any]) -> None:
    if current_step().step in COUNT:
        COUNT.remove(current_step().step)


class Sound(Saga):
    hotel = step(book, compensate=unbook)
    flight = step(book, compensate=unbook)
    mail = step(lambda context: None, on_failure="ignore")


class Careless(Saga):
    hotel = step(count, compensate=uncount)
    flight = step(count, compensate=uncount)


class Forgetful(Saga):
    hotel = step(book, compensate=lambda context: None)


class AtMostOnce(Saga):
    hotel = step(book, compensate=unbook, reruns=0)


@pytest.fixture(autouse=True)
def _new_worlds() -> None:
    KEYS.clear()
    COUNT.clear()


def world() -> list[str]:
    return sorted(KEYS.values())


def test_a_sound_saga_survives_a_crash_everywhere() -> None:
    """Before and after each commit, and each call: it comes to the same end, and so does the world."""
    crashes = crash_everywhere(Sound, {}, reset=KEYS.clear, observe=world)
    crashes.check()
    assert crashes.without.calls == ("hotel", "flight", "mail")
    assert crashes.without.world == ["flight", "hotel"]
    assert len(crashes.each) >= 12
    assert any(len(crash.calls) > 3 for crash in crashes.each)


def test_also_one_that_is_rolled_back() -> None:
    """The script has it fail; the world is as it was."""

    def sold_out(rehearsal: Rehearsal) -> None:
        rehearsal.script("flight", *[aborts("sold out")] * 5)

    crashes = crash_everywhere(Sound, {}, script=sold_out, reset=KEYS.clear, observe=world)
    crashes.check()
    assert crashes.without.state == "compensated"
    assert all(crash.world == [] for crash in crashes.each)


def test_a_step_that_acts_twice_is_found() -> None:
    """By the world, where a worker died after the call."""
    crashes = crash_everywhere(Careless, {}, reset=COUNT.clear, observe=lambda: sorted(COUNT))
    assert [crash.at for crash in crashes.flawed] == ["worker killed after hotel", "worker killed after flight"]
    with pytest.raises(AssertionError, match=r"2 of \d+ crashes do harm:\nworker killed after hotel: the world is"):
        crashes.check()


def test_a_step_that_runs_at_most_once_ends_otherwise_after_a_crash() -> None:
    """That is what it is for, and it is said."""
    crashes = crash_everywhere(AtMostOnce, {}, reset=KEYS.clear, observe=world)
    told = {crash.at: crash.state for crash in crashes.flawed}
    assert told["worker killed after hotel"] == "compensated"


def test_undos_that_undo_have_no_flaw() -> None:
    """Also when step and undo are called twice."""
    reports = undo_check(Sound, {}, world, reset=KEYS.clear)
    assert [(report.step, report.before, report.after, report.undone) for report in reports] == [
        ("hotel", [], ["hotel"], []),
        ("flight", ["hotel"], ["flight", "hotel"], ["hotel"]),
    ]
    assert len(undo_check(AtMostOnce, {}, world, reset=KEYS.clear)) == 1


def test_an_undo_that_leaves_something_is_found() -> None:
    """With what it left, and what there was before."""
    with pytest.raises(AssertionError, match=r"the undo of hotel left \['hotel'\], and before the step it was \[\]"):
        undo_check(Forgetful, {}, world, reset=KEYS.clear)


def test_a_step_that_acts_twice_for_one_key_is_found() -> None:
    """And so is its undo."""
    with pytest.raises(AssertionError) as found:
        undo_check(Careless, {}, lambda: sorted(COUNT), reset=COUNT.clear)
    assert "hotel acts twice for one key: called again it left ['hotel', 'hotel'], and at first ['hotel']" in str(
        found.value
    )
