"""Events and plans as records: what a journal keeps of them comes back equal, or is said to be corrupt."""

from __future__ import annotations

import json
import math
import re
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_actors.errors import CorruptionError, JournalError
from saga_actors.events import (
    Accepted,
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    Ending,
    Event,
    Fault,
    HoldReason,
    Phase,
    PlanAdopted,
    RetryScheduled,
    SagaCompleted,
    SagaHeld,
    WorkerId,
)
from saga_actors.journal.records import (
    Row,
    checksum,
    decode_event,
    decode_plan,
    encode_event,
    encode_plan,
)
from saga_actors.plan import OnFailure, OnUnknown, SagaPlan, StepPlan

EVENTS = get_args(Event)
finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(), max_size=20)  # lone surrogates as well: a user's error may quote anything
every_event = pytest.mark.parametrize("cls", EVENTS, ids=lambda cls: cls.__name__)
rows = st.builds(Row, st.text(max_size=5), st.floats(allow_nan=False), st.binary(max_size=5), st.none() | st.binary())


def built(cls: type[Any], text: st.SearchStrategy[str] = texts) -> st.SearchStrategy[Any]:
    """Instances of `cls` with every field drawn by its type; numbers are finite."""
    hints = get_type_hints(cls)
    return st.builds(cls, **{field.name: drawn(hints[field.name], text) for field in attrs.fields(cls)})


