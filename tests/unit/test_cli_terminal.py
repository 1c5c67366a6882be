"""What reaches the terminal: nothing that does anything to it; and times as they are read."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_actors.cli.moments import a_span, a_span_or_moment, clock_time, lasting, span
from saga_actors.cli.terminal import safe

TEXT = st.text(st.characters(codec=None), max_size=40)


@given(TEXT)
def test_no_control_character_gets_through(text: str) -> None:
    """Neither one that moves the cursor or turns text around, nor half a character, nor the end of a line."""
    shown = safe(text)
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cs", "Co", "Zl", "Zp"}
    shown.encode()


@given(TEXT)
def test_what_can_be_seen_stays(text: str) -> None:
    """Letters of any script, and symbols."""
    legible = "".join(each for each in text if each.isprintable() and each != "\\")
    assert safe(legible) == legible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("Übergrößenträger 🚚", "Übergrößenträger 🚚"),
    ],
)
def test_what_would_do_something_is_written_out(text: str, shown: str) -> None:
    """As Python would write it."""
    assert safe(text) == shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5 d", timedelta(hours=36)),
        ("2w", timedelta(days=14)),
        ("0s", timedelta()),
        ("90", None),
        ("s", None),
        ("1h nonsense", None),
        ("-1h", None),
        ("99999999999w", None),
    ],
)
def test_a_span_is_a_number_with_a_unit(text: str, expected: timedelta | None) -> None:
    """Or several."""
    assert span(text) == expected


def test_a_moment_without_a_zone_is_in_utc() -> None:
    """As all times that are printed."""
    moment = a_span_or_moment("2026-11-22 18:30")
    assert moment == datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
    assert isinstance(moment, datetime)
    assert clock_time(moment) == "2026-11-22 18:30:00Z"
    assert a_span_or_moment("2026-11-22T18:30:00+02:00") == datetime(2026, 11, 22, 16, 30, tzinfo=UTC)
    assert a_span_or_moment("2h") == timedelta(hours=2)


@pytest.mark.parametrize("convert", [a_span, a_span_or_moment])
def test_what_is_no_time_is_refused(convert: object) -> None:
    """With what would be one."""
    assert callable(convert)
    with pytest.raises(click.BadParameter, match="expected a span such as 90s, 15m, 12h or 30d"):
        convert("soon")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0 ms"), (0.25, "250 ms"), (2.5, "2.5 s"), (600, "10 min"), (7_200, "2 h"), (864_000, "10 d")],
)
def test_durations_are_as_precise_as_one_reads(seconds: float, text: str) -> None:
    """And no more."""
    assert lasting(seconds) == text
