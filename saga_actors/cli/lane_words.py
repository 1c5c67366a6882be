"""What a lane says in words: what the step came to, and how each attempt ended; none of it is safe to print yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from saga_actors.cli.facts import error_words
from saga_actors.cli.lanes import Back, BackLane, End, Forward, ForwardLane, Try
from saga_actors.cli.moments import lasting
from saga_actors.events import Fault
from saga_actors.status import moment

MOST_TRIES = 5
"""So many of a step's attempts are shown, the last ones; `-o json` has all."""


@attrs.frozen
class Look:
    """How an end looks: a mark, a word, and a colour."""

    mark: str
    word: str
    style: str = ""


@attrs.frozen
class Moment:
    """When a picture is drawn (POSIX seconds), and of which saga: of one that nobody serves, nothing runs.

    What one that has `ended` did not wait for may run on, but nobody notes when that comes to rest.
    """

    at: float
    served: bool
    ended: bool


FORWARD = {
    Forward.NOT_BEGUN: Look("·", "not begun", "dim"),
    Forward.NEXT: Look("▶", "is next", "cyan"),
    Forward.RUNNING: Look("▶", "running", "cyan"),
    Forward.WAITING: Look("…", "to be tried again", "cyan"),
    Forward.DONE: Look("✓", "done", "green"),
    Forward.FAILED: Look("✗", "failed", "red"),
    Forward.IGNORED: Look("✗", "failed, and ignored", "dim"),
    Forward.UNKNOWN: Look("?", "in doubt: it may have happened", "magenta"),
}
BACK = {
    Back.NOTHING: Look("·", "nothing to undo", "dim"),
    Back.NO_UNDO: Look("·", "has no undo", "dim"),
    Back.TAKEN_AS_FAILED: Look("?", "taken as failed, not undone", "magenta"),
    Back.TO_UNDO: Look("◀", "to be undone", "yellow"),
    Back.RUNNING: Look("◀", "being undone", "cyan"),
    Back.WAITING: Look("…", "to be tried again", "cyan"),
    Back.UNDONE: Look("✓", "undone", "green"),
    Back.FAILED: Look("✗", "undo failed", "bold red"),
    Back.SKIPPED: Look("✓", "undone by hand", "green"),
}
ENDS = {
    End.SUCCEEDED: "succeeded",
    End.FAILED: "failed",
    End.UNKNOWN: "may have happened",
    End.TIMED_OUT: "timed out",
    End.INTERRUPTED: "interrupted",
    End.UNUSABLE: "returned nothing usable",
    End.UNBEGUN: "not begun by its worker",
    End.SUPERSEDED: "was needed no more",
}


def lines_of(lane: ForwardLane | BackLane, look: Look, now: Moment) -> Iterator[tuple[str, str]]:
    """The first for the step, the others for its attempts."""
    settled_by = lane.settled_by if isinstance(lane, ForwardLane) else None
    word = f"{look.word}, says {settled_by}" if settled_by else look.word
    if len(lane.tries) == 1 and not settled_by and (only := _only(lane.tries[0], look, now)):
        yield look.mark, only
        return
    done = next((each for each in lane.tries if each.end is End.SUCCEEDED), None)
    yield look.mark, word if done is None else f"{word} at attempt {done.number}, {_duration(done)}"
    shown = lane.tries[-MOST_TRIES:]
    if len(shown) < len(lane.tries):
        yield "", f"{len(lane.tries) - len(shown)} attempts before these"
    yield from _tries([each for each in shown if each is not done], now)


def _only(only: Try, look: Look, now: Moment) -> str | None:
    """The one attempt on the line of its step; None if it has to have a line of its own."""
    if only.end is End.SUCCEEDED:
        return f"{look.word}, {_duration(only)}"
    if only.end is None:
        return _so_far(only, look.word, now)
    if only.end is End.FAILED and look.word.endswith("failed"):
        return f"{look.word}, {_duration(only)}{_why(only.fault)}"
    return None


def _tries(tries: Sequence[Try], now: Moment) -> Iterator[tuple[str, str]]:
    """A line each; the same error again is not said again."""
    last = None
    for each in tries:
        told = each.end, each.quiet, _why(each.fault)
        is_same = each.fault is not None and told == last
        yield str(each.number), f"likewise, {_duration(each)}" if is_same else _told(each, now)
        last = told
    if tries and tries[-1].again_at is not None and tries[-1].again_at > now.at:
        yield "", f"again at {moment(tries[-1].again_at):%H:%M:%S}Z"


def _so_far(each: Try, word: str, now: Moment) -> str:
    """An attempt that has not ended, as far as the journal knows."""
    time = lasting(max(0.0, now.at - each.began))
    return f"{word} for {time}" if now.served else f"begun {time} ago"


def _told(each: Try, now: Moment) -> str:
    if each.end is None:
        return _so_far(each, "running", now)
    if each.ended is None:
        return ENDS[each.end]
    unrest = "" if each.quiet or now.ended else ", and still runs"
    return f"{ENDS[each.end]}, {_duration(each)}{unrest}{_why(each.fault)}"


def _duration(each: Try) -> str:
    return lasting(max(0.0, (each.ended or each.began) - each.began))


def _why(fault: Fault | None) -> str:
    said = "" if fault is None else error_words(fault.error_type, fault.reason)
    return f": {said}" if said else ""
