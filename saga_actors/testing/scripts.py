"""What an attempt does in a rehearsal, instead of what its code would do."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs

from saga_actors.errors import Abort, OutcomeUnknown


class Course(StrEnum):
    """How an attempt goes."""

    RETURNS = "returns"
    RAISES = "raises"
    TIMES_OUT = "times_out"
    LATE = "late"
    HANGS = "hangs"
    DIES = "dies"


@attrs.frozen
class Act:
    """One attempt, as a test has it; made by the functions of this module. `ran`: its code is called all the same."""

    course: Course
    ran: bool = False
    error: BaseException | None = None
    value: Any = None


def returns(value: Any = None) -> Act:
    """It returns this, and its code is not called."""
    return Act(Course.RETURNS, value=value)


def fails(error: Exception | str = "it failed, as the test has it", *, ran: bool = False) -> Act:
    """It raises this; with `ran` after its code was called, whose effect then stays although it says that it failed."""
    return Act(Course.RAISES, ran, RuntimeError(error) if isinstance(error, str) else error)


def aborts(reason: str = "it gave up, as the test has it", *, ran: bool = False) -> Act:
    """It raises `Abort`: no retry will help."""
    return Act(Course.RAISES, ran, Abort(reason))


def unknown(reason: str = "nobody knows, as the test has it", *, ran: bool = True) -> Act:
    """It raises `OutcomeUnknown`; unless `ran` is False, after its code was called."""
    return Act(Course.RAISES, ran, OutcomeUnknown(reason))


def times_out(*, ran: bool = True) -> Act:
    """It is not over in time, and then comes to rest without success."""
    return Act(Course.TIMES_OUT, ran)


def late() -> Act:
    """It is not over in time, and then succeeds."""
    return Act(Course.LATE, True)


def hangs(*, ran: bool = False) -> Act:
    """It is not over in time, and never comes to rest: its worker is killed."""
    return Act(Course.HANGS, ran)


def dies(*, ran: bool = False) -> Act:
    """Its process dies; with `ran` after its code was called, else before."""
    return Act(Course.DIES, ran)
