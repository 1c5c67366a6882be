"""A saga that is the death of its supervisor is found and held; and nobody else is, whoever kills the supervisor."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from engine_rig import Rig, fail_at, hang, start, wait
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saga_actors.actors import inquiry as inquiry_module
from saga_actors.actors import saga as saga_module
from saga_actors.actors.engine import Engine
from saga_actors.actors.inquiry import Inquiry
from saga_actors.actors.marks import MemoryMarks
from saga_actors.actors.protocol import Joined, Neighbours
from saga_actors.decision import decide
from saga_actors.execution import fold
from saga_actors.inputs import Succeeded, WorkerDied
from saga_actors.messages import GetStatus, Refused, RetrySaga, SagaIsHeld
from saga_actors.outcomes import Action, SagaState


class Death(BaseException):
    """The process ends here: nothing after it is done."""


class Mortal(Rig):
    """A rig whose supervisor may die, and is replaced then; the marks outlive it, as the journal does."""

    def __init__(self) -> None:
        self.marks = MemoryMarks()
        self.deaths = 0
        super().__init__()

    def begin(self) -> None:
        self.engine = Engine(
            self.journal,
            Inquiry(self.journal),
            epoch=self.journal.take_epoch("rig"),
            limits=self.limits,
            clock=lambda: self.now,
            roll=lambda: 0.5,
            took_over=self.engine is not None,
            marks=self.marks,
        )
        self.send(Neighbours("root", "status", "telemetry"))
        for worker in self.workers.values():
            self.send(Joined(worker.worker, worker.address))

    def outlive(self, ticks: int = 12) -> None:
        """Have a new supervisor go on, and another one whenever it dies, until one has lived for so many ticks."""
        while not self.survives(ticks):
            assert self.deaths < 50

    def survives(self, ticks: int) -> bool:
        """Whether a new supervisor lives for so many ticks, and what its workers say again meanwhile."""
        try:
            self.begin()
            for _ in range(ticks):
                self.tick(0.5)
                self.report_again()
        except Death:
            self.deaths += 1
            return False
        return True

    def report_again(self) -> None:
        """What a worker does each second."""
        for worker in list(self.workers.values()):
            if worker.reports:
                self.send(worker.say(tuple(worker.reports.values())), worker.address)

    def states(self) -> dict[SagaState, int]:
        return {state: count for state, count in self.journal.counts().items() if count}


class Killers:
    """Who kills whoever folds or decides about it, and how often it still does."""

    def __init__(self) -> None:
        self.folding: Counter[str] = Counter()
        self.deciding: Counter[tuple[str, type]] = Counter()
        self.folded: list[str] = []

    def fold(self, events: Any, plan_of: Any) -> Any:
        execution = fold(events, plan_of)
        self.folded.append(execution.saga_id)
        _strike(self.folding, execution.saga_id)
        return execution

    def decide(self, execution: Any, given: Any, at: float, roll: float) -> Any:
        _strike(self.deciding, (execution.saga_id, type(given)))
        return decide(execution, given, at, roll)


def _strike(killers: Counter[Any], killer: Any) -> None:
    if killers[killer] > 0:
        killers[killer] -= 1
        raise Death


@pytest.fixture
def killers(monkeypatch: pytest.MonkeyPatch) -> Killers:
    return lurking(monkeypatch)


def lurking(monkeypatch: pytest.MonkeyPatch) -> Killers:
    made = Killers()
    monkeypatch.setattr(saga_module, "fold", made.fold)
    monkeypatch.setattr(saga_module, "decide", made.decide)
    return made


@pytest.fixture
def rig() -> Mortal:
    return Mortal()


ALWAYS = 1_000


def under_way(rig: Mortal, sagas: int) -> Any:
    """So many sagas, each with its first attempt in a worker that then lets them all end."""
    worker = rig.worker(answer=hang)
    for n in range(sagas):
        rig.send(start(f"s{n}"))
    worker.answer = fail_at()
    worker.finish()
    return worker


def test_a_saga_whose_folding_kills_is_held_after_two_deaths_and_the_others_complete(
    rig: Mortal, killers: Killers
) -> None:
    """P1, P11, P12: whoever has the journal from then on leaves it alone; the other 29 are not counted against."""
    under_way(rig, 30)
    killers.folding["s7"] = ALWAYS
    rig.outlive()
    assert rig.deaths == 2
    rig.outlive()
    assert rig.deaths == 2
    assert rig.states() == {SagaState.HELD: 1, SagaState.COMPLETED: 29}
    assert "died 2 times in a row while it folded it" in rig.journal.find("s7").held_reason
    assert rig.events("s7").count("SagaHeld") == 1
    [held] = rig.send(wait("s7"))
    assert isinstance(held, SagaIsHeld)


def test_whom_a_supervisor_died_of_comes_after_all_others_are_on_their_way(rig: Mortal, killers: Killers) -> None:
    """P1, P11: what was decided about the others is durable, and they go on, before it is folded once more."""
    rig.kill(under_way(rig, 250))
    killers.folding["s0"] = ALWAYS
    assert not rig.survives(1)
    rig.begin()
    rig.worker(2)
    for _ in range(3):
        rig.tick()
    assert rig.states() == {SagaState.RUNNING: 1, SagaState.COMPLETED: 249}
    assert rig.engine.next_tick == 0.0
    with pytest.raises(Death):
        rig.tick()


def test_a_saga_about_which_nothing_can_be_decided_alive_is_held(rig: Mortal, killers: Killers) -> None:
    """P11, P12: folded well each time, it kills with the report that its worker sends again and again."""
    worker = under_way(rig, 5)
    killers.deciding["s3", Succeeded] = ALWAYS
    rig.outlive()
    assert rig.deaths == 2
    assert rig.states() == {SagaState.HELD: 1, SagaState.COMPLETED: 4}
    assert "while it decided about it as of event 2" in rig.journal.find("s3").held_reason
    assert [posted.saga_id for posted in worker.reports.values()] == ["s3"]


def test_a_saga_that_kills_when_its_worker_has_died_is_held(rig: Mortal, killers: Killers) -> None:
    """P11: what a recovery decides about an attempt in flight is part of it."""
    rig.kill(under_way(rig, 5))
    rig.worker(2)
    killers.deciding["s3", WorkerDied] = ALWAYS
    rig.outlive()
    assert rig.deaths == 2
    assert rig.states() == {SagaState.HELD: 1, SagaState.COMPLETED: 4}


def test_a_saga_that_was_being_folded_once_when_somebody_killed_the_supervisor_goes_on(
    rig: Mortal, killers: Killers
) -> None:
    """Two deaths in a row are needed: one while each of five sagas is folded, and later one more, hold nobody."""
    rig.kill(under_way(rig, 5))
    for round_ in (1, 2):
        killers.folding.update(f"s{n}" for n in range(5))
        rig.outlive(6)
        assert rig.deaths == 5 * round_
        assert rig.marks.suspects == {}
    assert rig.states() == {SagaState.RUNNING: 5}
    rig.worker(2)
    assert rig.states() == {SagaState.COMPLETED: 5}


def test_a_supervisor_that_was_killed_between_two_sagas_counts_against_nobody(rig: Mortal, killers: Killers) -> None:
    """A mark stands only for as long as its saga is folded or decided about."""
    under_way(rig, 5)
    for _ in range(5):
        rig.begin()
        rig.tick()
        assert rig.marks.left is None
        assert rig.marks.suspects == {}


def test_a_saga_that_is_folded_on_demand_cannot_kill_again_and_again(rig: Mortal, killers: Killers) -> None:
    """P11: held already, it is folded for a retry only; after two deaths the operator hears that it cannot be."""
    under_way(rig, 2)
    killers.folding["s0"] = ALWAYS
    rig.outlive()
    retry = RetrySaga(correlation_id="retry", saga_id="s0", by="eve", reason="again")
    deaths = 0
    while deaths < 5:
        try:
            answers = rig.send(retry)
            break
        except Death:  # the client asks again at the next supervisor
            deaths += 1
            rig.begin()
    assert deaths == 2
    assert isinstance(answers[-1], Refused)
    killers.folding.clear()
    rig.send(RetrySaga(correlation_id="mended", saga_id="s0", by="eve", reason="a new version"))
    rig.outlive()
    assert rig.states() == {SagaState.COMPLETED: 2}


def test_the_status_of_a_saga_that_kills_is_told_without_folding_it(
    rig: Mortal, killers: Killers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P11: an operator who looks at what is held kills nobody, and hears what can be done."""
    monkeypatch.setattr(inquiry_module, "fold", killers.fold)
    under_way(rig, 2)
    killers.folding["s0"] = ALWAYS
    rig.outlive()
    [answer] = rig.send(GetStatus("status", "s0"))
    assert answer.status.state is SagaState.HELD
    assert "died 2 times in a row" in answer.status.held_reason
    assert answer.status.allowed_actions == (Action.RETRY, Action.RESOLVE)


