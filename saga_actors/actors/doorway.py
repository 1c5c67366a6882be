"""Who is let in, and who is told anything: processes of this user.

Callers that have not proved yet that they are ours are few, get little room, and not for long.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from datetime import timedelta
from typing import Any

from thespian.actors import ActorAddress
from thespian.system.timing import ExpirationTimer
from thespian.system.transport import SendStatus

from saga_actors.actors import peers
from saga_actors.actors.exchange import Exchange
from saga_actors.actors.seal import MAX_PACKET

MOST_STRANGERS = 128
"""Callers of whom no signed message has come yet; the one that has waited longest goes. One of ours calls again."""

STRANGERS_ROOM = MAX_PACKET
"""Bytes that all of them together may have sent: one packet of the longest kind."""

STRANGERS_TIME = timedelta(seconds=30)
"""For which one of them may take over its first message."""

DEAF_SECONDS = 0.1
"""For which nobody is let in when there is no descriptor left."""

_now = time.perf_counter  # the clock of Thespian's timers


class Doorway(Exchange):
    """Lets callers in, and hangs up on those that take too much; for Thespian, all who call are friends."""

    _deaf_until = 0.0

    def _acceptNewIncoming(self) -> None:
        """Let somebody in, if it is a process of this user."""
        caller = self._caller()
        self._check_indicators()  # type: ignore[attr-defined]
        if caller is None:
            return
        caller.setblocking(False)
        with contextlib.suppress(OSError):
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming = self.Persistent(ActorAddress(None), caller)
        incoming._expires = ExpirationTimer(STRANGERS_TIME)
        self._incomingSockets[caller.fileno()] = incoming
        self._make_room()

    def _caller(self) -> socket.socket | None:
        try:
            caller, (_, port) = self.new_socket(self.socket.accept)  # type: ignore[attr-defined]
        except OSError:  # no descriptor is left; what listens stays readable, and the loop would spin
            self._deaf_until = _now() + DEAF_SECONDS
            self._hang_up_on_the_oldest()
            return None
        with contextlib.suppress(OSError):  # not even for the question
            if peers.caller_is_ours(self.socket.getsockname()[1], port):
                return caller  # type: ignore[no-any-return]
        caller.close()
        return None

    def _read(self, incoming: Any) -> None:
        super()._read(incoming)
        if _is_stranger(incoming):
            self._make_room()

    def _make_room(self) -> None:
        while not self._has_room():
            self._hang_up_on_the_oldest()

    def _has_room(self) -> bool:
        strangers = self._strangers()
        if len(strangers) < 2:
            return True
        return len(strangers) <= most_strangers() and sum(map(_size, strangers.values())) <= STRANGERS_ROOM

    def _hang_up_on_the_oldest(self) -> None:
        if strangers := self._strangers():
            oldest = min(strangers, key=lambda number: strangers[number]._expires._time_to_quit)
            self._incomingSockets.pop(oldest).close()

    def _strangers(self) -> dict[int, Any]:
        return {number: one for number, one in self._incomingSockets.items() if _is_stranger(one)}

    def _poller(self, only_sends: bool) -> tuple[Any, dict[int, Any]]:
        poller, idle = super()._poller(only_sends)
        if not only_sends and self._deaf_until > _now():
            poller.unregister(self.socket.fileno())
        return poller, idle

    def _pause(self) -> float | None:
        pause, left = super()._pause(), (self._deaf_until - _now()) * 1000.0
        if left <= 0.0:
            return pause
        return left if pause is None else min(pause, left)

    # Who is called.

    def _next_XMIT_2(self, intent: Any) -> bool:
        """Send; a dead peer's port may be another user's by now, or that of the very socket that calls it."""
        if intent.is_new_connection and not intent.amtSent and not _leads_to_ours(intent):
            return bool(self._finishIntent(intent, SendStatus.DeadTarget))  # type: ignore[attr-defined]
        return bool(super()._next_XMIT_2(intent))


def _leads_to_ours(intent: Any) -> bool:
    there = intent.targetAddr.addressDetails
    return intent.socket.getsockname() != there.sockname and peers.listener_is_ours(there.port)


def most_strangers() -> int:
    """How many there may be: never more than an eighth of the descriptors that a process may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_STRANGERS if limit == resource.RLIM_INFINITY else min(MOST_STRANGERS, limit // 8)


def _is_stranger(incoming: Any) -> bool:
    return incoming.fromAddress.addressDetails is None


def _size(incoming: Any) -> int:
    return incoming._rData.size  # type: ignore[no-any-return]
