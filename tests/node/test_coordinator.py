"""What a program does with a coordinator, on a real node."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flows import Trip
from premises import Premises
from shop import Doubtful, Line, Order, Other, PlaceOrder, PlaceTyped

from saga_actors import (
    Compensated,
    CompensationFailed,
    Completed,
    Coordinator,
    CoordinatorClosedError,
    DefinitionError,
    EventLoopError,
    FailureKind,
    NodeUnreachableError,
    NotServedError,
    SagaHeldError,
    SagaIdError,
    SagaState,
    SagaTimeoutError,
    UnknownSagaError,
    WaitingFor,
)
from saga_actors.events import Accepted, SagaCompleted
from saga_actors.node_folder import ProcessFacts

pytestmark = pytest.mark.node


# Running sagas, and asking about them.


def test_an_order_that_is_a_dict_completes(premises: Premises) -> None:
    """`run` answers with the merged context once it is durable; status, list and history tell the same."""
    with premises.coordinator() as sagas:
        before = datetime.now(UTC)
        outcome = sagas.run(PlaceOrder, premises.context(total=250), saga_id="ord_1")
        did = {"did_reserve": True, "did_charge": True, "did_ship": True, "did_notify": True}
        assert outcome == Completed(premises.context(total=250, **did), saga_id="ord_1")
        assert premises.outside.names("ord_1") == ["reserve", "charge", "ship", "notify"]
        status = sagas.status("ord_1")
        assert (status.state, status.served, status.waiting_for) == (SagaState.COMPLETED, True, None)
        assert status.completed_steps == ("reserve", "charge", "ship", "notify")
        assert status.outcome == outcome
        assert before <= status.created_at <= status.updated_at <= datetime.now(UTC)
        events = sagas.history("ord_1")
        assert isinstance(events[0], Accepted)
        assert isinstance(events[-1], SagaCompleted)
        sagas.run(Other, premises.context(), saga_id="other")
        assert [(line.saga_id, line.state) for line in sagas.list()] == [
            ("other", SagaState.COMPLETED),
            ("ord_1", SagaState.COMPLETED),
        ]
        assert [line.saga_id for line in sagas.list(saga=PlaceOrder)] == ["ord_1"]
        assert [line.saga_id for line in sagas.list(saga="shop:Other", state="completed", limit=1)] == ["other"]
        assert not sagas.list(state=SagaState.FATAL)


def test_an_order_that_is_an_attrs_class_completes(premises: Premises) -> None:
    """Blocking and async steps get and give the class itself, and so does the caller."""
    order = Order(str(premises.folder), (Line("chair", 4), Line("table")))
    with premises.coordinator() as sagas:
        outcome = sagas.run(PlaceTyped, order, saga_id="typed")
        assert outcome == Completed(Order(order.folder, order.lines, "5 paid", "p_1"), saga_id="typed")
        assert sagas.result("typed", PlaceTyped) == outcome
        assert sagas.result("typed") == outcome
        assert sagas.status("typed").outcome == outcome
        declined = sagas.run(PlaceTyped, Order(order.folder, (), declined=True), saga_id="declined")
        assert isinstance(declined, Compensated)
        assert declined.context.parcel == "p_1"
        assert (declined.failure.step, declined.failure.reason) == ("pay", "card declined")
        with pytest.raises(SagaIdError, match="is a shop:PlaceTyped, not a shop:Other"):
            sagas.result("typed", Other)


def test_a_saga_ends_in_one_of_three_ways(premises: Premises) -> None:
    """Each end is a type of its own, with why it went back and what could not be undone (P2, P3)."""
    with premises.coordinator() as sagas:
        ignored = sagas.run(PlaceOrder, premises.context(failing=["notify"]), saga_id="ignored")
        assert isinstance(ignored, Completed)
        assert ignored.ignored == ("notify",)
        match sagas.run(PlaceOrder, premises.context(aborting=["ship"]), saga_id="back"):
            case Compensated(failure, context):
                assert (failure.kind, failure.step) == (FailureKind.FAILED, "ship")
                assert failure.reason.startswith("ship gave up")
                assert context == premises.context(aborting=["ship"], did_reserve=True, did_charge=True)
            case other:
                pytest.fail(f"{other}")
        assert premises.outside.names("back") == ["reserve", "charge", "ship", "undo-charge", "undo-reserve"]
        stuck = premises.context(failing=["ship"], aborting=["undo-charge"])
        match sagas.run(PlaceOrder, stuck, saga_id="stuck"):
            case CompensationFailed(failure, undo) as fatal:
                assert (failure.step, undo.step) == ("ship", "charge")
                assert fatal.left == ("charge", "reserve")
            case other:
                pytest.fail(f"{other}")
        assert sagas.status("stuck").state is SagaState.FATAL


def test_a_saga_that_is_held_raises_and_says_why(premises: Premises) -> None:
    """Nobody waits in vain for a saga that only an operator can help; without its node it is told as well."""
    with premises.coordinator() as sagas:
        with pytest.raises(SagaHeldError, match="held for an operator") as held:
            sagas.run(Doubtful, premises.context(), saga_id="doubtful")
        assert held.value.saga_id == "doubtful"
        assert "call" in held.value.reason
        with pytest.raises(SagaHeldError, match="call"):
            sagas.result("doubtful", Doubtful)
        status = sagas.status("doubtful")
        assert (status.state, status.waiting_for) == (SagaState.HELD, WaitingFor.OPERATOR)


def test_a_timeout_bounds_the_wait_and_not_the_saga(premises: Premises) -> None:
    """SagaTimeoutError has the id, the saga goes on, and its status is answered meanwhile (P1)."""
    with premises.coordinator() as sagas:
        with pytest.raises(SagaTimeoutError, match=r"result\('slow'\)") as late:
            sagas.run(Trip, premises.context(gates=["hotel"]), saga_id="slow", timeout=2.0)
        assert late.value.saga_id == "slow"
        premises.until_called("hotel")
        status = sagas.status("slow")
        assert (status.state, status.current_step, status.served) == (SagaState.RUNNING, "hotel", True)
        assert status.waiting_for is WaitingFor.STEP
        with pytest.raises(SagaTimeoutError):
            sagas.result("slow", Trip, timeout=timedelta(milliseconds=50))
        premises.outside.open("slow-hotel")
        assert isinstance(sagas.result("slow", Trip, timeout=20), Completed)


def test_a_deadline_turns_a_saga_back(premises: Premises) -> None:
    """A deadline bounds the saga itself, given as a time or from now."""
    with premises.coordinator() as sagas:
        gone = sagas.run(PlaceOrder, premises.context(), deadline=timedelta(seconds=-1))
        assert isinstance(gone, Compensated)
        assert gone.failure.kind is FailureKind.DEADLINE
        future = datetime.now(UTC) + timedelta(hours=1)
        assert isinstance(sagas.run(PlaceOrder, premises.context(), deadline=future), Completed)


def test_the_journal_is_read_where_no_node_is(premises: Premises) -> None:
    """Status, list, history and the result of what has ended need no node, and start none."""
    with premises.coordinator() as sagas:
        outcome = sagas.run(PlaceOrder, premises.context(), saga_id="done")
        sagas.start(Trip, premises.context(gates=["hotel"], gate="late"), saga_id="open")
        premises.until_called("hotel")
        sagas.close(drain=0.0)
    assert premises.is_deserted()
    sagas = premises.coordinator()
    assert sagas.result("done", PlaceOrder, timeout=0) == outcome
    assert sagas.status("done").outcome == outcome
    status = sagas.status("open")
    assert (status.state, status.served, status.completed_steps) == (SagaState.RUNNING, False, ("flight",))
    assert [line.saga_id for line in sagas.list()] == ["open", "done"]
    assert len(sagas.history("done")) > 8
    for ask in (sagas.status, sagas.history, sagas.result):
        with pytest.raises(UnknownSagaError, match="nobody"):
            ask("nobody")
    assert premises.is_deserted()
    sagas.close()


def test_a_status_is_answered_while_the_supervisor_stands_still(premises: Premises) -> None:
    """Whoever asks how a saga stands needs only the status actor, and gets its answer at once."""
    sagas, later = premises.coordinator(), premises.coordinator()
    sagas.start(Trip, premises.context(gates=["hotel"]), saga_id="trip")
    premises.until_called("hotel")
    supervisor = sagas.locate()[1].supervisor.pid
    premises.stop(supervisor)
    try:
        for each in (sagas, later):
            began = time.monotonic()
            status = each.status("trip")
            assert time.monotonic() - began < 1.5
            assert (status.current_step, status.served) == ("hotel", True)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    premises.outside.open("trip-hotel")
    assert isinstance(later.result("trip"), Completed)


def test_the_same_id_is_the_same_saga(premises: Premises) -> None:
    """Also after it ended, and after its node did; with another context or saga, it is an error (P10)."""
    context = premises.context(total=1)
    with premises.coordinator() as sagas:
        outcome = sagas.run(PlaceOrder, context, saga_id="one")
        assert sagas.run(PlaceOrder, dict(reversed(context.items())), saga_id="one") == outcome
        assert sagas.start(PlaceOrder, context, saga_id="one") == "one"
        sagas.start(Trip, premises.context(gates=["hotel"]), saga_id="two")
        with pytest.raises(SagaIdError, match="another context"):
            sagas.start(Trip, premises.context(), saga_id="two")
        premises.outside.open("two-hotel")
    with premises.coordinator() as sagas:
        assert sagas.run(PlaceOrder, context, saga_id="one") == outcome
        with pytest.raises(SagaIdError, match="another context"):
            sagas.run(PlaceOrder, premises.context(total=2), saga_id="one")
        with pytest.raises(SagaIdError, match="belongs to a shop:PlaceOrder"):
            sagas.run(Other, context, saga_id="one")
    assert premises.outside.names("one") == ["reserve", "charge", "ship", "notify"]


# Threads, processes, and others in the same process.


def test_every_thread_gets_its_own_outcomes(premises: Premises) -> None:
    """Eight threads run 25 sagas each through one coordinator, and nobody gets another's."""

    def run(number: int) -> set[Any]:
        outcomes = (sagas.run(Other, premises.context(who=f"{number}.{i}")) for i in range(25))
        return {outcome.context["who"] for outcome in outcomes if isinstance(outcome, Completed)}

    with premises.coordinator() as sagas, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, range(8)))
    assert found == [{f"{number}.{i}" for i in range(25)} for number in range(8)]
    assert len(premises.outside.calls("only")) == 200


