"""What a step returned, applied to its saga's context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_origin

from saga_actors.errors import ContextError
from saga_actors.journal.codec.context import DEFAULT_LIMIT, encode_context, encode_dict, within
from saga_actors.journal.codec.converter import hooks_of
from saga_actors.journal.codec.digest import canonical
from saga_actors.journal.codec.refusal import refusal
from saga_actors.journal.codec.tree import parse, write
from saga_actors.journal.codec.type_name import name_of, type_name


def apply_result(
    original: bytes, context: Any, result: Any, context_type: Any, *, step: str, limit: int = DEFAULT_LIMIT
) -> bytes | None:
    """The saga's whole context after `step` returned `result`; None if it is unchanged.

    `context` is the object that was decoded from `original` and handed to the step. What the step did to it in place
    counts for nothing: without a result it is an error, with one the result is merged into `original`.
    """
    what = f"result of step {step!r}"
    if result is None:
        _require_unchanged(original, context, context_type, step)
        return None
    if context_type is dict:
        _require_mapping(result, step)
        return within(_merged(original, result, what), limit, what)
    _require_instance(result, context_type, step)
    return encode_context(result, context_type, limit=limit, what=what)


def _require_unchanged(original: bytes, context: Any, context_type: Any, step: str) -> None:
    if not _is_unchanged(original, context, context_type):
        changes = "as a dict" if context_type is dict else "as a new context (attrs.evolve)"
        raise ContextError(
            f"step {step!r} changed its context in place and returned None; return the changes {changes}"
        )


def _is_unchanged(original: bytes, context: Any, context_type: Any) -> bool:
    try:
        now = encode_dict(context) if context_type is dict else write(hooks_of(context_type).dump(context))
    except Exception:  # it could be encoded when it was handed out
        return False
    return now == original or canonical(now) == canonical(original)


def _require_mapping(result: Any, step: str) -> None:
    if not isinstance(result, Mapping):
        raise ContextError(
            f"step {step!r} returned {type_name(result)}; expected None (the context is unchanged) "
            "or a dict of changes (merged into the context)"
        )


def _merged(original: bytes, result: Mapping[Any, Any], what: str) -> bytes:
    try:
        changes = dict(result)
        encoded = encode_dict(changes)
    except Exception as error:
        raise refusal(error, what) from None
    if not changes:
        return original
    if original[-1:] == b"}" and all(_is_new(key, original) for key in changes):
        return original[:-1] + (b"," if len(original) > 2 else b"") + encoded[1:]
    return write(parse(original) | parse(encoded))


def _is_new(key: str, original: bytes) -> bool:
    """Whether an encoded context surely has no such key at its top: then it need not be read to get it.

    Both were written by one encoder, which writes an identifier as it is.
    """
    return key.isidentifier() and f'"{key}":'.encode() not in original


def _require_instance(result: Any, context_type: Any, step: str) -> None:
    cls = get_origin(context_type) or context_type
    if type(result) is not cls:
        raise ContextError(
            f"step {step!r} returned {type_name(result)}; expected None (the context is unchanged) "
            f"or an instance of {name_of(cls)} (replaces the context)"
        )
