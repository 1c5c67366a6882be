"""What every adapter asks of records: that they follow one another, and that they read as they were written (P13).

What comes from a store is `object` until it is checked; a bad record raises CorruptionError for its own saga only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import NamedTuple

from saga_actors.errors import CorruptionError, NotAllowedError
from saga_actors.events import Accepted, Event, PlanAdopted, Resolved
from saga_actors.journal.port import CorruptRow, Entry, History, Page, SagaRow, Stored
from saga_actors.journal.records import Row, checksum, decode_event, decode_plan, encode_event, encode_plan
from saga_actors.outcomes import SagaState
from saga_actors.plan import SagaPlan

LARGEST_RECORD = 256 * 1024 * 1024
"""Bytes of body and context together; far above what a context may have, and below what SQLite can hold."""


class RawRecord(NamedTuple):
    """One event as it lies there; nothing of it is trusted."""

    position: int
    seq: object
    at: object
    kind: object
    body: object
    context: object
    checksum: object


class RawSaga(NamedTuple):
    """One summary as it lies there; texts are bytes, for they may be no texts any more."""

    number: int
    saga_id: object
    saga: object
    plan_id: object
    state: object
    digest: object
    created_at: object
    updated_at: object
    last_seq: object
    held_reason: object
    checksum: object


class RawPlan(NamedTuple):
    """One plan as it lies there, or is about to."""

    plan_id: str
    body: object
    checksum: object


class Part(NamedTuple):
    """One entry, encoded: nothing about it can fail any more but the store. `named` is the plan that it names last."""

    entry: Entry
    rows: list[Row]
    checksums: list[int]
    named: str | None
    plan: RawPlan | None

    @property
    def numbered(self) -> Iterable[tuple[int, Row, int]]:
        """Sequence number, row and checksum of each event."""
        return zip(range(self.entry.first_seq, self.last_seq + 1), self.rows, self.checksums, strict=True)

    @property
    def last_seq(self) -> int:
        """The number of its last event."""
        return self.entry.first_seq + len(self.rows) - 1


Plans = dict[str, RawPlan]
"""Encoded plans by id, kept by whoever encodes entries: it is the same few again and again."""

MOST_PLANS = 100


def encoded(entries: Sequence[Entry], plans: Plans) -> tuple[list[Part], dict[str, str]]:
    """The entries that can be stored, and why the others cannot, by saga id."""
    parts: list[Part] = []
    refused: dict[str, str] = {}
    for entry in entries:
        try:
            parts.append(_part(entry, plans))
        except Exception as error:  # whatever a strange value raises takes its own saga out, and no other
            refused[entry.saga_id] = f"{type(error).__name__}: {error}"
    return parts, refused


def _part(entry: Entry, plans: Plans) -> Part:
    saga_id, seq, named = entry.saga_id, entry.first_seq, None
    saga_id.encode()
    rows: list[Row] = []
    sums: list[int] = []
    for event in entry.events:
        row = encode_event(event)
        if row.kind in _NAMING:
            named = _named(event)
        if not isfinite(row.at) or len(row.body) > LARGEST_RECORD or row.context is not None:
            _require_storable(row)
        rows.append(row)
        sums.append(checksum(saga_id, seq, row))
        seq += 1
    return Part(entry, rows, sums, named, None if entry.plan is None else _raw_plan(entry.plan, plans))


_NAMING = frozenset({"accepted", "plan_adopted"})


def _named(event: Event) -> str:
    """The plan that it names. The texts of a summary go into the store as such; those of a record are JSON."""
    assert isinstance(event, (Accepted, PlanAdopted))
    if isinstance(event, Accepted):
        f"{event.saga}{event.digest}".encode()
    event.plan_id.encode()
    return event.plan_id


def _require_storable(row: Row) -> None:
    if not isfinite(row.at):
        raise ValueError(f"{row.kind} happened at {row.at!r}; expected POSIX seconds")
    size = len(row.body) + (0 if row.context is None else len(row.context))
    if size > LARGEST_RECORD:
        raise ValueError(f"{row.kind} has {size:,} bytes; expected at most {LARGEST_RECORD:,}")


def _raw_plan(plan: SagaPlan, plans: Plans) -> RawPlan:
    plan_id = plan.plan_id
    if plan_id not in plans:
        if len(plans) >= MOST_PLANS:
            plans.clear()
        body = encode_plan(plan)
        plans[plan_id] = RawPlan(plan_id, body, plan_checksum(plan_id, body))
    return plans[plan_id]


def conflict(row: SagaRow | None, part: Part) -> str | None:
    """Why this entry does not follow that summary; None if it does."""
    entry, named = part.entry, part.named
    if named is None:
        if row is not None and entry.first_seq == row.last_seq + 1:
            return None
    elif part.plan is None or part.plan.plan_id != named:
        return f"saga {entry.saga_id!r} names plan {named}, and it did not come along"
    if entry.accepted is not None:
        if row is not None:
            return f"saga {entry.saga_id!r} already exists"
        if entry.first_seq != 1 or entry.accepted.saga_id != entry.saga_id:
            return f"saga {entry.saga_id!r} does not begin with its own Accepted as its first event"
    elif row is None:
        return f"saga {entry.saga_id!r} does not exist"
    elif entry.first_seq != row.last_seq + 1:
        return f"saga {entry.saga_id!r} goes on at {row.last_seq + 1}, got events from {entry.first_seq}"
    return None


def was_pruned(saga_id: str) -> str:
    """Why there can be no new saga of this id."""
    return f"saga {saga_id!r} existed already, and was pruned"


def resolved(event: Resolved) -> Row:
    """The row that ends a saga by hand; ValueError if that is no end."""
    if not event.state.ended:
        raise ValueError(f"a saga cannot be ended as {event.state}; expected completed, compensated or fatal")
    return encode_event(event)


def require_held(row: SagaRow) -> None:
    """Raise NotAllowedError unless that saga is held."""
    if row.state is not SagaState.HELD:
        raise NotAllowedError(f"saga {row.saga_id!r} is {row.state}; only one that is held can be ended unread")


def advanced(row: SagaRow | None, part: Part, number: int = 0) -> SagaRow:
    """The summary after this entry, which follows it; `number` is that of a new saga."""
    entry = part.entry
    updated_at = float(part.rows[-1].at)
    held = None if entry.held_reason is None else storable(entry.held_reason)
    if row is not None:
        plan_id = part.named or row.plan_id
        born = (row.number, row.saga_id, row.saga)
        return SagaRow(*born, plan_id, entry.state, row.digest, row.created_at, updated_at, part.last_seq, held)
    accepted = entry.accepted
    assert accepted is not None  # `conflict` has said so
    assert part.named is not None
    born, created_at = (number, entry.saga_id, accepted.saga), float(accepted.at)
    return SagaRow(*born, part.named, entry.state, accepted.digest, created_at, updated_at, part.last_seq, held)


def row_checksum(row: SagaRow) -> int:
    """Over all of the summary but its number."""
    pinned = f"{row.saga}\0{row.plan_id}\0{row.digest}\0{row.created_at!r}"
    held = None if row.held_reason is None else row.held_reason.encode()
    return checksum(row.saga_id, row.last_seq, Row(row.state, row.updated_at, pinned.encode(), held))


def plan_checksum(plan_id: str, body: bytes) -> int:
    """Over a plan and its id."""
    return checksum(plan_id, 0, Row("plan", 0.0, body, None))


def checked_row(raw: RawSaga) -> SagaRow:
    """The summary, if it is what was written; raises CorruptionError."""
    try:
        row = _typed_row(raw)
        sound = row_checksum(row) == raw.checksum
    except (TypeError, ValueError) as error:
        raise CorruptionError(_row_flaw(raw, str(error))) from None
    if not sound:
        raise CorruptionError(_row_flaw(raw, "its checksum does not match"))
    return row


def _typed_row(raw: RawSaga) -> SagaRow:
    held = None if raw.held_reason is None else as_text(raw.held_reason)
    texts = (
        as_text(raw.saga_id),
        as_text(raw.saga),
        as_text(raw.plan_id),
        SagaState(as_text(raw.state)),
        as_text(raw.digest),
    )
    return SagaRow(raw.number, *texts, as_real(raw.created_at), as_real(raw.updated_at), _whole(raw.last_seq), held)


def _row_flaw(raw: RawSaga, why: str) -> str:
    return f"the summary of saga {legible(raw.saga_id)!r} (number {raw.number}) is corrupt: {why}"


def salvaged(raw: RawSaga) -> SagaRow:
    """What is still legible of a summary, so that its saga can be held; never to execute anything on."""
    try:
        return checked_row(raw)
    except CorruptionError:
        at = [t if isinstance(t, float) and isfinite(t) else 0.0 for t in (raw.created_at, raw.updated_at)]
        texts = [legible(text) for text in (raw.saga_id, raw.saga, raw.plan_id, raw.digest)]
        last_seq = raw.last_seq if isinstance(raw.last_seq, int) and 0 <= raw.last_seq < 2**62 else 0
        saga_id, saga, plan_id, digest = texts
        return SagaRow(raw.number, saga_id, saga, plan_id, SagaState.HELD, digest, at[0], at[1], last_seq)


def storable(text: str) -> str:
    """Text as any store takes it: an error's words may hold lone surrogates, and must keep no saga from being held."""
    return text.encode(errors="replace").decode()