def test_two_journals_in_one_process_have_nothing_to_do_with_each_other(premises: Premises) -> None:
    """The same id is two sagas on two nodes, and closing one coordinator leaves the other's alone."""
    (premises.folder / "second").mkdir()
    second = Premises(premises.folder / "second")
    try:
        there, here = second.coordinator(), premises.coordinator()
        for sagas, place in ((here, premises), (there, second)):
            assert isinstance(sagas.run(PlaceOrder, place.context(), saga_id="one"), Completed)
        assert here.locate()[0].watchdog_pid != there.locate()[0].watchdog_pid
        here.close()
        assert premises.is_deserted()
        assert isinstance(there.run(PlaceOrder, second.context(), saga_id="two"), Completed)
        assert (premises.sagas_in_journal(), second.sagas_in_journal()) == (1, 2)
    finally:
        assert not second.left_behind()


def test_a_node_lives_until_the_last_coordinator_of_any_process_is_gone(premises: Premises) -> None:
    """Whoever has started it may go first; who goes last finds it gone when `close` returns."""
    script = premises.write(
        "holds.py",
        """
        import sys
        from flows import Trip
        from saga_actors import Coordinator

        if __name__ == "__main__":
            with Coordinator(URL) as sagas:
                print(sagas.locate()[0].watchdog_pid, flush=True)
                sys.stdin.readline()
                sagas.run(Trip, {"folder": FOLDER})
            print("closed", flush=True)
        """,
    )
    first, second = premises.begin(script), premises.begin(script)
    assert first.stdout
    assert second.stdout
    pids = {int(first.stdout.readline()), int(second.stdout.readline())}
    sagas = premises.coordinator(node="attach")
    assert pids == {sagas.locate()[0].watchdog_pid}
    for script_running in (first, second):
        assert script_running.communicate("go\n", timeout=20) == ("closed\n", "")
    assert isinstance(sagas.run(PlaceOrder, premises.context()), Completed)
    assert len(premises.family()) > 5
    sagas.close()
    assert premises.is_deserted()


