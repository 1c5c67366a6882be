"""What a coordinator is given, checked at the door: an argument that makes no sense is refused with what would."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from saga_actors.definition import Saga
from saga_actors.errors import SagaActorsError
from saga_actors.outcomes import SagaState


def ids_for(count: int, saga_ids: Any) -> list[str | None]:
    """An id for each of `count` sagas, None for one to be made; they must be all different."""
    if saga_ids is None:
        return [None] * count
    if isinstance(saga_ids, str) or not isinstance(saga_ids, Iterable):
        raise SagaActorsError(f"saga_ids is {saga_ids!r}; expected a list of ids, one for each context")
    found = list(saga_ids)
    if len(found) != count:
        raise SagaActorsError(f"there are {count} contexts and {len(found)} saga_ids; expected one for each")
    if len(set(map(str, found))) < count:
        twice = next(saga_id for saga_id in found if found.count(saga_id) > 1)
        raise SagaActorsError(f"saga_ids has {twice!r} more than once; one id stands for one saga")
    return found


def positive(value: object, what: str, most: int | None = None) -> int:
    """A whole number of 1 or more, and of `most` at most."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1 and (most is None or value <= most):
        return value
    expected = "a whole number of 1 or more" if most is None else f"a whole number from 1 to {most:,}"
    raise SagaActorsError(f"{what} is {value!r}; expected {expected}")


def functions(telemetry: Any) -> tuple[str, ...]:
    """Names of functions, as "module:function"."""
    names = [telemetry] if isinstance(telemetry, str) or not isinstance(telemetry, Iterable) else [*telemetry]
    for name in names:
        module, _, function = name.partition(":") if isinstance(name, str) else ("", "", "")
        if name is telemetry or not (module and function):
            raise SagaActorsError(f'telemetry has {name!r}; expected a list of functions as "module:function"')
    return tuple(names)


def moment(deadline: object) -> datetime | None:
    """A time, also if it is given as one from now."""
    try:
        if isinstance(deadline, timedelta):
            return datetime.now(UTC) + deadline
        if deadline is None or (isinstance(deadline, datetime) and deadline.tzinfo is not None):
            return deadline
    except OverflowError:
        pass
    raise SagaActorsError(
        f"deadline is {deadline!r}; expected a datetime with a time zone, such as datetime.now(UTC), or a timedelta "
        "from now"
    )


def past(given: Any, what: str) -> float:
    """A time in the past in POSIX seconds, also if it is given as so long ago."""
    try:
        if isinstance(given, timedelta) and given >= timedelta(0):
            return (datetime.now(UTC) - given).timestamp()
        if isinstance(given, datetime) and given.tzinfo is not None:
            return given.timestamp()
    except OverflowError:
        pass
    raise SagaActorsError(
        f"{what} is {given!r}; expected a timedelta, such as timedelta(days=30), or a datetime with a time zone"
    )


def state_named(state: Any) -> SagaState | None:
    """A state, also if it is given by its value."""
    try:
        return None if state is None else SagaState(state)
    except ValueError:
        raise SagaActorsError(f"state is {state!r}; expected one of {', '.join(SagaState)}") from None


def saga_name(saga: Any) -> str | None:
    """The name of a saga, also if its class is given."""
    if saga is None or isinstance(saga, str):
        return saga
    if isinstance(saga, type) and issubclass(saga, Saga):
        return saga.definition.name
    raise SagaActorsError(f"saga is {saga!r}; expected a saga's class, or its name")
