"""A context as a tree of what JSON knows, written and read."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("not a finite number")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
_CANONICAL = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"), sort_keys=True)
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)

read = _DECODER.decode
canonical_text = _CANONICAL.encode
"""The same text for the same tree, in whatever order its keys are."""


def write(tree: Any) -> bytes:
    """The tree as UTF-8."""
    return _ENCODER.encode(tree).encode()


def parse(data: bytes) -> Any:
    """The tree that was written."""
    return read(data.decode())
