"""The journal: the durable facts of every saga. One process writes it, any number read it."""

from __future__ import annotations

from saga_actors.journal.memory import MemoryJournal
from saga_actors.journal.port import (
    Appended,
    CorruptRow,
    Counts,
    Entry,
    History,
    Journal,
    JournalReader,
    Page,
    Pruned,
    Records,
    SagaRow,
    Stored,
    Tail,
    Tailed,
    Tombstone,
    held_reason,
)
from saga_actors.journal.sqlite import SqliteJournal, SqliteReader
from saga_actors.journal.sqlite_file import check_file
from saga_actors.journal.url import JournalUrl

__all__ = [
    "Appended",
    "CorruptRow",
    "Counts",
    "Entry",
    "History",
    "Journal",
    "JournalReader",
    "JournalUrl",
    "MemoryJournal",
    "Page",
    "Pruned",
    "Records",
    "SagaRow",
    "SqliteJournal",
    "SqliteReader",
    "Stored",
    "Tail",
    "Tailed",
    "Tombstone",
    "check_journal",
    "held_reason",
    "open_journal",
    "open_reader",
]


def check_journal(url: str | JournalUrl) -> None:
    """Raise what `open_journal` would, as far as it shows without making or changing anything."""
    place = JournalUrl.parse(url)
    if place.file is not None:
        check_file(place.file)


def open_journal(url: str | JournalUrl) -> Journal:
    """Open a journal for its one writer, making it if there is none.

    Raises JournalUrlError, SchemaError (not a journal, or a newer one; nothing was written) and JournalError.
    """
    place = JournalUrl.parse(url)
    return MemoryJournal() if place.file is None else SqliteJournal(place.file)


def open_reader(url: str | JournalUrl) -> JournalReader:
    """Open an existing journal for reading, in any process; raises like `open_journal`, and creates no journal.

    A memory journal is its own reader: there is no way to it but the object.
    """
    return SqliteReader(JournalUrl.parse(url).path)
