"""A client of a node: it finds or starts the node, keeps itself known to it, and asks until it is answered.

Messages are hints: every question may be asked again, by its correlation id, and is, each 2 seconds and whenever the
supervisor is a new one. Whoever loses its node inside a call attaches again or starts one, and the call goes on.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

import attrs

from saga_actors.actors.mailbox import Mailbox
from saga_actors.actors.protocol import (
    Address,
    Alive,
    Bundle,
    Detach,
    Detached,
    Heartbeat,
    Locate,
    Located,
    Serve,
    Serving,
    Source,
)
from saga_actors.actors.transport import address_of
from saga_actors.errors import NodeError, NodeUnreachableError, SagaActorsError
from saga_actors.messages import Refusal, Refused, new_id
from saga_actors.node_folder import NodeFolder
from saga_actors.node_spec import Life, NodeSpec
from saga_actors.node_start import NodeVanishedError, StartedNode, ensure_node, wait_for_life

log = logging.getLogger("saga_actors")

TICK = 0.25
"""Seconds between two looks at what was not answered."""

HEARTBEAT = 1.0
"""Seconds between two signs of life."""

ASK_AGAIN = 2.0
"""Seconds after which a question is asked again."""

SILENCE = 5.0
"""Seconds without an answer to a heartbeat, after which the supervisor is looked for anew."""

PATIENCE = 30.0
"""Seconds for which a node is looked for, or started, before whoever asks is told that there is none."""


@attrs.define
class Question:
    """Something asked; `due` is when it is asked again (monotonic seconds)."""

    message: Any
    to_status: bool
    future: Future[Any]
    due: float


class Client:
    """One attached client; any thread may ask. `starts` says whether it starts a node where there is none."""

    def __init__(self, spec: NodeSpec, sources: Callable[[], Iterable[Source]], *, starts: bool) -> None:
        self._spec = spec
        self._folder = NodeFolder.of(spec.journal_url)
        self._sources = sources
        self._starts = starts
        self._name = new_id()
        self._lock = threading.RLock()
        self._questions: dict[str, Question] = {}
        self._where: Located | None = None
        self._life: Life | None = None
        self._epoch = 0
        self._heard = self._beat = 0.0
        self._connector: threading.Thread | None = None
        self._located: tuple[str, Future[Located]] | None = None
        self._fingerprints: dict[str, str] = {}
        self._closed = False
        self.started: StartedNode | None = None
        self._mailbox = Mailbox(self._on_message, self._on_undeliverable, tick=self._tick, interval=TICK)

    # Asking.

    def ask(self, message: Any, *, to_status: bool = False) -> Future[Any]:
        """Ask until answered; the future has the answer, or a NodeError if there is no node for `PATIENCE` seconds."""
        future: Future[Any] = Future()
        question = Question(message, to_status, future, time.monotonic() + ASK_AGAIN)
        with self._lock:
            self._questions[message.correlation_id] = question
            where = self._where
        if where is None:
            self._connect()
        else:
            self._post([question], where)
        return future

    def forget(self, correlation_id: str) -> None:
        """Nobody waits for this answer any more."""
        with self._lock:
            self._questions.pop(correlation_id, None)

    def fingerprint(self, saga: str) -> str | None:
        """The fingerprint of the plan that the node serves for this saga, as far as it has told us."""
        return self._fingerprints.get(saga)

    def forget_served(self) -> None:
        """What the node said it serves is not so any more."""
        self._fingerprints = {}

    def serve(self, sources: Iterable[Source]) -> Future[Serving]:
        """Have the node serve these sagas."""
        return self.ask(Serve(new_id(), tuple(sources)))

    @property
    def connected(self) -> bool:
        """Whether a node has been found, and not been lost since."""
        return self._where is not None

    def located(self, timeout: float = PATIENCE) -> tuple[Life, Located]:
        """The node's life and where everybody is; attaches first if need be."""
        beat = self.ask(Heartbeat(new_id(), self._name))
        beat.result(timeout)
        assert self._life is not None
        assert self._where is not None
        return self._life, self._where

    def leave(self, drain: float) -> Detached | None:
        """Say goodbye; if we were the last, the node drains and ends. None if there was none, or it did not answer."""
        if not self.connected:
            return None
        try:
            detached: Detached = self.ask(Detach(new_id(), self._name, drain)).result(drain + 5.0)
        except (SagaActorsError, TimeoutError):
            return None
        return detached

    def wait_for_end(self, timeout: float = 10.0) -> None:
        """Wait until the node that we started has ended, and collect it; one that others started ends by itself."""
        if self.started is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.started.wait(timeout)

    def close(self) -> None:
        """End the client's thread; whoever still waits is told."""
        with self._lock:
            self._closed = True
        self._fail(NodeUnreachableError("this coordinator was closed while it was asked something"))
        self._mailbox.close()

    # What comes. (On the mailbox's thread, like `_tick`.)

    def _on_message(self, message: Any, sender: Address) -> None:
        for item in message.items if isinstance(message, Bundle) else (message,):
            self._on_item(item)

    def _on_item(self, item: Any) -> None:
        if isinstance(item, Located):
            self._on_located(item)
            return
        if isinstance(item, Alive):
            self._on_alive(item)
        if isinstance(item, Serving):
            self._fingerprints |= item.fingerprints
        if isinstance(item, Refused) and item.code == Refusal.DRAINING:
            return  # it is asked again, of the next node
        with self._lock:
            question = self._questions.pop(getattr(item, "correlation_id", ""), None)
        if question is not None and not question.future.cancelled():
            question.future.set_result(item)

    def _on_alive(self, alive: Alive) -> None:
        self._heard = time.monotonic()
        if alive.epoch != self._epoch:
            self._epoch = alive.epoch
            self._begin_anew()

    def _on_located(self, located: Located) -> None:
        waiting = self._located
        if waiting is not None and waiting[0] == located.correlation_id and not waiting[1].done():
            waiting[1].set_result(located)

    def _on_undeliverable(self, address: Address, message: Any) -> None:
        where = self._where
        if where is not None and address in (where.supervisor.address, where.status.address):
            self._lose()

    def _tick(self) -> None:
        where, now = self._where, time.monotonic()
        if where is None:
            return
        if now - self._heard > SILENCE:
            self._lose()
            return
        if now - self._beat >= HEARTBEAT:
            self._beat = now
            self._mailbox.post(where.supervisor.address, Bundle((Heartbeat(new_id(), self._name),)))
        with self._lock:
            due = [q for q in self._questions.values() if q.due <= now]
        self._post(due, where)

    # What goes.

    def _post(self, questions: list[Question], where: Located) -> None:
        """Send questions, all that go to one address in one message."""
        for to_status, member in ((False, where.supervisor), (True, where.status)):
            asked = [q for q in questions if q.to_status is to_status]
            for question in asked:
                question.due = time.monotonic() + ASK_AGAIN
            if asked:
                self._mailbox.post(member.address, Bundle(tuple(q.message for q in asked)))

    def _begin_anew(self) -> None:
        """There is a new supervisor: it knows nothing of us."""
        where = self._where
        if where is None:
            return
        sources = tuple(self._sources())
        if sources:
            self._mailbox.post(where.supervisor.address, Bundle((Serve(new_id(), sources),)))
        with self._lock:
            questions = list(self._questions.values())
        self._post(questions, where)

    # Finding the node. (On a thread of its own, for it may take a second to start one.)

    def _lose(self) -> None:
        with self._lock:
            self._where = None
            anybody = bool(self._questions)
        if anybody or self._starts:
            self._connect()

    def _connect(self) -> None:
        with self._lock:
            if self._closed or (self._connector is not None and self._connector.is_alive()):
                return
            self._connector = threading.Thread(target=self._find_node, name="saga_actors-connector", daemon=True)
            self._connector.start()

    def _find_node(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._closed:
            try:
                self._attach(deadline)
            except NodeVanishedError as error:
                if time.monotonic() > deadline:
                    self._fail(error)
                    return
                self._pause()
            except NodeUnreachableError as error:
                if time.monotonic() > deadline:
                    self._fail(error)
                    return
            except NodeError as error:
                self._fail(error)
                return
            except Exception as error:
                log.exception("looking for the node failed")
                self._fail(NodeError(f"looking for the node failed: {error!r}"))
                return
            else:
                return

    @staticmethod
    def _pause() -> None:
        time.sleep(0.05)  # there is no event for "somebody else starts a node"

    def _attach(self, deadline: float) -> None:
        left = max(0.1, deadline - time.monotonic())
        if self._starts:
            life, started = ensure_node(self._spec, left)
            self.started = started or self.started
        else:
            life = wait_for_life(self._folder, None, left)
        future: Future[Located] = Future()
        correlation_id = new_id()
        self._located = (correlation_id, future)
        self._mailbox.post(address_of(life.root_port), Locate(correlation_id))
        try:
            located = future.result(min(left, 2.0))
        except TimeoutError:
            raise NodeUnreachableError(f"the node of {self._folder.path} does not answer") from None
        with self._lock:
            self._life, self._where, self._epoch = life, located, 0
            self._fingerprints = {}
            self._heard = time.monotonic()
            self._beat = time.monotonic()
        self._mailbox.post(located.supervisor.address, Bundle((Heartbeat(new_id(), self._name),)))

    def _fail(self, error: Exception) -> None:
        with self._lock:
            questions = list(self._questions.values())
            self._questions.clear()
        for question in questions:
            if not question.future.done():
                question.future.set_exception(error)
