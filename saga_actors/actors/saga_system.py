"""The in-process Thespian system in which the saga actors of one supervisor live.

It is Thespian's `simpleSystemBase`, with three of its ways replaced. Asked, an actor is called once, there and then:
Thespian's own way goes through two queues and takes five times as long, and calls an actor that raised again (trap 1).
An actor is made without a search for what its constructor may take, which is two thirds of what that costs. And one
that ends is forgotten, where Thespian keeps it, and a message about its end, for ever (trap 15).
"""

from __future__ import annotations

import types
from typing import Any

from thespian.actors import Actor, ActorAddress, ActorSystem
from thespian.system.simpleSystemBase import ActorRef, ActorSystemBase, actor_base_receive

from saga_actors.actors.protocol import Address
from saga_actors.errors import SagaActorsError

_ASKER = ActorAddress("System:ExternalRequester")


class SagaCrashedError(SagaActorsError):
    """A saga actor raised; it is to be restarted from the journal."""


class SagaSystem:
    """Makes saga actors, asks them, and lets them go."""

    def __init__(self, actor_class: type[Actor]) -> None:
        system = ActorSystem("simpleSystemBase", logDefs=False, transientUnique=True)
        self._base = system._systemBase = _Base(system, logDefs=False)
        self._actor_class = actor_class

    def __len__(self) -> int:
        """How many actors there are."""
        return self._base.population

    def create(self) -> Address:
        """A new saga actor, which is no saga yet."""
        return self._base.make(self._actor_class)

    def ask(self, actor: Address, message: Any) -> Any:
        """What the actor answers; SagaCrashedError if it raised, or said nothing. It is called once."""
        return self._base.call(actor, message)

    def end(self, actor: Address) -> None:
        """Let the actor go."""
        self._base.forget(actor)


class _Base(ActorSystemBase):  # type: ignore[misc]
    """The system's own side; whatever else an actor may do (send, create, be woken) is Thespian's."""

    def __init__(self, system: Any, logDefs: Any) -> None:
        super().__init__(system, logDefs)
        self._born_with = len(self.actorRegistry)
        self._made = 0
        self._answers: list[Any] = []

    @property
    def population(self) -> int:
        return len(self.actorRegistry) - self._born_with

    def make(self, actor_class: type[Actor]) -> ActorAddress:
        self._made += 1
        name = f"/saga~{self._made}"
        address, actor = ActorAddress(name), actor_class()
        actor._myRef = self.actorRegistry[name] = ActorRef(self.system, self.system.systemAddress, address, actor)
        actor._receive = types.MethodType(actor_base_receive, actor)
        return address

    def call(self, address: ActorAddress, message: Any) -> Any:
        answers = self._answers
        answers.clear()
        try:
            self.actorRegistry[address.actorAddressString].instance.receiveMessage(message, _ASKER)
            if self._pendingSends:  # to anybody but us
                self._runSends()
        except Exception as error:
            raise SagaCrashedError(f"{type(error).__name__}: {error}") from error
        if not answers:
            raise SagaCrashedError(f"it gave no answer to a {type(message).__name__}")
        return answers.pop()

    def forget(self, address: ActorAddress) -> None:
        ref = self.actorRegistry.pop(address.actorAddressString, None)
        if ref is not None:  # an actor and its entry hold each other: it would stay until somebody looks for cycles
            vars(ref.instance).clear()
            ref.instance = None

    def actor_send(self, fromActor: ActorAddress, toActor: ActorAddress, msg: Any) -> None:
        if toActor is _ASKER:
            self._answers.append(msg)
        else:
            super().actor_send(fromActor, toActor, msg)
