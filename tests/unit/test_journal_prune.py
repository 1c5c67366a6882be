"""What is left of sagas that were pruned, asked of each adapter; and how one that nobody can read is ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_cases import ENDS, KINDS, PLAN, Both, birth, ended, filled, further, opened, over, started

from saga_actors.errors import EpochError, NotAllowedError, UnknownSagaError
from saga_actors.events import HoldReason, Resolved
from saga_actors.journal import Journal, JournalReader, Pruned, Tombstone, memory, sqlite_prune, tombstones
from saga_actors.outcomes import SagaState

COMPLETED, COMPENSATED, FATAL = ENDS
NOW = 1_000.0


@pytest.fixture(params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    with opened(request.param, tmp_path) as pair:
        yield pair


@pytest.fixture
def journal(both: Both) -> Journal:
    return both[0]


@pytest.fixture
def reader(both: Both) -> JournalReader:
    return both[1]


def names(reader: JournalReader) -> str:
    """The ids of all sagas, oldest first."""
    return "".join(row.saga_id for row in reversed(reader.list().rows))


class TestPruning:
    def test_a_tombstone_says_what_was_there(self, journal: Journal, reader: JournalReader) -> None:
        """P10: saga, input, how it ended and when, to the writer and to a reader."""
        epoch = over(journal, "a")
        assert journal.prune(epoch, 10.0, ENDS, at=NOW) == Pruned(1, None)
        expected = Tombstone("a", PLAN.saga, COMPLETED, "d" * 16, 1.0, 9.0, NOW)
        assert journal.tombstone("a") == reader.tombstone("a") == expected

    def test_a_saga_that_was_not_pruned_has_no_tombstone(self, journal: Journal, reader: JournalReader) -> None:
        """Neither one that is there nor one that never was."""
        over(journal, "a")
        assert [side.tombstone(saga_id) for side in (journal, reader) for saga_id in "ab"] == [None] * 4

    def test_nothing_else_is_left_of_a_pruned_saga(self, journal: Journal, reader: JournalReader) -> None:
        """Its events and its summary are gone, for whoever asks; its neighbours are whole."""
        epoch = over(journal, "a")
        journal.append(epoch, [birth("b")])
        journal.prune(epoch, 10.0, ENDS, at=NOW)
        for side in (journal, reader):
            assert side.find("a") is None
            with pytest.raises(UnknownSagaError, match="'a'"):
                side.load("a")
            assert side.counts()[COMPLETED] == 0
        assert names(reader) == "b"
        assert len(reader.load("b")) == 1

    def test_only_sagas_in_these_states_are_pruned(self, journal: Journal, reader: JournalReader) -> None:
        """Who keeps failures for longer than successes can."""
        epoch = journal.take_epoch("me")
        journal.append(epoch, [birth(saga_id) for saga_id in "abc"])
        journal.append(epoch, [ended(saga_id, 2, state=end) for saga_id, end in zip("abc", ENDS, strict=True)])
        assert journal.prune(epoch, 10.0, (COMPLETED, FATAL), at=NOW).sagas == 2
        assert names(reader) == "b"

    def test_only_sagas_that_are_old_enough_are_pruned(self, journal: Journal, reader: JournalReader) -> None:
        """What counts is when it changed last, and not when it was accepted."""
        epoch = over(journal, "a")
        journal.append(epoch, [birth("b", at=1.0)])
        journal.append(epoch, [ended("b", 2, at=10.0)])
        assert journal.prune(epoch, 10.0, ENDS, at=NOW).sagas == 1
        assert names(reader) == "b"

    def test_what_has_not_ended_is_never_pruned(self, journal: Journal, reader: JournalReader) -> None:
        """P1: not what runs or goes back, nor what waits for an operator, however old."""
        epoch = filled(journal, "a", "b", "c")
        journal.append(epoch, [further("b", 4, state=SagaState.COMPENSATING)])
        journal.hold(epoch, "c", HoldReason.CRASHED, "", 5.0)
        assert journal.prune(epoch, NOW, ENDS, at=NOW) == Pruned(0, None)
        assert names(reader) == "abc"
        assert journal.count_unfinished() == 2

    @pytest.mark.parametrize(
        "states", [("running",), (COMPLETED, SagaState.HELD), (SagaState.COMPENSATING,), ("gone",), ()]
    )
    def test_a_state_that_is_no_end_is_refused(self, journal: Journal, states: tuple[SagaState, ...]) -> None:
        """P1: and nothing is removed."""
        epoch = over(journal, "a")
        with pytest.raises(ValueError, match=r"completed, compensated or fatal|not a valid"):
            journal.prune(epoch, 10.0, states, at=NOW)
        assert journal.find("a") is not None

    def test_a_limit_or_a_time_that_means_nothing_is_refused(self, journal: Journal) -> None:
        """With a limit of nothing, whoever goes on while there is more would go on for ever (P12)."""
        epoch = over(journal, "a")
        for act in (
            lambda: journal.prune(epoch, 10.0, ENDS, at=NOW, limit=0),
            lambda: journal.drop_tombstones(epoch, 10.0, limit=0),
            lambda: journal.prune(epoch, 10.0, ENDS, at=float("nan")),
        ):
            with pytest.raises(ValueError, match="expected"):
                act()
        assert journal.find("a") is not None

    def test_a_second_time_there_is_nothing_to_prune(self, journal: Journal) -> None:
        """And the tombstone says when it was done."""
        epoch = over(journal, "a", "b")
        journal.prune(epoch, 10.0, ENDS, at=NOW)
        assert journal.prune(epoch, 10.0, ENDS, at=NOW + 1) == Pruned(0, None)
        stone = journal.tombstone("a")
        assert stone is not None
        assert stone.pruned_at == NOW

    def test_another_epoch_removes_nothing(self, journal: Journal) -> None:
        """P8: pruning, dropping and ending are refused to whom the journal is not any more."""
        epoch = over(journal, "a", "b", "c")
        journal.prune(epoch, 10.0, ENDS, at=NOW, limit=1)
        journal.append(epoch, [birth("d")])
        journal.hold(epoch, "d", HoldReason.CRASHED, "", 5.0)
        journal.take_epoch("the next one")
        for act in (
            lambda: journal.prune(epoch, 10.0, ENDS, at=NOW),
            lambda: journal.drop_tombstones(epoch, NOW + 1),
            lambda: journal.end(epoch, "d", COMPLETED, "ann", "enough", NOW),
        ):
            with pytest.raises(EpochError, match="2 is in force"):
                act()
        assert journal.tombstone("a") is not None
        assert journal.counts() == dict.fromkeys(SagaState, 0) | {COMPLETED: 2, SagaState.HELD: 1}


class TestBounds:
    def test_a_call_prunes_so_many_and_the_cursor_leads_on(self, journal: Journal, reader: JournalReader) -> None:
        """P12: oldest first, each once, also if others are born meanwhile."""
        epoch = over(journal, *"abcde")
        pruned, left = [], []
        after: int | None = 0
        while after is not None:
            done = journal.prune(epoch, 10.0, ENDS, at=NOW, after=after, limit=2)
            pruned.append(done.sagas)
            left.append(names(reader).strip("x"))
            journal.append(epoch, [birth("x" * len(pruned))])
            after = done.next
        assert (pruned, left) == ([2, 2, 1], ["cde", "e", ""])

    def test_a_share_that_is_just_full_is_the_last(self, journal: Journal) -> None:
        """No cursor leads to nothing."""
        epoch = over(journal, "a", "b")
        assert journal.prune(epoch, 10.0, ENDS, at=NOW, limit=2) == Pruned(2, None)

    @pytest.mark.parametrize("bound", ["MOST_EVENTS", "MOST_BYTES"])
    def test_a_call_removes_so_much_and_at_least_one_saga(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch, bound: str
    ) -> None:
        """P12: a saga with more than that goes alone."""
        monkeypatch.setattr(tombstones, bound, 8)
        epoch = over(journal, "a", "b", "c", "d")
        journal.append(epoch, [birth("e", *[started()] * 20)])
        journal.append(epoch, [ended("e", 22)])
        counts, after = [], 0
        while after is not None:
            done = journal.prune(epoch, 10.0, ENDS, at=NOW, after=after)
            counts.append(done.sagas)
            after = done.next
        assert counts == ([2, 2, 1] if bound == "MOST_EVENTS" else [1] * 5)

    def test_a_call_looks_at_so_many_and_the_cursor_leads_on(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """P12: a journal of which nothing is to be pruned is not looked through in one call."""
        look_at_most(2, monkeypatch)
        epoch = filled(journal, "a", "b", "c")
        journal.append(epoch, [birth("d")])
        journal.append(epoch, [ended("d", 2)])
        first = journal.prune(epoch, 10.0, ENDS, at=NOW)
        assert first == Pruned(0, 2)
        assert journal.prune(epoch, 10.0, ENDS, at=NOW, after=2).sagas == 1

    def test_tombstones_are_dropped_so_many_at_a_time(self, journal: Journal) -> None:
        """P12: those pruned first go first, and `next` says whether there are more."""
        epoch = over(journal, "a", "b", "c")
        for at in (3.0, 2.0, 1.0):
            journal.prune(epoch, 10.0, ENDS, at=at, limit=1)
        first = journal.drop_tombstones(epoch, 3.5, limit=2)
        assert (first.sagas, first.next is None) == (2, False)
        assert [saga_id for saga_id in "abc" if journal.tombstone(saga_id)] == ["a"]
        assert journal.drop_tombstones(epoch, 3.5, limit=2) == Pruned(1, None)


def look_at_most(summaries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have fewer summaries looked at in one call."""
    monkeypatch.setattr(memory, "MOST_SUMMARIES", summaries)
    behind = sqlite_prune.BEHIND.replace(str(tombstones.MOST_SUMMARIES - 1), str(summaries - 1))
    monkeypatch.setattr(sqlite_prune, "BEHIND", behind)