def test_a_node_that_outlives_who_started_it_leaves_no_zombie(premises: Premises) -> None:
    """The one that started it collects it in the end, though others kept it after its coordinator was closed."""
    first, second = premises.coordinator(), premises.coordinator()
    watchdog = first.locate()[0].watchdog_pid
    assert second.locate()[0].watchdog_pid == watchdog
    first.close()
    assert isinstance(second.run(Other, premises.context()), Completed)
    second.close()
    premises.until(lambda: ProcessFacts.read(watchdog) is None)


def test_who_only_attaches_starts_no_node(premises: Premises) -> None:
    """`node="attach"` says within seconds that there is none, and waits for one that somebody else starts."""
    sagas = premises.coordinator(node="attach")
    began = time.monotonic()
    with pytest.raises(NodeUnreachableError, match='node="attach", starts none'):
        sagas.start(PlaceOrder, premises.context())
    assert time.monotonic() - began < 8.0
    assert not premises.node.path.exists()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sagas.run, PlaceOrder, premises.context())
        with premises.coordinator() as other:
            other.locate()
            assert isinstance(waiting.result(20), Completed)
            sagas.close()


# The node dies; the client dies.


def test_a_call_goes_on_when_its_node_is_killed_whole(premises: Premises) -> None:
    """Whoever waits starts the node again, and gets the outcome; the dead one leaves no zombie (P1)."""
    sagas = premises.coordinator()
    with ThreadPoolExecutor(2) as pool:
        context = premises.context(gates=["hotel"], gate="again")
        running = pool.submit(sagas.run, Trip, context, saga_id="run")
        sagas.start(Trip, context, saga_id="started")
        asked = pool.submit(sagas.result, "started", Trip)
        premises.until_called("hotel", 2)
        watchdog = sagas.locate()[0].watchdog_pid
        for process in premises.family():
            process.kill()
        premises.until_called("hotel", 4)
        premises.until(lambda: ProcessFacts.read(watchdog) is None)
        premises.outside.open("again")
        assert isinstance(running.result(20), Completed)
        assert isinstance(asked.result(20), Completed)
    assert premises.outside.names("run").count("flight") == 1
    sagas.close()


