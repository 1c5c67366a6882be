"""Retries and durations: what is taken, what is refused, and how delays grow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_actors.errors import DefinitionError
from saga_actors.plan import OnFailure, SagaPlan, StepPlan
from saga_actors.retry import Backoff, Retry, exception_classes, seconds, whole_number


@pytest.mark.parametrize(("value", "expected"), [(0, 0.0), (2, 2.0), (0.5, 0.5), (timedelta(hours=2), 7200.0)])
def test_a_duration_is_seconds_or_a_timedelta(value: Any, expected: float) -> None:
    """Numbers are seconds, timedeltas are what they say, and both come out as float seconds."""
    assert seconds(value, "timeout", most=3600) == expected
    assert isinstance(seconds(value, "timeout"), float)


def test_a_big_bare_number_is_taken_for_milliseconds() -> None:
    """A bare number above the limit is refused with the words to write instead; the same timedelta passes."""
    with pytest.raises(DefinitionError, match=r"seconds, not milliseconds; write timedelta\(hours=…\) if you mean it"):
        seconds(30_000, "timeout", most=3600)
    assert seconds(3600, "timeout", most=3600) == 3600
    assert seconds(timedelta(seconds=30_000), "timeout", most=3600) == 30_000


@pytest.mark.parametrize(
    "value", [-1, float("nan"), float("inf"), 10**400, timedelta(seconds=-1), timedelta.max, True, "3", None]
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    """Negative, endless, absurdly long and untyped durations are refused with a DefinitionError and nothing else."""
    with pytest.raises(DefinitionError, match="timeout is "):
        seconds(value, "timeout")


@pytest.mark.parametrize("value", [-1, 1.0, True, 1_000_001, "3", None])
def test_what_is_no_count_is_refused(value: Any) -> None:
    """A count is a whole number from 0 to 1,000,000 (P12)."""
    with pytest.raises(DefinitionError, match="expected a whole number from 0 to 1,000,000"):
        whole_number(value, "reruns")


@pytest.mark.parametrize(
    "options",
    [
        {"times": -1},
        {"times": 1.5},
        {"first_delay": -1},
        {"first_delay": 5000},
        {"factor": 0.5},
        {"factor": float("nan")},
        {"factor": True},
        {"factor": "2"},
        {"max_delay": 100_000},
        {"first_delay": 10, "max_delay": 5},
        {"jitter": 1.1},
        {"jitter": -0.1},
        {"jitter": None},
        {"on": ValueError("an instance")},
        {"on": [ValueError]},
        {"on": (ValueError, int)},
    ],
)
def test_a_retry_out_of_range_is_refused_by_name(options: dict[str, Any]) -> None:
    """Every wrong option of a Retry is refused, with the option's name in the message."""
    with pytest.raises(DefinitionError, match=rf"Retry\({list(options)[-1]}=…\)"):
        Retry(**{"times": 1, **options})


def test_the_longest_delay_follows_a_long_first_one() -> None:
    """`max_delay` is 30 s, or `first_delay` where that is longer, so that a long first delay is never cut silently."""
    assert Retry(3).backoff.max_delay == 30
    assert Retry(3, first_delay=600).backoff.max_delay == 600
    assert Retry(3, first_delay=timedelta(days=2)).max_delay == timedelta(days=2)


def test_a_number_of_retries_is_a_retry() -> None:
    """`retries=3` is `Retry(3)`, and a Retry stays what it is."""
    assert Retry.of(3, "retries") == Retry(3)
    retry = Retry(2, 0.5, 3.0, 60, 0, on=OSError)
    assert Retry.of(retry, "retries") is retry
    assert retry.on == (OSError,)
    assert retry.backoff == Backoff(2, 0.5, 3.0, 60.0, 0.0)


def test_a_retry_can_be_evolved() -> None:
    """A Retry is a value: `attrs.evolve` gives another one, checked like the first."""
    assert attrs.evolve(Retry(2, on=OSError), times=5) == Retry(5, on=OSError)
    rare = Retry(2, first_delay=timedelta(days=2))
    assert attrs.evolve(rare, times=5).backoff == attrs.evolve(rare.backoff, times=5)
    with pytest.raises(DefinitionError):
        attrs.evolve(Retry(2), jitter=7)


def test_one_exception_class_is_a_tuple_of_one() -> None:
    """An exception class stands for itself, and none for none."""
    assert exception_classes(ValueError, "on") == (ValueError,)
    assert exception_classes((), "on") == ()


def test_delays_grow_up_to_the_longest() -> None:
    """Without jitter the delays are first, first·factor, … and then the longest."""
    backoff = Retry(9, 1, 2, 10, jitter=0).backoff
    assert [backoff.delay(n, 0.9) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_no_first_delay_is_no_delay() -> None:
    """With `first_delay=0` there is no delay, however often it is retried."""
    assert Retry(9, 0, 1000).backoff.delay(100_000, 0.0) == 0


@given(
    first=st.floats(0, 3600),
    factor=st.floats(1, 1000),
    jitter=st.floats(0, 1),
    retry=st.integers(1, 1_000_000),
    roll=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_is_never_longer_than_the_longest(
    first: float, factor: float, jitter: float, retry: int, roll: float
) -> None:
    """Whatever the policy, a delay is finite, not negative and at most `max_delay` (P12)."""
    policy = Retry(1_000_000, first, factor, jitter=jitter)
    assert 0 <= policy.backoff.delay(retry, roll) <= policy.max_delay.total_seconds()


def test_a_fingerprint_does_not_know_timeouts_and_retries() -> None:
    """P14: names, undos, on_failure, on_unknown and the context are pinned; timeouts and retries are not."""
    charge = StepPlan("charge", compensable=True)
    pinned = SagaPlan("place-order", (charge,)).fingerprint
    slower = attrs.evolve(charge, timeout=99.0, retries=Backoff(times=7), reruns=0, is_async=True)
    assert SagaPlan("place-order", (slower,)).fingerprint == pinned
    assert SagaPlan("place-order", (slower,)).plan_id != SagaPlan("place-order", (charge,)).plan_id
    for changed in (
        SagaPlan("place-order", (attrs.evolve(charge, name="pay"),)),
        SagaPlan("place-order", (attrs.evolve(charge, compensable=False),)),
        SagaPlan("place-order", (attrs.evolve(charge, on_failure=OnFailure.IGNORE),)),
        SagaPlan("place-order", (charge, StepPlan("ship"))),
        SagaPlan("place-order", (charge,), context="{total: int}"),
    ):
        assert changed.fingerprint != pinned
