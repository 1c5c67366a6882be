"""What the system process of a life and the root say to each other."""

from __future__ import annotations

import attrs

from saga_actors.node_spec import NodeSpec

DRAINED = 0
"""`LifeOver.code`: all is done, no life follows."""

FAILED = 1
"""`LifeOver.code`: the next life may do better."""

HOPELESS = 78
"""`LifeOver.code`: no life would do better (the journal is of a newer version, say); the node gives up at once."""


@attrs.frozen
class Begin:
    """The life asks the root to serve; answered by `Begun` when it does, or by `LifeOver` if it cannot."""

    spec: NodeSpec
    life: str


@attrs.frozen
class Begun:
    """The root's children are up and serve. May be sent again."""

    root_pid: int


@attrs.frozen
class Ping:
    """The life asks whether the root is there."""

    number: int


@attrs.frozen
class Pong:
    """The root is there."""

    number: int


@attrs.frozen
class DrainAndEnd:
    """The node was told to end: take on nothing new, finish what runs, then send `LifeOver`. Sent once per second."""


@attrs.frozen
class LifeOver:
    """The root tells the life to end with this code. The root itself stays where it is until it is killed."""

    reason: str
    code: int = DRAINED
