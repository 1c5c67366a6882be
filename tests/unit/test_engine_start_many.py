"""Several sagas started by one message: one commit, and each accepted or refused for itself."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from engine_rig import ORDER, OTHER, Rig, hang

from saga_actors.actors.limits import Limits
from saga_actors.actors.protocol import Drain
from saga_actors.errors import JournalFullError, SagaActorsError
from saga_actors.journal import MemoryJournal
from saga_actors.messages import NewSaga, Refusal, Refused, SagasStarted, StartSagas, in_messages
from saga_actors.plan import SagaPlan


def new(saga_id: str, context: bytes = b'{"n":1}') -> NewSaga:
    return NewSaga(saga_id, context.decode(), context)


def starting(*sagas: NewSaga, correlation_id: str = "all", plan: SagaPlan = ORDER) -> StartSagas:
    return StartSagas(correlation_id=correlation_id, saga=plan.saga, fingerprint=plan.fingerprint, sagas=sagas)


class Counting(MemoryJournal):
    """Counts its commits, and has no room when it is told so."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[int] = []
        self.full = False

    def append(self, epoch: int, entries: Any) -> Any:
        if self.full:
            raise JournalFullError("no room")
        self.commits.append(len(entries))
        return super().append(epoch, entries)


def rig_of(journal: MemoryJournal | None = None, **limits: Any) -> Rig:
    rig = Rig(journal, limits=Limits(**limits))
    rig.worker(answer=hang)
    return rig


def test_they_are_accepted_in_one_commit_and_answered_once() -> None:
    """P1: one message, one commit, one answer when that is durable."""
    rig = rig_of(Counting())
    [answer] = rig.send(starting(*(new(f"s{n}") for n in range(100))))
    assert answer == SagasStarted("all", {})
    assert rig.journal.commits[0] == 100
    assert rig.journal.count_unfinished() == 100


def test_what_is_refused_keeps_no_other_from_being_accepted() -> None:
    """P10, P11: an id that is another saga's, one that can be none and a context that is too big are named."""
    rig = rig_of(context_limit=50)
    rig.send(starting(new("taken", b'{"n":0}')))
    [answer] = rig.send(starting(new("a"), new("taken"), new("b\n"), new("c", b"x" * 51), new("d")))
    codes = {saga_id: code for saga_id, (code, _) in answer.refused.items()}
    assert codes == {"taken": Refusal.ID_TAKEN, "b\n": Refusal.BAD_REQUEST, "c": Refusal.TOO_LARGE}
    assert all(rig.journal.find(saga_id) for saga_id in ("a", "d"))
    assert not any(rig.journal.find(saga_id) for saga_id in ("b\n", "c"))


def test_asking_again_starts_nothing_twice() -> None:
    """P10: doubled, late, or without the contexts, as one asks again: the same answer, and nothing new."""
    rig = rig_of()
    message = starting(new("a"), new("b"))
    rig.send(message)
    before = rig.journal.end_position()
    short = attrs.evolve(message, sagas=tuple(attrs.evolve(one, context=b"") for one in message.sagas))
    assert rig.send(message) == rig.send(short) == [SagasStarted("all", {})]
    assert rig.journal.end_position() == before


def test_one_that_never_came_is_asked_for_whole() -> None:
    """Asked after without its context, what is not known is said to be so; the client then sends all of it."""
    rig = rig_of()
    rig.send(starting(new("a")))
    [answer] = rig.send(starting(new("a", b""), NewSaga("b", "d", b"")))
    assert set(answer.refused) == {"a", "b"}  # "a" with another digest, for here it stands for the context
    assert answer.refused["b"][0] == Refusal.UNKNOWN_SAGA


def test_above_the_limit_of_unfinished_ones_the_rest_is_refused() -> None:
    """P12: as many as there is room for are accepted, in order."""
    rig = rig_of(max_unfinished=3)
    [answer] = rig.send(starting(*(new(f"s{n}") for n in range(5))))
    assert {saga_id: code for saga_id, (code, _) in answer.refused.items()} == dict.fromkeys(
        ["s3", "s4"], Refusal.OVERLOADED
    )


@pytest.mark.parametrize("plan", [attrs.evolve(ORDER, saga="shop:Nobody"), attrs.evolve(OTHER, steps=ORDER.steps)])
def test_a_class_that_cannot_be_started_is_refused_once(plan: SagaPlan) -> None:
    """P14: not served, or served with another definition: nothing is begun."""
    rig = rig_of()
    [answer] = rig.send(starting(new("a"), new("b"), plan=plan))
    assert isinstance(answer, Refused)
    assert rig.journal.count_unfinished() == 0


def test_a_node_that_ends_starts_none() -> None:
    """It says so, and the client asks the next one."""
    rig = rig_of()
    rig.send(starting(new("a")))
    rig.send(Drain(100.0), "root")
    [answer] = rig.send(starting(new("b"), correlation_id="late"))
    assert (answer.correlation_id, answer.code) == ("late", Refusal.DRAINING)


def test_without_room_on_the_disk_all_are_refused_and_none_is_begun() -> None:
    """P1: what was not written was not accepted, and the answer says it of each."""
    rig = rig_of(Counting())
    rig.journal.full = True
    [answer] = rig.send(starting(new("a"), new("b")))
    assert {code for code, _ in answer.refused.values()} == {Refusal.OVERLOADED}
    assert set(answer.refused) == {"a", "b"}
    rig.journal.full = False
    assert rig.send(starting(new("a"), new("b"), correlation_id="again")) == [SagasStarted("again", {})]


def test_one_that_cannot_be_stored_is_refused_alone() -> None:
    """P11: its share is left out of the commit, and the answer names it."""
    rig = rig_of()
    odd = NewSaga("odd", "\ud800", b'{"n":1}')
    [answer] = rig.send(starting(new("a"), odd, new("b")))
    assert set(answer.refused) == {"odd"}
    assert rig.journal.count_unfinished() == 2


def test_a_message_is_made_of_new_sagas() -> None:
    """Anything else is refused where the message is made."""
    with pytest.raises(SagaActorsError, match="expected a tuple of NewSaga"):
        starting("a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [([], []), ([1], [1]), ([50] * 4, [2, 2]), ([500, 1, 1], [1, 2]), ([1, 500, 1], [1, 1, 1]), ([0] * 7, [3, 3, 1])],
)
def test_many_are_parted_in_order(sizes: list[int], parts: list[int]) -> None:
    """P12: by number and by size; a single one that is bigger travels alone."""
    sagas = [new(str(n), b"x" * size) for n, size in enumerate(sizes)]
    found = list(in_messages(sagas, most=3, size=480))
    assert [len(part) for part in found] == parts
    assert [one for part in found for one in part] == sagas
