"""What has come together goes into one turn of the supervisor, and so into one commit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from saga_actors.actors import supervisor as supervisor_module
from saga_actors.actors.lifecycle import Ping
from saga_actors.actors.protocol import Bundle, Drain, Heartbeat
from saga_actors.actors.supervisor import LONGEST_TURN, SagaSupervisor


class Engine:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.done = False
        self.next_tick = 1.0

    def take(self, message: Any, _: Any) -> None:
        self.told.append(message)

    def finish_turn(self) -> list[Any]:
        self.told.append("finish")
        return []

    def tick(self) -> list[Any]:
        self.told.append("tick")
        return []


class Transport:
    """What is behind the message that is being handled."""

    def __init__(self) -> None:
        self._incomingEnvelopes: list[Any] = []


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Any:
    made: Any = SagaSupervisor()
    made._engine = Engine()
    made._myRef = SimpleNamespace(transport=Transport())
    monkeypatch.setattr(SagaSupervisor, "wake_in", lambda *_: None)
    monkeypatch.setattr(SagaSupervisor, "send", lambda *_: None)
    return made


def deliver(supervisor: Any, *messages: Any) -> list[Any]:
    """Hand these over as the transport does, all of them having come together."""
    waiting = supervisor._myRef.transport._incomingEnvelopes
    waiting += [SimpleNamespace(message=message) for message in messages]
    while waiting:
        supervisor.receiveMessage(waiting.pop(0).message, "sender")
    told: list[Any] = supervisor._engine.told
    return told


def test_what_has_come_together_is_one_turn(supervisor: Any) -> None:
    """Several messages, one commit; and one that comes alone does not wait for company."""
    beats = [Heartbeat("a", "one"), Heartbeat("b", "two"), Drain(1.0)]
    assert deliver(supervisor, *beats) == [*beats, "finish"]
    assert deliver(supervisor, beats[0])[-2:] == [beats[0], "finish"]


def test_a_ping_that_comes_last_finishes_the_turn(supervisor: Any) -> None:
    """P1: whatever of ours is last, what was taken is not left lying."""
    beat = Heartbeat("a", "one")
    assert deliver(supervisor, beat, Ping(1)) == [beat, "finish"]
    assert deliver(supervisor, Ping(2)) == [beat, "finish"]


def test_a_message_of_thespian_behind_is_not_waited_for(supervisor: Any) -> None:
    """It may never reach the actor, and then nobody would finish the turn."""
    beat = Heartbeat("a", "one")
    supervisor._myRef.transport._incomingEnvelopes.append(SimpleNamespace(message=object()))
    supervisor.receiveMessage(beat, "sender")
    assert supervisor._engine.told == [beat, "finish"]


def test_a_turn_does_not_grow_for_ever(supervisor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """P12: however much comes, a turn ends after some milliseconds."""
    now = [100.0]
    monkeypatch.setattr(supervisor_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def take(message: Any, _: Any) -> None:
        supervisor._engine.told.append(message)
        now[0] += 0.6 * LONGEST_TURN

    supervisor._engine.take = take
    beats = [Heartbeat(str(n), "one") for n in range(6)]
    told = deliver(supervisor, *beats)
    assert told == [*beats[:2], "finish", *beats[2:4], "finish", *beats[4:], "finish"]


def test_a_clients_bundle_for_another_life_is_not_heard(supervisor: Any) -> None:
    """P1: nothing is accepted that was meant for another journal; a client that hears nothing looks for its node."""
    supervisor._life = "ours"
    beat = Heartbeat("h", "client")
    told = deliver(supervisor, Bundle((beat,), "theirs"), Bundle((beat,), "ours"))
    assert [message.life for message in told if isinstance(message, Bundle)] == ["ours"]
