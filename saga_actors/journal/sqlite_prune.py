"""How the writer removes sagas that have ended from the SQLite file, and the tombstones that it leaves of them."""

from __future__ import annotations

from contextlib import closing

import apsw

from saga_actors.errors import CorruptionError
from saga_actors.journal import chain
from saga_actors.journal.port import Pruned, Tombstone
from saga_actors.journal.sqlite_batch import RAW_SAGA
from saga_actors.journal.tombstones import (
    MOST_SUMMARIES,
    RawTombstone,
    Share,
    checked_tombstone,
    tombstone_checksum,
)

RAW_TOMBSTONE = """IIF(typeof(saga_id) = 'text', CAST(saga_id AS BLOB), 0),
    IIF(typeof(saga) = 'text', CAST(saga AS BLOB), 0), IIF(typeof(state) = 'text', CAST(state AS BLOB), 0),
    IIF(typeof(digest) = 'text', CAST(digest AS BLOB), 0), IIF(typeof(created_at) = 'text', 0, created_at),
    IIF(typeof(ended_at) = 'text', 0, ended_at), IIF(typeof(pruned_at) = 'text', 0, pruned_at),
    IIF(typeof(checksum) = 'text', NULL, checksum)"""
FIND_TOMBSTONE = f"SELECT {RAW_TOMBSTONE} FROM tombstone WHERE saga_id = ?"
BEHIND = f"SELECT number FROM saga WHERE number > ? ORDER BY number LIMIT 1 OFFSET {MOST_SUMMARIES - 1}"
# By the numbers, and not by an index of states: what is looked at is bounded, and comes in its order.
ENDED = f"""SELECT {RAW_SAGA} FROM saga NOT INDEXED
    WHERE number > ? AND number <= ? AND updated_at < ? AND state IN ({{}}) ORDER BY number"""
SIZE = """SELECT count(*), coalesce(sum(length(body) + coalesce(length(context), 0)), 0)
    FROM event WHERE saga = ?"""
BURY = """INSERT OR REPLACE INTO tombstone (saga_id, saga, state, digest, created_at, ended_at, pruned_at, checksum)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
REMOVE_EVENTS = "DELETE FROM event WHERE saga = ?"
REMOVE_SAGA = "DELETE FROM saga WHERE number = ?"
# A number is never used again: a cursor of somebody who is reading page by page would take the new saga for an old one.
KEEP_NUMBER = "UPDATE owner SET last_number = max(last_number, ?)"
OLD_TOMBSTONES = f"SELECT {RAW_TOMBSTONE} FROM tombstone WHERE pruned_at < ? ORDER BY pruned_at"
REMOVE_TOMBSTONE = "DELETE FROM tombstone WHERE saga_id = ?"

LAST = 2**63 - 1


def find_tombstone(db: apsw.Connection, saga_id: str) -> Tombstone | None:
    """The tombstone of this saga; raises CorruptionError."""
    found = db.execute(FIND_TOMBSTONE, (saga_id,)).fetchone()
    return None if found is None else checked_tombstone(RawTombstone(*found))


def prune(db: apsw.Connection, share: Share, before: float, after: int) -> Pruned:
    """Remove that share of what ended before; inside a transaction of its caller."""
    behind = db.execute(BEHIND, (after,)).get
    broke_off = _choose(db, share, before, after, LAST if behind is None else behind)
    stones = share.tombstones
    numbers = [(row.number,) for row in share.sagas]
    db.executemany(BURY, [(*stone, tombstone_checksum(stone)) for stone in stones])
    db.executemany(REMOVE_EVENTS, numbers)
    db.executemany(REMOVE_SAGA, numbers)
    if numbers:
        db.execute(KEEP_NUMBER, numbers[-1])
    return Pruned(len(stones), behind if broke_off is None else broke_off)


def _choose(db: apsw.Connection, share: Share, before: float, after: int, until: int) -> int | None:
    """Fill the share from these numbers; the cursor where it was full."""
    ended = ENDED.format(",".join("?" * len(share.states)))
    with closing(db.execute(ended, (after, until, before, *share.states))) as found:
        for columns in found:
            raw = chain.RawSaga(*columns)
            try:
                row = chain.checked_row(raw)
            except CorruptionError:
                continue
            events, size = db.execute(SIZE, (raw.number,)).get
            if not share.takes(row, events, size):
                return raw.number - 1
    return None


def drop_tombstones(db: apsw.Connection, before: float, limit: int) -> Pruned:
    """Remove the oldest tombstones; inside a transaction of its caller."""
    chosen: list[tuple[str]] = []
    are_more = False
    with closing(db.execute(OLD_TOMBSTONES, (before,))) as found:
        for looked, columns in enumerate(found):
            are_more = len(chosen) == limit or looked == MOST_SUMMARIES
            if are_more:
                break
            try:
                chosen.append((checked_tombstone(RawTombstone(*columns)).saga_id,))
            except CorruptionError:
                continue
    db.executemany(REMOVE_TOMBSTONE, chosen)
    return Pruned(len(chosen), len(chosen) if are_more and chosen else None)