def test_an_idle_coordinator_starts_its_node_again(premises: Premises) -> None:
    """What it started goes on though nobody asks for it any more (P1)."""
    sagas = premises.coordinator()
    sagas.start(Trip, premises.context(gates=["hotel"], gate="again"), saga_id="alone")
    premises.until_called("hotel")
    for process in premises.family():
        process.kill()
    premises.until_called("hotel", 2)
    premises.outside.open("again")
    premises.until_called("mail")
    sagas.close()


def test_a_node_ends_by_itself_when_its_client_is_killed(premises: Premises) -> None:
    """A client that vanishes without a word is missed, and what it started stays in the journal."""
    script = premises.write(
        "vanishes.py",
        """
        import attrs
        from flows import Trip
        from saga_actors import Coordinator

        if __name__ == "__main__":
            sagas = Coordinator(URL)
            sagas._verbs._spec = attrs.evolve(sagas._verbs._spec, linger=0.5)
            sagas.start(Trip, {"folder": FOLDER, "gates": ["hotel"], "gate": "never"}, saga_id="left")
            print("started", flush=True)
            sagas.result("left", Trip)
        """,
    )
    client = premises.begin(script)
    assert client.stdout
    assert client.stdout.readline() == "started\n"
    premises.until_called("hotel")
    premises.family()
    client.kill()
    began = time.monotonic()
    premises.until(premises.is_deserted)
    assert time.monotonic() - began < 15.0
    assert premises.coordinator(node="attach").status("left").state is SagaState.RUNNING


