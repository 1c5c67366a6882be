"""What the actors of a node and its clients say to each other: frozen, and harmless when lost, doubled or late.

`saga_actors.messages` are the questions that anybody may ask; these are internal and may change with any version.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, NamedTuple

import attrs

from saga_actors.compact_form import compact
from saga_actors.events import Phase, WorkerId
from saga_actors.inputs import Failed, Quieted, Report, Succeeded
from saga_actors.plan import SagaPlan

Address = Any
"""A Thespian ActorAddress, which has no types (and no hash: key by `str(address)`)."""


# Clients and the supervisor.


@compact
@attrs.frozen
class Bundle:
    """Several messages in one; who sends bundles gets its answers in bundles.

    A client says for which `life` they are meant: the port of a dead process may be dealt to another node's.
    """

    items: tuple[Any, ...] = attrs.field(repr=False)
    life: str = ""


@attrs.frozen
class Source:
    """Where a saga's definition is found: import `module`, with `path` (a folder, for a script) on `sys.path`."""

    saga: str
    module: str
    path: str | None = None


@attrs.frozen
class Serve:
    """A client asks that these sagas be served, from modules that it has itself imported; answered by `Serving`."""

    correlation_id: str
    sources: tuple[Source, ...]


@attrs.frozen
class LoadFailure:
    """Why a saga cannot be served: `code` is "nested" (a Coordinator made while importing) or "import"."""

    code: str
    message: str


@attrs.frozen
class Serving:
    """Which of the asked sagas are served now, by name with their plans' fingerprints; and which cannot be."""

    correlation_id: str
    fingerprints: dict[str, str]
    failures: dict[str, LoadFailure]


@attrs.frozen
class Heartbeat:
    """A client is there (every 2 s); answered by `Alive`. A node that lingers ends when nobody says this any more."""

    correlation_id: str
    client: str


@attrs.frozen
class Alive:
    """The supervisor is there. A client that sees a new epoch asks again for all that it waits for, and serves anew."""

    correlation_id: str
    epoch: int


@attrs.frozen
class Detach:
    """A client goes. If it was the last of a node that lingers, the node drains (`drain` seconds at most) and ends."""

    correlation_id: str
    client: str
    drain: float


@attrs.frozen
class Detached:
    """The client is forgotten; `ending` says that the node goes too, `unfinished` how many sagas then stay behind."""

    correlation_id: str
    unfinished: int
    ending: bool


@attrs.frozen
class Locate:
    """A client asks the root where everybody is; answered by `Located`, once the supervisor serves."""

    correlation_id: str


@attrs.frozen
class Member:
    """A process of the family: its role, pid and start time (POSIX seconds), and its address."""

    role: str
    pid: int
    started: float
    address: Address


@attrs.frozen
class Located:
    """Where everybody is."""

    correlation_id: str
    life: str
    supervisor: Member
    status: Member
    workers: tuple[Member, ...]


# The root and its children.


@attrs.frozen
class Birth:
    """The root tells a child what it is; answered by `Born`. The supervisor hears of everybody who is there."""

    role: str
    number: int
    spec: Any
    workers: tuple[Joined, ...] = ()
    neighbours: Neighbours | None = None
    life: str = ""


@attrs.frozen
class Neighbours:
    """Where those are whom the supervisor tells things; sent again when one of them was replaced."""

    root: Address = None
    status: Address = None
    telemetry: Address = None


@attrs.frozen
class Born:
    """A child is there and serves: its pid and start time (POSIX seconds)."""

    role: str
    number: int
    pid: int
    started: float


@attrs.frozen
class Joined:
    """The root tells the supervisor of a worker that is there."""

    worker: WorkerId
    address: Address


@attrs.frozen
class Left:
    """The root tells the supervisor that a worker is dead (and waited for)."""

    worker: WorkerId


@attrs.frozen
class Roster:
    """The root tells the supervisor, each time it pings, of everybody who is there: what was lost is made up for."""

    workers: tuple[Joined, ...]
    neighbours: Neighbours


@attrs.frozen
class Drain:
    """The root tells the supervisor to come to an end within `seconds`; answered by `NodeDone`."""

    seconds: float


@attrs.frozen
class CannotServe:
    """The supervisor tells the root that no supervisor could serve this journal; why, and what to do."""

    reason: str


@attrs.frozen
class NodeDone:
    """The supervisor tells the root that the node has drained and may end."""

    reason: str


