"""A saga with a context of its own; whichever process imports it leaves a mark."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from saga_actors import Saga, step

MARKS = "MARKED_FOLDER"

if folder := os.environ.get(MARKS):
    (Path(folder) / str(os.getpid())).touch()


@attrs.frozen
class Parcel:
    """What is sent."""

    number: int
    stamped: bool = False


def stamp(parcel: Parcel) -> Parcel:
    """The parcel, with a stamp on it."""
    return attrs.evolve(parcel, stamped=True)


class Post(Saga[Parcel]):
    """One step."""

    counter = step(stamp)
