"""What a node is started with, and how its present life is reached; both cross processes as JSON."""

from __future__ import annotations

import json
from typing import Any

import attrs

from saga_actors.errors import NodeError

DEFAULT_ROOT = "saga_actors.actors.root.RootSupervisor"


def _strings(values: Any) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _tuples(values: Any) -> tuple[tuple[str, str, str | None], ...]:
    return tuple((saga, module, path) for saga, module, path in values)


@attrs.frozen
class NodeSpec:
    """Everything a node needs to know to serve one journal. Durations are seconds.

    `sys_path` and `cwd` are absolute. `linger` is how long it stays without clients; None: until told to end.
    `root` is the dotted name of the actor that a life creates and asks to `Begin`. A life whose root has not answered
    for `silence` is replaced, and so is one that is not ready after `start_limit`. A worker
    whose step timed out and still runs is killed after `grace`. Told to end, it lets attempts in flight finish for
    `drain`. `sources` are the sagas that it serves whoever its clients are: each with its module, and the folder of a
    script. It ends with the process `parent`, if that is set. `clock` is for tests: a file by which they turn the
    node's clocks.
    """

    journal_url: str
    sys_path: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    cwd: str = "/"
    telemetry: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    workers: int = 2
    threads: int = 32
    linger: float | None = None
    max_unfinished: int = 10_000
    context_limit: int = 1_000_000
    root: str = DEFAULT_ROOT
    ping_every: float = 2.0
    silence: float = 10.0
    start_limit: float = 60.0
    grace: float = 5.0
    drain: float = 5.0
    sources: tuple[tuple[str, str, str | None], ...] = attrs.field(default=(), converter=_tuples)
    parent: int | None = None
    clock: str | None = None

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that it imports by itself."""
        return tuple(dict.fromkeys(module for _, module, _ in self.sources))

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> NodeSpec:
        """Read what `to_json` wrote; raises NodeError for anything else."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise NodeError(f"a node reads its NodeSpec as JSON from its standard input, and got: {error}") from error


@attrs.frozen
class LifeOrder:
    """What the watchdog tells a life's system process: who it is, and which descriptors it has inherited."""

    life: str
    spec: NodeSpec
    lock: int
    reports: int

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> LifeOrder:
        order = json.loads(text)
        return cls(**{**order, "spec": NodeSpec(**order["spec"])})


@attrs.frozen
class Life:
    """One life of a node, ready to be attached to. A start time is in clock ticks since boot; `started_at` is UTC.

    `modules` are those that the node was started with.
    """

    life: str
    number: int
    watchdog_pid: int
    watchdog_started: int
    admin_port: int
    admin_pid: int
    root_port: int
    root_pid: int
    started_at: str
    modules: tuple[str, ...] = attrs.field(default=(), converter=_strings)

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Life:
        return cls(**json.loads(text))
