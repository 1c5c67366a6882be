"""What every journal promises, asked of each adapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from journal_cases import KINDS, PLAN, Both, birth, ended, filled, further, opened, started, succeeded

from saga_actors.errors import CorruptionError, EpochError, UnknownSagaError
from saga_actors.events import AttemptStarted, AttemptSucceeded, HoldReason, PlanAdopted, SagaHeld
from saga_actors.journal import Entry, Journal, JournalReader, held_reason
from saga_actors.outcomes import SagaState
from saga_actors.plan import StepPlan


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


class TestAppending:
    def test_what_was_appended_comes_back_as_it_was(self, journal: Journal, reader: JournalReader) -> None:
        """Events come back equal, in order, numbered from 1, to the writer and to a reader."""
        epoch = journal.take_epoch("me")
        first, then = birth("a", started()), further("a", 3, succeeded(context=None))
        journal.append(epoch, [first])
        journal.append(epoch, [then])
        for side in (journal, reader):
            assert [stored.seq for stored in side.load("a")] == [1, 2, 3]
            assert tuple(stored.event for stored in side.load("a")) == first.events + then.events

    def test_each_taking_over_counts_the_epoch_up(self, journal: Journal, reader: JournalReader) -> None:
        """Epochs start at 1 and are visible to readers (P8)."""
        assert reader.epoch() == 0
        assert [journal.take_epoch("me"), journal.take_epoch("you")] == [1, 2]
        assert reader.epoch() == 2

    @pytest.mark.parametrize("wrong", [0, 1, 3])
    def test_another_epoch_writes_nothing(self, journal: Journal, reader: JournalReader, wrong: int) -> None:
        """An append or a hold under an epoch that is not in force is refused whole (P8)."""
        epoch = filled(journal, "a")
        journal.take_epoch("the next one")
        assert epoch == 1
        for act in (
            lambda: journal.append(wrong, [birth("b"), further("a", 4)]),
            lambda: journal.hold(wrong, "a", HoldReason.CRASHED, "", 5.0),
        ):
            with pytest.raises(EpochError, match="2 is in force"):
                act()
        assert reader.find("b") is None
        assert reader.end_position() == 3

    @pytest.mark.parametrize(
        "stranger",
        [
            birth("a"),
            further("a", 3),
            further("a", 5),
            further("nobody", 2),
            further("nobody", 1),
            attrs.evolve(birth("new"), saga_id="other"),
            attrs.evolve(birth("new"), first_seq=2),
            attrs.evolve(birth("new"), plan=None),
            further("a", 4, PlanAdopted(5.0, "0" * 16)),
        ],
    )
    def test_an_entry_that_does_not_follow_takes_only_its_saga_out(
        self, journal: Journal, reader: JournalReader, stranger: Entry
    ) -> None:
        """A gap, a repetition, a second birth or a plan that did not come along is named; the rest commits (P11)."""
        epoch = filled(journal, "a")
        appended = journal.append(epoch, [birth("b"), stranger, birth("c")])
        assert appended.conflicts == (stranger.saga_id,)
        assert stranger.saga_id in appended.why[stranger.saga_id]
        assert appended.unencodable == ()
        assert len(reader.load("a")) == 3
        assert reader.load("b")
        assert reader.load("c")
        assert appended.position == reader.end_position() == 5

    @pytest.mark.parametrize(
        "odd",
        [
            birth("\ud800"),
            birth("odd", saga="\ud800"),
            birth("odd", at=float("nan")),
            birth("odd", started(at=float("inf"))),
            birth("odd", "no event"),  # type: ignore[arg-type]
            birth("odd", context="no bytes"),  # type: ignore[arg-type]
        ],
    )
    def test_an_entry_that_cannot_be_stored_takes_only_its_saga_out(self, journal: Journal, odd: Entry) -> None:
        """It is named as unencodable, and the rest of the batch commits (P11)."""
        epoch = journal.take_epoch("me")
        appended = journal.append(epoch, [birth("b"), odd, birth("c")])
        assert appended.unencodable == (odd.saga_id,)
        assert appended.conflicts == ()
        assert appended.why[odd.saga_id]
        assert journal.counts()[SagaState.RUNNING] == 2

    def test_two_entries_of_one_saga_in_a_batch_follow_each_other(self, journal: Journal) -> None:
        """The second one sees the first one."""
        journal.append(journal.take_epoch("me"), [birth("a"), further("a", 2), ended("a", 3)])
        assert [stored.seq for stored in journal.load("a")] == [1, 2, 3]

    def test_the_second_entry_of_a_saga_is_the_one_that_counts(self, journal: Journal) -> None:
        """Whichever of the two changes its state, the summary is as the last one leaves it, and can be extended."""
        epoch = journal.take_epoch("me")
        journal.append(epoch, [birth("a"), birth("b")])
        assert not journal.append(
            epoch,
            [
                further("a", 2, state=SagaState.HELD),
                further("a", 3),
                further("b", 2),
                further("b", 3, state=SagaState.HELD),
            ],
        ).why
        rows = [journal.find(saga_id) for saga_id in "ab"]
        assert [(row.state, row.last_seq) for row in rows if row] == [(SagaState.RUNNING, 3), (SagaState.HELD, 3)]
        assert not journal.append(epoch, [further("a", 4), further("b", 4)]).why
        assert [len(journal.load(saga_id)) for saga_id in "ab"] == [4, 4]

    def test_an_entry_without_events_is_refused_when_it_is_made(self) -> None:
        """An entry says what happened."""
        with pytest.raises(ValueError, match="must be"):
            Entry("a", 1, (), SagaState.RUNNING)


class TestSummaries:
    def test_a_summary_tells_how_the_saga_stands(self, journal: Journal, reader: JournalReader) -> None:
        """State, times, digest, plan and last number are there without folding."""
        epoch = filled(journal, "a")
        journal.append(epoch, [ended("a", 4)])
        row = reader.find("a")
        assert row == journal.find("a")
        assert row is not None
        assert (row.saga_id, row.saga, row.plan_id, row.digest) == ("a", PLAN.saga, PLAN.plan_id, "d" * 16)
        assert (row.state, row.created_at, row.updated_at) == (SagaState.COMPLETED, 1.0, 9.0)
        assert (row.last_seq, row.held_reason) == (4, None)

    def test_a_saga_nobody_started_is_unknown(self, journal: Journal, reader: JournalReader) -> None:
        """`find` gives None; `load` and `hold` raise."""
        epoch = journal.take_epoch("me")
        assert reader.find("a") is None
        for act in (lambda: reader.load("a"), lambda: journal.hold(epoch, "a", HoldReason.CORRUPT, "", 1.0)):
            with pytest.raises(UnknownSagaError, match="'a'"):
                act()

    def test_a_plan_is_kept_once_and_the_summary_follows_an_adopted_one(self, journal: Journal) -> None:
        """Plans are found by id, the old and the new one (P14)."""
        epoch = filled(journal, "a", "b")
        longer = attrs.evolve(PLAN, steps=(*PLAN.steps, StepPlan("notify")))
        adopted = attrs.evolve(further("a", 4, PlanAdopted(5.0, longer.plan_id)), plan=longer)
        assert not journal.append(epoch, [adopted]).why
        row = journal.find("a")
        assert row is not None
        assert journal.plan(row.plan_id) == longer
        assert journal.plan(PLAN.plan_id) == PLAN

    def test_a_plan_that_is_missing_is_corruption(self, reader: JournalReader) -> None:
        """Whoever asks for a plan has its id from the journal (P13)."""
        with pytest.raises(CorruptionError, match="'0000'"):
            reader.plan("0000")

    def test_counts_have_every_state(self, journal: Journal, reader: JournalReader) -> None:
        """States nobody is in count zero."""
        epoch = filled(journal, "a", "b")
        journal.append(epoch, [ended("a", 4)])
        expected = dict.fromkeys(SagaState, 0) | {SagaState.RUNNING: 1, SagaState.COMPLETED: 1}
        assert journal.counts() == reader.counts() == expected


class TestHolding:
    def test_a_held_saga_says_why_without_folding(self, journal: Journal, reader: JournalReader) -> None:
        """The summary has the reason, and the history ends with it."""
        epoch = filled(journal, "a")
        journal.hold(epoch, "a", HoldReason.CRASHED, "fell thrice", 7.0)
        row = reader.find("a")
        assert row is not None
        assert (row.state, row.held_reason, row.updated_at) == (SagaState.HELD, "crashed: fell thrice", 7.0)
        assert reader.load("a")[-1].event == SagaHeld(7.0, HoldReason.CRASHED, "fell thrice")

    def test_a_held_saga_goes_on_behind_the_hold(self, journal: Journal) -> None:
        """What is appended next follows it, and the reason is gone from the summary."""
        epoch = filled(journal, "a")
        journal.hold(epoch, "a", HoldReason.CRASHED, "", 7.0)
        assert not journal.append(epoch, [further("a", 5)]).why
        row = journal.find("a")
        assert row is not None
        assert (row.state, row.held_reason) == (SagaState.RUNNING, None)

    def test_a_saga_that_has_ended_is_not_held(self, journal: Journal) -> None:
        """An end is final (P9)."""
        epoch = filled(journal, "a")
        journal.append(epoch, [ended("a", 4)])
        before = journal.find("a")
        journal.hold(epoch, "a", HoldReason.CRASHED, "", 10.0)
        assert journal.find("a") == before

    def test_words_that_are_no_text_keep_nobody_from_being_held(self, journal: Journal) -> None:
        """Lone surrogates, as an error's message may have them, become question marks in the summary."""
        epoch = filled(journal, "a", "b")
        journal.hold(epoch, "a", HoldReason.CORRUPT, "\ud800", 7.0)
        held = further("b", 4, SagaHeld(7.0, HoldReason.CORRUPT, "\ud800"), state=SagaState.HELD)
        appended = journal.append(epoch, [attrs.evolve(held, held_reason=held_reason(HoldReason.CORRUPT, "\ud800"))])
        assert not appended.why
        assert {row.held_reason for row in map(journal.find, "ab") if row is not None} == {"corrupt: ?"}