# The end of a coordinator.


def test_close_lets_attempts_finish_and_says_what_stays(premises: Premises, caplog: pytest.LogCaptureFixture) -> None:
    """It refuses new starts and waits for what runs, whose end is journalled; one warning counts what stays."""
    sagas = premises.coordinator()
    for number in range(2):
        sagas.start(Trip, premises.context(gates=["hotel"], gate="drain"), saga_id=f"trip-{number}")
    premises.until_called("hotel", 2)
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(sagas.result, "trip-0", Trip)
        premises.until(lambda: sagas._verbs.client()._questions)
        closing = pool.submit(sagas.close, drain=15.0)
        premises.until(lambda: refuses(sagas, premises))
        premises.until(lambda: "draining" in premises.log())
        premises.outside.open("drain")
        closing.result(20)
        with pytest.raises(CoordinatorClosedError, match="goes on"):
            waiting.result(5)
    assert premises.is_deserted()
    assert [r.message for r in caplog.records if "unfinished" in r.message] == [
        f"2 unfinished sagas stay in {sagas._verbs._spec.journal_url}; they go on when a node is started on it"
    ]
    reading = premises.coordinator(node="attach")
    assert reading.status("trip-0").completed_steps == ("flight", "hotel")
    assert "car" not in premises.outside.names("trip-0")
    with premises.coordinator() as again:
        assert isinstance(again.result("trip-1", Trip), Completed)
    assert premises.outside.names("trip-1") == ["flight", "hotel", "car", "mail"]


def refuses(sagas: Coordinator, premises: Premises) -> bool:
    """Whether the coordinator takes no more sagas."""
    try:
        sagas.status("trip-0")
    except CoordinatorClosedError:
        return True
    return False


def test_a_drain_is_bounded(premises: Premises) -> None:
    """What runs longer than `drain` is cut short, and is run again by the next node (P6)."""
    sagas = premises.coordinator()
    sagas.start(Trip, premises.context(gates=["hotel"]), saga_id="long")
    (first,) = premises.until_called("hotel")
    began = time.monotonic()
    sagas.close(drain=0.5)
    assert 0.4 < time.monotonic() - began < 5.0
    assert premises.is_deserted()
    premises.outside.open("long-hotel")
    with premises.coordinator() as again:
        assert isinstance(again.result("long", Trip), Completed)
    assert [call.key for call in premises.outside.calls("hotel")] == [first.key] * 2


def test_who_comes_while_a_node_ends_is_served_by_the_next(premises: Premises) -> None:
    """A start that the ending node refuses is made at another, and the caller notices nothing."""
    sagas, late = premises.coordinator(), premises.coordinator()
    sagas.start(Trip, premises.context(gates=["hotel"]), saga_id="trip")
    premises.until_called("hotel")
    first = sagas.locate()[0].watchdog_pid
    with ThreadPoolExecutor(2) as pool:
        closing = pool.submit(sagas.close, drain=15.0)
        premises.until(lambda: "draining" in premises.log())
        running = pool.submit(late.run, Other, premises.context())
        assert late.status("trip").current_step == "hotel"
        premises.outside.open("trip-hotel")
        closing.result(20)
        assert isinstance(running.result(20), Completed)
    assert late.locate()[0].watchdog_pid != first
    assert isinstance(late.result("trip"), Completed)
    late.close()


