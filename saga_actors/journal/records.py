"""Events and plans as what a journal keeps of them: JSON bodies that read well, beside contexts that stay bytes."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints
from zlib import crc32

import attrs

from saga_actors.errors import ContextError, CorruptionError, JournalError
from saga_actors.events import AttemptQuieted, AttemptStarted, AttemptSucceeded, Event, Fault, WorkerId
from saga_actors.journal.codec import decode_context, encode_context
from saga_actors.plan import SagaPlan

_PLAN_LIMIT = 10_000_000


class Row(NamedTuple):
    """An event as it lies in the journal: `body` is JSON of its fields, but for `at` (POSIX seconds) and `context`."""

    kind: str
    at: float
    body: bytes
    context: bytes | None


def encode_event(event: Event) -> Row:
    """`event` as a row. JournalError if a number in it is not finite, or it is no event."""
    shape = _BY_CLASS.get(type(event))
    if shape is None:
        raise JournalError(f"{type(event).__qualname__} is not an event; expected one of saga_actors.events")
    context: bytes | None = event.context if shape.has_context else None  # type: ignore[union-attr]
    return Row(shape.kind, event.at, shape.body(event), context)


def decode_event(kind: str, at: float, body: bytes, context: bytes | None) -> Event:
    """The event that `encode_event` made this row of; CorruptionError if it cannot have."""
    shape = _BY_KIND.get(kind)
    if shape is None:
        raise CorruptionError(f"the journal holds an event of the kind {kind!r}, which this version does not know")
    try:
        fields = shape.fields(body)
        if shape.has_context:
            event: Event = shape.cls(at=at, context=context, **fields)
        elif context is not None:
            raise _MalformedError("a context, which it cannot have")
        else:
            event = shape.cls(at=at, **fields)
    except _MalformedError as error:
        raise CorruptionError(f"an event of the kind {kind!r} has {error}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptionError(f"an event of the kind {kind!r} cannot be read ({type(error).__name__})") from None
    return event


def kind_of(cls: type[Event]) -> str:
    """What the rows of these events have as their kind."""
    return _BY_CLASS[cls].kind


def encode_plan(plan: SagaPlan) -> bytes:
    """`plan` as JSON."""
    try:
        return encode_context(plan, SagaPlan, limit=_PLAN_LIMIT, what="plan")
    except ContextError as error:
        raise JournalError(str(error)) from None


def decode_plan(data: bytes) -> SagaPlan:
    """The plan that `encode_plan` made `data` of; CorruptionError if it cannot have."""
    try:
        plan: SagaPlan = decode_context(data, SagaPlan)
    except ContextError as error:
        raise CorruptionError(f"a plan cannot be read: {error}") from None
    return plan


def checksum(saga_id: str, seq: int, row: Row) -> int:
    """CRC-32 over the whole record and its place; what comes before each part says how long that is (P13)."""
    kind, at, body, context = row
    name = saga_id.encode("utf-8", "surrogatepass")
    size = -1 if context is None else len(context)
    text = kind.encode()
    head = _HEAD(seq, at, len(name), len(text), len(body), size)
    crc = crc32(b"%b%b%b%b" % (head, name, text, body))
    return crc if context is None else crc32(context, crc)


_HEAD = struct.Struct("<qdqqqq").pack


# --- JSON -----------------------------------------------------------------------------------------------------------

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
_ASCII_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, check_circular=False, separators=(",", ":"))
_DECODER = json.JSONDecoder()


def _write(fields: dict[str, Any]) -> bytes:
    try:
        return _ENCODER.encode(fields).encode()
    except UnicodeEncodeError:  # the text of a user's error may hold lone surrogates; escaped, they come back
        return _ASCII_ENCODER.encode(fields).encode()
    except (ValueError, TypeError) as error:
        raise JournalError(f"an event cannot be written as JSON ({error})") from None


# --- the shape of each event ----------------------------------------------------------------------------------------


class _MalformedError(Exception):
    """What a record has that it should not; told in words that follow `has`."""


class _Shape:
    """What is written of a class: every field but `at` and `context`, where it differs from its default."""

    def __init__(self, cls: type) -> None:
        self.cls: Callable[..., Any] = cls
        self.kind = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        hints = get_type_hints(cls)
        fields = [field for field in attrs.fields(cls) if field.name not in ("at", "context")]
        self.has_context = "context" in hints
        self._fields = tuple((field.name, field.default, _nested(hints[field.name])) for field in fields)
        self._readers = {field.name: _reader(hints[field.name]) for field in fields}
        self._key = attrgetter(*[field.name for field in fields]) if cls in _RECURRING else None
        self._bodies = lru_cache(_BODIES)(self._recurring_body)
        self._loaded = lru_cache(_BODIES)(self._load_body)

    def body(self, event: Event) -> bytes:
        """The JSON of `event`; that of an event whose like there is for many sagas is made once."""
        return _write(self.dump(event)) if self._key is None else self._bodies(self._key(event))

    def _recurring_body(self, values: tuple[Any, ...]) -> bytes:
        return _write(self._dumped(values))

    def dump(self, value: object) -> dict[str, Any]:
        """The fields of `value`. A StrEnum is written by JSON as its value; defaults are None, True or False."""
        return self._dumped([getattr(value, name) for name, _, _ in self._fields])

    def _dumped(self, values: Iterable[Any]) -> dict[str, Any]:
        dumped = {}
        for (name, default, nested), field in zip(self._fields, values, strict=True):
            if field is not default:
                dumped[name] = field if nested is None else nested.dump(field)
        return dumped

    def fields(self, body: bytes) -> Mapping[str, Any]:
        """The fields in `body`; a body that many sagas have is read once."""
        return self._load_body(body) if self._key is None else self._loaded(body)

    def _load_body(self, body: bytes) -> Mapping[str, Any]:
        return self.load(_DECODER.decode(body.decode()))

    def load(self, dumped: Any) -> dict[str, Any]:
        """The fields that were dumped, by name; raises _MalformedError for what it does not know."""
        if type(dumped) is not dict:
            raise _MalformedError(f"a body of type {type(dumped).__name__}, expected an object")
        fields = {}
        readers = self._readers
        for name, value in dumped.items():
            if name not in readers:
                raise _MalformedError(f"a field {name!r}, which this version does not know")
            kinds, read = readers[name]
            if type(value) not in kinds:
                raise _MalformedError(f"a field {name!r} of type {type(value).__name__}")
            fields[name] = value if read is None or value is None else read(value)
        return fields


_Reader = tuple[frozenset[type], Callable[[Any], Any] | None]


def _nested(hint: Any) -> _Shape | None:
    return _NESTED.get(hint)


def _reader(hint: Any) -> _Reader:
    """The types in which a field's value lies in JSON, and what makes the value of it (None: it is the value)."""
    kinds: set[type] = set()
    read: Callable[[Any], Any] | None = None
    for kind in get_args(hint) or (hint,):
        if kind in _NESTED:
            kinds.add(dict)
            read = _instance_reader(_NESTED[kind])
        elif issubclass(kind, StrEnum):
            kinds.add(str)
            read = _member_reader(kind)
        else:
            kinds |= {float, int} if kind is float else {kind}
    if not kinds <= {str, int, float, bool, dict, NoneType}:
        raise TypeError(f"no way is known to keep a field of the type {hint}")
    return frozenset(kinds), read


def _member_reader(enum: type[StrEnum]) -> Callable[[Any], Any]:
    members = {member.value: member for member in enum}

    def read(value: Any) -> StrEnum:
        if value not in members:
            raise _MalformedError(f"something else than a {enum.__name__} where there should be one")
        return members[value]

    return read


def _instance_reader(shape: _Shape) -> Callable[[Any], Any]:
    return lambda dumped: shape.cls(**shape.load(dumped))


_RECURRING = (AttemptStarted, AttemptSucceeded, AttemptQuieted)
_BODIES = 500  # of each, a few hundred bytes; attempts of the same step in the same worker have the same

_NESTED: dict[Any, _Shape] = {}
_NESTED.update({cls: _Shape(cls) for cls in (WorkerId, Fault)})
_BY_CLASS = {cls: _Shape(cls) for cls in get_args(Event)}
_BY_KIND = {shape.kind: shape for shape in _BY_CLASS.values()}