def drawn(hint: Any, text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    if get_origin(hint) is tuple:
        return st.lists(drawn(get_args(hint)[0], text), max_size=4).map(tuple)
    if get_args(hint):
        return st.one_of([drawn(each, text) for each in get_args(hint)])
    if attrs.has(hint):
        return built(hint, text)
    by_type: dict[Any, st.SearchStrategy[Any]] = {str: text, float: finite}
    return by_type[hint] if hint in by_type else st.from_type(hint)


plans = built(SagaPlan, st.text(max_size=20))


class TestEvents:
    @every_event
    @settings(max_examples=25, deadline=None)
    @given(st.data())
    def test_an_event_comes_back_equal(self, cls: type[Any], data: st.DataObject) -> None:
        """P4, P13: every event is the same after the journal, down to the types of its fields."""
        event = data.draw(built(cls))
        row = encode_event(event)
        back = decode_event(*row)
        assert back == event
        assert repr(back) == repr(event)

    @every_event
    @settings(max_examples=10, deadline=None)
    @given(st.data())
    def test_a_body_is_json_of_all_other_fields(self, cls: type[Any], data: st.DataObject) -> None:
        """What `sqlite3 -readonly` shows are plain JSON objects; `at` and the context lie beside them, untouched."""
        event = data.draw(built(cls))
        row = encode_event(event)
        names = {field.name for field in attrs.fields(cls)} - {"at", "context"}
        assert set(json.loads(row.body)) <= names
        assert row.at == event.at
        assert row.context is getattr(event, "context", None)

    def test_a_record_is_small_and_reads_well(self) -> None:
        """Kinds are words, enums are their values, and what has its default is left out."""
        started = AttemptStarted(1.5, Phase.EXECUTE, "charge", 2, 7, WorkerId(1, 4242, 99.25))
        assert encode_event(started) == Row(
            "attempt_started",
            1.5,
            b'{"phase":"execute","step":"charge","attempt":2,"epoch":7,"worker":{"number":1,"pid":4242,"started":99.25}}',
            None,
        )
        assert encode_event(SagaCompleted(2.0)) == Row("saga_completed", 2.0, b"{}", None)
        succeeded = AttemptSucceeded(1.0, Phase.EXECUTE, "größe", 1, b"\x00any")
        assert encode_event(succeeded).body == '{"phase":"execute","step":"größe","attempt":1}'.encode()
        assert encode_event(succeeded).context == b"\x00any"

    def test_kinds_differ(self) -> None:
        """Each event has a kind of its own, the class's name in snake case."""
        assert encode_event(SagaHeld(0.0, HoldReason.CORRUPT, "")).kind == "saga_held"
        assert encode_event(PlanAdopted(0.0, "plan")).kind == "plan_adopted"
        kinds = [re.sub(r"\B([A-Z])", r"_\1", cls.__name__).lower() for cls in EVENTS]
        assert len(set(kinds)) == len(EVENTS)

    def test_lone_surrogates_in_an_error_are_kept(self) -> None:
        """A user's error may quote a broken file name; that must not keep its failure out of the journal."""
        failed = AttemptFailed(0.0, Phase.EXECUTE, "a", 1, Ending.FAILED, Fault("no such file: \udcff", "OSError"))
        assert decode_event(*encode_event(failed)) == failed

    def test_a_number_that_is_not_finite_is_refused(self) -> None:
        """JSON has no infinity: such an event is an error before anything is written."""
        with pytest.raises(JournalError, match="JSON"):
            encode_event(RetryScheduled(0.0, Phase.EXECUTE, "a", math.inf))

    def test_what_is_no_event_is_refused(self) -> None:
        """Only the events of the domain are facts."""
        stranger: Any = Fault("x")
        with pytest.raises(JournalError, match="Fault is not an event"):
            encode_event(stranger)

    @pytest.mark.parametrize(
        ("kind", "body", "context", "message"),
        [
            ("saga_exploded", b"{}", None, "saga_exploded"),
            ("Accepted", b"{}", None, "Accepted"),
            ("saga_completed", b'{"why":1}', None, "a field 'why'"),
            ("saga_completed", b"{}", b"{}", "a context"),
            ("saga_completed", b"[]", None, "of type list"),
            ("saga_completed", b"{", None, "JSONDecodeError"),
            ("saga_completed", b"\xff", None, "UnicodeDecodeError"),
            ("saga_completed", b"[" * 100_000, None, "RecursionError"),
            ("undo_failed", b"{}", None, "TypeError"),
            ("undo_failed", b'{"step":1}', None, "'step' of type int"),
            ("undo_failed", b'{"step":null}', None, "'step' of type NoneType"),
            ("undo_failed", b'{"step":"a","at":1}', None, "a field 'at'"),
            ("step_failed", b'{"step":"a","verdict":"maybe"}', None, "Verdict"),
            ("step_failed", b'{"step":"a","verdict":"failed","ignored":1}', None, "'ignored' of type int"),
            ("attempt_quieted", b'{"phase":"execute","step":"a","attempt":true}', None, "'attempt' of type bool"),
            (
                "attempt_started",
                b'{"phase":"execute","step":"a","attempt":1,"epoch":1,"worker":{"number":1,"pid":2}}',
                None,
                "TypeError",
            ),
            (
                "attempt_started",
                b'{"phase":"execute","step":"a","attempt":1,"epoch":1,"worker":{"host":"x"}}',
                None,
                "a field 'host'",
            ),
        ],
    )
    def test_what_no_event_was_written_as_is_corrupt(
        self, kind: str, body: bytes, context: bytes | None, message: str
    ) -> None:
        """P13: an unknown kind or field, a missing one or one of another type is loud."""
        with pytest.raises(CorruptionError, match=message):
            decode_event(kind, 0.0, body, context)

    @settings(max_examples=50, deadline=None)
    @given(st.sampled_from(["accepted", "attempt_failed", "nothing"]), st.binary())
    def test_decoding_raises_nothing_else(self, kind: str, body: bytes) -> None:
        """P13: bytes of any kind are an event or CorruptionError."""
        with pytest.raises(CorruptionError):
            decode_event(kind, 0.0, body, None)


class TestPlans:
    @settings(max_examples=40, deadline=None)
    @given(plans)
    def test_a_plan_comes_back_equal(self, plan: SagaPlan) -> None:
        """P14: a plan out of the journal is the one that was pinned, with the same id and fingerprint."""
        back = decode_plan(encode_plan(plan))
        assert back == plan
        assert repr(back) == repr(plan)
        assert (back.plan_id, back.fingerprint) == (plan.plan_id, plan.fingerprint)

    def test_whole_numbers_of_seconds_keep_their_type(self) -> None:
        """P14: 30 and 30.0 are equal, and yet make two plan ids; neither becomes the other."""
        plan = SagaPlan("m:S", (StepPlan("a", timeout=30, on_failure=OnFailure.IGNORE, on_unknown=OnUnknown.HOLD),))
        assert decode_plan(encode_plan(plan)).plan_id == plan.plan_id

    def test_what_was_added_later_has_its_default(self) -> None:
        """A plan that an older version wrote, without a field that has a default, can be read."""
        old = b'{"saga":"m:S","steps":[{"name":"a"}]}'
        assert decode_plan(old) == SagaPlan("m:S", (StepPlan("a"),))

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[]",
            b"{}",
            b'{"saga":"a"}',
            b'{"saga":"a","steps":[{}]}',
            b'{"saga":"a","steps":[],"colour":1}',
            b'{"saga":"a","steps":[{"name":"b","timeout":"3"}]}',
            b'{"saga":"a","steps":[{"name":"b","on_failure":"shrug"}]}',
        ],
    )
    def test_what_no_plan_was_written_as_is_corrupt(self, data: bytes) -> None:
        """P13: an unknown or missing field, or one of another type, is loud."""
        with pytest.raises(CorruptionError, match="plan"):
            decode_plan(data)

    def test_a_plan_that_cannot_be_kept_is_refused(self) -> None:
        """Text that is none does not get into the journal."""
        with pytest.raises(JournalError, match=r"steps\[0\].name"):
            encode_plan(SagaPlan("m:S", (StepPlan("\ud800"),)))


