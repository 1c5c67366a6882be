"""Live events, read from the journal itself: with or without a node, in any process that may read the file.

The journal is the queue. A subscription holds a handful of events at most, whoever is slow loses nothing, and nobody
waits for it; only what is pruned before it was read is not told.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from saga_actors.errors import CorruptionError, JournalError, SchemaError
from saga_actors.journal import JournalReader, JournalUrl, open_reader
from saga_actors.journal.port import Tailed
from saga_actors.telemetry import TelemetryEvent, Translator

POLL = 0.05
"""Seconds between two looks into a journal in which there was nothing new; no event tells of another's commit."""

BATCH = 256
"""The most events of the journal that are read at once, and so the most that wait here to be asked for."""

PATIENCE = 4.0
"""Seconds for which a journal that cannot be read now is read again, before whoever waits is told."""


class Events(Iterator[TelemetryEvent]):
    """The events of a journal from now on, or those of one saga, from its first one to its end; in their order.

    Iterating waits for the next one, and ends after `close`, or when the saga has ended and all is told. A held saga
    waits for an operator, and whoever iterates with it. One thread may read; `close` may be called by another, and
    wakes it.
    """

    def __init__(
        self,
        url: JournalUrl,
        saga_id: str | None = None,
        opened: Callable[[JournalUrl], JournalReader] = open_reader,
    ) -> None:
        self._url = url
        self._opened = opened
        self._saga_id = saga_id
        self._reader: JournalReader | None = None
        self._read_up_to = 0
        self._waiting: deque[TelemetryEvent] = deque()
        self._closed = threading.Event()
        self._ended = False
        with contextlib.suppress(JournalError):  # there is none yet: whatever it will have is new
            self._open()
            assert self._reader is not None
            self._read_up_to = self._reader.end_position() if saga_id is None else 0

    def __next__(self) -> TelemetryEvent:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def next(self, timeout: float | None = None) -> TelemetryEvent | None:
        """The next event, waited for `timeout` seconds at most; None if there was none, or will be none any more.

        Raises JournalError if the journal cannot be read for some seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (self._waiting or self._ended or self._closed.is_set()):
            self._read()
            if not (self._waiting or self._ended):
                left = POLL if deadline is None else min(POLL, deadline - time.monotonic())
                if left <= 0:
                    return None
                self._closed.wait(left)
        if self._closed.is_set() or not self._waiting:
            self._let_go()
            return None
        return self._waiting.popleft()

    @property
    def ended(self) -> bool:
        """Whether there will be none any more."""
        return self._closed.is_set() or (self._ended and not self._waiting)

    def close(self) -> None:
        """End it; whoever waits is told that there is nothing more."""
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        self._let_go()

    # Reading.

    def _read(self) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self._read_on()
                return
            except (CorruptionError, SchemaError):
                raise
            except JournalError:
                if self._closed.is_set() or not (self._url.file and self._url.file.exists()):
                    return
                if time.monotonic() > until:
                    raise
                self._closed.wait(POLL)

    def _read_on(self) -> None:
        reader = self._reader or self._open()
        found = self._news(reader) if self._saga_id is None else self._news_of(reader, self._saga_id)
        for one in found:
            told = self._translator.translate(one)
            if told is not None:
                self._waiting.append(told)

    def _news(self, reader: JournalReader) -> Iterable[Tailed]:
        found = reader.tail(self._read_up_to, BATCH)
        if found:
            self._read_up_to = found[-1].position
        return found

    def _news_of(self, reader: JournalReader, saga_id: str) -> Iterable[Tailed]:
        """By the saga's own history, which is short, where a busy journal is not."""
        row = reader.find(saga_id)
        if row is None:
            self._ended = self._read_up_to > 0 or reader.tombstone(saga_id) is not None
            return []
        if row.last_seq == self._read_up_to:
            self._ended = row.state.ended
            return []
        news = reader.load(saga_id)[self._read_up_to :]
        self._read_up_to += len(news)
        return [Tailed(stored.position, saga_id, row.saga, stored.seq, stored.event) for stored in news]

    def _open(self) -> JournalReader:
        self._reader = reader = self._opened(self._url)
        self._translator = Translator(reader)
        return reader

    def _let_go(self) -> None:
        """By the thread that reads: a connection is not closed while it is used."""
        reader, self._reader, self._ended = self._reader, None, True
        if reader is not None:
            reader.close()
