"""The history of the saga that a promise was broken for: the schedule is run once more, and a diary kept of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from engine_storm import Storm

ACCIDENTS = (" dies", " is dead", " is stopped", " wakes", " beside its successor")


def story(seed: int, broken: Exception, play: Callable[[Storm], None]) -> str:
    """What was broken, where, what happened to the saga until then, and what the journal says of it."""
    storm = Storm(seed)
    storm.diary = []
    again: Exception | None = None
    try:
        play(storm)
    except Exception as error:
        again = error
    lines = ["".join(traceback.format_exception(broken)).rstrip(), ""]
    if str(again) != str(broken):
        lines.append(f"the second time it came to {again!r}: sets were ordered otherwise; use `make simulate`")
    lines += _journal(storm, storm.witness.suspect)
    lines += ["", f"what happened to {storm.witness.suspect}, and to processes:"]
    return "\n".join(lines + [line for line in storm.diary if _concerns(line, storm.witness.suspect)])


def _journal(storm: Storm, saga_id: str) -> list[str]:
    row = storm.journal.find(saga_id)
    if row is None:
        return [f"{saga_id} is not in the journal"]
    said = [f"{stored.event.at - 1_000:9.2f} s  {stored.event}" for stored in storm.journal.load(saga_id)]
    return [f"{saga_id} is {row.state}; the journal says:", *said]


def _concerns(line: str, saga_id: str) -> bool:
    return f"'{saga_id}'" in line or f" {saga_id} " in line or any(word in line for word in ACCIDENTS)
