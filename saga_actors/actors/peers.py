"""Whose process is at the other end of a connection: the kernel is asked, for a signature says nothing of who hears it.

Without this, another user of the host could take the port of a client that has died, be sent what was meant for it,
and send that again to others. With it, nobody of another user is listened to, or told anything. Linux only.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import struct
import sys

import attrs

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_ALL_STATES = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI")
_PORTS = struct.Struct("!HH")
_ANSWER = struct.Struct("=IHHII 4x 48x IIIII")  # header, family and timers, the socket's identity; then what is asked
_ERROR = struct.Struct("=IHHII i")
_NO_COOKIE = b"\xff" * 8
_LOOPBACK = socket.inet_aton("127.0.0.1").ljust(16, b"\0")
_ANYBODY = bytes(16)
_PATIENCE = 1.0


@attrs.frozen
class Owner:
    """Whose a socket is; one whose process has closed it has no inode, and is nobody's."""

    uid: int
    inode: int

    @property
    def is_us(self) -> bool:
        """Whether it is open in a process of this user."""
        return self.uid == os.geteuid() and self.inode != 0


def caller_is_ours(here: int, there: int) -> bool:
    """Whether whoever called port `here` from port `there` is a process of this user that has not hung up."""
    if not can_ask():
        return True
    owner = owner_of(there, here)
    return owner is not None and owner.is_us


def listener_is_ours(port: int) -> bool:
    """Whether it is a process of this user that listens on this port."""
    if not can_ask():
        return True
    owner = owner_of(port)
    return owner is not None and owner.is_us


@functools.cache
def can_ask() -> bool:
    """Whether the kernel answers such questions here, and rightly; if not, the signatures are all there is."""
    if sys.platform != "linux":
        return False
    try:
        with socket.create_server(("127.0.0.1", 0)) as ours:
            owner = owner_of(ours.getsockname()[1])
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):  # that would pass, and must not be remembered
            raise
        return False
    return owner is not None and owner.is_us


def owner_of(port: int, other: int = 0) -> Owner | None:
    """Who has the socket on this port of loopback: that which is connected to port `other`, or else which listens."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_PATIENCE)
        kernel.sendto(_question(port, other), (0, 0))
        return _read(kernel.recv(8192))


def _question(port: int, other: int) -> bytes:
    there = _LOOPBACK if other else _ANYBODY
    identity = _PORTS.pack(port, other) + _LOOPBACK + there + bytes(4) + _NO_COOKIE
    asked = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, _ALL_STATES) + identity
    return _HEADER.pack(_HEADER.size + len(asked), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0) + asked


def _read(answer: bytes) -> Owner | None:
    if _HEADER.unpack_from(answer)[1] == _SOCK_DIAG_BY_FAMILY:
        uid, inode = _ANSWER.unpack_from(answer)[8:10]
        return Owner(uid, inode)
    code = -int(_ERROR.unpack_from(answer)[5])
    if code == errno.ENOENT:
        return None
    raise OSError(code, os.strerror(code))
