"""Those who are told of telemetry: what one does harms no other, and never the reader."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from stories import within

from saga_actors.listeners import Handler, Listener, ListenerError, Listeners, Throttle, resolved
from saga_actors.source import is_loading_for_node
from saga_actors.telemetry import EventName, TelemetryEvent

EVENT = TelemetryEvent(EventName.STARTED, datetime(2026, 1, 1, tzinfo=UTC), "ord_1", "place-order", {}, {"seq": 1})


class Ledger:
    """A listener that keeps what it was told, and can be waited for."""

    def __init__(self) -> None:
        self.events: list[TelemetryEvent] = []
        self._changed = threading.Condition()

    def __call__(self, event: TelemetryEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def has(self, count: int) -> None:
        within(lambda: len(self.events) >= count, self._changed)


class Hanging:
    """A listener that does not return until it is released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()
        self.told = 0

    def __call__(self, event: TelemetryEvent) -> None:
        self.begun.set()
        assert self.release.wait(30)
        self.told += 1


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.release.set()


def listener(name: str, handler: Handler, **options: Any) -> Listener:
    return Listener(name, lambda: handler, **options)


def emit(listeners: Listeners, count: int) -> None:
    for _ in range(count):
        listeners.emit(EVENT)


def test_everybody_is_told_of_everything_in_order() -> None:
    """Two listeners get the same events in the same order."""
    ledgers = [Ledger(), Ledger()]
    listeners = Listeners(*(listener(str(i), ledger) for i, ledger in enumerate(ledgers)))
    events = [
        TelemetryEvent(EventName.STARTED, EVENT.at, f"ord_{number}", "place-order", {}, {"seq": 1})
        for number in range(100)
    ]
    for event in events:
        listeners.emit(event)
    assert listeners.close()
    assert ledgers[0].events == ledgers[1].events == events
    assert listeners.settled == listeners.emitted == 100


def test_a_listener_that_raises_is_told_on_and_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Once for each type of error; also what is no Exception does not end it."""
    now, told = [0.0], []

    def raises(event: TelemetryEvent) -> None:
        told.append(event)
        if len(told) == 5:
            now[0] += 61
        raise SystemExit if len(told) == 3 else ValueError("it is broken")

    listeners = Listeners(listener("raises", raises, clock=lambda: now[0]), listener("good", good := Ledger()))
    emit(listeners, 6)
    assert listeners.close()
    assert (len(told), len(good.events)) == (6, 6)
    assert [cast("Any", r.exc_info)[0] for r in caplog.records] == [ValueError, SystemExit, ValueError]


def test_a_listener_that_hangs_delays_nobody_and_its_loss_is_counted(
    hanging: Hanging, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are told of everything; what does not fit its queue is dropped, counted and logged."""
    good = Ledger()
    listeners = Listeners(listener("hangs", hanging, capacity=3), listener("good", good))
    emit(listeners, 1)
    assert hanging.begun.wait(10)
    emit(listeners, 10)
    good.has(11)
    assert listeners.dropped == {"hangs": 7, "good": 0}
    assert "telemetry listener hangs is slow or hangs: 1 events dropped" in caplog.text
    hanging.release.set()
    assert listeners.close()
    assert hanging.told == 4


def test_a_slow_listener_holds_the_place_until_it_has_lost_something(hanging: Hanging) -> None:
    """Up to its queue's length it is waited for; beyond that it keeps nobody from going on."""
    listeners = Listeners(listener("hangs", hanging, capacity=3), listener("good", good := Ledger()))
    emit(listeners, 1)
    assert hanging.begun.wait(10)
    emit(listeners, 3)
    good.has(4)
    assert listeners.settled == 0
    emit(listeners, 1)
    good.has(5)
    assert listeners.close(seconds=0.01) is False
    assert listeners.settled == 5


def test_one_listener_cannot_change_what_another_is_told() -> None:
    """Each gets maps of its own."""

    def spoils(event: TelemetryEvent) -> None:
        cast("dict[str, Any]", event.metadata).clear()

    listeners = Listeners(listener("spoils", spoils))
    emit(listeners, 1)
    assert listeners.close()
    assert dict(EVENT.metadata) == {"seq": 1}


def test_only_what_somebody_wants_is_wanted() -> None:
    """A listener is not told of names that it does not want."""
    ledger = Ledger()
    listeners = Listeners(listener("ends", ledger, wants=lambda name: name is EventName.FATAL))
    emit(listeners, 1)
    assert listeners.wanted == {EventName.FATAL}
    assert listeners.close()
    assert ledger.events == []
    assert Listeners().wanted == frozenset()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with all sorts of listeners."""
    name = f"listeners_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(
        "from saga_actors.source import is_loading_for_node\n"
        "loading = is_loading_for_node()\n"
        "told = []\n"
        "class Audit:\n"
        "    @staticmethod\n"
        "    def tell(event): told.append(event)\n"
        "async def waits(event): pass\n"
        "nothing = 5\n"
    )
    (tmp_path / f"broken_{name}.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_listener_is_found_by_its_name(module: str) -> None:
    """`module:function`, or a function inside something; the import counts as one for a node."""
    handler = resolved(f"{module}:Audit.tell")
    handler(EVENT)
    told = handler.__globals__
    assert told["told"] == [EVENT]
    assert told["loading"] is True
    assert is_loading_for_node() is False


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("{}", "expected module:function"),
        (":tell", "expected module:function"),
        ("{}:", "expected module:function"),
        ("{}:missing", "is NoneType; expected a function"),
        ("{}:nothing", "is int; expected a function"),
        ("{}:waits", "is async; expected a plain function"),
    ],
)
def test_what_is_no_listener_is_refused_with_what_to_do(module: str, name: str, why: str) -> None:
    """The message says what was got and what was expected."""
    with pytest.raises(ListenerError, match=why):
        resolved(name.format(module))


def test_a_listener_that_cannot_be_imported_is_logged_and_the_others_are_told(
    module: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also if its module exits; nothing is kept for it."""
    caplog.set_level(logging.INFO)
    names = (f"{module}:Audit.tell", f"broken_{module}:tell", "no_such_module:tell", "unnamed")
    listeners = Listeners.named(names)
    emit(listeners, 2)
    assert listeners.close()
    assert resolved(f"{module}:Audit.tell").__globals__["told"] == [EVENT, EVENT]
    refused = [r.args[0] for r in caplog.records if r.levelno == logging.ERROR and isinstance(r.args, tuple)]
    assert sorted(map(str, refused)) == sorted(names[1:])
    assert listeners.settled == 2
    assert "place-order ord_1: started" in caplog.text


def test_a_listener_whose_import_hangs_delays_nobody() -> None:
    """It is imported on its own thread, and what comes meanwhile waits for it."""
    may_go_on = threading.Event()
    late, good = Ledger(), Ledger()

    def load() -> Handler:
        assert may_go_on.wait(30)
        return late

    listeners = Listeners(Listener("late", load), listener("good", good))
    emit(listeners, 2)
    good.has(2)
    assert late.events == []
    may_go_on.set()
    late.has(2)
    assert listeners.close()


def test_a_throttle_says_each_thing_once_and_not_too_much() -> None:
    """A line is due again after its time, and only so many lines are in it."""
    now = [0.0]
    throttle = Throttle(lambda: now[0], every=60, most=2)
    assert [throttle.allows(line) for line in ("a", "a", "b", "c")] == [True, False, True, False]
    now[0] = 60
    assert [throttle.allows(line) for line in ("a", "c")] == [True, True]
