"""Finds the node of a journal, or starts one: the part of a client that may take seconds, on a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from saga_actors.actors.protocol import Address, Locate, Located
from saga_actors.actors.transport import address_of
from saga_actors.errors import JournalError, NodeError, NodeUnreachableError
from saga_actors.journal import JournalUrl, check_journal
from saga_actors.messages import new_id
from saga_actors.node_folder import NodeFolder
from saga_actors.node_spec import Life, NodeSpec
from saga_actors.node_start import NodeVanishedError, StartedNode, ensure_node, node_running, wait_for_life

PATIENCE = 30.0
"""Seconds for which a node is looked for, or started, before whoever asks is told that there is none."""

ABSENCE = 5.0
"""Seconds for which one that starts no node, and has not been attached to any, waits for somebody to start one."""

ANSWER = 2.0
"""Seconds for which the root may take to say where everybody is."""

PAUSE = 0.05

_Post = Callable[[Address, Any], None]


class Connector:
    """One search for the node of `spec`; `wanted` says whether it shall go on. `starts`: it may start a node."""

    def __init__(
        self, spec: NodeSpec, post: _Post, wanted: Callable[[], bool], *, starts: bool, patience: float
    ) -> None:
        self._spec = spec
        self._folder = NodeFolder.of(spec.journal_url)
        self._post = post
        self._wanted = wanted
        self._starts = starts
        self._deadline = time.monotonic() + PATIENCE
        self._absence = time.monotonic() + patience
        self._located: tuple[str, Future[Located]] | None = None
        self._checked = False
        self.started: StartedNode | None = None

    def find(self) -> tuple[Life, Located]:
        """The life and where its actors are; raises NodeError or JournalError when there is none to be had in time."""
        while True:
            try:
                return self._attach()
            except NodeUnreachableError as error:
                if time.monotonic() > self._deadline or not self._wanted():
                    raise
                if isinstance(error, NodeVanishedError) and self._is_absent():
                    raise self._absent() from None
            time.sleep(PAUSE)  # there is no event for "somebody else starts a node"

    def heard(self, located: Located) -> None:
        """The root has answered."""
        asked = self._located
        if asked is not None and asked[0] == located.correlation_id and not asked[1].done():
            asked[1].set_result(located)

    def _attach(self) -> tuple[Life, Located]:
        life = self._life(max(0.1, self._deadline - time.monotonic()))
        answer: Future[Located] = Future()
        self._located = (new_id(), answer)
        self._post(address_of(life.root_port), Locate(self._located[0]))
        try:
            return life, answer.result(ANSWER)
        except TimeoutError:
            raise NodeUnreachableError(
                f"the node of {self._spec.journal_url} does not answer; see {self._folder.log}"
            ) from None

    def _life(self, patience: float) -> Life:
        if not node_running(self._folder):
            self._check_once()
        if not self._starts:
            return wait_for_life(self._folder, None, patience)
        life, started = ensure_node(self._spec, patience)
        self.started = started or self.started
        return life

    def _check_once(self) -> None:
        """Where no node could serve, say why; whoever starts none may be there before the journal is."""
        place = JournalUrl.parse(self._spec.journal_url)
        if not self._checked and (self._starts or place.path.exists()):
            check_journal(place)
            self._checked = True

    def _is_absent(self) -> bool:
        return not self._starts and time.monotonic() > self._absence

    def _absent(self) -> NodeError:
        return NodeVanishedError(
            f'no node serves {self._spec.journal_url}, and this coordinator, with node="attach", starts none; '
            'start the node (any coordinator with node="auto" does), and try again'
        )


Errors = (NodeError, JournalError)
"""What `find` raises when it works as it should."""
