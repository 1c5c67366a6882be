"""The loop of the transport: what comes in pieces, crosses or breaks off, and how often it goes round."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from thespian.system.transport import Thespian__UpdateWork

from saga_actors.actors import seal
from saga_actors.actors.exchange import RETRY, Exchange
from saga_actors.actors.transport import ClientTransport, _tcp, address_of, more_has_come, port_of

SOON = 5.0
_NO_DESCRIPTOR = 987


pytestmark = pytest.mark.usefixtures("own_key")


class End:
    """A transport, what came to it, and what became of that which it sent."""

    def __init__(self) -> None:
        self.transport = ClientTransport()
        self.heard: list[Any] = []
        self.done: list[bool] = []

    @property
    def port(self) -> int:
        return port_of(self.transport.myAddress)

    def send(self, port: int, message: object, patience: float = SOON) -> None:
        packet = self.transport.packet(message)
        self.transport.transmit(address_of(port), message, packet, patience, self.done.append)

    def turn(self) -> None:
        """Let the loop run for a moment."""
        if (received := self.transport.receive(0.005)) is not None:
            self.heard.append(received[0])


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    made = End(), End()
    yield made
    for end in made:
        end.transport.close()


def turns(*ends: End, until: Any) -> None:
    deadline = time.monotonic() + SOON
    while not until():
        assert time.monotonic() < deadline, [(end.heard, end.done) for end in ends]
        for end in ends:
            end.turn()


def framed(end: End, message: object) -> bytes:
    return bytes(end.transport.packet(message))


def read_acknowledgement(connection: socket.socket) -> Any:
    buffer = seal.PacketBuffer()
    while not buffer.isDone():
        buffer.addMore(connection.recv(buffer.remainingAmount()))
    return buffer.completed()


def test_a_packet_that_comes_in_small_pieces_is_one_message(ends: tuple[End, End]) -> None:
    """However it is cut, it is read to its end, acknowledged once, and the connection serves the next one."""
    here, sender = ends
    with socket.create_connection(("127.0.0.1", here.port), SOON) as connection:
        for number in range(2):
            packet = framed(sender, ("piece", number))
            for start in range(0, len(packet), 7):
                connection.sendall(packet[start : start + 7])
                here.turn()
            turns(here, until=lambda number=number: here.heard == [("piece", n) for n in range(number + 1)])
            assert read_acknowledgement(connection) == ("ACK", b"")


def test_packets_that_come_in_one_piece_are_read_one_by_one(ends: tuple[End, End]) -> None:
    """A read never goes beyond its own packet, even where a peer does not wait for the acknowledgement."""
    here, sender = ends
    with socket.create_connection(("127.0.0.1", here.port), SOON) as connection:
        connection.sendall(b"".join(framed(sender, number) for number in range(5)))
        turns(here, until=lambda: len(here.heard) == 5)
        assert here.heard == [0, 1, 2, 3, 4]
        assert [read_acknowledgement(connection) for _ in range(5)] == [("ACK", b"")] * 5


def test_messages_that_cross_on_one_connection_both_arrive(ends: tuple[End, End]) -> None:
    """Each side awaits an acknowledgement where the other's message comes first."""
    left, right = ends
    left.send(right.port, "hello")
    turns(left, right, until=lambda: left.done and right.heard)
    for number in range(20):
        left.send(right.port, ("from left", number))
        right.send(left.port, ("from right", number))
        turns(left, right, until=lambda number=number: len(left.heard) == len(right.heard) - 1 == number + 1)
    turns(left, right, until=lambda: len(left.done) == 21 and len(right.done) == 20)
    assert all(left.done + right.done)


def test_a_big_message_does_not_need_the_other_side_to_read_at_once(ends: tuple[End, End]) -> None:
    """What the kernel does not take at once is sent when there is room."""
    left, right = ends
    left.send(right.port, "hello")
    turns(left, right, until=lambda: left.done and right.heard)
    big = bytes(20_000_000)
    left.send(right.port, big)
    turns(left, right, until=lambda: len(right.heard) == 2 and len(left.done) == 2)
    assert right.heard[1] == big


def test_big_messages_that_cross_do_not_wait_for_each_other(ends: tuple[End, End]) -> None:
    """Neither side takes more before it is read from, so each reads between two parts of what it sends (no hang)."""
    left, right = ends
    left.send(right.port, "hello")
    turns(left, right, until=lambda: left.done and right.heard)
    for number in range(1, 4):
        left.send(right.port, bytes(20_000_000))
        right.send(left.port, bytes(20_000_000))
        turns(left, right, until=lambda number=number: left.done[number:] and right.done[number - 1 :])
    assert [len(big) for big in left.heard + right.heard[1:]] == [20_000_000] * 6
    assert all(left.done + right.done)


