"""A whole context, encoded and decoded."""

from __future__ import annotations

from typing import Any

from saga_actors.errors import ContextError
from saga_actors.journal.codec.comparison import compare
from saga_actors.journal.codec.converter import hooks_of
from saga_actors.journal.codec.misfit import mismatch
from saga_actors.journal.codec.plain import plain_bytes
from saga_actors.journal.codec.refusal import refusal
from saga_actors.journal.codec.tagged import lift, lower_context
from saga_actors.journal.codec.tree import parse, read, write

DEFAULT_LIMIT = 1_000_000


def encode_context(context: Any, context_type: Any, *, limit: int = DEFAULT_LIMIT, what: str = "context") -> bytes:
    """`context` as JSON; `context_type` is `dict` or an attrs class (or an alias such as `Page[int]`).

    Raises ContextError if it would not come back equal, or is longer than `limit` bytes. `what` begins the message.
    """
    try:
        data = encode_dict(context) if context_type is dict else _encode(context, context_type)
    except Exception as error:
        raise refusal(error, what) from None
    return within(data, limit, what)


def decode_context(data: bytes, context_type: Any) -> Any:
    """The context that `encode_context` made `data` of; ContextError if it is of another type or malformed."""
    try:
        return _decode_dict(data.decode()) if context_type is dict else hooks_of(context_type).load(parse(data))
    except Exception as error:
        raise refusal(error, "stored context") from None


def encode_dict(context: Any) -> bytes:
    """A dict context as JSON; raises a misfit, or what JSON raises."""
    data = plain_bytes(context)
    return write(lower_context(context)) if data is None else data


def within(data: bytes, limit: int, what: str) -> bytes:
    """`data`, if it is not too long."""
    if len(data) > limit:
        raise ContextError(
            f"{what} is {len(data):,} bytes, the limit is {limit:,}; store the big thing elsewhere and keep a "
            "reference to it, or raise the limit"
        )
    return data


def _encode(context: Any, context_type: Any) -> bytes:
    hooks = hooks_of(context_type)
    tree = hooks.dump(context)
    try:
        data = write(tree)
    except (TypeError, ValueError, RecursionError):
        hooks.load(tree)  # which finds where it is, and raises
        raise
    compare(context, hooks.load(parse(data)))
    return data


def _decode_dict(text: str) -> dict[str, Any]:
    tree = read(text)
    context = lift(tree) if '"$' in text else tree
    if type(context) is not dict:
        raise mismatch(context, "a dict")
    return context
