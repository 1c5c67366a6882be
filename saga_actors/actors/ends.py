"""How sagas ended of late: whoever asks for one after its end, as after `start_many`, need not have it folded."""

from __future__ import annotations

from collections import OrderedDict

from saga_actors.messages import SagaEnded
from saga_actors.outcomes import CompensationFailed

ROOM = 4_000_000
"""Bytes that all of them may take up together, roughly."""

WITHOUT_CONTEXT = 600
"""Roughly the bytes of one, but for its context."""


class Ends:
    """The ends that are final, by saga id, for as long as there is room; the oldest goes first.

    Only an operator reopens a saga, and only one that is fatal, so those are not kept; nor is one that would take up
    a tenth of the room by itself. Pruning forgets all.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = self._left = room
        self._kept: OrderedDict[str, SagaEnded] = OrderedDict()

    def keep(self, ended: SagaEnded) -> None:
        """Remember this one, which is durable."""
        size = _size(ended)
        if isinstance(ended.encoded, CompensationFailed) or size > self._room // 10 or ended.saga_id in self._kept:
            return
        self._kept[ended.saga_id] = ended
        self._left -= size
        while self._left < 0:
            _, oldest = self._kept.popitem(last=False)
            self._left += _size(oldest)

    def find(self, saga_id: str) -> SagaEnded | None:
        """How it ended, if that is still known here."""
        return self._kept.get(saga_id)

    def forget(self) -> None:
        """All of them."""
        self._kept.clear()
        self._left = self._room


def _size(ended: SagaEnded) -> int:
    return WITHOUT_CONTEXT + len(ended.encoded.context)
