"""A client's mailbox: one thread that sends and receives, on behalf of any number of others."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from thespian.actors import ActorAddress, WatchMessage

from saga_actors.actors import process
from saga_actors.actors.transport import ClientTransport, port_of
from saga_actors.errors import NodeUnreachableError, OverloadedError

MAX_IN_FLIGHT = 200
"""Unacknowledged letters, one per address; each has a connection."""
MAX_WAITING = 10_000
FLUSH_SECONDS = 1.0
_JOIN_SECONDS = 5.0
_LEAST_PAUSE = 0.001  # a transport that is given no time at all does nothing

_logger = logging.getLogger("saga_actors")


@attrs.frozen(eq=False)
class _Letter:
    address: ActorAddress
    port: int
    message: object
    packet: memoryview
    due: float


class Mailbox:
    """Posts messages to actors, in order per address, and hands over what they send to `address`.

    The callbacks run on the mailbox's own thread, must not block, and may raise (it is logged). A message that is not
    acknowledged within `patience` seconds of being posted, or whose receiver is gone, goes to `on_undeliverable`; it
    may still have arrived. `supply` may post more: it is called after `wake()`, and whenever an address has become free
    (see `is_busy`), so that what comes up meanwhile can go into one message. Lives until `close()`. After a fork the
    child's copy is dead, and the parent's goes on.
    """

    def __init__(
        self,
        on_message: Callable[[Any, ActorAddress], None],
        on_undeliverable: Callable[[ActorAddress, Any], None],
        *,
        supply: Callable[[], None] = lambda: None,
        tick: Callable[[], None] = lambda: None,
        interval: float = 1.0,
        patience: float = 10.0,
    ) -> None:
        self._on_message = on_message
        self._on_undeliverable = on_undeliverable
        self._supply = supply
        self._tick = tick
        self._interval = interval
        self._patience = patience
        self._posted: deque[_Letter] = deque()  # by any thread; the two below belong to ours
        self._waiting: dict[int, deque[_Letter]] = {}
        self._in_flight: dict[int, _Letter] = {}
        self._is_sending = False
        self._is_supplied = True
        self._is_woken = False  # and has not looked yet
        self._next_tick = time.monotonic() + interval
        self._close_by: float | None = None
        self._has_ended = False
        self._unsettled = 0
        self._lock = threading.Lock()  # over _unsettled, _close_by and _has_ended
        self._pid = os.getpid()
        self._open()

    def _open(self) -> None:
        self._transport = ClientTransport()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._transport.set_watch([self._wake_in.fileno()])
        process.abandon_after_fork(self)
        self._thread = threading.Thread(target=self._run, name="saga_actors-mailbox", daemon=True)
        self._thread.start()

    @property
    def address(self) -> ActorAddress:
        """Where others can reply to."""
        return self._transport.myAddress

    @property
    def alive(self) -> bool:
        """Whether letters still come and go: not closed, not failed, and not on the wrong side of a fork."""
        return self._pid == os.getpid() and not self._has_ended and self._thread.is_alive()

    def post(self, address: ActorAddress, message: object) -> None:
        """Send a message, from any thread, without waiting; raises at once if it cannot be pickled or is too long."""
        if not self.alive:
            raise NodeUnreachableError("this mailbox is closed, or was made before a fork; make a new one")
        packet = self._transport.packet(message)
        letter = _Letter(address, port_of(address), message, packet, time.monotonic() + self._patience)
        with self._lock:
            if self._has_ended:
                raise NodeUnreachableError("this mailbox has just been closed; make a new one")
            if self._unsettled >= MAX_WAITING:
                raise OverloadedError(f"{MAX_WAITING} messages wait to be sent; the node takes none")
            self._unsettled += 1
            self._posted.append(letter)
            if threading.current_thread() is not self._thread:  # which sends before it waits again
                self._wake()

    def wake(self) -> None:
        """Have `supply` called soon, from any thread."""
        if not self.alive:
            raise NodeUnreachableError("this mailbox is closed, or was made before a fork; make a new one")
        with self._lock:
            self._is_supplied = False
            if not self._has_ended:
                self._wake()

    def is_busy(self, address: ActorAddress) -> bool:
        """Whether a message to this address is under way, or waits; for the mailbox's own thread."""
        port = port_of(address)
        posted = [*self._posted]  # others may post meanwhile
        return port in self._in_flight or port in self._waiting or any(letter.port == port for letter in posted)

    def close(self) -> None:
        """Send what was posted, for up to a second, and end the thread; idempotent, from any thread."""
        if self._pid != os.getpid():
            return
        with self._lock:
            if self._close_by is None:
                self._close_by = time.monotonic() + FLUSH_SECONDS
            if not self._has_ended:
                self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_SECONDS)

    def abandon(self) -> None:
        """Let go of the descriptors, in a forked child."""
        self._wake_in.close()
        self._wake_out.close()

    def _wake(self) -> None:
        if self._is_woken:
            return
        self._is_woken = True
        with contextlib.suppress(BlockingIOError):  # full: it has been woken often enough
            self._wake_out.send(b"x")

    def _run(self) -> None:
        try:
            while not self._is_finished():
                self._tick_if_due()
                self._fetch()
                self._send()
                self._receive()
        except Exception:
            _logger.exception("a mailbox has failed")
        finally:
            self._end()

    def _is_finished(self) -> bool:
        if self._close_by is None:
            return False
        is_empty = not (self._posted or self._waiting or self._in_flight)
        return is_empty or time.monotonic() > self._close_by

    def _tick_if_due(self) -> None:
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + self._interval
            _guarded(self._tick)

    def _fetch(self) -> None:
        if not self._is_supplied:
            self._is_supplied = True
            _guarded(self._supply)

    def _receive(self) -> None:
        received = self._transport.receive(self._pause())
        if received is None:
            return
        message, sender = received
        if isinstance(message, WatchMessage):
            with contextlib.suppress(BlockingIOError):
                self._wake_in.recv(65536)
            self._is_woken = False  # what is posted from here on is seen by the loop, or wakes it again
        else:
            _guarded(self._on_message, message, sender)

    def _pause(self) -> float:
        due = self._next_tick if self._close_by is None else min(self._next_tick, self._close_by)
        return max(_LEAST_PAUSE, due - time.monotonic())

    def _send(self) -> None:
        """Send what may be sent now. What fails at once comes back here by `_sent`, and leaves it to the loop."""
        if self._is_sending or self._has_ended:
            return
        self._is_sending = True
        try:
            while (port := self._next_port()) is not None:
                self._transmit(port)
        finally:
            self._is_sending = False

    def _sort(self) -> None:
        while self._posted:
            letter = self._posted.popleft()
            self._waiting.setdefault(letter.port, deque()).append(letter)

    def _next_port(self) -> int | None:
        self._sort()
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            return None
        return next((port for port in self._waiting if port not in self._in_flight), None)

    def _transmit(self, port: int) -> None:
        letters = self._waiting.pop(port)
        letter = self._in_flight[port] = letters.popleft()
        if letters:
            self._waiting[port] = letters  # behind the other addresses
        patience = letter.due - time.monotonic()
        if patience <= 0:
            self._sent(port, False)
        else:
            on_done = partial(self._sent, port)
            self._transport.transmit(letter.address, letter.message, letter.packet, patience, on_done)

    def _sent(self, port: int, is_acknowledged: bool) -> None:
        self._settle(self._in_flight.pop(port), is_acknowledged)
        if self._close_by is None:
            _guarded(self._supply)
        self._send()
        if self._close_by is not None:
            self._wake()  # it may have been the last

    def _settle(self, letter: _Letter, is_acknowledged: bool) -> None:
        with self._lock:
            self._unsettled -= 1
        if not is_acknowledged:
            _guarded(self._on_undeliverable, letter.address, letter.message)

    def _end(self) -> None:
        with self._lock:
            self._has_ended = True
        self._transport.close()
        self._sort()
        unsent = [letter for letters in self._waiting.values() for letter in letters]
        for letter in [*self._in_flight.values(), *unsent]:
            self._settle(letter, False)
        self._wake_in.close()
        self._wake_out.close()


def _guarded(callback: Callable[..., None], *args: object) -> None:
    try:
        callback(*args)
    except BaseException:  # whatever it is, the thread has others to serve
        _logger.exception("a callback of a mailbox has failed")
