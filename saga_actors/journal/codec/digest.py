"""The digest of a context, by which two requests for one saga are told to be the same."""

from __future__ import annotations

import hashlib
from typing import Any

from saga_actors.journal.codec.tree import canonical_text, parse


def digest_of(context_bytes: bytes) -> str:
    """32 hex digits over the canonical form of an encoded context, in which the order of keys does not matter (P10).

    Types do: 1, 1.0 and True are three contexts.
    """
    return hashlib.blake2b(canonical(context_bytes), digest_size=16).hexdigest()


def canonical(context_bytes: bytes) -> bytes:
    """The same bytes for equal contexts, in whatever order their keys were put in."""
    tree = parse(context_bytes)
    if b'"$dict"' in context_bytes:
        tree = _sorted_pairs(tree)
    return canonical_text(tree).encode()


def _sorted_pairs(tree: Any) -> Any:
    if type(tree) is list:
        return [_sorted_pairs(item) for item in tree]
    if type(tree) is not dict:
        return tree
    if tree.keys() == {"$dict"}:
        return {"$dict": sorted((_sorted_pairs(pair) for pair in tree["$dict"]), key=canonical_text)}
    return {key: _sorted_pairs(item) for key, item in tree.items()}
