"""How one process's connections are waited for and served: Thespian's protocol, at a quarter of its cost.

It is mixed into the private copy of Thespian's TCP transport (see `transport`), and keeps that one's books. Thespian's
own loop goes round five times for a message: it makes a selector each time, waits until it may write once more after
all was written, reads the length and then the rest, and asks each timer for the time. Here it goes round once on each
side. Also, two that send each other more than the kernel holds read between the parts, where Thespian waits for ever.
"""

from __future__ import annotations

import math
import select
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from thespian.actors import ActorAddress, WatchMessage
from thespian.system.transport import (
    ReceiveEnvelope,
    SendStatus,
    Thespian__Run_Expired,
    Thespian__Run_HandlerResult,
    Thespian__Run_Terminated,
    Thespian__UpdateWork,
    TransmitIntent,
    TransmitOnly,
)

from saga_actors.actors.seal import PacketBuffer

_now = time.perf_counter  # the clock of Thespian's timers
_SWEEP_SECONDS = 30.0
_TO_BE_SENT, _SENT, _AWAITING_ACKNOWLEDGEMENT, _TO_BE_RETRIED = 2, 3, 4, 6  # stages of a transmit
_NOTHING = object()

RETRY = timedelta(seconds=0.2)
"""Until a peer whose connection has ended is called again, and found to be dead; Thespian's 35 s are for networks."""

OnDone = Callable[[bool], None]


class Envelope(ReceiveEnvelope):  # type: ignore[misc]
    """A message that has come; Thespian makes a log line of each, which shall neither cost nor tell."""

    def identify(self) -> str:
        """Not what it says."""
        return unnamed()


class Intent(TransmitIntent):  # type: ignore[misc]
    """A message to be sent; Thespian makes two log lines of each, with all that is in it."""

    def identify(self) -> str:
        """Not what it says."""
        return unnamed()


def unnamed() -> str:
    """What logs call a message."""
    return "a message"


def noticed(address: ActorAddress, message: object, patience: float, on_done: OnDone) -> Intent:
    """A message to be sent, and told about: whether its receipt was acknowledged within `patience` seconds."""
    return Intent(
        address,
        message,
        onSuccess=lambda *_: on_done(True),
        onError=lambda *_: on_done(False),
        maxPeriod=timedelta(seconds=max(patience, 0.001)),  # none at all would be Thespian's 5 minutes
        retryPeriod=RETRY,  # a peer that died is found out by calling it again
    )


