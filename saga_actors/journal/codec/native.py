"""The scalars that JSON knows, and which of them are sound."""

from __future__ import annotations

import math
from typing import Any

from saga_actors.journal.codec.misfit import Misfit

NATIVE: dict[Any, frozenset[type]] = {
    str: frozenset({str}),
    bool: frozenset({bool}),
    int: frozenset({int, bool}),
    float: frozenset({float, int, bool}),
}
"""What each annotation allows, with the promotions of PEP 484: an int is a float, a bool an int."""

_MAX_INT_BITS = 14_000  # 4,215 digits; Python itself reads and writes no more than 4,300


def sound(value: Any) -> Any:
    """`value`, if it is none of those scalars that JSON does not bring back."""
    match value:
        case str():
            return sound_text(value)
        case int():
            return sound_int(value)
        case float():
            return sound_float(value)
    return value


def sound_text(text: str) -> str:
    """`text`, if it can be written as UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Misfit("is a str with a lone surrogate; expected text, so store bytes or drop it") from None
    return text


def sound_int(number: int) -> int:
    """`number`, if Python will read it."""
    if number.bit_length() > _MAX_INT_BITS:
        raise Misfit("is an int of more than 4,200 digits; store bytes or a hex string in its place")
    return number


def sound_float(number: float) -> float:
    """`number`, if it is one."""
    if not math.isfinite(number):
        raise Misfit("is a float that is not finite (NaN or infinity); store None or a str in its place")
    return number