def legible(text: object) -> str:
    """Text as far as it is one."""
    return text.decode(errors="replace") if isinstance(text, bytes) else ""


def page(raws: Sequence[RawSaga], limit: int) -> Page:
    """At most `limit` of these rows, each checked on its own; one more than that says that there is a next page."""
    rows: list[SagaRow] = []
    corrupt: list[CorruptRow] = []
    for raw in raws[:limit]:
        try:
            rows.append(checked_row(raw))
        except CorruptionError as error:
            corrupt.append(CorruptRow(raw.number, legible(raw.saga_id), str(error)))
    return Page(tuple(rows), tuple(corrupt), raws[limit - 1].number if len(raws) > limit else None)


def verified(row: SagaRow, records: Iterable[RawRecord]) -> History:
    """All events of a saga, if each is what was written and none is missing; raises CorruptionError."""
    history = [Stored(seq, raw.position, checked(row.saga_id, seq, raw)) for seq, raw in enumerate(records, 1)]
    if len(history) != row.last_seq:
        seq = min(len(history), row.last_seq) + 1
        flaw = f"record {seq} is missing, or a stray one"
        raise CorruptionError(f"saga {row.saga_id!r} has {len(history)} records, expected {row.last_seq}: {flaw}")
    first = history[0].event if history else None
    if not isinstance(first, Accepted) or first.saga_id != row.saga_id:
        raise CorruptionError(f"saga {row.saga_id!r}, record 1: expected its own Accepted, got {type(first).__name__}")
    return history