def test_a_coordinator_that_was_closed_does_nothing_more(premises: Premises) -> None:
    """Every method raises CoordinatorClosedError; closing again, or without ever connecting, changes nothing."""
    sagas, unused = premises.coordinator(), premises.coordinator()
    assert isinstance(sagas.run(Other, premises.context(), saga_id="one"), Completed)
    for each in (sagas, unused):
        each.close()
        each.close(drain=0)
        for call in (
            lambda each=each: each.run(Other, premises.context()),
            lambda each=each: each.start(Other, premises.context()),
            lambda each=each: each.result("one"),
            lambda each=each: each.status("one"),
            lambda each=each: each.list(),
            lambda each=each: each.history("one"),
            each.locate,
            each.have_served,
        ):
            with pytest.raises(CoordinatorClosedError, match="make a new one"):
                call()
    assert premises.sagas_in_journal() == 1


def test_a_coordinator_that_is_closed_while_it_starts_a_node_leaves_none(premises: Premises) -> None:
    """Who gives up before the node was there takes it along."""
    with premises.coordinator() as sagas, pytest.raises(SagaTimeoutError):
        sagas.start(Other, premises.context(), timeout=0)
    assert premises.is_deserted()


def test_closing_is_possible_wherever_a_coordinator_is_asked(premises: Premises) -> None:
    """A thread that waits for a saga hears that the coordinator was closed under it."""
    sagas = premises.coordinator()
    heard: list[BaseException] = []

    def wait() -> None:
        try:
            sagas.run(Trip, premises.context(gates=["flight"], gate="never"))
        except CoordinatorClosedError as closed:
            heard.append(closed)

    waiting = threading.Thread(target=wait)
    waiting.start()
    premises.until_called("flight")
    sagas.close(drain=0)
    waiting.join(10)
    assert len(heard) == 1


def test_a_thread_with_an_event_loop_is_not_blocked(premises: Premises) -> None:
    """Every blocking call raises at once, and names what works (and nothing was begun)."""
    sagas = premises.coordinator()

    async def use() -> Any:
        for call in (
            lambda: sagas.run(Other, premises.context()),
            lambda: sagas.start(Other, premises.context()),
            lambda: sagas.result("one"),
            lambda: sagas.status("one"),
            lambda: sagas.list(),
            lambda: sagas.history("one"),
            sagas.locate,
            sagas.have_served,
        ):
            with pytest.raises(EventLoopError, match=r"AsyncCoordinator .* asyncio\.to_thread"):
                call()
        assert not premises.node.path.exists()
        with sagas:
            return await asyncio.to_thread(sagas.run, Other, premises.context())

    assert isinstance(asyncio.run(use()), Completed)
    assert premises.sagas_in_journal() == 1


# What it has the node serve.


def test_a_class_that_no_node_can_import_harms_no_other_saga(premises: Premises) -> None:
    """All that this process has is offered; what cannot be had of it is refused where it is used."""

    class Local(Trip):
        pass

    premises.write("fleeting.py", "from flows import Trip\nclass Fleeting(Trip): pass\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(premises.folder))
        import fleeting  # type: ignore[import-not-found]
    (premises.folder / "fleeting.py").unlink()
    with premises.coordinator() as sagas:
        assert isinstance(sagas.run(PlaceOrder, premises.context()), Completed)
        with pytest.raises(DefinitionError, match="move the class into a module"):
            sagas.run(Local, premises.context())
        with pytest.raises(NotServedError, match="the module fleeting cannot be imported"):
            sagas.run(fleeting.Fleeting, premises.context())
        assert isinstance(sagas.run(Other, premises.context()), Completed)
        assert premises.sagas_in_journal() == 2
    assert Local.definition.name
