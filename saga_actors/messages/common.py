"""What all messages have in common: ids, checked fields, and how one is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import attrs

from saga_actors.errors import SagaActorsError, SagaIdError

ID_LENGTH = 200
"""The most characters of a saga id."""


def new_id() -> str:
    """A fresh id for a saga or a question."""
    return uuid.uuid4().hex


def checked_id(saga_id: object) -> str:
    """`saga_id` if it can be one; `SagaIdError` if it is empty, too long or has control characters."""
    if not isinstance(saga_id, str):
        raise SagaIdError(f"saga_id is {saga_id!r}; expected a str of 1 to {ID_LENGTH} characters")
    if not 1 <= len(saga_id) <= ID_LENGTH:
        raise SagaIdError(f"saga_id has {len(saga_id)} characters; expected 1 to {ID_LENGTH}")
    if not saga_id.isprintable():
        raise SagaIdError(f"saga_id is {saga_id!r}; expected no control characters or line breaks")
    return str.__str__(saga_id)  # of a subclass, only the text: nobody else need have its module


def a(*kinds: type[Any]) -> Callable[[Any, Any, Any], None]:
    """Refuses any other kind of value where the message is made, before it can puzzle whoever it is sent to."""

    def check(message: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, kinds):
            what, expected = f"{type(message).__name__}.{attribute.name}", " or ".join(kind.__name__ for kind in kinds)
            raise SagaActorsError(f"{what} is of type {type(value).__name__}; expected {expected}")

    return check


@attrs.frozen
class Refused:
    """The question was not taken; nothing was changed. `code` is one of those in `Refusal`."""

    correlation_id: str
    code: str
    message: str


class Refusal:
    """The codes of `Refused`."""

    NOT_SERVED = "not_served"
    MISMATCH = "definition_mismatch"
    ID_TAKEN = "id_taken"
    UNKNOWN_SAGA = "unknown_saga"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    CORRUPT = "corrupt"
    NOT_ALLOWED = "not_allowed"
    PRUNED = "pruned"