class TestIds:
    def test_a_new_saga_with_the_id_of_a_tombstone_does_not_follow(self, journal: Journal) -> None:
        """P10: it is named as a conflict, with the reason; the rest commits."""
        epoch = over(journal, "a")
        assert not journal.append(epoch, [birth("before")]).why
        journal.prune(epoch, 10.0, ENDS, at=NOW)
        appended = journal.append(epoch, [birth("b"), birth("a"), birth("c")])
        assert appended.conflicts == ("a",)
        assert "'a'" in appended.why["a"]
        assert "pruned" in appended.why["a"]
        assert journal.find("a") is None
        assert journal.counts()[SagaState.RUNNING] == 3

    def test_what_goes_on_for_a_pruned_saga_does_not_follow(self, journal: Journal) -> None:
        """P9: an end that was pruned is still one."""
        epoch = over(journal, "a")
        journal.prune(epoch, 10.0, ENDS, at=NOW)
        assert journal.append(epoch, [further("a", 5)]).conflicts == ("a",)
        with pytest.raises(UnknownSagaError, match="'a'"):
            journal.hold(epoch, "a", HoldReason.CRASHED, "", NOW)

    def test_an_id_is_free_when_its_tombstone_was_dropped(self, journal: Journal, reader: JournalReader) -> None:
        """P10 ends there, and no earlier: one pruned later keeps its id."""
        epoch = over(journal, "a", "b")
        journal.prune(epoch, 10.0, ENDS, at=NOW, limit=1)
        journal.prune(epoch, 10.0, ENDS, at=NOW + 5)
        assert journal.drop_tombstones(epoch, NOW + 1) == Pruned(1, None)
        assert reader.tombstone("a") is None
        assert journal.append(epoch, [birth("a"), birth("b")]).conflicts == ("b",)
        assert [stored.seq for stored in reader.load("a")] == [1]

    def test_a_number_is_never_used_again(self, journal: Journal, reader: JournalReader) -> None:
        """Whoever reads page by page is not told of a new saga in the place of an old one."""
        epoch = over(journal, "a", "b")
        page = reader.list(limit=1)
        journal.prune(epoch, 10.0, ENDS, at=NOW)
        journal.drop_tombstones(epoch, NOW + 1)
        epoch = journal.take_epoch("the next one")
        journal.append(epoch, [birth("c")])
        row = reader.find("c")
        assert row is not None
        assert row.number == 3
        assert reader.list(after=page.next).rows == ()

    def test_sagas_that_run_go_on_over_a_prune(self, journal: Journal) -> None:
        """P11: what the writer knows of them, it goes on to know."""
        epoch = filled(journal, "a", "b")
        journal.append(epoch, [ended("a", 4)])
        journal.prune(epoch, 10.0, ENDS, at=NOW)
        assert not journal.append(epoch, [further("b", 4), birth("c")]).why
        assert [len(journal.load(saga_id)) for saga_id in "bc"] == [4, 1]


