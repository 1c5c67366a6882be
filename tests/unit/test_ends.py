"""How sagas ended of late, and that whoever asks afterwards hears the same as from the journal."""

from __future__ import annotations

import pytest
from engine_rig import OTHER, Rig, fail_at, hang, run, start, succeed, wait

from saga_actors.actors.ends import WITHOUT_CONTEXT, Ends
from saga_actors.messages import PruneSagas, Refused, SagaEnded
from saga_actors.outcomes import CompensationFailed, Completed, Failure, FailureKind, SagaState


def completed(saga_id: str, size: int = 0) -> SagaEnded:
    return SagaEnded("", saga_id, "shop:Order", Completed(b"x" * size, saga_id=saga_id))


def test_the_oldest_gives_way() -> None:
    """P12: it takes up no more room than it may."""
    ends = Ends(room=20 * WITHOUT_CONTEXT)
    for number in range(100):
        ends.keep(completed(f"s{number}"))
    assert [number for number in range(100) if ends.find(f"s{number}")] == list(range(80, 100))
    ends.keep(completed("big", WITHOUT_CONTEXT * 2))
    assert ends.find("big") is None
    ends.forget()
    assert ends.find("s99") is None


def test_what_may_be_reopened_is_not_kept() -> None:
    """P9: a fatal saga is retried by operators, and ends again, otherwise."""
    ends = Ends()
    why = Failure(FailureKind.FAILED, "charge", "no")
    ends.keep(SagaEnded("", "s1", "shop:Order", CompensationFailed(why, why, saga_id="s1", context=b"{}")))
    assert ends.find("s1") is None


@pytest.mark.parametrize("steps", [(), ("charge",)])
def test_whoever_asks_later_hears_what_the_journal_says(steps: tuple[str, ...]) -> None:
    """By the supervisor that saw the end, and by its successor, which folds it; each with the question's own id."""
    rig = Rig()
    rig.worker(answer=fail_at(*steps))
    rig.send(start("s1"))
    (told,) = rig.send(wait("s1"))
    assert rig.engine.clients.ends.find("s1").encoded == told.encoded
    assert told.correlation_id == "wait-s1"
    (again,) = rig.send(run("s1"), "another")
    assert (again.correlation_id, again.encoded) == ("run-s1", told.encoded)
    rig.begin()
    assert rig.engine.clients.ends.find("s1") is None
    (folded,) = rig.send(wait("s1"))
    assert folded == told


def test_what_was_pruned_is_not_told_any_more() -> None:
    """P10: only its tombstone is."""
    rig = Rig()
    rig.worker()
    rig.send(start("s1"))
    assert isinstance(rig.send(wait("s1"))[0], SagaEnded)
    rig.send(PruneSagas(correlation_id="p", before=rig.now + 1, states=(SagaState.COMPLETED,)))
    rig.settle(1.0)
    (refused,) = rig.send(wait("s1"))
    assert isinstance(refused, Refused)
    assert refused.code == "pruned"


def test_an_end_that_is_not_durable_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """P5: nothing is kept of a commit that broke off."""

    def broken(epoch: int, entries: object) -> object:
        raise RuntimeError("the disk is gone")

    rig = Rig()
    worker = rig.worker(answer=hang)
    rig.send(start("s1", OTHER))
    worker.answer = succeed
    (report,) = worker.finish()
    monkeypatch.setattr(rig.journal, "append", broken)
    with pytest.raises(RuntimeError):
        rig.send(report, worker.address)
    monkeypatch.undo()
    assert rig.engine.clients.ends.find("s1") is None
    rig.begin()
    assert isinstance(rig.send(wait("s1"))[0], SagaEnded)
