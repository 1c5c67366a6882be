"""How often an attempt is made again, and after how long."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TypeGuard

import attrs

from saga_actors.errors import DefinitionError

Seconds = float | int | timedelta

LONGEST = timedelta(days=3650).total_seconds()
"""The longest duration that is taken anywhere, in seconds: further ahead, times no longer fit the calendar."""

MOST_TIMES = 1_000_000
"""The most retries, or reruns, of a step."""


def seconds(value: object, what: str, *, most: float | None = None) -> float:
    """`value` in seconds; a bare number above `most` is taken for milliseconds and refused."""
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif _is_number(value):
        if most is not None and value > most:
            raise DefinitionError(
                f"{what} is {value!r}: seconds, not milliseconds; write timedelta(hours=…) if you mean it"
            )
        number = float(value) if value <= LONGEST else math.inf
    else:
        raise DefinitionError(f"{what} is {value!r}; expected seconds (a number) or a timedelta")
    if not 0 <= number <= LONGEST:
        raise DefinitionError(f"{what} is {value!r}; expected a duration of zero or more, up to 3,650 days")
    return number


def whole_number(value: object, what: str) -> int:
    """`value` if it can say how often something is done again, or `DefinitionError`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_TIMES:
        raise DefinitionError(f"{what} is {value!r}; expected a whole number from 0 to {MOST_TIMES:,}")
    return value


def exception_classes(value: object, what: str) -> tuple[type[BaseException], ...]:
    """`value`, an exception class or a tuple of them, as a tuple; or `DefinitionError`."""
    return tuple(_exception_class(each, what) for each in (value if isinstance(value, tuple) else (value,)))


def _exception_class(value: object, what: str) -> type[BaseException]:
    if isinstance(value, type) and issubclass(value, BaseException):
        return value
    raise DefinitionError(f"{what} has {value!r}; expected an exception class or a tuple of exception classes")


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@attrs.frozen
class Backoff:
    """Exponential backoff with jitter: what of a `Retry` is pinned in the journal. All delays are in seconds."""

    times: int = 0
    first_delay: float = 0.1
    factor: float = 2.0
    max_delay: float = 30.0
    jitter: float = 1.0

    def delay(self, retry: int, roll: float) -> float:
        """Seconds before the `retry`-th retry (1-based); `roll` in [0, 1) draws the jitter.

        With `jitter=1` this is the "full jitter" of Marc Brooker's "Exponential Backoff And Jitter".
        """
        exponent = min(retry - 1, 1_000)
        try:
            whole = min(self.max_delay, self.first_delay * self.factor**exponent)
        except OverflowError:
            whole = self.max_delay if self.first_delay else 0.0
        return whole * (1 - self.jitter * roll)


def _times(value: int) -> int:
    return whole_number(value, "Retry(times=…)")


def _first_delay(value: Seconds) -> timedelta:
    return timedelta(seconds=seconds(value, "Retry(first_delay=…)", most=3_600))


def _max_delay(value: Seconds) -> timedelta:
    return timedelta(seconds=seconds(value, "Retry(max_delay=…)", most=86_400))


def _enough(retry: Retry) -> timedelta:
    return max(timedelta(seconds=30), retry.first_delay)


def _factor(value: float) -> float:
    if not _is_number(value) or not 1 <= value <= 1_000:
        raise DefinitionError(f"Retry(factor=…) is {value!r}; expected a number from 1 to 1,000")
    return float(value)


def _jitter(value: float) -> float:
    if not _is_number(value) or not 0 <= value <= 1:
        raise DefinitionError(f"Retry(jitter=…) is {value!r}; expected a number from 0 (none) to 1 (all)")
    return float(value)


def _on(value: tuple[type[BaseException], ...] | type[BaseException]) -> tuple[type[BaseException], ...]:
    return exception_classes(value, "Retry(on=…)")


@attrs.frozen
class Retry:
    """When to try a step again after a failure or a timeout; give it as `retries=` or `compensate_retries=`.

    `times`: how many retries. Delays (seconds or timedelta) grow from `first_delay` by `factor` up to `max_delay`,
    which is 30 seconds, or `first_delay` where that is longer; `jitter` is the share of a delay that is drawn at
    random, from 0 (none) to 1 (all of it). `on`: only errors of these classes are retried; by default every
    `Exception`, but for `Abort`.
    """

    times: int = attrs.field(converter=_times)
    first_delay: timedelta = attrs.field(default=timedelta(seconds=0.1), converter=_first_delay)
    factor: float = attrs.field(default=2.0, converter=_factor)
    max_delay: timedelta = attrs.field(default=attrs.Factory(_enough, takes_self=True), converter=_max_delay)
    jitter: float = attrs.field(default=1.0, converter=_jitter)
    on: tuple[type[BaseException], ...] = attrs.field(default=(Exception,), converter=_on, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.max_delay < self.first_delay:
            raise DefinitionError(
                f"Retry(max_delay=…) is {self.max_delay}, which is less than first_delay, {self.first_delay}; expected "
                "at least that"
            )

    @classmethod
    def of(cls, value: int | Retry, what: str) -> Retry:
        """`value` as a `Retry`; a number is that many retries with the default backoff."""
        if isinstance(value, Retry):
            return value
        return cls(whole_number(value, what))

    @property
    def backoff(self) -> Backoff:
        """What of this is pinned: all but `on`."""
        first, longest = self.first_delay.total_seconds(), self.max_delay.total_seconds()
        return Backoff(self.times, first, self.factor, longest, self.jitter)