class TestTail:
    def test_the_tail_goes_on_over_what_was_pruned(self, journal: Journal, reader: JournalReader) -> None:
        """Every event that is left once, and of those `limit` at a time, wherever the gap lies."""
        epoch = over(journal, "a", "b")
        journal.append(epoch, [birth("c"), birth("d")])
        journal.prune(epoch, 10.0, ENDS, at=NOW)
        assert [(t.position, t.saga_id) for t in reader.tail(0, 1)] == [(9, "c")]
        assert [(t.position, t.saga_id) for t in reader.tail(4)] == [(9, "c"), (10, "d")]

    def test_a_position_is_never_used_again(self, journal: Journal, reader: JournalReader) -> None:
        """The end stays where it was, also when the last events are gone and another has taken over."""
        epoch = over(journal, "a")
        journal.prune(epoch, 10.0, ENDS, at=NOW)
        assert reader.end_position() == 4
        assert reader.tail(0) == []
        epoch = journal.take_epoch("the next one")
        assert journal.append(epoch, [birth("b")]).position == reader.end_position() == 5
        assert [t.position for t in reader.tail(4)] == [5]


class TestEnding:
    def test_a_held_saga_is_ended_by_hand(self, journal: Journal, reader: JournalReader) -> None:
        """P2: the history says who did it, why and when; the summary has the state, and no reason any more."""
        epoch = filled(journal, "a")
        journal.hold(epoch, "a", HoldReason.CRASHED, "fell thrice", 7.0)
        journal.end(epoch, "a", COMPENSATED, "ann", "refunded by hand", 8.0, "request 1")
        row = reader.find("a")
        assert row is not None
        assert (row.state, row.held_reason, row.updated_at, row.last_seq) == (COMPENSATED, None, 8.0, 5)
        expected = Resolved(8.0, COMPENSATED, "ann", "refunded by hand", "request 1")
        assert reader.load("a")[-1].event == expected
        assert reader.tail(4)[-1].event == expected

    def test_a_saga_that_was_ended_by_hand_can_be_pruned(self, journal: Journal) -> None:
        """P10: it leaves a tombstone like any other."""
        epoch = filled(journal, "a")
        journal.hold(epoch, "a", HoldReason.CRASHED, "", 7.0)
        journal.end(epoch, "a", FATAL, "ann", "enough", 8.0)
        assert journal.prune(epoch, 9.0, (FATAL,), at=NOW).sagas == 1
        stone = journal.tombstone("a")
        assert stone is not None
        assert (stone.state, stone.ended_at) == (FATAL, 8.0)

    def test_only_a_held_saga_is_ended(self, journal: Journal) -> None:
        """P9: one that runs or has ended stays as it is, and one that nobody started is unknown."""
        epoch = filled(journal, "a", "b")
        journal.append(epoch, [ended("b", 4)])
        before = [journal.find(saga_id) for saga_id in "ab"]
        for saga_id, stands in (("a", "running"), ("b", "completed")):
            with pytest.raises(NotAllowedError, match=f"'{saga_id}' is {stands}"):
                journal.end(epoch, saga_id, FATAL, "ann", "enough", 10.0)
        with pytest.raises(UnknownSagaError, match="'c'"):
            journal.end(epoch, "c", FATAL, "ann", "enough", 10.0)
        assert [journal.find(saga_id) for saga_id in "ab"] == before
        assert not journal.append(epoch, [further("a", 4)]).why

    @pytest.mark.parametrize("state", [SagaState.RUNNING, SagaState.COMPENSATING, SagaState.HELD])
    def test_a_saga_is_ended_in_an_end(self, journal: Journal, state: SagaState) -> None:
        """P2: there are three."""
        epoch = filled(journal, "a")
        journal.hold(epoch, "a", HoldReason.CRASHED, "", 7.0)
        with pytest.raises(ValueError, match="completed, compensated or fatal"):
            journal.end(epoch, "a", state, "ann", "enough", 8.0)
        row = journal.find("a")
        assert row is not None
        assert row.state is SagaState.HELD
