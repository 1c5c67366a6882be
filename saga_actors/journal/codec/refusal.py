"""Whatever went wrong with a context, as the one error that is told."""

from __future__ import annotations

import json
from typing import Any

from cattrs.errors import AttributeValidationNote, ClassValidationError, ForbiddenExtraKeysError

from saga_actors.errors import ContextError
from saga_actors.journal.codec.misfit import MAX_DEPTH, Misfit
from saga_actors.journal.codec.type_name import name_of, shown, type_name


def refusal(error: Exception, what: str) -> ContextError:
    """The error to raise; `what` begins its message."""
    path, reason = blamed(error).described()
    return ContextError(f"{what}: {path} {reason}" if path else f"{what} {reason}")


def blamed(error: BaseException) -> Misfit:
    """The first misfit behind `error`. Texts of errors from elsewhere are left out, for they may quote values."""
    match error:
        case Misfit():
            return error
        case ClassValidationError():
            return _blamed_field(error)
        case ForbiddenExtraKeysError():
            names = ", ".join(sorted(map(str, error.extra_fields)))
            return Misfit(f"has fields that {name_of(error.cl)} does not know: {names}")
        case RecursionError():
            return Misfit(f"is nested too deeply, or contains itself; expected at most {MAX_DEPTH} levels")
        case json.JSONDecodeError() | UnicodeDecodeError():
            return Misfit("is not well-formed JSON")
        case _:
            return Misfit(f"cannot be written or read ({type_name(error)}); expected what comes back equal from JSON")


def _blamed_field(error: ClassValidationError) -> Misfit:
    noted, others = error.group_exceptions()
    if not noted:
        return _blamed_class(error.cl, others[0])
    inner = noted[0][0]  # it may have come through classes further in, which left notes of their own
    note = [note for note in inner.__notes__ if isinstance(note, AttributeValidationNote)][-1]
    if isinstance(inner, KeyError):
        return Misfit(f"is missing; expected {shown(note.type)}").under(f".{note.name}")
    return blamed(inner).under(f".{note.name}")


def _blamed_class(cls: Any, error: Exception) -> Misfit:
    if isinstance(error, (Misfit, ClassValidationError, ForbiddenExtraKeysError)):
        return blamed(error)
    return Misfit(
        f"is refused by {name_of(cls)} when it is made again ({type_name(error)}); expected fields that its "
        "converters and validators accept"
    )
