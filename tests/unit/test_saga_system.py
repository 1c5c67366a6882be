"""The in-process system of the saga actors: one call a question, one error a raise, and nothing kept of the dead."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from thespian.actors import Actor, ActorExitRequest, ChildActorExited

from saga_actors.actors.saga_system import SagaCrashedError, SagaSystem


class Counter(Actor):  # type: ignore[misc]
    """Counts what it is sent, and says so; some messages make it raise, keep silent or talk to another."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:
        self.seen += 1
        if message == "raise":
            raise ValueError("no such thing")
        if message == "have a child":
            self.send(self.createActor(Counter), "count")
            self.send(sender, "had one")
        elif message == "count":
            self.send(sender, self.seen)


def test_actors_answer_for_themselves() -> None:
    """Each has its own state, and its answer goes to whoever asked it."""
    system = SagaSystem(Counter)
    one, other = system.create(), system.create()
    assert [system.ask(one, "count"), system.ask(one, "count"), system.ask(other, "count")] == [1, 2, 1]


def test_an_actor_that_raises_is_called_once_and_says_why() -> None:
    """Thespian would call it three times (trap 1); here its error is told at once, and it lives on."""
    system = SagaSystem(Counter)
    actor = system.create()
    with pytest.raises(SagaCrashedError, match="ValueError: no such thing"):
        system.ask(actor, "raise")
    assert system.ask(actor, "count") == 2


def test_an_actor_that_gives_no_answer_has_crashed() -> None:
    """Nobody waits for an answer that will not come, and the next question gets its own."""
    system = SagaSystem(Counter)
    actor = system.create()
    with pytest.raises(SagaCrashedError, match="no answer to a str"):
        system.ask(actor, "silence")
    assert system.ask(actor, "count") == 2


def test_an_actor_can_still_do_what_thespian_lets_it() -> None:
    """It creates another and talks to it, and the answer of that one is not taken for its own."""
    system = SagaSystem(Counter)
    actor = system.create()
    assert system.ask(actor, "have a child") == "had one"
    assert system.ask(actor, "count") == 3  # the child's answer came to it as a message


def test_nothing_is_kept_of_an_actor_that_has_ended() -> None:
    """Thespian keeps its entry, and a word about its end, for ever (trap 15): 100,000 sagas would be 30 MB."""
    system = SagaSystem(Counter)
    kept = system.create()
    before = _entries(system)
    for _ in range(1_000):
        actor = system.create()
        system.ask(actor, "count")
        system.end(actor)
    assert len(system) == 1
    assert _entries(system) == before
    assert system.ask(kept, "count") == 1


def test_an_actor_that_ends_is_gone_at_once() -> None:
    """Nobody need look for cycles: its saga, with its contexts, is given back when it ends."""
    system = SagaSystem(Counter)
    actor = system.create()
    gone = weakref.ref(system._base.actorRegistry[actor.actorAddressString].instance)
    gc.disable()
    try:
        assert gone() is not None
        system.end(actor)
        assert gone() is None
    finally:
        gc.enable()


def test_ending_twice_changes_nothing() -> None:
    """A saga is let go of from several places."""
    system = SagaSystem(Counter)
    actor = system.create()
    system.end(actor)
    system.end(actor)
    assert len(system) == 0
    with pytest.raises(SagaCrashedError):
        system.ask(actor, "count")


def test_thespians_own_way_of_ending_an_actor_is_not_needed() -> None:
    """What it would leave behind: the reason why it is replaced. If this fails, Thespian has mended it."""
    system = SagaSystem(Counter)
    actor = system._base.newPrimaryActor(Counter, None, None, None)
    system._base.tell(actor, ActorExitRequest())
    kept = system._base.actorRegistry[system._base.system.systemAddress.actorAddressString].instance.responses
    assert any(isinstance(message, ChildActorExited) for message in kept)


def _entries(system: SagaSystem) -> int:
    base = system._base
    own = [ref.instance for ref in base.actorRegistry.values() if ref and hasattr(ref.instance, "responses")]
    return len(base.actorRegistry) + sum(len(actor.responses) for actor in own) + len(base._pendingSends)
