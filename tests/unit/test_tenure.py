"""A supervisor asks now and then whether it still is the one."""

from __future__ import annotations

import pytest

from saga_actors.actors.tenure import Tenure
from saga_actors.errors import EpochError, JournalFullError
from saga_actors.journal import MemoryJournal


def test_whoever_was_superseded_is_told_when_it_is_time_to_ask() -> None:
    """P8: also one that has nothing to commit; before that time the journal is left in peace."""
    journal = MemoryJournal()
    tenure = Tenure(journal, journal.take_epoch("first"), every=0.0)
    patient = Tenure(journal, 1, every=3_600.0)
    tenure.confirm()
    journal.take_epoch("second")
    patient.confirm()
    with pytest.raises(EpochError):
        tenure.confirm()


def test_whoever_must_be_sure_asks_at_once() -> None:
    """P8: before a supervisor has its node ended, say."""
    journal = MemoryJournal()
    tenure = Tenure(journal, journal.take_epoch("first"), every=3_600.0)
    tenure.confirm(now=True)
    journal.take_epoch("second")
    with pytest.raises(EpochError):
        tenure.confirm(now=True)


def test_a_journal_that_ails_otherwise_says_nothing_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with it is for whoever has something to commit."""

    def full(*_: object) -> None:
        raise JournalFullError("no room")

    journal = MemoryJournal()
    tenure = Tenure(journal, journal.take_epoch("first"), every=0.0)
    monkeypatch.setattr(journal, "append", full)
    tenure.confirm()
