"""Thespian's TCP transport, on loopback only and signed; with `exchange` it touches Thespian's internals.

The application may run a Thespian system of its own in this process, so nothing of Thespian is patched: a private
second copy of its transport module is made, and only that copy's globals are set. It stands and falls with one version.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

from thespian.actors import Actor, ActorAddress, ActorSystem
from thespian.system.messages.admin import QueryAck, QueryExists
from thespian.system.multiprocCommon import MAX_ADMIN_STARTUP_DELAY, MultiProcAdmin, multiprocessCommon, startAdmin
from thespian.system.systemBase import ExternalOpsToActors
from thespian.system.transport import ReceiveEnvelope, SendStatus

from saga_actors.actors import loopback, process, seal, thespian_log
from saga_actors.actors.doorway import Doorway
from saga_actors.actors.exchange import RETRY, Envelope, Intent, OnDone, noticed, unnamed
from saga_actors.errors import DefinitionError, NodeError, NodeUnreachableError, TransportError
from saga_actors.source import source_of

THESPIAN = "4.0.1"
_ORIGINAL = "thespian.system.transport.TCPTransport"
_COPY = "saga_actors.actors._sealed_tcp"
_ADDRESSES = "thespian.system.transport.IPBase"
_MENTIONS_OF_ADDRESSES = 4
_ANSWER_SECONDS = 2.0
_NOT_FOR_CALLERS = {"Admin Port", "Admin Routing", "Convention Address.IPv4", "Outbound Only", "Process Startup Method"}


def _check_version() -> None:
    installed = importlib.metadata.version("thespian")
    if installed != THESPIAN:
        raise TransportError(f"thespian {installed} is installed, and its transport can only be sealed in {THESPIAN}")


def _copy_of_transport() -> Any:
    """Thespian's TCP module under a name of ours, with our addresses in place of those of its IPBase module."""
    spec = importlib.util.find_spec(_ORIGINAL)
    source = spec.loader.get_source(_ORIGINAL) if spec and spec.loader else None  # type: ignore[attr-defined]
    if not spec or not source or source.count(_ADDRESSES) != _MENTIONS_OF_ADDRESSES:
        raise TransportError(f"this is not the thespian {THESPIAN} that is published; install it again")
    copy = ModuleType(_COPY)
    copy.__file__ = spec.origin
    sys.modules[_COPY] = copy
    exec(compile(source.replace(_ADDRESSES, loopback.__name__), str(spec.origin), "exec"), copy.__dict__)
    return copy


_check_version()
_tcp = _copy_of_transport()
_tcp.serializer = seal
_tcp.ReceiveBuffer = seal.PacketBuffer
_tcp.thesplog = thespian_log.keep
_tcp.ReceiveEnvelope = Envelope
_Copied: Any = _tcp.TCPTransport


def _seal_acknowledgements() -> None:
    """Build the two prepared answers anew, which takes the key; without it nothing would be acknowledged."""
    _tcp.ackMsg = _tcp.toSendBuffer(_tcp.ackPacket, seal.dumps)
    _tcp.ackDataErrMsg = _tcp.toSendBuffer("ACK+DATAERR", seal.dumps)


def address_of(port: int) -> ActorAddress:
    """The address of whoever listens on this port of the host."""
    return ActorAddress(loopback.TCPv4ActorAddress(None, port))


def port_of(address: ActorAddress) -> int:
    """The port of an address that came in a message; that of a child not heard from yet is not known."""
    details = address.addressDetails
    if not isinstance(details, loopback.TCPv4ActorAddress):
        raise ValueError(f"{address} has no port yet; take the address from the child's first message")
    return details.port