def checked(saga_id: str, seq: int, raw: RawRecord) -> Event:
    """The event in this record, if it is what was written with this number; raises CorruptionError."""
    if raw.seq != seq:
        raise CorruptionError(f"saga {saga_id!r}, record {seq}: the next one says that it is number {raw.seq!r}")
    try:
        context = None if raw.context is None else _bytes(raw.context)
        row = Row(as_text(raw.kind), as_real(raw.at), _bytes(raw.body), context)
        sound = checksum(saga_id, seq, row) == raw.checksum
    except (TypeError, ValueError) as error:
        raise CorruptionError(f"saga {saga_id!r}, record {seq}: {error}") from None
    if not sound:
        raise CorruptionError(f"saga {saga_id!r}, record {seq}: its checksum does not match")
    try:
        return decode_event(row.kind, row.at, row.body, row.context)
    except Exception as error:  # written by us, or the checksum would not match; yet nobody can read it
        raise CorruptionError(f"saga {saga_id!r}, record {seq}: {row.kind} cannot be read: {error}") from error


def checked_plan(plan_id: str, raw: RawPlan | None) -> SagaPlan:
    """The plan, if it is what was written; raises CorruptionError."""
    if raw is None:
        raise CorruptionError(f"plan {plan_id!r} is not in the journal, yet a saga names it")
    if not isinstance(raw.body, bytes) or plan_checksum(plan_id, raw.body) != raw.checksum:
        raise CorruptionError(f"plan {plan_id!r}: its checksum does not match")
    try:
        return decode_plan(raw.body)
    except Exception as error:
        raise CorruptionError(f"plan {plan_id!r} cannot be read: {error}") from error


def as_text(value: object) -> str:
    """The text in these bytes; TypeError or ValueError if there is none."""
    return _bytes(value).decode()


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"a column holds {type(value).__name__}, expected what was written there")
    return value


def as_real(value: object) -> float:
    """The number in a column of such; TypeError if there is none."""
    if not isinstance(value, float):
        raise TypeError(f"a column holds {type(value).__name__}, expected a float")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"a column holds {type(value).__name__}, expected a whole number")
    return value
