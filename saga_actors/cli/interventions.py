"""What operators have done to a saga: who, when, what and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from saga_actors.events import Cancelled, Event, PlanAdopted, Resolved, Retried, Settled, Skipped
from saga_actors.outcomes import Action, FailureKind


@attrs.frozen
class Intervention:
    """One of them; `at` is POSIX seconds, and `by` None if nobody said who."""

    at: float
    action: Action
    what: str
    by: str | None
    reason: str | None


def interventions(events: Iterable[Event]) -> Iterator[Intervention]:
    """Those among the events, in order; a deadline is none."""
    for event in events:
        match event:
            case Cancelled(kind=FailureKind.CANCELLED):
                yield Intervention(event.at, Action.CANCEL, "turned it back", event.by, event.reason)
            case Retried():
                yield Intervention(event.at, Action.RETRY, "had it tried again", event.by, event.reason)
            case Settled():
                said = f"said that {event.step} {'happened' if event.happened else 'did not happen'}"
                yield Intervention(event.at, Action.SETTLE, said, event.by, event.reason)
            case Skipped():
                did = f"undid {event.step} by hand"
                yield Intervention(event.at, Action.SKIP, did, event.by, event.reason)
            case Resolved():
                did = f"ended it by hand as {event.state}"
                yield Intervention(event.at, Action.RESOLVE, did, event.by, event.reason)
            case PlanAdopted(by=str()):
                yield Intervention(event.at, Action.ACCEPT, "accepted the new definition", event.by, event.reason)
            case _:
                pass
