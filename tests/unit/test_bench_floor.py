"""The floor program writes what a node writes: otherwise to be compared with it would mean nothing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from saga_actors.bench.floor import Floor
from saga_actors.bench.sagas import BenchSaga, Case, context_of, saga_for
from saga_actors.events import Event
from saga_actors.execution import Execution, fold
from saga_actors.journal.codec import decode_context
from saga_actors.journal.records import decode_event
from saga_actors.outcomes import SagaState

EVENTS = "SELECT kind, at, body, context FROM event WHERE saga = ? ORDER BY seq"


def run(folder: Path, case: Case, saga: BenchSaga, group: int) -> tuple[list[list[Event]], list[tuple[object, ...]]]:
    """Three sagas on the floor; the events of each, and their summaries."""
    path = folder / "floor.db"
    with closing(Floor(path)) as floor:
        load = floor.run(case, saga, [context_of(number) for number in (1, 2, 3)], group)
    assert len(load.latencies) == 3
    with closing(apsw.Connection(str(path))) as db:
        events = [[decode_event(*row) for row in db.execute(EVENTS, (number,))] for number in (1, 2, 3)]
        return events, list(db.execute("SELECT state, last_seq, saga FROM saga ORDER BY number"))


def folded(events: list[Event], saga: BenchSaga) -> Execution:
    return fold(iter(events), lambda _: saga.definition.plan)


@pytest.mark.parametrize("group", [1, 2, 3])
@pytest.mark.parametrize(
    ("case", "state"),
    [
        (Case.SUCCESS, SagaState.COMPLETED),
        (Case.SLOW, SagaState.COMPLETED),
        (Case.ROLLBACK, SagaState.COMPENSATED),
    ],
)
def test_its_events_are_those_of_whole_sagas(tmp_path: Path, case: Case, state: SagaState, group: int) -> None:
    """Folded as a node folds its own, they come to the end that the case has."""
    saga = saga_for(case, 4)
    histories, summaries = run(tmp_path, case, saga, group)
    for number, events in enumerate(histories, 1):
        execution = folded(events, saga)
        assert execution.state is state
        done = 2 if case is Case.ROLLBACK else 4
        assert decode_context(execution.context, dict) == context_of(number) | {"done": done}
    assert summaries == [(state, len(events), saga.definition.name) for events in histories]


@pytest.mark.parametrize(("case", "events"), [(Case.SUCCESS, 10), (Case.ROLLBACK, 14)])
def test_it_writes_as_many_records_as_a_node(tmp_path: Path, case: Case, events: int) -> None:
    """Four steps are ten events; a third step that fails, and two undos, are fourteen."""
    histories, _ = run(tmp_path, case, saga_for(case, 4), 3)
    assert [len(each) for each in histories] == [events] * 3


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("case", [Case.SUCCESS, Case.ROLLBACK])
def test_it_does_sagas_of_any_length(tmp_path: Path, case: Case, steps: int) -> None:
    """As short and as long as the bench allows."""
    saga = saga_for(case, steps)
    histories, _ = run(tmp_path, case, saga, 3)
    assert all(folded(events, saga).state.ended for events in histories)
