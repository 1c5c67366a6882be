"""A context as a tree of what JSON knows, written and read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("not a finite number")


def _encode_with(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """`encoder.encode` with its C code made once, and not with every call, which takes longer than a small tree does.

    Where there is none (on another Python than CPython, say), it is `encoder.encode` itself.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None or encoder.ensure_ascii or encoder.check_circular:
        return encoder.encode
    to_text = getattr(json.encoder, "encode_basestring")  # noqa: B009  (the type stubs do not have it)
    separators = encoder.key_separator, encoder.item_separator
    chunks = make(
        None, encoder.default, to_text, None, *separators, encoder.sort_keys, encoder.skipkeys, encoder.allow_nan
    )
    return lambda tree: "".join(chunks(tree, 0))


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)

text_of = _encode_with(
    json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
)
canonical_text = _encode_with(
    json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"), sort_keys=True)
)
"""The same text for the same tree, in whatever order its keys are."""


def read(text: str) -> Any:
    """The tree of a text."""
    try:
        tree, end = _DECODER.raw_decode(text)
    except ValueError:
        end = -1
    return tree if end == len(text) else _DECODER.decode(text)  # which allows space around it, or raises


def write(tree: Any) -> bytes:
    """The tree as UTF-8."""
    return text_of(tree).encode()


def parse(data: bytes) -> Any:
    """The tree that was written."""
    return read(data.decode())
