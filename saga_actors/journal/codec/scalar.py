"""The scalars that JSON does not know, as text."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from saga_actors.journal.codec.misfit import Misfit, mismatch
from saga_actors.journal.codec.moment import UNREADABLE, dump_moment, load_moment
from saga_actors.journal.codec.type_name import name_of


class Scalar(NamedTuple):
    """How values of one type are written and read."""

    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


def read_scalar(kind: type, written: Any) -> Any:
    """The value of type `kind`; raises a misfit."""
    if type(written) is not (list if kind is timedelta else str):
        raise mismatch(written, name_of(kind))
    try:
        return SCALARS[kind].load(written)
    except UNREADABLE:
        raise Misfit(f"is not written as {name_of(kind)} is") from None


def _dump_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise Misfit("is a Decimal that is not finite; expected a number, so store None or a str in its place")
    return str(value)


SCALARS: dict[type, Scalar] = {
    datetime: Scalar(dump_moment, lambda text: load_moment(datetime, text)),
    date: Scalar(date.isoformat, date.fromisoformat),
    time: Scalar(dump_moment, lambda text: load_moment(time, text)),
    timedelta: Scalar(lambda span: [span.days, span.seconds, span.microseconds], lambda parts: timedelta(*parts)),
    UUID: Scalar(str, UUID),
    Decimal: Scalar(_dump_decimal, Decimal),
    bytes: Scalar(lambda raw: base64.b64encode(raw).decode(), lambda text: base64.b64decode(text, validate=True)),
}


def scalar_tag(kind: type) -> str:
    """The tag under which a scalar is written where no annotation says what it is."""
    return f"${kind.__name__.lower()}"
