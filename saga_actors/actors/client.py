"""A client of a node: it finds or starts the node, keeps itself known to it, and asks until it is answered.

Messages are hints: every question may be asked again, by its correlation id, and is, each 2 seconds and whenever the
supervisor is a new one. Whoever loses its node inside a call attaches again or starts one, and the call goes on.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from saga_actors.actors import process
from saga_actors.actors.connector import ABSENCE, PATIENCE, Connector, Errors
from saga_actors.actors.mailbox import Mailbox
from saga_actors.actors.protocol import (
    Address,
    Alive,
    Bundle,
    Detach,
    Detached,
    Heartbeat,
    Located,
    Member,
    Serve,
    Serving,
    Source,
)
from saga_actors.actors.questions import Question, Questions
from saga_actors.actors.seal import PacketError
from saga_actors.errors import (
    CoordinatorClosedError,
    NodeError,
    NodeUnreachableError,
    OverloadedError,
    SagaActorsError,
)
from saga_actors.messages import new_id
from saga_actors.node_folder import NodeFolder, ProcessId
from saga_actors.node_spec import Life, NodeSpec
from saga_actors.node_start import StartedNode

log = logging.getLogger("saga_actors")

TICK = 0.1
"""Seconds between two looks at what was not answered."""

HEARTBEAT = 1.0
"""Seconds between two signs of life."""

SILENCE = 5.0
"""Seconds without an answer to a heartbeat, after which the supervisor is looked for anew."""

DRAIN = 5.0
"""Seconds for which attempts may finish when this process ends without a word to its coordinator."""


class Client:
    """One attached client; any thread may ask. `starts` says whether it starts a node where there is none."""

    def __init__(self, spec: NodeSpec, sources: Callable[[], Iterable[Source]], *, starts: bool) -> None:
        self._spec = spec
        self._sources = sources
        inside = _is_inside(spec)
        self._starts = starts and not inside
        self._name = "" if inside else new_id()
        self._lock = threading.Lock()  # over what a search begins with and ends in
        self._questions = Questions()
        self._where: Located | None = None
        self._life: Life | None = None
        self._connector: Connector | None = None
        self._searching: threading.Thread | None = None
        self._bereft = False
        self._closed = self._leaving = False
        self._standing = ""
        self._epoch = 0
        self._heard = self._beat = 0.0
        self._fingerprints: dict[str, str] = {}
        self._started: StartedNode | None = None
        self._mailbox = Mailbox(
            self._on_message, self._on_undeliverable, supply=self._ask_what_is_due, tick=self._tick, interval=TICK
        )
        atexit.register(self._at_exit)

    # Asking.

    def ask(self, message: Any, *, to_status: bool = False) -> Future[Any]:
        """Ask until answered; the future has the answer, or a NodeError if there is no node for `PATIENCE` seconds."""
        return self.ask_many([message], to_status=to_status)[0]

    def ask_many(self, messages: Sequence[Any], *, to_status: bool = False) -> list[Future[Any]]:
        """Ask several things in as few messages as they fit into; a future for each."""
        questions = [self._questions.add(message, to_status) for message in messages]
        try:
            self._begin_asking()
        except BaseException:
            for message in messages:
                self.forget(message.correlation_id)
            raise
        return [question.future for question in questions]

    def _begin_asking(self) -> None:
        with self._lock:
            where, closed = self._where, self._closed
        if closed:
            raise CoordinatorClosedError("this coordinator is closed; make a new one")
        if where is None:
            self._connect()
        else:
            self._mailbox.wake()

    def forget(self, correlation_id: str) -> None:
        """Nobody waits for this answer any more."""
        self._questions.drop(correlation_id)

    def fingerprint(self, saga: str) -> str | None:
        """The fingerprint of the plan that the node serves for this saga, as far as it has told us."""
        return self._fingerprints.get(saga)

    def forget_served(self) -> None:
        """What the node said it serves is not so any more."""
        self._fingerprints = {}

    @property
    def alive(self) -> bool:
        """Whether it can still ask; not after `close`, nor after a fork."""
        return self._mailbox.alive

    @property
    def connected(self) -> bool:
        """Whether a node has been found, and not been lost since."""
        return self._where is not None

    def located(self, timeout: float = PATIENCE) -> tuple[Life, Located]:
        """The node's life and where everybody is, now; attaches first if need be."""
        beat = Heartbeat(new_id(), self._name)
        try:
            self.ask(beat).result(timeout)
        except TimeoutError:
            raise NodeUnreachableError(f"the node did not answer within {timeout:g} s; see its log") from None
        finally:
            self.forget(beat.correlation_id)
        with self._lock:
            if self._life is None or self._where is None:
                raise NodeUnreachableError("the node went while it was asked; ask again")
            return self._life, self._where

    # Going.

    def leave(self, drain: float) -> Detached | None:
        """Say goodbye; if we were the last, the node drains and ends. None if there was none, or it did not answer."""
        with self._lock:  # a search that is there has begun, then
            self._leaving, searching = True, self._searching
        if searching is not None and self._starts:
            searching.join(drain + 5.0)  # a node that is being started would stay for a while
        if not self.connected:
            return None
        detach = Detach(new_id(), self._name, drain)
        try:
            detached: Detached = self.ask(detach).result(drain + 5.0)
        except (SagaActorsError, TimeoutError):
            return None
        finally:
            self.forget(detach.correlation_id)
        return detached

    def wait_for_end(self, timeout: float = 10.0) -> None:
        """Wait until the node has ended, and collect it if it is our child."""
        deadline = time.monotonic() + timeout
        life = self._life
        if life is not None:
            watchdog = ProcessId(life.watchdog_pid, life.watchdog_started)
            while watchdog.alive and time.monotonic() < deadline:
                time.sleep(0.005)
        if self._started is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._started.wait(max(0.1, deadline - time.monotonic()))

    def close(self) -> None:
        """End the client's thread; whoever still waits is told."""
        with self._lock:
            self._closed = True
        atexit.unregister(self._at_exit)
        self._questions.fail(self._farewell())
        self._mailbox.close()
        started = self._started
        if started is not None and started.poll() is None:  # others have it; it shall be no zombie when they go
            threading.Thread(target=started.wait, name="saga_actors-reaper", daemon=True).start()

    @staticmethod
    def _farewell() -> CoordinatorClosedError:
        return CoordinatorClosedError("this coordinator was closed meanwhile; a saga that was started goes on")

    def _at_exit(self) -> None:
        """Nobody has closed us, and the interpreter ends: say goodbye, without waiting for what comes of it."""
        if not self._mailbox.alive:  # also: we were forked
            return
        self._leaving = True
        if (where := self._where) is not None:
            with contextlib.suppress(SagaActorsError):
                self._mailbox.post(where.supervisor.address, Bundle((Detach(new_id(), self._name, DRAIN),), where.life))
        self._mailbox.close()

    # What comes. (On the mailbox's thread, like `_tick`.)

    def _on_message(self, message: Any, sender: Address) -> None:
        for item in message.items if isinstance(message, Bundle) else (message,):
            self._on_item(item)
        self._ask_what_is_due()

    def _on_item(self, item: Any) -> None:
        if isinstance(item, Located):
            if (connector := self._connector) is not None:
                connector.heard(item)
            return
        if isinstance(item, Alive):
            self._on_alive(item)
        if isinstance(item, Serving):
            self._fingerprints = self._fingerprints | item.fingerprints
        self._questions.answer(item)

    def _on_alive(self, alive: Alive) -> None:
        self._heard = time.monotonic()
        if alive.epoch > self._epoch:
            self._epoch = alive.epoch
            self._begin_anew()

    def _begin_anew(self) -> None:
        """There is a new supervisor: it knows nothing of us."""
        self.forget(self._standing)
        serve = Serve(new_id(), tuple(self._sources()))
        if serve.sources:
            self._standing = serve.correlation_id
            self._questions.add(serve, to_status=False)
        if (where := self._where) is not None:
            self._post(self._questions.all(), where)

    def _on_undeliverable(self, address: Address, message: Any) -> None:
        where = self._where
        if where is not None and address in (where.supervisor.address, where.status.address):
            self._lose(where)

    def _tick(self) -> None:
        self._collect()
        where, now = self._where, time.monotonic()
        if where is None:
            if self._questions or self._bereft:
                self._connect()
        elif not self._leaving and now - self._heard > SILENCE:
            self._lose(where)
        else:
            self._beat_if_due(where, now)
            self._ask_what_is_due()

    def _beat_if_due(self, where: Located, now: float) -> None:
        if not self._leaving and now - self._beat >= HEARTBEAT:
            self._beat = now
            self._mailbox.post(where.supervisor.address, Bundle((Heartbeat(new_id(), self._name),), where.life))

    def _collect(self) -> None:
        """A node that we started and that has ended is no zombie for long."""
        started = self._started
        if started is not None and started.poll() is not None and not self._leaving:
            self._started = None

    # What goes.

    def _ask_what_is_due(self) -> None:
        """Ask it, unless something is under way already: then it goes, with what comes up until then, after that."""
        if (where := self._where) is None:
            return
        for to_status, actor in _targets(where):
            if not self._mailbox.is_busy(actor.address):
                self._post(self._questions.due(to_status), where)

    def _post(self, questions: Iterable[Question], where: Located) -> None:
        actors = dict(_targets(where))
        for to_status, bundle in self._questions.bundled(questions):
            try:
                self._mailbox.post(actors[to_status].address, Bundle(bundle.items, where.life))
            except (PacketError, OverloadedError) as error:
                self._questions.fail_some([question.correlation_id for question in bundle.items], error)

    # Finding the node. (On a thread of its own, for it may take a second to start one.)

    def _lose(self, where: Located) -> None:
        with self._lock:
            if self._where is not where:
                return
            self._where = None
            self._bereft = self._starts and not self._leaving  # its unfinished sagas shall go on
        self._tick()

    def _connect(self) -> None:
        with self._lock:
            if self._connector is not None:
                return  # should it fail, the next tick sees who still waits
            going = self._closed or self._leaving
            if not going:
                self._begin_search()
        if going:
            self._questions.fail(self._farewell())

    def _begin_search(self) -> None:
        connector = Connector(
            self._spec,
            self._mailbox.post,
            lambda: not (self._closed or self._leaving) and self._mailbox.alive,
            starts=self._starts,
            patience=ABSENCE if self._life is None else PATIENCE,
        )
        name = "saga_actors-connector"
        search = threading.Thread(target=self._search, args=(connector,), name=name, daemon=True)
        self._connector, self._searching = connector, search
        try:
            search.start()
        except RuntimeError:  # too many threads; the next tick tries again
            self._connector = self._searching = None
            raise

    def _search(self, connector: Connector) -> None:
        try:
            life, where = connector.find()
        except Errors as error:
            self._end_search(connector, error)
        except Exception as error:
            log.exception("looking for the node failed")
            self._end_search(connector, NodeError(f"looking for the node failed: {error!r}"))
        else:
            self._attached(connector, life, where)

    def _end_search(self, connector: Connector, error: Exception) -> None:
        """Nobody is left waiting; the next question begins another search."""
        with self._lock:
            self._started = connector.started or self._started
            self._connector, self._searching = None, None
            idle, self._bereft = self._bereft and not self._questions, False
        if idle:
            log.warning("the node of %s is lost, until it is next asked something: %s", self._spec.journal_url, error)
        self._questions.fail(error)

    def _attached(self, connector: Connector, life: Life, where: Located) -> None:
        now = time.monotonic()
        with self._lock:
            self._started = connector.started or self._started
            self._life, self._where, self._bereft = life, where, False
            self._connector, self._searching = None, None
            self._epoch, self._fingerprints = 0, {}
            self._heard = self._beat = now
        with contextlib.suppress(NodeUnreachableError):  # we are being closed
            self._mailbox.post(where.supervisor.address, Bundle((Heartbeat(new_id(), self._name),), where.life))


def _targets(where: Located) -> tuple[tuple[bool, Member], ...]:
    """Who is asked, by whether a question is for the status actor."""
    return (False, where.supervisor), (True, where.status)


def _is_inside(spec: NodeSpec) -> bool:
    """Whether this is a process of that very node, and a step asks: the node lives no longer for it."""
    folder = os.environ.get(process.FOLDER_VARIABLE)
    return process.is_member() and folder == str(NodeFolder.of(spec.journal_url).path)
