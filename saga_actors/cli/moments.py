"""Times as a person writes and reads them: spans such as 90s, 15m, 12h, 30d, and moments in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_EXPECTED = "expected a span such as 90s, 15m, 12h or 30d"


def span(text: str) -> timedelta | None:
    """The span that this is, also one of several parts such as 1h30m; None if it is none."""
    parts = _SPAN.findall(text)
    if not parts or _SPAN.sub("", text).strip():
        return None
    try:
        return sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())
    except OverflowError:
        return None


def a_span(value: str | timedelta) -> timedelta:
    """For an option that is a length of time."""
    if isinstance(value, timedelta):
        return value
    found = span(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no span of time; {_EXPECTED}")
    return found


def a_span_or_moment(value: str | timedelta | datetime) -> timedelta | datetime:
    """For an option that is a length of time, or a moment as ISO 8601 writes it; one without a zone is in UTC."""
    if isinstance(value, timedelta | datetime):
        return value
    found = span(value)
    if found is not None:
        return found
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        why = f"{value!r} is no time; {_EXPECTED}, or a time such as 2026-11-22T18:30:00Z"
        raise click.BadParameter(why) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def clock_time(moment: datetime) -> str:
    """A moment as it is read, to the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def lasting(seconds: float) -> str:
    """How long something takes, with as much precision as one reads."""
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes, hours, days = seconds / 60, seconds / 3_600, seconds / 86_400
    if minutes < 100:
        return f"{minutes:.0f} min"
    return f"{hours:.0f} h" if hours < 48 else f"{days:.0f} d"
