"""Whom a worker obeys: the highest epoch it has heard of, and each of its messages once (P8)."""

from __future__ import annotations


class Fence:
    """What a worker has heard of its supervisors. All numbers of `epoch` up to `received` have come."""

    def __init__(self) -> None:
        self.epoch = 0
        self.received = 0
        self._beyond: set[int] = set()

    def admits(self, epoch: int) -> bool:
        """Whether this epoch is obeyed; from a newer one on, the older ones are not, and its numbers start anew."""
        if epoch > self.epoch:
            self.epoch, self.received = epoch, 0
            self._beyond.clear()
        return epoch == self.epoch

    def accept(self, epoch: int, number: int) -> bool:
        """Whether this is a message of an epoch that is obeyed, and one that has not been had."""
        if not self.admits(epoch) or number <= self.received or number in self._beyond:
            return False
        self._beyond.add(number)
        while self.received + 1 in self._beyond:
            self.received += 1
            self._beyond.remove(self.received)
        return True
