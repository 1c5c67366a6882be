"""Contexts as bytes: JSON that comes back equal, type for type, or is refused with the path of the value.

A context of plain values is the JSON that one expects. What JSON does not know is written under a tag,
`{"$datetime": "2024-05-01T12:00:00+00:00"}`, and a real key that begins with `$` gets a second one. In an attrs
context the annotations say what a value is, so that tags are only needed in unions and under `Any`.

Messages name paths and types, never values: a context may hold secrets. Decoding imports nothing.
"""

from __future__ import annotations

from saga_actors.journal.codec.context import DEFAULT_LIMIT, decode_context, encode_context
from saga_actors.journal.codec.digest import digest_of
from saga_actors.journal.codec.misfit import MAX_DEPTH
from saga_actors.journal.codec.result import apply_result

__all__ = ["DEFAULT_LIMIT", "MAX_DEPTH", "apply_result", "decode_context", "digest_of", "encode_context"]
