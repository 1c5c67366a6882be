"""How often an attempt is made again, and after how long."""

from __future__ import annotations

from datetime import timedelta

import attrs

from saga_actors.errors import DefinitionError

Seconds = float | int | timedelta


def seconds(value: object, what: str, *, most: float | None = None) -> float:
    """`value` in seconds; a bare number above `most` is taken for milliseconds and refused."""
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
        if most is not None and number > most:
            raise DefinitionError(
                f"{what} is {value!r}: seconds, not milliseconds; write timedelta(hours=…) if you mean it"
            )
    else:
        raise DefinitionError(f"{what} is {value!r}; expected seconds (a number) or a timedelta")
    if not 0 <= number < float("inf"):
        raise DefinitionError(f"{what} is {value!r}; expected a duration of zero or more")
    return number


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
            whole = self.max_delay
        return whole * (1 - self.jitter * roll)


def _times(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1_000_000:
        raise DefinitionError(f"{what} is {value!r}; expected a whole number from 0 to 1,000,000")
    return value


@attrs.frozen(init=False)
class Retry:
    """When to try a step again after a failure or a timeout; give it as `retries=` or `compensate_retries=`.

    `times`: how many retries. Delays (seconds or timedelta) grow from `first_delay` by `factor` up to `max_delay`;
    `jitter` is the share of a delay that is drawn at random, from 0 (none) to 1 (all of it). `on`: only errors of
    these classes are retried; by default every `Exception`, but for `Abort`.
    """

    backoff: Backoff
    on: tuple[type[BaseException], ...]

    def __init__(
        self,
        times: int,
        first_delay: Seconds = 0.1,
        factor: float = 2.0,
        max_delay: Seconds = 30.0,
        jitter: float = 1.0,
        *,
        on: tuple[type[BaseException], ...] | type[BaseException] = (Exception,),
    ) -> None:
        if not isinstance(factor, (int, float)) or isinstance(factor, bool) or not 1 <= factor <= 1_000:
            raise DefinitionError(f"Retry(factor={factor!r}); expected a number from 1 to 1,000")
        if not isinstance(jitter, (int, float)) or isinstance(jitter, bool) or not 0 <= jitter <= 1:
            raise DefinitionError(f"Retry(jitter={jitter!r}); expected a number from 0 (none) to 1 (full)")
        backoff = Backoff(
            times=_times(times, "Retry(times=…)"),
            first_delay=seconds(first_delay, "Retry(first_delay=…)", most=3600),
            factor=float(factor),
            max_delay=seconds(max_delay, "Retry(max_delay=…)", most=86_400),
            jitter=float(jitter),
        )
        self.__attrs_init__(backoff, exception_classes(on, "Retry(on=…)"))  # type: ignore[attr-defined]

    @classmethod
    def of(cls, value: int | Retry, what: str) -> Retry:
        """`value` as a `Retry`; a number is that many retries with the default backoff."""
        if isinstance(value, Retry):
            return value
        return cls(_times(value, what))


def exception_classes(value: object, what: str) -> tuple[type[BaseException], ...]:
    """`value` as a tuple of exception classes, or `DefinitionError`."""
    classes = value if isinstance(value, tuple) else (value,)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise DefinitionError(f"{what} holds {each!r}; expected exception classes")
    return classes
