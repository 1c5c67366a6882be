"""A node that is measured, with its client; nothing of it is left afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from saga_actors.bench import family
from saga_actors.bench.errors import BenchError
from saga_actors.bench.family import Family
from saga_actors.bench.sagas import BenchSaga, Case, Context
from saga_actors.coordinator import Coordinator
from saga_actors.errors import SagaActorsError
from saga_actors.journal import JournalUrl
from saga_actors.messages import AwaitSaga, SagaEnded, new_id
from saga_actors.node_folder import NodeFolder, ProcessId, holder
from saga_actors.outcomes import Compensated, Completed

PATIENCE = 600.0
"""Seconds after which whatever is waited for is given up."""

THREADS = 32
"""So many blocking steps run in one worker at a time."""

ENDS = {Case.SUCCESS: Completed, Case.ROLLBACK: Compensated, Case.SLOW: Completed}


class Rig:
    """One coordinator, and the node that it has started."""

    def __init__(self, url: str, workers: int, sagas: Sequence[BenchSaga]) -> None:
        self.url = url
        self.coordinator = Coordinator(url, sagas=sagas, workers=workers, threads=THREADS)
        self._folder = NodeFolder.of(str(JournalUrl.parse(url)))

    @property
    def family(self) -> Family:
        """The node's processes; attaches first if need be."""
        return Family(self._folder, self.coordinator.locate()[0].watchdog_pid)

    def run(self, saga: BenchSaga, case: Case, context: Context) -> float:
        """Run one, see that it ended as it should, and say how many seconds it took."""
        began = time.perf_counter()
        outcome = self.coordinator.run(saga, context, timeout=PATIENCE)
        took = time.perf_counter() - began
        _check(case, outcome)
        return took

    def run_many(self, saga: BenchSaga, case: Case, contexts: Sequence[Context]) -> list[float]:
        """Start all at once and wait for each; the seconds from the first word to the end of each."""
        began = time.perf_counter()
        ends = self.ends(self.coordinator.start_many(saga, contexts, timeout=PATIENCE), case)
        return [end - began for end in ends]

    def ends(self, ids: Sequence[str], case: Case) -> list[float]:
        """Wait for the ends of all of these; the moments (`perf_counter`) at which they were known here."""
        ended: list[float] = []
        client = self.coordinator._verbs.client()  # there is no public way yet to wait for many
        futures = client.ask_many([AwaitSaga(new_id(), saga_id) for saga_id in ids])
        for future in futures:
            future.add_done_callback(lambda _: ended.append(time.perf_counter()))
        for future in futures:
            reply: Any = future.result(PATIENCE)
            if not isinstance(reply, SagaEnded):
                raise BenchError(f"a saga of the bench did not end: {reply}")
            _check(case, reply.encoded)
        return ended

    def end(self) -> None:
        """End the node, by force if need be."""
        left = self._identities()
        try:
            self.coordinator.close(0.0)
        finally:
            family.end([*left, *self._identities()])

    def _identities(self) -> list[ProcessId]:
        """Everybody who belongs to the node, whether it is ready or just begins."""
        watchdog = holder(self._folder)
        members = [process for process, _ in self._folder.members()]
        below = [] if watchdog is None else [watchdog, *Family(self._folder, watchdog.pid).identities()]
        return [*below, *members]


@contextmanager
def rig(url: str, workers: int, sagas: Sequence[BenchSaga]) -> Iterator[Rig]:
    """A node on this journal that ends with the block."""
    made = Rig(url, workers, sagas)
    try:
        yield made
    finally:
        with suppress(SagaActorsError):
            made.end()


def _check(case: Case, outcome: Any) -> None:
    if not isinstance(outcome, ENDS[case]):
        raise BenchError(f"a saga of the case {case} came to {outcome}")