def test_a_saga_that_has_ended_cannot_kill_again_and_again(rig: Mortal, killers: Killers) -> None:
    """P11: whoever waits for its end asks each new supervisor; after two deaths it is refused."""
    rig.worker()
    rig.send(start("s0"))
    rig.begin()  # the one that saw it end need not fold it
    killers.folding["s0"] = ALWAYS
    deaths, answers = 0, []
    while not answers and deaths < 5:
        try:
            answers = rig.send(wait("s0"))
        except Death:  # the client asks again at the next supervisor
            deaths += 1
            rig.begin()
    assert deaths == 2
    assert isinstance(answers[-1], Refused)
    assert rig.states() == {SagaState.COMPLETED: 1}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whoever_kills_is_held_and_nobody_else(data: st.DataObject) -> None:
    """P1, P11, P12: of any number of sagas any few kill, in folding or deciding, and chance kills now and then."""
    sagas = data.draw(st.integers(1, 130), "sagas")
    ids = st.integers(0, sagas - 1).map("s{}".format)
    folding = data.draw(st.sets(ids, max_size=3), "folding kills")
    deciding = data.draw(st.sets(ids, max_size=3), "deciding kills") - folding
    unlucky = data.draw(st.sets(ids, max_size=4), "killed from outside, once, while folded") - folding - deciding
    with pytest.MonkeyPatch.context() as patch:
        killers, rig = lurking(patch), Mortal()
        under_way(rig, sagas)
        killers.folding.update(dict.fromkeys(folding, ALWAYS) | dict.fromkeys(unlucky, 1))
        killers.deciding.update({(killer, Succeeded): ALWAYS for killer in deciding})
        rig.outlive()
    held = folding | deciding
    every = [f"s{n}" for n in range(sagas)]
    assert {saga_id for saga_id in every if rig.journal.find(saga_id).state is SagaState.HELD} == held
    assert rig.journal.counts()[SagaState.COMPLETED] == sagas - len(held)
    assert rig.deaths == 2 * len(held) + len(unlucky)
