"""An address on this host and nowhere else: all that a process of ours ever binds to, listens on or connects to."""

from __future__ import annotations

import socket
from typing import Any, NoReturn

from saga_actors.errors import TransportError

HOST = "127.0.0.1"


class TCPv4ActorAddress:
    """A TCP port on 127.0.0.1; stands in for Thespian's class of this name, and has its methods. Resolves nothing.

    Thespian's own binds every address to 0.0.0.0, and its module looks the host's name up when it is imported.
    """

    def __init__(self, host: str | None = None, port: int | str | None = 0, external: object = False) -> None:
        if host not in (None, "", HOST, "localhost"):
            raise TransportError(f"{host!r} is another host; the processes of a node are all on {HOST}")
        self.port = int(port or 0)

    def __reduce__(self) -> tuple[Any, ...]:
        return TCPv4ActorAddress, (None, self.port)  # so that no address in a message can name a host

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TCPv4ActorAddress) and self.port == other.port

    def __hash__(self) -> int:
        return hash(self.port)

    def __str__(self) -> str:
        return f"(T|:{self.port})"

    @property
    def sockname(self) -> tuple[str, int]:
        return HOST, self.port

    @property
    def socketArgs(self) -> tuple[int, int, int]:
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP

    @property
    def bindArgs(self) -> tuple[tuple[str, int]]:
        return (self.sockname,)

    @property
    def connectArgs(self) -> tuple[tuple[str, int]]:
        return (self.sockname,)

    def isLocalAddr(self) -> bool:
        return True

    def isSameSystem(self, other: object) -> bool:
        return True


class RoutedTCPv4ActorAddress(TCPv4ActorAddress):
    """An address behind another host; Thespian asks for the class, and we never make one."""

    def __init__(self, *_: object, **__: object) -> None:
        _refuse()


class TXOnlyAdminTCPv4ActorAddress(TCPv4ActorAddress):
    """An admin that cannot be called; Thespian asks for the class, and we never make one."""

    def __init__(self, *_: object, **__: object) -> None:
        _refuse()


def _refuse() -> NoReturn:
    raise TransportError("a node is on one host, and does not route")