# The supervisor and the workers. Every message to a worker carries the epoch; a worker refuses an older one (P8). It
# also names the worker that it is for, as the port of a dead one may be dealt to a worker of another node.


@attrs.frozen
class TakeInventory:
    """Say what you hold, and obey no older epoch from here; answered by `Inventory`."""

    epoch: int
    worker: WorkerId | None = None


class AttemptKey(NamedTuple):
    """The name of an attempt; a tuple, for it is looked up all the time."""

    saga_id: str
    phase: Phase
    step: str
    attempt: int
    epoch: int


@compact
@attrs.frozen
class Order:
    """Run this attempt. `timeout` is in seconds, from the moment its code begins; `outcome` is for compensations."""

    key: AttemptKey
    saga: str
    context: bytes = attrs.field(repr=False)
    timeout: float
    outcome: str | None = None


@attrs.frozen
class Load:
    """Import these sagas; answered by `Loaded`, with those that could and those that could not be."""

    epoch: int
    sources: tuple[Source, ...]
    worker: WorkerId | None = None


@attrs.frozen
class Loaded:
    """What a worker can run now, and what it cannot; `sources` are all it was ever asked for that it can."""

    worker: WorkerId
    plans: dict[str, SagaPlan]
    failures: dict[str, LoadFailure]
    sources: tuple[Source, ...]


@attrs.frozen
class ToWorker:
    """Orders to run, and the serials of reports that are stored and may be forgotten.

    `number` counts the messages of one epoch to one worker, from 1: a worker drops one that it has had.
    """

    epoch: int
    number: int
    orders: tuple[Order, ...] = attrs.field(default=(), repr=False)
    stored: tuple[int, ...] = ()
    worker: WorkerId | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled flat: orders go by the thousand, and an object costs ten times what a tuple does."""
        orders = [(*each.key, each.saga, each.context, each.timeout, each.outcome) for each in self.orders]
        return _to_worker, (self.epoch, self.number, orders, self.stored, self.worker)


def _to_worker(
    epoch: int, number: int, flat: Iterable[tuple[Any, ...]], stored: tuple[int, ...], worker: WorkerId | None
) -> ToWorker:
    return ToWorker(epoch, number, tuple([Order(AttemptKey(*each[:5]), *each[5:]) for each in flat]), stored, worker)


@compact
@attrs.frozen
class Posted:
    """A report with the worker's serial number for it; it is sent again each second until it is stored."""

    serial: int
    saga_id: str
    report: Report = attrs.field(repr=False)


@attrs.frozen
class FromWorker:
    """Reports not yet known to be stored; all ToWorker numbers of `epoch` up to `received` have come."""

    worker: WorkerId
    epoch: int
    received: int
    reports: tuple[Posted, ...] = attrs.field(default=(), repr=False)
    retiring: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled flat, as orders are."""
        reports = [(each.serial, each.saga_id, *_FLAT[type(each.report)](each.report)) for each in self.reports]
        return _from_worker, (self.worker, self.epoch, self.received, reports, self.retiring)


_FLAT = {
    kind: attrgetter("__class__", *(field.name for field in attrs.fields(kind)))
    for kind in (Succeeded, Failed, Quieted)
}
"""The class of a report, and its fields."""


def _from_worker(
    worker: WorkerId, epoch: int, received: int, flat: Iterable[tuple[Any, ...]], retiring: bool
) -> FromWorker:
    reports = tuple([Posted(serial, saga_id, kind(*fields)) for serial, saga_id, kind, *fields in flat])
    return FromWorker(worker, epoch, received, reports, retiring)


@attrs.frozen
class Inventory:
    """All attempts that a worker holds: those running (also given-up ones), and the reports not yet stored."""

    worker: WorkerId
    epoch: int
    running: tuple[AttemptKey, ...]
    reports: tuple[Posted, ...] = attrs.field(repr=False)
    loaded: Loaded
    retiring: bool = False


# The supervisor and its neighbours.


@compact
@attrs.frozen
class Committed:
    """There is something new in the journal, up to this position."""

    position: int


@attrs.frozen
class CatchUp:
    """The node is about to end: tell the listeners of all that is in the journal; answered by `CaughtUp`."""

    position: int


@attrs.frozen
class CaughtUp:
    """The listeners were told of all up to this position."""

    position: int


@attrs.frozen
class NowServed:
    """The supervisor tells the status actor which sagas are served."""

    sagas: frozenset[str]
