"""What goes over the wire: a length, a keyed digest, a pickle; the digest is checked before anything is unpickled."""

from __future__ import annotations

import hashlib
import hmac
import pickle
import socket
from collections.abc import Callable
from typing import Any

from saga_actors.actors.key import load_key

DIGEST_BYTES = 32
MAX_PACKET = 64 * 1024 * 1024
"""The longest packet that is sent or received, digest included; in bytes."""
MAX_HEADER = 20
_READS_AT_ONCE = 16  # of one connection, before the others have their turn
_MOST_AT_ONCE = 1_024_000  # bytes of one read


class SealError(pickle.UnpicklingError):
    """A packet is not signed with the key of this user; nothing of it was unpickled."""


class PacketError(ValueError):
    """A packet announces no length, or one that is out of bounds."""


def dumps(message: object) -> bytes:
    """The message as signed bytes; raises PacketError if they are more than a receiver would take."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    if len(data) > MAX_PACKET - DIGEST_BYTES:
        raise PacketError(f"a message of {len(data)} bytes is too long; {MAX_PACKET - DIGEST_BYTES} is the most")
    return _digest(data) + data


def loads(sealed: bytes | bytearray) -> Any:
    """The message in these signed bytes; raises SealError unless the signature is right."""
    view = memoryview(sealed)
    if not hmac.compare_digest(view[:DIGEST_BYTES], _digest(view[DIGEST_BYTES:])):
        raise SealError("not signed with the key of this user")
    return pickle.loads(view[DIGEST_BYTES:])


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, key=load_key(), digest_size=DIGEST_BYTES).digest()


class PacketBuffer:
    """One packet while it arrives: `<length>`, `>`, and so many bytes; stands in for Thespian's ReceiveBuffer.

    Thespian reads at most `remainingAmount()` bytes at a time. No packet that is accepted here is shorter than the
    first such read (a digest alone is longer), so one read never holds the end of a packet and the start of the next:
    there is never anything extra. (Senders also wait for each acknowledgement. What Thespian does with extra is wrong.)
    """

    def __init__(self, deserialize: Callable[[bytes | bytearray], Any] = loads) -> None:
        self._deserialize = deserialize
        self._bytes = bytearray()
        self._size: int | None = None

    def addMore(self, data: bytes) -> None:
        """Take in what was read; raises PacketError as soon as it can be no packet."""
        self._bytes += data
        if self._size is None:
            self._read_header()
        if self._size is not None and len(self._bytes) > self._size:
            raise PacketError("more bytes than were announced")

    def read_from(self, connection: socket.socket) -> bool | None:
        """Read on, as far as it is there: whether the packet is whole, or None if the other side has hung up."""
        for _ in range(_READS_AT_ONCE):
            try:
                data = connection.recv(min(_MOST_AT_ONCE, self.remainingAmount()))
            except BlockingIOError:
                return False
            except OSError:
                return None
            if not data:
                return None
            self.addMore(data)
            if self.isDone():
                return True
        return False

    def _read_header(self) -> None:
        header, mark, _ = self._bytes[: MAX_HEADER + 1].partition(b">")
        if not mark:
            if len(self._bytes) >= MAX_HEADER:
                raise PacketError("no length announced")
            return
        self._size = _announced(header)
        del self._bytes[: len(header) + 1]

    def is_empty(self) -> bool:
        """Whether nothing has arrived yet."""
        return self._size is None and not self._bytes

    def remainingAmount(self) -> int:
        """How many bytes may be read next."""
        return MAX_HEADER - len(self._bytes) if self._size is None else self._size - len(self._bytes)

    @property
    def size(self) -> int:
        """How many bytes of it are kept here."""
        return len(self._bytes)

    def isDone(self) -> bool:
        """Whether the whole packet is here."""
        return len(self._bytes) == self._size

    def removeExtra(self) -> None:
        """There is never any extra."""

    def completed(self) -> tuple[Any, bytes] | None:
        """The message, if it is whole, and no extra bytes; raises SealError if it is not ours."""
        return (self._deserialize(self._bytes), b"") if self.isDone() else None


def _announced(header: bytes | bytearray) -> int:
    if not header.isdigit() or not DIGEST_BYTES < (size := int(header)) <= MAX_PACKET:
        raise PacketError("a length that no packet of ours has")
    return size
