"""Contexts as bytes: JSON that comes back equal, type for type, or is refused with the path of the value.

A context of plain values is the JSON that one expects. What JSON does not know is written under a tag,
`{"$datetime": "2024-05-01T12:00:00+00:00"}`, and a real key that begins with `$` gets a second one. In an attrs
context the annotations say what a value is, so that tags are only needed in unions and under `Any`.

Messages name paths and types, never values: a context may hold secrets. Decoding imports nothing.
"""

from __future__ import annotations

import base64
import binascii
import collections.abc
import dataclasses
import hashlib
import json
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import (
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NoReturn,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import typing_extensions
from cattrs import Converter
from cattrs.errors import AttributeValidationNote, ClassValidationError, ForbiddenExtraKeysError
from cattrs.fns import identity
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from saga_actors.errors import ContextError

DEFAULT_LIMIT = 1_000_000
MAX_DEPTH = 64

_MAX_INT_BITS = 14_000  # 4,215 digits; Python itself reads and writes no more than 4,300
_EXPECTED = (
    "expected None, bool, int, finite float, str, list, dict, tuple, set, frozenset, "
    "datetime, date, time, timedelta, UUID, Decimal or bytes; store plain values of it, or use an attrs context"
)


# --- the four things that are done with a context -------------------------------------------------------------------


def encode_context(context: Any, context_type: Any, *, limit: int = DEFAULT_LIMIT, what: str = "context") -> bytes:
    """`context` as JSON; `context_type` is `dict` or an attrs class (or an alias such as `Page[int]`).

    Raises ContextError if it would not come back equal, or is longer than `limit` bytes. `what` begins the message.
    """
    try:
        data = _encode(context, context_type)
    except Exception as error:
        raise _refusal(error, what) from None
    return _within(data, limit, what)


def decode_context(data: bytes, context_type: Any) -> Any:
    """The context that `encode_context` made `data` of; ContextError if it is of another type or malformed."""
    try:
        if not _is_dict(context_type):
            return _CONVERTER.codec(context_type).load(_parse(data), context_type)
        text = data.decode()
        tree = _DECODER.decode(text)
        context = _lift(tree) if '"$' in text else tree
        if type(context) is not dict:
            raise _mismatch(context, "a dict")
    except Exception as error:
        raise _refusal(error, "stored context") from None
    return context


def digest_of(context_bytes: bytes) -> str:
    """32 hex digits over the canonical form of an encoded context, in which the order of keys does not matter (P10).

    Types do: 1, 1.0 and True are three contexts.
    """
    return hashlib.blake2b(_canonical_bytes(context_bytes), digest_size=16).hexdigest()


def apply_result(
    original: bytes, context: Any, result: Any, context_type: Any, *, step: str, limit: int = DEFAULT_LIMIT
) -> bytes | None:
    """The saga's whole context after `step` returned `result`; None if it is unchanged.

    `context` is the object that was decoded from `original` and handed to the step. What the step did to it in place
    counts for nothing: without a result it is an error, with one the result is merged into `original`.
    """
    if result is None:
        if not _is_unchanged(original, context, context_type):
            raise ContextError(
                f"step {step!r} changed its context in place and returned None; return the changes"
                + (" as a dict" if _is_dict(context_type) else " as a new context (attrs.evolve)")
            )
        return None
    what = f"result of step {step!r}"
    if _is_dict(context_type):
        if not isinstance(result, Mapping):
            raise ContextError(
                f"step {step!r} returned {_type_name(result)}; expected None (the context is unchanged) "
                "or a dict of changes (merged into the context)"
            )
        return _within(_merged(original, result, what), limit, what)
    cls = get_origin(context_type) or context_type
    if type(result) is not cls:
        raise ContextError(
            f"step {step!r} returned {_type_name(result)}; expected None (the context is unchanged) "
            f"or an instance of {_name(cls)} (replaces the context)"
        )
    return encode_context(result, context_type, limit=limit, what=what)


def _is_dict(context_type: Any) -> bool:
    return context_type is dict or get_origin(context_type) is dict


def _encode(context: Any, context_type: Any) -> bytes:
    if _is_dict(context_type):
        return _write(_lower_top(context))
    codec = _CONVERTER.codec(context_type)
    tree = codec.dump(context)
    try:
        data = _write(tree)
    except (TypeError, ValueError, RecursionError):
        codec.load(tree, context_type)  # which finds where it is, and raises
        raise
    _compare(context, codec.load(_parse(data), context_type), 0)
    return data


def _within(data: bytes, limit: int, what: str) -> bytes:
    if len(data) > limit:
        raise ContextError(
            f"{what} is {len(data):,} bytes, the limit is {limit:,}; store the big thing elsewhere and keep a "
            "reference to it, or raise the limit"
        )
    return data


def _merged(original: bytes, result: Mapping[Any, Any], what: str) -> bytes:
    try:
        tree: dict[str, Any] = _parse(original)
        tree.update(_lower_top(dict(result)))
        return _write(tree)
    except Exception as error:
        raise _refusal(error, what) from None


def _is_unchanged(original: bytes, context: Any, context_type: Any) -> bool:
    try:
        if _is_dict(context_type):
            now = _write(_lower_top(context))
        else:
            now = _write(_CONVERTER.codec(context_type).dump(context))
    except Exception:  # it could be encoded when it was handed out
        return False
    return now == original or _canonical_bytes(now) == _canonical_bytes(original)


# --- JSON -----------------------------------------------------------------------------------------------------------


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("not a finite number")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
_CANONICAL = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"), sort_keys=True)
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _write(tree: Any) -> bytes:
    return _ENCODER.encode(tree).encode()


def _parse(data: bytes) -> Any:
    return _DECODER.decode(data.decode())


def _canonical_bytes(data: bytes) -> bytes:
    tree = _parse(data)
    if b'"$dict"' in data:
        tree = _sorted_pairs(tree)
    return _CANONICAL.encode(tree).encode()


def _sorted_pairs(tree: Any) -> Any:
    if type(tree) is list:
        return [_sorted_pairs(item) for item in tree]
    if type(tree) is not dict:
        return tree
    if tree.keys() == {"$dict"}:
        return {"$dict": sorted((_sorted_pairs(pair) for pair in tree["$dict"]), key=_CANONICAL.encode)}
    return {key: _sorted_pairs(item) for key, item in tree.items()}


# --- refusing -------------------------------------------------------------------------------------------------------


class _Misfit(Exception):
    """A value that is refused: why, and its path, innermost first.

    It is raised, or stands in a tree in the place of what cannot be written.
    """

    def __init__(self, reason: str, *, deep: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.deep = deep
        self.path: list[tuple[str, int]] = []

    def under(self, segment: str, container: object = None) -> _Misfit:
        """The same, one level further out."""
        self.path.append((segment, id(container)))
        return self

    def described(self) -> tuple[str, str]:
        """The path and the reason, as they are told."""
        path = self.path[::-1]
        if self.deep:
            outermost: dict[int, int] = {}
            for level, (_, container) in enumerate(path):
                if container in outermost:
                    return _join(path[:level]), "contains itself; store a reference (a key or an id) in its place"
                outermost[container] = level
        return _join(path), self.reason


def _join(path: list[tuple[str, int]]) -> str:
    segments = [segment for segment, _ in path]
    if len(segments) > 16:
        segments[8:-8] = ["…"]
    return "".join(segments).removeprefix(".")


def _segment(key: object) -> str:
    if type(key) is str:
        short = key if len(key) <= 60 else key[:60] + "…"
        return f".{short}" if short.isidentifier() else f"[{json.dumps(short)}]"
    if type(key) is bool or (type(key) is int and abs(key) < 10**12):
        return f"[{key}]"
    return f"[<{_type_name(key)}>]"


def _refusal(error: Exception, what: str) -> ContextError:
    path, reason = _blamed(error).described()
    return ContextError(f"{what}: {path} {reason}" if path else f"{what} {reason}")


def _blamed(error: BaseException) -> _Misfit:
    """The first misfit behind `error`. Texts of errors from elsewhere are left out, for they may quote values."""
    match error:
        case _Misfit():
            return error
        case ClassValidationError():
            noted, others = error.group_exceptions()
            if not noted:
                return _refused_by(error.cl, others[0])
            inner = noted[0][0]  # it may have come through classes further in, which left notes of their own
            note = [note for note in inner.__notes__ if isinstance(note, AttributeValidationNote)][-1]
            if isinstance(inner, KeyError):
                return _Misfit(f"is missing; expected {_shown(note.type)}").under(f".{note.name}")
            return _blamed(inner).under(f".{note.name}")
        case ForbiddenExtraKeysError():
            names = ", ".join(sorted(map(str, error.extra_fields)))
            return _Misfit(f"has fields that {_name(error.cl)} does not know: {names}")
        case RecursionError():
            return _Misfit(f"is nested too deeply, or contains itself; expected at most {MAX_DEPTH} levels")
        case json.JSONDecodeError() | UnicodeDecodeError():
            return _Misfit("is not well-formed JSON")
        case _:
            return _Misfit(f"cannot be written or read ({_type_name(error)}); expected what comes back equal from JSON")


def _refused_by(cls: Any, error: Exception) -> _Misfit:
    if isinstance(error, (_Misfit, ClassValidationError, ForbiddenExtraKeysError)):
        return _blamed(error)
    return _Misfit(
        f"is refused by {_name(cls)} when it is made again ({_type_name(error)}); expected fields that its "
        "converters and validators accept"
    )


def _name(kind: Any) -> str:
    module = getattr(kind, "__module__", "builtins")
    name = getattr(kind, "__qualname__", None) or str(kind)
    return name if module in ("builtins", "datetime", "decimal", "uuid", "pathlib") else f"{module}.{name}"


def _type_name(value: object) -> str:
    return _name(type(value))


def _shown(annotation: Any) -> str:
    if annotation is type(None):
        return "None"
    return _name(annotation) if isinstance(annotation, type) and get_origin(annotation) is None else str(annotation)


def _mismatch(value: object, expected: str) -> _Misfit:
    return value if isinstance(value, _Misfit) else _Misfit(f"is {_type_name(value)}; expected {expected}")


def _stranger(value: object) -> _Misfit:
    """Why a value of this type is not stored in a dict context."""
    name = _type_name(value)
    if isinstance(value, Enum):
        return _Misfit(f"is {name}, a member of an enum; store .value, or use an attrs context")
    if attrs.has(type(value)):
        return _Misfit(f"is {name}, an attrs instance; store attrs.asdict() of it, or use an attrs context")
    for base in _LOWER:
        if isinstance(value, base):
            return _Misfit(f"is {name}, a subclass of {_name(base)}; expected exactly {_name(base)}, so convert it")
    return _Misfit(f"is {name}; {_EXPECTED}")


# --- values that JSON does not know, as text ------------------------------------------------------------------------

_MOMENT = re.compile(r"([^ \[]+)(?:\[([^\]]+)\])?( fold=1)?(?: \((.*)\))?", re.DOTALL)


def _dump_moment(value: datetime | time) -> str:
    """ISO 8601; a zone as in RFC 9557 (`2024-05-01T12:00:00[Europe/Berlin]`), but that its offset is left out.

    A fold and the name of a fixed offset follow: `… fold=1`, `… (CEST)`.
    """
    zone = value.tzinfo
    fold = " fold=1" if value.fold else ""
    if zone is None:
        return value.isoformat() + fold
    text = (value if type(zone) is timezone else value.replace(tzinfo=None)).isoformat()
    if type(zone) is timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        text += fold if name == timezone(offset).tzname(None) else f"{fold} ({_sound_text(name)})"
    elif type(zone) is ZoneInfo and zone.key:
        text += f"[{_sound_text(zone.key)}]{fold}"
    else:
        raise _Misfit(
            f"has a tzinfo of type {_type_name(zone)}; expected none, UTC, a fixed offset or a zoneinfo with a key"
        )
    try:
        if _load_moment(type(value), text) == value:
            return text
    except _UNREADABLE:
        pass
    raise _Misfit(f"does not come back equal with its tzinfo of type {_type_name(zone)}; convert it to UTC")


def _load_moment(kind: type[datetime] | type[time], text: str) -> datetime | time:
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError
    iso, key, fold, name = match.groups()
    value = kind.fromisoformat(iso)
    zone: tzinfo | None = value.tzinfo
    if key is not None:
        zone = ZoneInfo(key)
    elif name is not None and zone is not None:
        zone = timezone(zone.utcoffset(None) or timedelta(), name)
    return value.replace(tzinfo=zone, fold=1 if fold else 0)


def _dump_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise _Misfit("is a Decimal that is not finite; expected a number, so store None or a str in its place")
    return str(value)


def _dump_timedelta(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


class _Kind(NamedTuple):
    """How a scalar is written and read."""

    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


_SCALARS: dict[type, _Kind] = {
    datetime: _Kind(_dump_moment, lambda text: _load_moment(datetime, text)),
    date: _Kind(date.isoformat, date.fromisoformat),
    time: _Kind(_dump_moment, lambda text: _load_moment(time, text)),
    timedelta: _Kind(_dump_timedelta, lambda parts: timedelta(*parts)),
    UUID: _Kind(str, UUID),
    Decimal: _Kind(_dump_decimal, Decimal),
    bytes: _Kind(lambda raw: base64.b64encode(raw).decode(), lambda text: base64.b64decode(text, validate=True)),
}
_UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, OSError, binascii.Error)


def _read_scalar(kind: type, written: Any) -> Any:
    if type(written) is not (list if kind is timedelta else str):
        raise _mismatch(written, _name(kind))
    try:
        return _SCALARS[kind].load(written)
    except _UNREADABLE:
        raise _Misfit(f"is not written as {_name(kind)} is") from None


def _sound_text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _Misfit("is a str with a lone surrogate; expected text, so store bytes or drop it") from None
    return text


def _sound_int(number: int) -> int:
    if number.bit_length() > _MAX_INT_BITS:
        raise _Misfit("is an int of more than 4,200 digits; store bytes or a hex string in its place")
    return number


def _sound_float(number: float) -> float:
    if not math.isfinite(number):
        raise _Misfit("is a float that is not finite (NaN or infinity); store None or a str in its place")
    return number


# --- dict contexts, and what an attrs context annotates with Any ----------------------------------------------------


def _lower_top(context: Any) -> dict[str, Any]:
    if type(context) is not dict:
        raise _mismatch(context, "a dict")
    for key in context:
        if type(key) is not str:
            raise _Misfit(f"has a key of type {_type_name(key)}; expected str at the top level")
    return _lower_dict(context, 0)


def _lower(value: Any, depth: int) -> Any:
    lower = _LOWER.get(type(value))
    if lower is None:
        raise _stranger(value)
    return lower(value, depth)


def _lower_dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    _check_depth(depth)
    lowered: dict[str, Any] = {}
    key: Any = None
    try:
        for key, item in value.items():
            if type(key) is not str:
                break
            name = key if key[:1] != "$" and key.isascii() else _lower_key(key)
            kind = type(item)
            if kind is bool or item is None or (kind is str and item.isascii()):
                lowered[name] = item
            else:
                lowered[name] = _lower(item, depth + 1)
        else:
            return lowered
    except _Misfit as misfit:
        raise misfit.under(_segment(key), value) from None
    return {"$dict": _lower_pairs(value, depth)}


def _lower_key(key: str) -> str:
    return "$" + key if key[:1] == "$" else _sound_text(key)


def _lower_pairs(value: dict[Any, Any], depth: int) -> list[list[Any]]:
    pairs = []
    segment = ""
    try:
        for key, item in value.items():
            segment = f".<key {_type_name(key)}>"
            lowered = _lower(key, depth + 1)
            segment = _segment(key)
            pairs.append([lowered, _lower(item, depth + 1)])
    except _Misfit as misfit:
        raise misfit.under(segment, value) from None
    return pairs


def _lower_list(value: Iterable[Any], depth: int) -> list[Any]:
    _check_depth(depth)
    lowered: list[Any] = []
    try:
        for item in value:
            lowered.append(_lower(item, depth + 1))
    except _Misfit as misfit:
        raise misfit.under(f"[{len(lowered)}]", value) from None
    return lowered


def _lower_set(value: Iterable[Any], depth: int) -> list[Any]:
    _check_depth(depth)
    try:
        return sorted((_lower(item, depth + 1) for item in value), key=_CANONICAL.encode)
    except _Misfit as misfit:
        raise misfit.under("[*]", value) from None


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise _Misfit(f"is nested deeper than {MAX_DEPTH} levels; store it flatter", deep=True)


def _lower_scalar(tag: str, dump: Callable[[Any], Any]) -> Callable[[Any, int], Any]:
    return lambda value, depth: {tag: dump(value)}


_LOWER: dict[type, Callable[[Any, int], Any]] = {
    dict: _lower_dict,
    list: _lower_list,
    str: lambda value, depth: _sound_text(value),
    bool: lambda value, depth: value,
    int: lambda value, depth: _sound_int(value),
    float: lambda value, depth: _sound_float(value),
    type(None): lambda value, depth: value,
    tuple: lambda value, depth: {"$tuple": _lower_list(value, depth)},
    set: lambda value, depth: {"$set": _lower_set(value, depth)},
    frozenset: lambda value, depth: {"$frozenset": _lower_set(value, depth)},
} | {kind: _lower_scalar(f"${kind.__name__.lower()}", scalar.dump) for kind, scalar in _SCALARS.items()}


def _lift(tree: Any) -> Any:
    """The value that `_lower` made `tree` of."""
    kind = type(tree)
    if kind is dict:
        return _lift_dict(tree)
    if kind is list:
        return _lift_list(tree)
    if kind is _Misfit:
        raise tree
    return tree


def _lift_list(tree: Any) -> list[Any]:
    if type(tree) is not list:
        raise _mismatch(tree, "a list")
    lifted: list[Any] = []
    try:
        for item in tree:
            lifted.append(_lift(item))
    except _Misfit as misfit:
        raise misfit.under(f"[{len(lifted)}]") from None
    return lifted


def _lift_dict(tree: dict[str, Any]) -> Any:
    lifted = {}
    key = ""
    try:
        for key, item in tree.items():
            if key[:1] != "$":
                lifted[key] = _lift(item)
            elif key[1:2] == "$":
                lifted[key[1:]] = _lift(item)
            elif len(tree) == 1 and key in _LIFT:
                return _LIFT[key](item)
            else:
                raise _Misfit("is not a tag that is known, or does not stand alone")
    except TypeError:
        raise _Misfit("holds something unhashable").under(_segment(key)) from None
    except _Misfit as misfit:
        raise misfit.under(_segment(key)) from None
    return lifted


def _lift_pairs(tree: Any) -> dict[Any, Any]:
    pairs = _lift_list(tree)
    if any(type(pair) is not list or len(pair) != 2 for pair in pairs):
        raise _Misfit("is not a list of pairs")
    return dict(pairs)


def _lift_scalar(kind: type) -> Callable[[Any], Any]:
    return lambda written: _read_scalar(kind, written)


_LIFT: dict[str, Callable[[Any], Any]] = {
    "$dict": _lift_pairs,
    "$tuple": lambda tree: tuple(_lift_list(tree)),
    "$set": lambda tree: set(_lift_list(tree)),
    "$frozenset": lambda tree: frozenset(_lift_list(tree)),
} | {f"${kind.__name__.lower()}": _lift_scalar(kind) for kind in _SCALARS}


# --- attrs contexts -------------------------------------------------------------------------------------------------

Dump = Callable[[Any], Any]
Load = Callable[[Any, Any], Any]


class _Codec(NamedTuple):
    """How values of one annotation are written and read.

    `dump` never raises for a value that does not fit: it puts a misfit in its place, or writes it as it is. `load` is
    strict, and comes to the path of it.
    """

    dump: Dump
    load: Load


class _ExactConverter(Converter):
    """A cattrs converter that coerces nothing: of cattrs it takes the code made for each class, every hook is ours."""

    def __init__(self) -> None:
        super().__init__(detailed_validation=True, forbid_extra_keys=True)
        self._codecs: dict[Any, _Codec] = {}

    def get_unstructure_hook(self, type: Any, cache_result: bool = True) -> Any:
        return self.codec(type).dump

    def get_structure_hook(self, type: Any, cache_result: bool = True) -> Any:
        return self.codec(type).load

    def unstructure(self, obj: Any, unstructure_as: Any = None) -> Any:
        return self.codec(unstructure_as).dump(obj)

    def structure(self, obj: Any, cl: Any) -> Any:
        return self.codec(cl).load(obj, cl)

    def codec(self, annotation: Any) -> _Codec:
        """The hooks for an annotation, made once."""
        try:
            found = self._codecs.get(annotation)
        except TypeError:  # Annotated, with something unhashable in it
            return self._made(annotation)
        if found is None:
            found = self._codecs[annotation] = self._made(annotation)
        return found

    def _made(self, annotation: Any) -> _Codec:
        plain = _plain_annotation(annotation)
        origin, args = get_origin(plain) or plain, get_args(plain)
        if plain in _LEAVES:
            return _LEAVES[plain]
        if origin in (Union, types.UnionType, *_ABSTRACT):
            return self._union(plain)
        if origin is Literal:
            return _literal(args)
        if origin in (list, set, frozenset):
            return self._items(origin, args[0] if args else Any)
        if origin is tuple:
            return self._tuple(args if args or plain is not tuple else (Any, ...))
        if origin in (dict, collections.abc.Mapping, collections.abc.MutableMapping):
            return self._mapping(*(args or (Any, Any)))
        if isinstance(origin, type) and issubclass(origin, Enum):
            return _enum(origin)
        if isinstance(origin, type) and (attrs.has(origin) or dataclasses.is_dataclass(origin)):
            return self._class(plain, origin)
        return _unsupported(
            f"annotated as {_shown(annotation)}, which a context cannot hold", "use an attrs class for it"
        )

    def _class(self, annotation: Any, cls: Any) -> _Codec:
        expected = _name(cls)
        made: _Codec | None = None  # at first use: a class may hold itself

        def dump(value: Any) -> Any:
            nonlocal made
            if type(value) is not cls:
                return _mismatch(value, expected)
            made = made or self._of_fields(annotation, cls)
            return made.dump(value)

        def load(tree: Any, _: Any) -> Any:
            nonlocal made
            if type(tree) is not dict:
                raise _mismatch(tree, expected)
            made = made or self._of_fields(annotation, cls)
            return made.load(tree, annotation)

        return _Codec(dump, load)

    def _of_fields(self, annotation: Any, cls: Any) -> _Codec:
        try:
            fields = {name: self.codec(kind) for name, kind in _field_types(annotation, cls).items()}
        except NameError:
            return _unsupported(f"{_name(cls)}, whose annotations cannot be resolved", "define it at module level")
        overrides: dict[str, Any] = {
            name: override(unstruct_hook=field.dump, struct_hook=field.load) for name, field in fields.items()
        }
        closed = cls[(Any,) * len(cls.__parameters__)] if getattr(cls, "__parameters__", ()) else cls
        return _Codec(
            make_dict_unstructure_fn(closed, self, _cattrs_use_linecache=False, **overrides),
            make_dict_structure_fn(closed, self, _cattrs_use_linecache=False, **overrides),
        )

    def _items(self, kind: Any, annotation: Any) -> _Codec:
        item = self.codec(annotation)
        expected = _name(kind)

        def dump(value: Any) -> Any:
            if type(value) is not kind:
                return _mismatch(value, expected)
            dumped = list(map(item.dump, value))
            return dumped if kind is list else _in_order(dumped)

        def load(tree: Any, _: Any) -> Any:
            loaded = _load_items(tree, item.load, annotation, expected, ordered=kind is list)
            return loaded if kind is list else kind(loaded)

        return _Codec(dump, load)

    def _tuple(self, annotations: tuple[Any, ...]) -> _Codec:
        if len(annotations) == 2 and annotations[1] is ...:
            item = self.codec(annotations[0])

            def dump_all(value: Any) -> Any:
                return list(map(item.dump, value)) if type(value) is tuple else _mismatch(value, "tuple")

            def load_all(tree: Any, _: Any) -> Any:
                return tuple(_load_items(tree, item.load, annotations[0], "tuple"))

            return _Codec(dump_all, load_all)

        items = [self.codec(annotation) for annotation in annotations]
        expected = f"a tuple of {len(items)}"

        def dump(value: Any) -> Any:
            if type(value) is not tuple or len(value) != len(items):
                return _mismatch(value, expected)
            return [item.dump(each) for item, each in zip(items, value, strict=True)]

        def load(tree: Any, _: Any) -> Any:
            if type(tree) is not list or len(tree) != len(items):
                raise _mismatch(tree, expected)
            turn = iter(items)
            return tuple(_load_items(tree, lambda each, _: next(turn).load(each, None), None, expected))

        return _Codec(dump, load)

    def _mapping(self, key_annotation: Any, annotation: Any) -> _Codec:
        item = self.codec(annotation)
        if _plain_annotation(key_annotation) is not str:
            return self._pairs(self.codec(key_annotation), item)

        def dump(value: Any) -> Any:
            if type(value) is not dict:
                return _mismatch(value, "dict")
            dumped = {}
            for key, each in value.items():
                if type(key) is not str:
                    return _Misfit(f"has a key of type {_type_name(key)}; expected str")
                dumped[key if key[:1] != "$" else "$" + key] = item.dump(each)
            return dumped

        def load(tree: Any, _: Any) -> Any:
            if type(tree) is not dict:
                raise _mismatch(tree, "dict")
            loaded = {}
            key = ""
            try:
                for key, each in tree.items():
                    name = key if key[:1] != "$" else key[1:]
                    loaded[_sound_text(name)] = item.load(each, annotation)
            except Exception as error:
                raise _blamed(error).under(_segment(key)) from None
            return loaded

        return _Codec(dump, load)

    def _pairs(self, key: _Codec, item: _Codec) -> _Codec:
        def dump(value: Any) -> Any:
            if type(value) is not dict:
                return _mismatch(value, "dict")
            return {"$dict": [[key.dump(name), item.dump(each)] for name, each in value.items()]}

        def load(tree: Any, _: Any) -> Any:
            if type(tree) is not dict or tree.keys() != {"$dict"}:
                raise _mismatch(tree, "dict")
            loaded = {}
            segment = ".<key>"
            try:
                for name, each in tree["$dict"]:
                    segment = ".<key>"
                    loaded_name = key.load(name, None)
                    segment = _segment(loaded_name)
                    loaded[loaded_name] = item.load(each, None)
            except Exception as error:
                raise _blamed(error).under(segment) from None
            return loaded

        return _Codec(dump, load)

    def _union(self, annotation: Any) -> _Codec:
        """None and what JSON tells apart are written as they are, the rest under the name of its type."""
        members = list(_alternatives(annotation))
        if any(_LEAVES.get(member) is _ANY for member in members):
            return _ANY
        others = [member for member in members if member is not type(None)]
        if len(others) == 1:
            return _optional(self.codec(others[0]))
        bare: set[type] = {type(None)} if len(others) < len(members) else set()
        tagged: dict[type, tuple[str, _Codec, Any]] = {}
        for member in others:
            kind = type(Path()) if member is Path else get_origin(member) or member
            if kind is Literal:
                bare |= {type(value) for value in get_args(member)}
            elif kind in _NATIVE:
                bare |= _NATIVE[kind]
            elif kind in tagged:
                refused = _unsupported(
                    f"a union with two kinds of {_name(kind)}, which cannot be told apart",
                    "wrap each of them in an attrs class",
                )
                return refused if len(others) == len(members) else _optional(refused)
            else:
                tagged[kind] = (_tag(kind, others), self.codec(member), member)
        return _union_codec(frozenset(bare), tagged, "one of " + ", ".join(map(_shown, members)))


# --- annotations ----------------------------------------------------------------------------------------------------

_ABSTRACT: dict[Any, tuple[Any, ...]] = {
    collections.abc.Sequence: (list, tuple),
    collections.abc.Collection: (list, tuple, set, frozenset),
    collections.abc.Set: (set, frozenset),
}
_NATIVE: dict[Any, frozenset[type]] = {  # with the promotions of PEP 484: an int is a float, a bool an int
    str: frozenset({str}),
    bool: frozenset({bool}),
    int: frozenset({int, bool}),
    float: frozenset({float, int, bool}),
}


def _plain_annotation(annotation: Any) -> Any:
    """`annotation` without Annotated, Final, NewType and the like; what says nothing is Any."""
    while True:
        if get_origin(annotation) in (typing_extensions.Annotated, Final):
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif isinstance(annotation, typing_extensions.TypeAliasType):
            annotation = annotation.__value__
        elif isinstance(annotation, TypeVar) or annotation in (None, object):
            return Any
        else:
            return annotation


def _field_types(annotation: Any, cls: Any) -> dict[str, Any]:
    """What each field of a class holds, its type variables replaced; raises NameError."""
    hints = get_type_hints(cls, include_extras=True)
    fields = attrs.fields(cls) if attrs.has(cls) else dataclasses.fields(cls)
    bound = _bound_variables(annotation)
    return {field.name: _bind(hints.get(field.name, field.type), bound) for field in fields}


def _bound_variables(annotation: Any) -> dict[Any, Any]:
    """The type variables of a generic class and of its bases, and what they stand for in `annotation`."""
    cls = get_origin(annotation) or annotation
    bound = dict(zip(getattr(cls, "__parameters__", ()), get_args(annotation), strict=False))
    for base in getattr(cls, "__orig_bases__", ()):
        if get_origin(base) not in (Generic, Protocol):
            bound |= _bound_variables(_bind(base, bound))
    return bound


def _bind(annotation: Any, bound: Mapping[Any, Any]) -> Any:
    if isinstance(annotation, TypeVar):
        return bound.get(annotation, Any)
    if get_origin(annotation) is not None and (variables := getattr(annotation, "__parameters__", ())):
        return annotation[tuple(bound.get(variable, Any) for variable in variables)]
    return annotation


def _alternatives(annotation: Any) -> Iterable[Any]:
    plain = _plain_annotation(annotation)
    origin, args = get_origin(plain) or plain, get_args(plain)
    if origin in (Union, types.UnionType):
        for member in args:
            yield from _alternatives(member)
    elif origin in _ABSTRACT:
        item = args[0] if args else Any
        for kind in _ABSTRACT[origin]:
            yield kind[item, ...] if kind is tuple else kind[item]
    else:
        yield plain


def _tag(kind: type, members: list[Any]) -> str:
    if kind in _SCALARS:
        return f"${kind.__name__.lower()}"
    names = [getattr(get_origin(member) or member, "__name__", "").lower() for member in members]
    short = names.count(kind.__name__.lower()) < 2
    return f"${kind.__name__}" if short else f"${kind.__module__}.{kind.__qualname__}"


def _union_codec(bare: frozenset[type], tagged: dict[type, tuple[str, _Codec, Any]], expected: str) -> _Codec:
    by_tag = {tag: (codec, member) for tag, codec, member in tagged.values()}

    def dump(value: Any) -> Any:
        if type(value) in bare:
            return value
        if (entry := tagged.get(type(value))) is None:
            return _mismatch(value, expected)
        return {entry[0]: entry[1].dump(value)}

    def load(tree: Any, _: Any) -> Any:
        if type(tree) in bare:
            return _sound(tree)
        if type(tree) is not dict or len(tree) != 1 or (tag := next(iter(tree))) not in by_tag:
            raise _mismatch(tree, expected)
        codec, member = by_tag[tag]
        return codec.load(tree[tag], member)

    return _Codec(dump, load)


def _optional(inner: _Codec) -> _Codec:
    def dump(value: Any) -> Any:
        return None if value is None else inner.dump(value)

    def load(tree: Any, annotation: Any) -> Any:
        return None if tree is None else inner.load(tree, annotation)

    return _Codec(identity if inner.dump is identity else dump, load)


def _unsupported(what: str, remedy: str) -> _Codec:
    """Refused when it is used and not before, so that the message has a path."""
    reason = f"is {what}; {remedy}"

    def load(tree: Any, _: Any) -> NoReturn:
        raise _Misfit(reason)

    return _Codec(lambda value: _Misfit(reason), load)


def _literal(values: tuple[Any, ...]) -> _Codec:
    allowed = {(type(value), value) for value in values}
    if not all(kind in (*_NATIVE, type(None)) for kind, _ in allowed):
        return _unsupported("a Literal of enum members or bytes", "use the enum itself")

    def load(tree: Any, _: Any) -> Any:
        if type(tree) not in (*_NATIVE, type(None)) or (type(tree), tree) not in allowed:
            raise _mismatch(tree, "one of the values of its Literal")
        return tree

    return _Codec(identity, load)


def _enum(cls: type[Enum]) -> _Codec:
    """By value where JSON writes it exactly, else by name."""
    by_value = all(type(member.value) in (str, int) for member in cls)
    expected = _name(cls)

    def dump(value: Any) -> Any:
        if type(value) is not cls:
            return _mismatch(value, expected)
        return value.value if by_value else value.name

    def load(tree: Any, _: Any) -> Any:
        if type(tree) not in (str, int):
            raise _mismatch(tree, expected)
        try:
            return cls(tree) if by_value else cls[tree]
        except (ValueError, KeyError):
            raise _Misfit(f"is not a member of {expected}") from None

    return _Codec(dump, load)


def _native(kind: type, expected: str) -> _Codec:
    allowed = _NATIVE[kind]

    def load(tree: Any, _: Any) -> Any:
        if type(tree) not in allowed:
            raise _mismatch(tree, expected)
        return _sound(tree)

    return _Codec(identity, load)


def _sound(value: Any) -> Any:
    match value:
        case str():
            return _sound_text(value)
        case int():
            return _sound_int(value)
        case float():
            return _sound_float(value)
    return value


def _scalar(kind: type) -> _Codec:
    write, expected = _SCALARS[kind].dump, _name(kind)

    def dump(value: Any) -> Any:
        if type(value) is not kind:
            return _mismatch(value, expected)
        try:
            return write(value)
        except _Misfit as misfit:
            return misfit

    return _Codec(dump, lambda tree, _: _read_scalar(kind, tree))


def _dump_any(value: Any) -> Any:
    try:
        return _lower(value, 0)
    except _Misfit as misfit:
        return misfit


def _dump_path(value: Any) -> Any:
    return str(value) if type(value) is type(Path()) else _mismatch(value, "Path")


def _load_path(tree: Any, _: Any) -> Path:
    if type(tree) is not str:
        raise _mismatch(tree, "Path")
    return Path(_sound_text(tree))


def _load_none(tree: Any, _: Any) -> None:
    if tree is not None:
        raise _mismatch(tree, "None")


_ANY = _Codec(_dump_any, lambda tree, _: _lift(tree))
_LEAVES: dict[Any, _Codec] = {
    Any: _ANY,
    Path: _Codec(_dump_path, _load_path),
    type(None): _Codec(identity, _load_none),
    **{kind: _native(kind, _name(kind)) for kind in _NATIVE},
    **{kind: _scalar(kind) for kind in _SCALARS},
}


def _in_order(dumped: list[Any]) -> list[Any]:
    """What a set was written as, in an order of its own; with a misfit in it, it is not written anyway."""
    try:
        return sorted(dumped, key=_CANONICAL.encode)
    except (TypeError, ValueError):
        return dumped


def _load_items(tree: Any, load: Load, annotation: Any, expected: str, *, ordered: bool = True) -> list[Any]:
    if type(tree) is not list:
        raise _mismatch(tree, expected)
    loaded: list[Any] = []
    try:
        for item in tree:
            loaded.append(load(item, annotation))
    except Exception as error:
        raise _blamed(error).under(f"[{len(loaded)}]" if ordered else "[*]") from None
    return loaded


_CONVERTER = _ExactConverter()


# --- what went in, and what came back -------------------------------------------------------------------------------


def _compare(sent: Any, back: Any, depth: int) -> None:
    """Raise a misfit at the first place where the two are not equal, type for type."""
    kind = type(sent)
    if kind is not type(back):
        raise _Misfit(f"is {_type_name(sent)}; expected {_type_name(back)}, as which it would come back")
    if kind in _NATIVE:
        if sent != back:
            raise _Misfit(f"is {_type_name(sent)}, and does not come back equal")
        return
    parts = _PARTS[kind] if kind in _PARTS else _parts_of(kind)
    if parts is None:
        if sent != back:
            raise _Misfit(f"is {_type_name(sent)}, and does not come back equal")
        return
    _check_depth(depth)
    if kind in _SIZED and len(sent) != len(back):
        raise _Misfit(f"is {_type_name(sent)}, and does not come back with the same size")
    for segment, one, other in parts(sent, back):
        try:
            _compare(one, other, depth + 1)
        except _Misfit as misfit:
            raise misfit.under(segment if type(segment) is str else f"[{segment}]", sent) from None


def _parts_of(kind: Any) -> _Parts | None:
    names: tuple[str, ...] = ()
    if attrs.has(kind):
        names = tuple(field.name for field in attrs.fields(kind))
    elif dataclasses.is_dataclass(kind):
        names = tuple(field.name for field in dataclasses.fields(kind))
    return _PARTS.setdefault(kind, _fields_of(names) if names else None)


def _parts_of_dict(sent: dict[Any, Any], back: dict[Any, Any]) -> Iterable[tuple[str, Any, Any]]:
    for (key, value), (other_key, other) in zip(sent.items(), back.items(), strict=True):
        yield ".<key>", key, other_key
        yield _segment(key), value, other


def _parts_of_set(sent: Iterable[Any], back: Iterable[Any]) -> Iterable[tuple[str, Any, Any]]:
    found = {item: item for item in back}
    for item in sent:
        yield "[*]", item, found.get(item)


def _parts_of_list(sent: list[Any], back: list[Any]) -> Iterable[tuple[int, Any, Any]]:
    return zip(range(len(sent)), sent, back, strict=True)


def _fields_of(names: tuple[str, ...]) -> _Parts:
    return lambda sent, back: ((f".{name}", getattr(sent, name), getattr(back, name)) for name in names)


_Parts = Callable[[Any, Any], Iterable[tuple[Any, Any, Any]]]
_SIZED: dict[Any, _Parts] = {
    dict: _parts_of_dict,
    list: _parts_of_list,
    tuple: _parts_of_list,
    set: _parts_of_set,
    frozenset: _parts_of_set,
}
_PARTS: dict[Any, _Parts | None] = {**_SIZED}  # and of each class, once it was met