class Exchange:
    """The loop of a transport, and what it does when a connection is ready."""

    socket: Any
    myAddress: ActorAddress
    run_time: Any
    Persistent: Any  # Thespian's connection on which something arrives
    _transmitIntents: dict[int, Any]
    _waitingTransmits: list[Any]
    _incomingSockets: dict[int, Any]
    _openSockets: dict[Any, Any]  # on which nothing is under way, by the address of the other side
    _incomingEnvelopes: list[Any]
    _finished_intents: list[tuple[Any, Any]]
    _watches: list[int]  # descriptors that the actor wants to be told about
    _due: float = 0.0
    _next_sweep: float = 0.0
    _waiting_thread: int = 0
    _aTB_queuedPendingTransmits: Any
    _aTB_numPendingTransmits: int

    # The loop.

    def _runWithExpiry(self, handler: Any) -> Any:
        """Wait, serve what is ready, and hand over what came, until the handler says no or the time is over."""
        only_sends = handler is TransmitOnly or isinstance(handler, TransmitOnly)
        self.__dict__.pop("_aborting_run", None)
        while self._goes_on() and not self._is_over():
            if only_sends and not self._unsent():
                return 0
            if (result := self._hand_over(handler, only_sends)) is not _NOTHING:
                return result
            unsent = self._unsent()
            was_idle = not self._serve_round(only_sends)
            if was_idle and self._is_over():
                return Thespian__Run_Expired()
            if was_idle:
                continue
            if only_sends and (self._unsent() < unsent or not self._unsent()):
                return self._unsent()
            if (result := self._hand_over(handler, only_sends)) is not _NOTHING:
                return result
        return Thespian__Run_Terminated() if hasattr(self, "_aborting_run") else Thespian__Run_Expired()

    def _goes_on(self) -> bool:
        aborting = getattr(self, "_aborting_run", None)
        return aborting is None or bool(aborting and self._unsent())

    def _is_over(self) -> bool:
        end = self.run_time._time_to_quit
        return end is not None and _now() >= end

    def _unsent(self) -> int:
        return len(self._transmitIntents) + len(self._waitingTransmits)

    def _hand_over(self, handler: Any, only_sends: bool) -> Any:
        while self._incomingEnvelopes and not only_sends:
            envelope = self._incomingEnvelopes.pop(0)
            if handler is None or isinstance(envelope, Thespian__UpdateWork):  # no message: it wants to be returned
                return envelope
            result = Thespian__Run_HandlerResult(handler(envelope))
            if not result:
                return result
        return _NOTHING

    def _serve_round(self, only_sends: bool) -> bool:
        """One wait and what it brought; whether there was anything."""
        self._lock()
        try:
            poller, idle = self._poller(only_sends)
            pause = self._pause()
            self._waiting_thread = threading.get_ident()
        finally:
            self._not_processing()  # type: ignore[attr-defined]
        ready = poller.poll(pause)
        self._lock()
        try:
            self._waiting_thread = 0
            self._serve_all(ready, idle, only_sends)
            self._look_at_the_time()
        finally:
            self._not_processing()  # type: ignore[attr-defined]
        finished, self._finished_intents = self._finished_intents, []
        for intent, status in finished:
            intent.tx_done(status)
        return bool(ready or finished)

    def _be_noticed(self) -> None:
        """Have a thread that waits see what another has just begun to send."""
        if self._waiting_thread not in (0, threading.get_ident()):
            self.interrupt_wait()  # type: ignore[attr-defined]

    def _lock(self) -> None:
        """Thespian's own lock, over the books; another thread that sends has it for a moment."""
        while not self._exclusively_processing():  # type: ignore[attr-defined]
            time.sleep(0.000001)

    # What is to be sent.

    def _schedulePreparedIntent(self, intent: Any, has_exclusive_flag: bool = False) -> None:
        """Send at once, if nothing speaks against it; Thespian's way leads through a queue in any case."""
        is_plain = not (has_exclusive_flag or isinstance(intent.message, Thespian__UpdateWork))
        may_go = is_plain and not self._aTB_queuedPendingTransmits and self._canSendNow()  # type: ignore[attr-defined]
        if may_go and self._exclusively_processing():  # type: ignore[attr-defined]
            try:
                self._submitTransmit(intent)  # type: ignore[attr-defined]
            finally:
                self._not_processing()  # type: ignore[attr-defined]
            self._be_noticed()
        else:
            super()._schedulePreparedIntent(intent, has_exclusive_flag)  # type: ignore[misc]

    def _async_txdone(self, result: Any, intent: Any) -> None:
        if self._aTB_queuedPendingTransmits:
            super()._async_txdone(result, intent)  # type: ignore[misc]
        else:
            self._aTB_numPendingTransmits -= 1

    # What is waited for.

    def _poller(self, only_sends: bool) -> tuple[Any, dict[int, Any]]:
        """All that is waited for, registered anew: that takes no system call, and no closed one is left in it."""
        poller = select.poll()
        for number, intent in self._transmitIntents.items():
            if number >= 0 and not intent.backoffPause():
                poller.register(number, _awaited(intent))
        idle = {connection.socket.fileno(): connection for connection in self._openSockets.values()}
        if idle.pop(-1, None):  # closed behind our back
            self._openSockets = {key: one for key, one in self._openSockets.items() if one.socket.fileno() >= 0}
        for number in (*self._incomingSockets, *idle, *self._watches):
            if number >= 0:  # a watched socket may have been closed, and then has none
                poller.register(number, select.POLLIN)
        if not only_sends:
            poller.register(self.socket.fileno(), select.POLLIN)
        return poller, idle

    def _pause(self) -> float | None:
        """Milliseconds until something is due; None for ever."""
        under_way = (*self._transmitIntents.values(), *self._waitingTransmits, *self._incomingSockets.values())
        self._due = min(map(_due, under_way), default=math.inf)
        end = self.run_time._time_to_quit
        next_look = self._due if end is None else min(end, self._due)
        if self._finished_intents:
            return 0.0
        return None if next_look == math.inf else max(0.0, next_look - _now()) * 1000.0

    # What is ready.

    def _serve_all(self, ready: list[tuple[int, int]], idle: dict[int, Any], only_sends: bool) -> None:
        watched = []
        for number, events in ready:
            if events & select.POLLNVAL:
                self._forget(number)
            elif number in self._watches:
                watched.append(number)
            else:
                self._serve(number, events, idle, only_sends)
        if watched:
            self._incomingEnvelopes.append(Envelope(self.myAddress, WatchMessage(watched)))

    def _forget(self, number: int) -> None:
        """A descriptor that is none: a watch of the actor's, or what was closed behind our back."""
        if number in self._watches:
            self._watches = [watch for watch in self._watches if watch != number]
        else:
            self._cancel_fd_ops(number)  # type: ignore[attr-defined]

    def _serve(self, number: int, events: int, idle: dict[int, Any], only_sends: bool) -> None:
        if number == self.socket.fileno():
            if not only_sends:
                self._acceptNewIncoming()  # type: ignore[attr-defined]
        elif number in self._incomingSockets:
            self._read(self._incomingSockets.pop(number))
        elif number in self._transmitIntents:
            self._transmitIntents[number].may_send = events != select.POLLIN
            self._processIntents(number)  # type: ignore[attr-defined]
        elif number in idle:
            self._read_idle(idle[number])

    def _read(self, incoming: Any) -> None:
        if unfinished := self._handleReadableIncoming(incoming, has_exclusive_flag=True):
            self._incomingSockets[unfinished.socket.fileno()] = unfinished

    def _read_idle(self, connection: Any) -> None:
        """A connection on which nothing was under way; by now it may have been taken, or another be in its place."""
        key = connection.rmtaddr.addressDetails
        present: Any = self._openSockets.get(key)
        if present is connection:
            del self._openSockets[key]
            self._read(self.Persistent(connection.rmtaddr, connection.socket))

    # What is due.

    def _look_at_the_time(self) -> None:
        now = _now()
        if now >= self._due:
            self._hurry_transmits(now)
            self._end_silent(now)
        if self._waitingTransmits:
            self._try_waiting(now)
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            self._end_idle()

    def _hurry_transmits(self, now: float) -> None:
        for number, intent in list(self._transmitIntents.items()):
            is_over = intent.expired()
            is_paused = hasattr(intent, "_pauseUntil") and not is_over
            if _due(intent) <= now and not is_paused and self._transmitIntents.get(number) is intent:
                del self._transmitIntents[number]
                if is_over:  # Thespian looks on while there is another connection to that peer
                    self._finishIntent(intent, SendStatus.Failed)  # type: ignore[attr-defined]
                else:
                    self._check(intent)

    def _try_waiting(self, now: float) -> None:
        """Those that wait for a connection, if it is there, or for their time."""
        waiting, self._waitingTransmits = self._waitingTransmits, []
        for intent in waiting:
            if _due(intent) <= now or intent.targetAddr.addressDetails in self._openSockets:
                self._check(intent)
            else:
                self._waitingTransmits.append(intent)

    def _check(self, intent: Any) -> None:
        if self._nextTransmitStepCheck(intent, -1):  # type: ignore[attr-defined]
            if hasattr(intent, "socket"):
                self._transmitIntents[intent.socket.fileno()] = intent
            else:
                self._waitingTransmits.append(intent)

    def _end_silent(self, now: float) -> None:
        for number, incoming in list(self._incomingSockets.items()):
            if _due(incoming) <= now:
                del self._incomingSockets[number]
                incoming.close()

    def _end_idle(self) -> None:
        for key, connection in list(self._openSockets.items()):
            if connection.expired():
                del self._openSockets[key]
                connection.close()

    # The steps that are taken for every message.

    def _next_XMIT_1(self, intent: Any) -> bool:
        """Take the open connection, and send over it at once; else connect."""
        idle = self._openSockets.pop(intent.targetAddr.addressDetails, None)
        if idle is None:
            intent.is_new_connection = True
            return bool(super()._next_XMIT_1(intent))  # type: ignore[misc]
        intent.socket, intent.stage, intent.amtSent, intent.is_new_connection = idle.socket, _TO_BE_SENT, 0, False
        return self._next_XMIT_2(intent)

    def _next_XMIT_2(self, intent: Any) -> bool:
        """Send; when all has gone, wait for the acknowledgement, and not until more could be sent."""
        if intent.amtSent and (goes_on := self._read_meanwhile(intent)) is not None:
            return goes_on
        if not super()._next_XMIT_2(intent):  # type: ignore[misc]
            return False
        if intent.stage != _SENT:
            return True
        came_first = getattr(intent, "ackbuf", None)
        self._next_XMIT_3(intent)  # type: ignore[attr-defined]
        intent.ackbuf = came_first or intent.ackbuf
        return self._look_at_answer(intent)

    def _read_meanwhile(self, intent: Any) -> bool | None:
        """Between two parts of a big message: the other side may be sending one, and take no more until we read it."""
        if not hasattr(intent, "ackbuf"):
            intent.ackbuf = PacketBuffer()
        if not intent.ackbuf.isDone() and intent.ackbuf.read_from(intent.socket) is None:
            return self._retry(intent)
        return None if intent.may_send else True

    def _next_XMIT_4(self, intent: Any) -> bool:
        """Read the acknowledgement, or a message that crossed ours."""
        if intent.ackbuf.read_from(intent.socket) is None:
            intent.backoffPause(True)
            return self._retry(intent)
        return self._look_at_answer(intent)

    def _look_at_answer(self, intent: Any) -> bool:
        if not intent.ackbuf.isDone():
            return True
        goes_on = bool(self._check_XMIT_4_done(intent, b""))  # type: ignore[attr-defined]
        if goes_on and hasattr(intent, "socket") and intent.socket.fileno() < 0:  # what crossed ours was no packet
            return self._retry(intent)
        return goes_on

    def _retry(self, intent: Any) -> bool:
        intent.stage = _TO_BE_RETRIED
        return bool(self._nextTransmitStep(intent))  # type: ignore[attr-defined]

    def _handleReadableIncoming(self, incoming: Any, has_exclusive_flag: bool = False) -> Any:
        """Read what is there of a message; returns the connection if more is to come, else None."""
        try:
            has_read = incoming._rData.read_from(incoming.socket) is not None
        except ValueError:  # it is no packet; nobody whom we know sends such
            has_read = False
        if has_read:
            return self._addedDataToIncoming(incoming, has_exclusive_flag=has_exclusive_flag)  # type: ignore[attr-defined]
        incoming.close()
        return None


def _awaited(intent: Any) -> int:
    if intent.stage == _AWAITING_ACKNOWLEDGEMENT:
        return select.POLLIN
    is_reading = intent.amtSent and not (hasattr(intent, "ackbuf") and intent.ackbuf.isDone())
    return select.POLLIN | select.POLLOUT if is_reading else select.POLLOUT


def _due(under_way: Any) -> float:
    """When it is to be looked at though nothing has come, by the clock of Thespian's timers."""
    if not isinstance(under_way, TransmitIntent):
        return float(under_way._expires._time_to_quit)
    end: float = under_way._quitTime._time_to_quit
    if getattr(under_way, "_awaitingTXSlot", False):
        return end
    for name in ("_retryTime", "_pauseUntil"):
        if (timer := getattr(under_way, name, None)) is not None:
            end = min(end, timer._time_to_quit)
    return end
