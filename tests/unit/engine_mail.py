"""Messages under way: any of them is the next to arrive, and some get lost, come twice or very late.

Those of the root stay in their order, as between two processes they do: a supervisor believes the last that it hears of
who is there.
"""

from __future__ import annotations

import pickle
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from saga_actors.actors.protocol import Bundle

ROOT = "root"
LATEST = 40
"""One that is delayed is put aside until so many others have been drawn."""


class Letter(NamedTuple):
    """A message, and between whom it goes."""

    sender: str
    to: str
    message: Any


def items_of(message: Any) -> Iterable[Any]:
    """What a message says; a bundle says several things."""
    return message.items if isinstance(message, Bundle) else (message,)


class Mail:
    """All letters under way. `reliable`: none is lost, doubled or delayed any more, though they still overtake."""

    def __init__(self, chance: random.Random, seen: Counter[str]) -> None:
        self._chance, self._seen = chance, seen
        self._letters: list[Letter] = []
        self._late: list[tuple[int, Letter]] = []
        self._drawn = 0
        self.reliable = False
        self.due = False
        self.faults = 0

    def __bool__(self) -> bool:
        return bool(self._letters or self._late)

    def post(self, sender: str, to: str, message: Any) -> None:
        self._letters.append(Letter(sender, to, message))

    def keep(self, kept: Callable[[Letter], bool]) -> None:
        """All others are gone, with the process that they came from or went to."""
        self._letters = [letter for letter in self._letters if kept(letter)]
        self._late = [(until, letter) for until, letter in self._late if kept(letter)]

    def to(self, address: str) -> list[Any]:
        """What is under way to somebody."""
        return [letter.message for letter in self._letters if letter.to == address]

    def draw(self) -> Letter | None:
        """Take any letter, those of the root in their order; None if it is lost or late. A doubled one stays, too.

        `due` has a fault befall this one, whatever chance says.
        """
        self._drawn += 1
        self._hand_in()
        if not self._letters:
            return None
        at = int(self._chance.random() * len(self._letters))
        if self._letters[at].sender == ROOT:
            at = next(i for i, letter in enumerate(self._letters) if letter.sender == ROOT)
        letter = self._letters.pop(at)
        if self.reliable:
            return letter
        self._seen["reordered"] += any(other[:2] == letter[:2] for other in self._letters[:at])
        drawn = self._chance.random() * (0.09 if self.due else 1.0)
        return letter if drawn >= 0.09 else self._befalls(at, letter, drawn)

    def _befalls(self, at: int, letter: Letter, drawn: float) -> Letter | None:
        self.faults += 1
        self.due = False
        if drawn < 0.03:
            self._seen["lost"] += 1
            return None
        if drawn < 0.06 and letter.sender != ROOT:
            self._seen["delayed"] += 1
            self._late.append((self._drawn + self._chance.randrange(LATEST), letter))
            return None
        self._seen["doubled"] += 1
        self._letters.insert(at, letter._replace(message=pickle.loads(pickle.dumps(letter.message))))
        return letter

    def _hand_in(self) -> None:
        if self._late and (self.reliable or not self._letters or self._late[0][0] <= self._drawn):
            self._letters.append(self._late.pop(0)[1])