class SealedTransport(Doorway, _Copied):  # type: ignore[misc]
    """The copy's transport, mended where it would hang, leak, tell or dawdle."""

    Persistent = _tcp.TCPIncomingPersistent

    def __init__(self, kind: object, *args: object) -> None:
        self._is_closed = False
        if isinstance(kind, _tcp.TCPEndpoint):
            process.on_birth(_role(kind))
        _seal_acknowledgements()
        super().__init__(kind, *args)
        process.abandon_after_fork(self)

    def external_transport_clone(self) -> SealedTransport:
        return SealedTransport(_tcp.ExternalTransportCopy(), self._adminAddr, False, False)

    def serializer(self, intent: Any) -> memoryview:
        return self.packet(intent.message)

    def packet(self, message: object) -> memoryview:
        """The message as it goes over the wire, signed and with our address; callable from any thread."""
        return memoryview(_tcp.toSendBuffer((self.myAddress, message), seal.dumps))  # sent in parts without copying

    def scheduleTransmit(self, addressManager: Any, transmitIntent: Any, has_exclusive_flag: bool = False) -> None:
        transmitIntent.identify = unnamed  # goes into logs, and is built for each one sent
        if self._is_closed:
            transmitIntent.tx_done(SendStatus.Failed)
        else:
            super().scheduleTransmit(addressManager, transmitIntent, has_exclusive_flag)

    def interrupt_wait(self, *args: Any, **kwargs: Any) -> None:
        if not self._is_closed:
            with contextlib.suppress(OSError):  # it may run in a signal handler
                super().interrupt_wait(*args, **kwargs)

    def childResetFileNumList(self) -> list[int]:
        return []  # a forked child has closed them by then, and may have used their numbers again

    def _nextTransmitStep(self, intent: Any) -> bool:
        """One step of a transmit; what goes wrong fails it (Thespian would forget it, and count it as under way)."""
        try:
            return bool(getattr(self, f"_next_XMIT_{intent.stage}")(intent))
        except Exception as error:
            thespian_log.keep("transmit failed: %s", error, level=logging.WARNING)
            return bool(self._finishIntent(intent, SendStatus.Failed))

    def _addedDataToIncoming(self, incoming: Any, *args: Any, **kwargs: Any) -> Any:
        """Take a message, if it is whole; a peer that reads no acknowledgements is hung up on, and not listened to."""
        try:
            return super()._addedDataToIncoming(incoming, *args, **kwargs)
        except OSError:
            incoming.close()
            return None

    def _finishIntent(self, intent: Any, status: Any = SendStatus.Sent) -> bool:
        """An open connection that breaks says nothing of the peer, which is called again; to Thespian it is dead."""
        if status == SendStatus.DeadTarget and hasattr(intent, "socket") and not intent.is_new_connection:
            return self._retry(intent)
        return bool(super()._finishIntent(intent, status))

    def close(self) -> None:
        """End every connection and fail what is not sent; idempotent, and does nothing after a fork."""
        if self._is_closed:
            return
        self._is_closed = True
        unsent = [*self._aTB_queuedPendingTransmits, *self._intents()]
        self._aTB_queuedPendingTransmits.clear()
        for connection in self._connections():
            _tcp._safeSocketShutdown(connection)
        for intent in unsent:
            intent.tx_done(SendStatus.Failed)

    def abandon(self) -> None:
        """Let go of every descriptor, in a forked child: Thespian's way of closing would cut the parent off."""
        self._is_closed = True
        for connection in self._connections():
            with contextlib.suppress(OSError):
                os.close(connection.detach())

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def _intents(self) -> list[Any]:
        return [*getattr(self, "_transmitIntents", {}).values(), *getattr(self, "_waitingTransmits", ())]

    def _connections(self) -> list[Any]:
        incoming = getattr(self, "_incomingSockets", {}).values()
        idle = getattr(self, "_openSockets", {}).values()
        holders = [self, *incoming, *idle, *self._intents()]
        return [holder.socket for holder in holders if getattr(holder, "socket", None)]


def _role(endpoint: Any) -> str:
    number, assigned_address = endpoint.args[:2]
    if assigned_address is not None:
        return process.ADMIN
    if number == -1:
        return process.LOGGER
    named_by_thespian = multiprocessing.current_process().name  # Actor_package.module.Class__ActorAddr-...
    return named_by_thespian.removeprefix("Actor_").rpartition("__")[0].rpartition(".")[2]


def send(actor: Actor, address: ActorAddress, message: object) -> None:
    """Have an actor send; without Thespian's governor, which stops one for 0.1 s that sends 4,480 in a second."""
    manager = actor._myRef
    manager._send_intent_to_transport(Intent(address, message, onError=manager.actor_send_fail, retryPeriod=RETRY))


