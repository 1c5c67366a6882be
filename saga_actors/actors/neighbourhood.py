"""Whom the supervisor tells things that it needs no answer to: the status actor, telemetry, and the root at the end."""

from __future__ import annotations

from typing import Any

from saga_actors.actors.protocol import Address, CatchUp, Committed, Neighbours, NodeDone, NowServed

TELL_TELEMETRY = 0.05
"""Seconds between two hints to telemetry that there is something new."""

CATCH_UP = 2.0
"""Seconds for which whoever ends a node, or removes sagas, waits for the listeners of telemetry."""

Sent = tuple[Address, Any]


class Neighbourhood:
    """The supervisor's neighbours, and what each was told last. Times are POSIX seconds."""

    def __init__(self, position: int) -> None:
        self._who = Neighbours()
        self._position, self._told = position, 0
        self._told_at = 0.0
        self._served: frozenset[str] = frozenset()
        self._listeners_heard = -1
        self._patient_until: float | None = None

    def meet(self, neighbours: Neighbours) -> None:
        """These are the neighbours from now on; a new one was told nothing yet."""
        if neighbours.status != self._who.status:
            self._served = frozenset()
        if neighbours.telemetry != self._who.telemetry:
            self._told, self._patient_until = 0, None
        self._who = neighbours

    def committed(self, position: int) -> None:
        """The journal's end is here."""
        self._position = position

    def listeners_heard(self, position: int) -> None:
        """The listeners were told of everything up to here."""
        self._listeners_heard = max(position, self._listeners_heard)

    def tell_listeners(self) -> tuple[int, list[Sent]]:
        """Have the listeners told of everything until now: how far that is, and what is to be sent."""
        if self._who.telemetry is None or self.have_heard(self._position):
            return -1, []
        return self._position, [(self._who.telemetry, CatchUp(self._position))]

    def have_heard(self, position: int) -> bool:
        """Whether the listeners were told of everything up to here."""
        return self._listeners_heard >= position

    def news_at(self) -> float | None:
        """When somebody is to be told something, if anybody is."""
        return self._told_at + TELL_TELEMETRY if self._position != self._told else None

    def news(self, served: frozenset[str], now: float) -> list[Sent]:
        """What is new and due."""
        sent: list[Sent] = []
        if served != self._served and self._who.status is not None:
            self._served = served
            sent.append((self._who.status, NowServed(served)))
        if self._position == self._told or self._who.telemetry is None:
            self._told = self._position
        elif now - self._told_at >= TELL_TELEMETRY:
            self._told, self._told_at = self._position, now
            sent.append((self._who.telemetry, Committed(self._position)))
        return sent

    def catch_up(self, now: float) -> list[Sent]:
        """Ask telemetry, once, to have the listeners told of everything."""
        if self._who.telemetry is None or self._patient_until is not None:
            return []
        self._patient_until = now + CATCH_UP
        return [(self._who.telemetry, CatchUp(self._position))]

    def caught_up(self, now: float) -> bool:
        """Whether the listeners have been told of everything, or have taken too long for it."""
        if self._who.telemetry is None or self._listeners_heard == self._position:
            return True
        return self._patient_until is not None and now >= self._patient_until

    def farewell(self, reason: str) -> Sent:
        """What the root is told when all is done."""
        return self._who.root, NodeDone(reason)
