"""The reports of a worker that are not yet known to be stored: each is kept, and sent again, until it is."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from saga_actors.actors.protocol import AttemptKey, Posted
from saga_actors.inputs import Failed, Report, Succeeded

BATCH_BYTES = 256_000
"""A message with reports is ended at about so many bytes; a bigger report travels alone."""

RESEND = 1.0
"""Seconds after which a report that is not stored is sent again."""

_ENVELOPE = 300  # bytes of a report's names and numbers, roughly

Batch = tuple[Posted, ...]


@attrs.define
class _Kept:
    """One report; it is known as new, or was sent at `sent_at`."""

    key: AttemptKey
    posted: Posted
    size: int
    sent_at: float = 0.0


class Outbox:
    """Reports by serial, from 1. Not for several threads at once: the runner has the lock. Times are monotonic."""

    def __init__(self) -> None:
        self._last = 0
        self._kept: dict[int, _Kept] = {}
        self._new: dict[int, _Kept] = {}  # those of them that were never sent
        self._of: dict[AttemptKey, int] = {}  # how many each attempt has here

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, key: AttemptKey, report: Report) -> None:
        """Keep a report under the next serial."""
        serial = self._last = self._last + 1
        kept = _Kept(key, Posted(serial, key.saga_id, report), _size(report))
        self._kept[serial] = self._new[serial] = kept
        self._of[key] = self._of.get(key, 0) + 1

    def holds(self, key: AttemptKey) -> bool:
        """Whether a report of this attempt is not stored yet."""
        return key in self._of

    def stored(self, serials: Iterable[int]) -> None:
        """Forget these, for they are in the journal."""
        for serial in serials:
            kept = self._kept.pop(serial, None)
            if kept is None:
                continue
            self._new.pop(serial, None)
            others = self._of.pop(kept.key) - 1
            if others:
                self._of[kept.key] = others

    def unsent(self, now: float) -> list[Batch]:
        """What was never sent, in batches; it counts as sent from now on."""
        batches = _batches(self._new.values())
        self._new = {}
        return _sent(batches, now)

    def due_again(self, now: float, *, one: bool = False) -> list[Batch]:
        """What was sent at least a second ago and is not stored; with `one`, the first batch of it."""
        sent = (kept for serial, kept in self._kept.items() if serial not in self._new)
        batches = _batches(kept for kept in sent if now - kept.sent_at >= RESEND)
        return _sent(batches[:1] if one else batches, now)

    def inventory(self, now: float) -> tuple[Batch, set[AttemptKey]]:
        """The first batch of all reports, and whose the others are; those count as not sent."""
        batches = _batches(self._kept.values())
        others = [kept for batch in batches[1:] for kept in batch]
        self._new = {kept.posted.serial: kept for kept in others}
        return next(iter(_sent(batches[:1], now)), ()), {kept.key for kept in others}


def _sent(batches: list[list[_Kept]], now: float) -> list[Batch]:
    for kept in (kept for batch in batches for kept in batch):
        kept.sent_at = now
    return [tuple(kept.posted for kept in batch) for batch in batches]


def _batches(reports: Iterable[_Kept]) -> list[list[_Kept]]:
    batches: list[list[_Kept]] = []
    room = 0
    for kept in reports:
        if not batches or kept.size > room:
            batches.append([])
            room = BATCH_BYTES
        batches[-1].append(kept)
        room -= kept.size
    return batches


def _size(report: Report) -> int:
    if isinstance(report, Succeeded):
        return _ENVELOPE + len(report.context or b"")
    if isinstance(report, Failed):
        return _ENVELOPE + len(report.fault.reason) + len(report.fault.traceback or "")
    return _ENVELOPE
