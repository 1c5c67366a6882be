"""The sagas that a supervisor was busy with when it died: two such deaths in a row, and the saga is not touched again.

One proves nothing, for a supervisor may be killed from outside at any time. It is two deaths just there, with nothing
between them: a saga that was folded well, or got further, was not it. Suspects are folded last, each in a turn of its
own, so that all others go on meanwhile.
"""

from __future__ import annotations

from saga_actors.actors.marks import Marks, Suspect

GUILTY = 2
"""So many deaths in a row while exactly this saga was being folded, or decided about as it stands."""

MOST = 1_000
"""So many suspects are remembered; of more, the oldest are let go."""


class Suspects:
    """What the marks of dead supervisors say; the present one's mark is its own from here."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        if marks.left is not None:
            saga_id, applied = marks.left
            before = marks.suspects.get(saga_id)
            again = before.deaths if before is not None and before.applied == applied else 0
            marks.suspects[saga_id] = Suspect(applied, again + 1)
            for oldest in list(marks.suspects)[:-MOST]:
                del marks.suspects[oldest]
        marks.keep()

    def __contains__(self, saga_id: str) -> bool:
        return saga_id in self._marks.suspects

    def verdict(self, saga_id: str) -> str | None:
        """Why this saga is to be held without being folded; None if it is not."""
        suspect = self._marks.suspects.get(saga_id)
        if suspect is None or suspect.deaths < GUILTY:
            return None
        busy = f"it decided about it as of event {suspect.applied}" if suspect.applied else "it folded it"
        return f"the supervisor died {suspect.deaths} times in a row while {busy}; look into node.log"

    def folded(self, saga_id: str) -> None:
        """It was folded, and nobody died of it."""
        suspect = self._marks.suspects.get(saga_id)
        if suspect is not None and not suspect.applied:
            self.drop(saga_id)

    def drop(self, saga_id: str) -> None:
        """Nothing is said against it any more."""
        if self._marks.suspects.pop(saga_id, None) is not None:
            self._marks.keep()