def test_a_message_over_an_open_connection_takes_one_round_on_each_side(
    ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent without waiting, read at once, and so is its acknowledgement: no round for each part of them."""
    left, right = ends
    left.send(right.port, "hello")
    turns(left, right, until=lambda: left.done and right.heard)
    rounds: list[Any] = []
    serve_all = Exchange._serve_all

    def counted(self: Exchange, ready: list[Any], *args: Any) -> None:
        rounds.extend([self] * bool(ready))
        serve_all(self, ready, *args)

    monkeypatch.setattr(Exchange, "_serve_all", counted)
    left.send(right.port, b"x" * 5000)
    right.turn()
    left.turn()
    assert (right.heard[1:], left.done) == ([b"x" * 5000], [True, True])
    assert [(rounds.count(end.transport)) for end in (right, left)] == [1, 1]


def test_what_is_no_packet_in_place_of_an_acknowledgement_is_not_believed(ends: tuple[End, End]) -> None:
    """The message counts as not received when its time is over, and the sender goes on (no hang)."""
    here, other = ends
    with socket.create_server(("127.0.0.1", 0)) as impostor:
        impostor.setblocking(False)
        here.send(impostor.getsockname()[1], "hello", patience=0.5)
        accepted: list[socket.socket] = []

        def impersonate() -> bool:
            try:
                accepted.append(impostor.accept()[0])
                accepted[-1].sendall(b"47>" + bytes(47))
            except BlockingIOError:
                pass
            return bool(here.done)

        turns(here, until=impersonate)
        for connection in accepted:
            connection.close()
    assert here.done == [False]
    here.send(other.port, "still here")
    turns(here, other, until=lambda: other.heard == ["still here"])


def test_a_peer_that_ended_its_connection_is_called_again_soon(ends: tuple[End, End]) -> None:
    """A message that fell into a connection at its end is sent over the next; Thespian's own wait is 35 s."""
    here, peer = ends
    here.send(peer.port, "first")
    turns(here, peer, until=lambda: here.done)
    for connection in list(peer.transport._openSockets.values()):
        connection.socket.close()
    peer.transport._openSockets.clear()
    began = time.monotonic()
    here.send(peer.port, "second")
    turns(here, peer, until=lambda: here.done == [True, True])
    assert peer.heard == ["first", "second"]
    assert time.monotonic() - began < 10 * RETRY.total_seconds()


def test_a_message_to_a_peer_that_reads_nothing_has_its_time_though_that_peer_calls(ends: tuple[End, End]) -> None:
    """It counts as not received when its time is over, and the loop does not spin, while the peer's call is open."""
    here, _ = ends
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        here.send(port, "never read", patience=0.2)
        here.turn()
        with socket.create_connection(("127.0.0.1", here.port), SOON) as call:
            call.sendall(bytes(_tcp.toSendBuffer((address_of(port), "a call"), seal.dumps)))
            turns(here, until=lambda: here.heard == ["a call"])
            turns(here, until=lambda: here.done == [False])


def test_a_process_without_descriptors_left_goes_on(ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes nobody in for a moment, without going round and round, and then whoever waits (P11)."""
    here, caller = ends
    tries: list[float] = []

    def none_left(*_: Any) -> Any:
        tries.append(time.monotonic())
        raise OSError(errno.EMFILE, "too many open files")

    with socket.create_connection(("127.0.0.1", here.port), SOON) as waiting:
        waiting.sendall(framed(caller, "at last"))
        with monkeypatch.context() as patch:
            patch.setattr(here.transport, "new_socket", none_left)
            assert here.transport.run(here.heard.append, timedelta(seconds=0.45)) is None
        assert 2 <= len(tries) <= 5
        assert here.heard == []
        turns(here, until=lambda: here.heard == ["at last"])


def test_what_is_no_message_is_none_that_has_come() -> None:
    """An actor that asks whether more has come is not ended by it (P11)."""
    actor = SimpleNamespace(_myRef=SimpleNamespace(transport=SimpleNamespace(_incomingEnvelopes=[])))
    assert not more_has_come(actor)  # type: ignore[arg-type]
    actor._myRef.transport._incomingEnvelopes.append(Thespian__UpdateWork())
    assert not more_has_come(actor)  # type: ignore[arg-type]


def test_a_connection_that_breaks_does_not_make_its_peer_dead(ends: tuple[End, End]) -> None:
    """What is sent over it is sent over the next one; only whom nobody can call is dead."""
    here, peer = ends
    here.send(peer.port, "first")
    turns(here, peer, until=lambda: here.done)
    for connection in here.transport._openSockets.values():
        connection.socket.shutdown(socket.SHUT_RDWR)  # as a reset makes it: writing to it is a broken pipe
    here.send(peer.port, "second")
    turns(here, peer, until=lambda: len(here.done) == 2)
    assert (here.done, peer.heard) == ([True, True], ["first", "second"])


def test_a_peer_that_reads_no_acknowledgements_ends_its_own_connection_only(ends: tuple[End, End]) -> None:
    """When no more of them fit in, it is hung up on; the loop goes on for the others (P11)."""
    here, peer = ends
    with socket.socket() as sulky:
        sulky.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sulky.settimeout(SOON)
        sulky.connect(("127.0.0.1", here.port))
        sulky.sendall(framed(peer, 0))
        turns(here, until=lambda: here.heard == [0])
        for connection in here.transport._openSockets.values():
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

        def go_on() -> None:
            for number in range(1, 10_000):
                sulky.sendall(framed(peer, number))
                here.turn()

        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            go_on()
    before = len(here.heard)
    peer.send(here.port, "hello")
    turns(here, peer, until=lambda: peer.done)
    assert here.heard[before:] == ["hello"]


def test_a_thread_that_waits_sees_what_another_sends(ends: tuple[End, End]) -> None:
    """Its acknowledgement is noticed when it comes, and not when the wait is over."""
    here, peer = ends
    waiting = threading.Thread(target=here.transport.receive, args=(60.0,))
    waiting.start()
    while not here.transport._waiting_thread:
        time.sleep(0.001)
    began = time.monotonic()
    here.send(peer.port, "hello")
    turns(peer, until=lambda: here.done)
    peer.send(here.port, "enough")
    while waiting.is_alive():
        peer.turn()
    assert time.monotonic() - began < SOON


def test_a_watched_descriptor_that_was_closed_does_not_keep_the_loop_busy(ends: tuple[End, End]) -> None:
    """It is forgotten, and messages come as before."""
    here, peer = ends
    here.transport.set_watch([_NO_DESCRIPTOR, -1])
    peer.send(here.port, "hello")
    turns(here, peer, until=lambda: here.heard == ["hello"])
    assert _NO_DESCRIPTOR not in here.transport._watches
