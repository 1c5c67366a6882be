"""For code that lives among actors: the node's Thespian system, and the addresses to send messages to."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from saga_actors.coordinator import Coordinator
from saga_actors.definition import Saga

if TYPE_CHECKING:
    from saga_actors.actors.transport import SealedActorSystem
    from saga_actors.node_spec import Life


class Node:
    """A node to which this process is attached; made by `connect`.

    Its attributes lead to the life that the node has now, and wait for one, at most 30 s, if it has none; then they
    raise NodeUnreachableError.
    """

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._attached = _attached(coordinator.locate()[0])

    @property
    def system(self) -> SealedActorSystem:
        """A Thespian ActorSystem: `ask`, `tell`, `listen`, `createActor`. One thread may use it; others `private()`.

        It is another one in each life of the node; what was asked by way of the one before is not answered any more,
        and no actor that was created there lives.
        """
        life = self._coordinator.locate()[0]
        if life.admin_port != self._attached.port:
            before, self._attached = self._attached, _attached(life)
            before.close()
        return self._attached

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
        self._attached.close()
        self._coordinator.close(drain)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _attached(life: Life) -> SealedActorSystem:
    from saga_actors.actors.transport import SealedActorSystem

    return SealedActorSystem.attach(life.admin_port)


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
