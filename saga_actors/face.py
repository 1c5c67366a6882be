"""What the two faces have in common: what a coordinator is given, checked at the door."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from saga_actors import arguments
from saga_actors.coordination import Coordination
from saga_actors.definition import Saga, is_loading_for_node
from saga_actors.errors import NestedCoordinatorError, SagaActorsError
from saga_actors.journal import JournalUrl
from saga_actors.node_spec import NodeSpec
from saga_actors.waiting import Waiting

LINGER = 10.0
"""Seconds for which a node that a coordinator started stays when its last client vanished without a word."""

MOST_WORKERS, MOST_THREADS = 256, 1_000
LARGEST_CONTEXT = 32_000_000
"""A bigger one would not fit into a message, with what is around it; bytes."""


class Face:
    """A coordinator, apart from how one waits for it."""

    _waiting: ClassVar[Waiting]

    def __init__(
        self,
        url: str,
        *,
        node: Literal["auto", "attach"] = "auto",
        sagas: Iterable[type[Saga[Any]] | str] | None = None,
        telemetry: Iterable[str] = (),
        workers: int = 2,
        threads: int = 32,
        max_unfinished: int = 100_000,
        context_limit: int = 1_000_000,
    ) -> None:
        if is_loading_for_node():
            raise NestedCoordinatorError(
                "a Coordinator was made while a node imports this module; put what uses it under "
                'if __name__ == "__main__":, and leave only definitions at the top of the module'
            )
        if node not in ("auto", "attach"):
            raise SagaActorsError(f'node is {node!r}; expected "auto" or "attach"')
        journal = JournalUrl.parse(url)
        journal.path  # noqa: B018 - refuses memory://, which no other process could share
        spec = NodeSpec(
            journal_url=str(journal),
            sys_path=tuple(os.path.abspath(entry) for entry in sys.path),
            cwd=os.getcwd(),
            telemetry=arguments.functions(telemetry),
            workers=arguments.positive(workers, "workers", MOST_WORKERS),
            threads=arguments.positive(threads, "threads", MOST_THREADS),
            linger=LINGER,
            max_unfinished=arguments.positive(max_unfinished, "max_unfinished"),
            context_limit=arguments.positive(context_limit, "context_limit", LARGEST_CONTEXT),
        )
        from saga_actors.actors.offer import Offer

        self._verbs = Coordination(spec, Offer(sagas), self._waiting, starts=node == "auto")
