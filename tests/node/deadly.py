"""A saga whose step may kill its worker more often than five times; `does` in its context is as for `undoing`."""

from __future__ import annotations

from undoing import act, undo

from saga_actors import Saga, step


class Deadly(Saga):
    """Its second step may be run again six times."""

    before = step(act, compensate=undo)
    deadly = step(act, compensate=undo, reruns=6)


class Neighbour(Saga):
    """Three plain steps."""

    first = step(act, compensate=undo)
    second = step(act)
    third = step(act)
