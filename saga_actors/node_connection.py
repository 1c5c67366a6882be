"""For code that lives among actors: the node's Thespian system, and the addresses to send messages to."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Literal, Self

from saga_actors.coordinator import Coordinator
from saga_actors.definition import Saga


class Node:
    """A node to which this process is attached; made by `connect`."""

    def __init__(self, coordinator: Coordinator) -> None:
        from saga_actors.actors.transport import SealedActorSystem

        self._coordinator = coordinator
        life, _ = coordinator.locate()
        self.system = SealedActorSystem.attach(life.admin_port)
        """A Thespian ActorSystem: `ask`, `tell`, `listen`, `createActor`. One thread may use it; others `private()`."""

    @property
    def supervisor(self) -> Any:
        """The address of the saga supervisor; ask for it again after a question got no answer, for it may be new."""
        return self._coordinator.locate()[1].supervisor.address

    @property
    def status_actor(self) -> Any:
        """The address of the status actor, which answers `GetStatus`, `ListSagas` and `GetHistory`."""
        return self._coordinator.locate()[1].status.address

    def close(self, drain: float = 5.0) -> None:
        """Let go, as `Coordinator.close` does."""
        self.system.close()
        self._coordinator.close(drain)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def connect(
    url: str,
    *,
    node: Literal["auto", "attach"] = "auto",
    sagas: Iterable[type[Saga[Any]] | str] | None = None,
    **options: Any,
) -> Node:
    """Attach to the node of a journal, or start one, and have it serve `sagas`; arguments as for `Coordinator`."""
    coordinator = Coordinator(url, node=node, sagas=sagas, **options)
    try:
        coordinator.have_served()
        return Node(coordinator)
    except BaseException:
        coordinator.close(0.0)
        raise