def more_has_come(actor: Actor) -> bool:
    """Whether the actor will be given another message at once; only those of this package are sure to reach it."""
    transport = getattr(getattr(actor, "_myRef", None), "transport", None)
    waiting: list[Any] = getattr(transport, "_incomingEnvelopes", [])
    last = getattr(waiting[-1], "message", None) if waiting else None  # what is no envelope has none
    return type(last).__module__.startswith("saga_actors.")


def send_noticed(actor: Actor, address: ActorAddress, message: object, patience: float, on_done: OnDone) -> None:
    """Have an actor send, and say whether the receipt was acknowledged within `patience` seconds."""
    actor._myRef._send_intent_to_transport(noticed(address, message, patience, on_done))


class ClientTransport(SealedTransport):
    """A client's own end, used by one thread, whichever that is."""

    def __init__(self) -> None:
        super().__init__(_tcp.ExternalTransportCopy(), None, False, False)

    def _canSendNow(self) -> bool:
        return True  # the mailbox has a limit of its own; with Thespian's, 20 silent peers would stop all sending

    def transmit(
        self, address: ActorAddress, message: object, packet: memoryview, patience: float, on_done: OnDone
    ) -> None:
        """Send a message as its packet, and say whether its receipt was acknowledged within `patience` seconds."""
        intent = noticed(address, message, patience, on_done)
        intent.packet = packet
        self.scheduleTransmit(None, intent)

    def receive(self, seconds: float) -> tuple[Any, ActorAddress] | None:
        """The next message and its sender, if one comes in time; transmits make progress meanwhile."""
        envelope = self.run(None, timedelta(seconds=seconds))
        return (envelope.message, envelope.sender) if isinstance(envelope, ReceiveEnvelope) else None

    def serializer(self, intent: Any) -> memoryview:
        packet: memoryview = intent.packet
        return packet


class _Base(multiprocessCommon):  # type: ignore[misc]
    """A client's side of a system; neither starts one by itself nor retries for 11 s, as Thespian's own does."""

    def __init__(self, transport: SealedTransport, admin: ActorAddress) -> None:
        ExternalOpsToActors.__init__(self, admin, transport)

    def is_answered(self, seconds: float) -> bool:
        """Whether the admin proves in time that it is there, has our key and is not shutting down."""
        asked = self._tx_to_admin(QueryExists())
        deadline = time.monotonic() + seconds
        while not asked.failed and (left := deadline - time.monotonic()) > 0:
            answer = self._run_transport(timedelta(seconds=left))
            if isinstance(answer, ReceiveEnvelope) and isinstance(answer.message, QueryAck):
                return not answer.message.inShutdown
        return False

    def _startAdmin(self, *_: object) -> None:
        raise NodeUnreachableError("a client does not start a node")

    def launch(self, capabilities: dict[str, Any], log_defs: dict[str, Any] | None) -> None:
        """Start the admin, once; raises NodeError if its port is taken or it does not come up."""
        port = port_of(self.adminAddr)
        if self.transport.probeAdmin(self.adminAddr):
            raise NodeError(f"port {port} is taken; take another")
        _fork_admin(self.transport, self.adminAddr, capabilities, log_defs)
        connected = self.transport.run(None, MAX_ADMIN_STARTUP_DELAY)
        if not isinstance(connected, ReceiveEnvelope) or not self.is_answered(_ANSWER_SECONDS):
            raise NodeError(f"the admin did not come up on port {port}; see its log")


def _fork_admin(transport: SealedTransport, admin: ActorAddress, capabilities: Any, log_defs: Any) -> None:
    context = multiprocessing.get_context("fork")
    endpoint = transport.prepEndpoint(admin, capabilities)
    what = (MultiProcAdmin, transport.myAddress, endpoint, SealedTransport, admin, capabilities, log_defs, context)
    first = context.Process(target=startAdmin, args=what, name="ThespianAdmin")
    first.start()
    first.join()  # it forks the admin and ends; Thespian would leave it a zombie


def _base(port: int) -> _Base:
    assert_in_force()
    admin = address_of(port)
    return _Base(SealedTransport(_tcp.ExternalTransportCopy(), admin, False, False), admin)


