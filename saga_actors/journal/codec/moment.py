"""Moments as text, with their zone."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from saga_actors.journal.codec.misfit import Misfit
from saga_actors.journal.codec.native import sound_text
from saga_actors.journal.codec.type_name import type_name

UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, OSError)
"""What reading a text that is no such value may raise."""

_MOMENT = re.compile(r"([^ \[]+)(?:\[([^\]]+)\])?( fold=1)?(?: \((.*)\))?", re.DOTALL)


def dump_moment(value: datetime | time) -> str:
    """ISO 8601; a zone as in RFC 9557 (`2024-05-01T12:00:00[Europe/Berlin]`), but that its offset is left out.

    A fold and the name of a fixed offset follow: `… fold=1`, `… (CEST)`.
    """
    zone = value.tzinfo
    if zone is None:
        return value.isoformat() + _fold(value)
    text = _zoned(value, zone)
    try:
        if load_moment(type(value), text) == value:
            return text
    except UNREADABLE:
        pass
    raise Misfit(f"does not come back equal with its tzinfo of type {type_name(zone)}; convert it to UTC")


def load_moment(kind: type[datetime] | type[time], text: str) -> datetime | time:
    """The moment that was dumped; raises what is UNREADABLE."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError
    iso, key, fold, name = match.groups()
    value = kind.fromisoformat(iso)
    zone: tzinfo | None = value.tzinfo
    if key is not None:
        zone = ZoneInfo(key)
    elif name is not None and zone is not None:
        zone = timezone(zone.utcoffset(None) or timedelta(), name)
    return value.replace(tzinfo=zone, fold=1 if fold else 0)


def _zoned(value: datetime | time, zone: tzinfo) -> str:
    if type(zone) is timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        own_name = "" if name == timezone(offset).tzname(None) else f" ({sound_text(name)})"
        return value.isoformat() + _fold(value) + own_name
    if type(zone) is ZoneInfo and zone.key:
        return f"{value.replace(tzinfo=None).isoformat()}[{sound_text(zone.key)}]{_fold(value)}"
    raise Misfit(f"has a tzinfo of type {type_name(zone)}; expected none, UTC, a fixed offset or a zoneinfo with a key")


def _fold(value: datetime | time) -> str:
    return " fold=1" if value.fold else ""