class TestChecksums:
    @settings(max_examples=50, deadline=None)
    @given(st.text(max_size=5), st.integers(1, 2**40), rows)
    def test_a_checksum_is_one_of_the_whole_record(self, saga_id: str, seq: int, row: Row) -> None:
        """P13: the saga, the place and each part count; the same record has the same checksum."""
        crc = checksum(saga_id, seq, row)
        others = [
            checksum(saga_id + "x", seq, row),
            checksum(saga_id, seq + 1, row),
            checksum(saga_id, seq, row._replace(kind=row.kind + "x")),
            checksum(saga_id, seq, row._replace(at=math.inf if math.isfinite(row.at) else 0.0)),
            checksum(saga_id, seq, row._replace(body=row.body + b"\0")),
            checksum(saga_id, seq, row._replace(context=b"" if row.context is None else None)),
        ]
        assert crc == checksum(saga_id, seq, Row(*row))
        assert 0 <= crc < 2**32
        assert crc not in others

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("a", 11, Row("k", 0.0, b"b", None)), ("a", 1, Row("1k", 0.0, b"b", None))),
            (("ab", 1, Row("k", 0.0, b"c", None)), ("a", 1, Row("k", 0.0, b"bc", None))),
            (("a", 1, Row("k", 0.0, b"bc", b"d")), ("a", 1, Row("k", 0.0, b"b", b"cd"))),
            (("a", 1, Row("k", 0.0, b"b", b"")), ("a", 1, Row("k", 0.0, b"b", None))),
        ],
    )
    def test_parts_do_not_run_into_each_other(self, one: tuple[str, int, Row], other: tuple[str, int, Row]) -> None:
        """P13: a byte that moves from one part to the next is another record."""
        assert checksum(*one) != checksum(*other)

    def test_a_whole_time_is_the_same_as_an_int(self) -> None:
        """SQLite gives back a REAL for what was an int: that is no corruption."""
        assert checksum("a", 1, Row("k", 5, b"", None)) == checksum("a", 1, Row("k", 5.0, b"", None))

    def test_an_accepted_saga_is_covered_with_its_context(self) -> None:
        """P13: one flipped bit of a context is seen."""
        row = encode_event(Accepted(0.0, "id", "m:S", "plan", "digest", b'{"total":250}'))
        assert checksum("id", 1, row) != checksum("id", 1, row._replace(context=b'{"total":251}'))