def _capabilities(port: int, extra: dict[str, Any] | None) -> dict[str, Any]:
    if unwanted := _NOT_FOR_CALLERS & (extra or {}).keys():
        raise TransportError(f"leave {', '.join(sorted(unwanted))} out of the capabilities: a node is on one host")
    return {
        **(extra or {}),
        "Admin Port": port,
        "Process Startup Method": "fork",
        "Thespian ActorSystem Name": "saga_actors",
        "Thespian ActorSystem Version": 2,
        "Thespian Watch Supported": True,
        "Python Version": tuple(sys.version_info),
    }


class SealedActorSystem(ActorSystem):  # type: ignore[misc]
    """A Thespian ActorSystem over the sealed transport; any number per process, beside any others."""

    def __init__(self, base: ExternalOpsToActors) -> None:
        super().__init__(systemBase=base, transientUnique=True)

    @classmethod
    def start(
        cls, port: int, log_defs: dict[str, Any] | None = None, capabilities: dict[str, Any] | None = None
    ) -> SealedActorSystem:
        """Start an admin on this free port; for the node's launcher, which has no threads and no files to inherit."""
        all_capabilities = _capabilities(port, capabilities)
        base = _base(port)
        try:
            base.launch(all_capabilities, log_defs)
        except BaseException:
            base.transport.close()
            raise
        return cls(base)

    @classmethod
    def attach(cls, port: int, timeout: float = _ANSWER_SECONDS) -> SealedActorSystem:
        """Talk to the admin on this port; raises NodeUnreachableError within `timeout` seconds if there is none."""
        base = _base(port)
        if not base.is_answered(timeout):
            base.transport.close()
            raise NodeUnreachableError(f"no node of this user answers on port {port}")
        return cls(base)

    @property
    def port(self) -> int:
        """The admin's port."""
        return port_of(self._systemBase.adminAddr)

    def createActor(self, actorClass: type | str, *args: Any, **kwargs: Any) -> ActorAddress:
        """Create a top-level actor; one of a script goes by its file's stem, under which the node can import it."""
        return super().createActor(importable_name(actorClass), *args, **kwargs)

    def knock(self, patience: float, on_done: OnDone) -> None:
        """Say whether the admin has taken in a question within `patience` seconds, while this system is listened to."""
        question = noticed(self._systemBase.adminAddr, QueryExists(), patience, on_done)
        self._systemBase.transport.scheduleTransmit(None, question)

    @contextlib.contextmanager
    def private(self) -> Iterator[SealedActorSystem]:
        """The same system with an end of its own, for a thread; answers to others never arrive here."""
        context = self._systemBase.external_clone()
        try:
            yield SealedActorSystem(context)
        finally:
            context.exit_context()

    def close(self) -> None:
        """Stop talking to the system, which lives on; idempotent."""
        if self._systemBase:
            self._systemBase.transport.close()


def importable_name(actor_class: type | str) -> str:
    """`module.Class`, as another process can import it; raises DefinitionError if none can."""
    if isinstance(actor_class, str):
        return actor_class
    source = source_of(actor_class)
    if "." in source.qualname:
        raise DefinitionError(f"Thespian makes no actor of {source.qualname}; move the class to the top of its module")
    return f"{source.module}.{source.qualname}"


def assert_in_force() -> None:
    """Check that what runs is sealed, bounded and on loopback; raises TransportError if not, or if there is no key."""
    for claim, holds in _claims():
        if not holds:
            raise TransportError(f"the sealed transport is not in force: {claim}")


def _claims() -> Iterator[tuple[str, bool]]:
    yield "its module is the application's", sys.modules.get(_ORIGINAL) is not _tcp is sys.modules.get(_COPY)
    yield "its messages are not signed", _tcp.serializer is seal
    yield "its packets are not bounded", _tcp.ReceiveBuffer is seal.PacketBuffer
    yield "its addresses are not bound to loopback", _tcp.TCPv4ActorAddress is loopback.TCPv4ActorAddress
    sealed = bytearray(seal.dumps(["probe"]))
    yield "it does not read its own messages", seal.loads(sealed) == ["probe"]
    sealed[-2] ^= 1
    with contextlib.suppress(seal.SealError):
        seal.loads(sealed)
        yield "it reads what was tampered with", False
    with contextlib.closing(ClientTransport()) as probe:
        yield "it listens beyond loopback", probe.socket.getsockname()[0] == loopback.HOST
        yield "its acknowledgements are not signed", _tcp.ackMsg.endswith(seal.dumps(_tcp.ackPacket))