class TestPaging:
    def test_unfinished_sagas_come_oldest_first_and_page_by_page(self, journal: Journal) -> None:
        """Every running or compensating one exactly once; ended and held ones not."""
        names = [f"s{n:02}" for n in range(12)]
        epoch = filled(journal, *names)
        journal.append(epoch, [ended("s03", 4), further("s05", 4, state=SagaState.COMPENSATING)])
        journal.hold(epoch, "s07", HoldReason.CRASHED, "", 7.0)
        seen, after = [], None
        while True:
            page = journal.unfinished(after, limit=5)
            seen += [row.saga_id for row in page.rows]
            after = page.next
            if after is None:
                break
        assert seen == [name for name in names if name not in ("s03", "s07")]
        assert journal.count_unfinished() == len(seen)

    def test_a_page_that_is_just_full_is_the_last(self, journal: Journal) -> None:
        """No cursor leads to an empty page."""
        filled(journal, "a", "b")
        assert journal.unfinished(limit=2).next is None

    def test_a_list_comes_newest_first_and_new_sagas_do_not_shift_it(
        self, journal: Journal, reader: JournalReader
    ) -> None:
        """The cursor stays where it is while sagas are born."""
        epoch = filled(journal, *"abcde")
        first = reader.list(limit=2)
        journal.append(epoch, [birth("f")])
        second = reader.list(limit=3, after=first.next)
        assert [row.saga_id for row in first.rows + second.rows] == ["e", "d", "c", "b", "a"]
        assert second.next is None

    def test_a_list_can_be_narrowed(self, journal: Journal, reader: JournalReader) -> None:
        """By state, by saga and by birth, also together."""
        epoch = journal.take_epoch("me")
        born = [birth(name, at=float(at), saga=f"shop:{name.upper()}") for at, name in enumerate("abcd")]
        journal.append(epoch, [*born, ended("a", 2), ended("c", 2)])
        names = {
            "".join(row.saga_id for row in reader.list(**wanted).rows): wanted
            for wanted in (
                {"state": SagaState.COMPLETED},
                {"saga": "shop:B"},
                {"since": 2.0},
                {"state": SagaState.RUNNING, "since": 2.0},
            )
        }
        assert list(names) == ["ca", "b", "dc", "d"]

    def test_the_tail_is_in_commit_order_and_goes_on_where_it_was_left(
        self, journal: Journal, reader: JournalReader
    ) -> None:
        """Every event once, with its saga and number."""
        epoch = filled(journal, "a", "b")
        journal.append(epoch, [further("a", 4), further("b", 4)])
        told = reader.tail(0, limit=5)
        told += reader.tail(told[-1].position)
        assert [(t.saga_id, t.seq) for t in told] == [*((s, n) for s in "ab" for n in (1, 2, 3)), ("a", 4), ("b", 4)]
        assert [t.event for t in told if t.saga_id == "a"] == [stored.event for stored in reader.load("a")]
        assert {t.saga for t in told} == {PLAN.saga}
        assert told[-1].position == reader.end_position()
        assert reader.tail(reader.end_position()) == []

    def test_the_tail_leaves_out_what_is_to_be_skipped_but_for_the_last(
        self, journal: Journal, reader: JournalReader
    ) -> None:
        """`limit` counts what is skipped as well, so that nobody has to look through a whole journal for one event."""
        filled(journal, "a", "b")
        skip = {AttemptStarted, AttemptSucceeded}
        assert [(t.saga_id, t.seq) for t in reader.tail(0, 5, skip)] == [("a", 1), ("b", 1), ("b", 2)]
        assert [(t.saga_id, t.seq) for t in reader.tail(5, 5, skip)] == [("b", 3)]
        assert reader.tail(6, 5, skip) == []

    def test_a_checkpoint_and_a_second_close_change_nothing(self, journal: Journal) -> None:
        """Both may be called at any time."""
        filled(journal, "a")
        assert journal.checkpoint()
        assert len(journal.load("a")) == 3
        journal.close()
        journal.close()
