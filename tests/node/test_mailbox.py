"""The client's mailbox: one thread for all, which nothing a peer or a callback does can stop."""

from __future__ import annotations

import gc
import logging
import os
import queue
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import psutil
import pytest
from conftest import BareSystem
from waiting import eventually

from saga_actors.actors import mailbox as mailbox_module
from saga_actors.actors.mailbox import Mailbox
from saga_actors.actors.transport import ClientTransport, SealedActorSystem, address_of
from saga_actors.errors import NodeUnreachableError, OverloadedError

pytestmark = pytest.mark.node


@attrs.frozen
class Box:
    """A mailbox with what came to it and what came back."""

    mailbox: Mailbox
    heard: queue.SimpleQueue[Any]
    returned: queue.SimpleQueue[Any]


@pytest.fixture
def make_box() -> Iterator[Callable[..., Box]]:
    boxes: list[Box] = []

    def make(**options: Any) -> Box:
        heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        returned: queue.SimpleQueue[Any] = queue.SimpleQueue()
        mailbox = Mailbox(lambda message, _: heard.put(message), lambda _, message: returned.put(message), **options)
        boxes.append(Box(mailbox, heard, returned))
        return boxes[-1]

    yield make
    for box in boxes:
        box.mailbox.close()


@pytest.fixture
def box(make_box: Callable[..., Box]) -> Box:
    return make_box()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_message_is_answered(bare_system: BareSystem, box: Box) -> None:
    """What is posted arrives, and the answer comes to the mailbox's address."""
    box.mailbox.post(address_of(bare_system.echo), ("hello", b"x" * 300_000))
    assert box.heard.get(timeout=10) == ("hello", b"x" * 300_000)
    assert box.mailbox.alive


def test_messages_to_one_address_arrive_in_order(bare_system: BareSystem, box: Box) -> None:
    """However many are posted at once."""
    for number in range(500):
        box.mailbox.post(address_of(bare_system.echo), number)
    assert [box.heard.get(timeout=10) for _ in range(500)] == list(range(500))


def test_what_comes_up_while_a_message_is_under_way_is_asked_for_when_it_has_arrived(
    bare_system: BareSystem, make_box: Callable[..., Box]
) -> None:
    """So that many small messages become few: `supply` is called by `wake`, and when the address is free again."""
    echo = address_of(bare_system.echo)
    wanted: queue.SimpleQueue[int] = queue.SimpleQueue()
    busy: list[bool] = []

    def supply() -> None:
        busy.append(box.mailbox.is_busy(echo))
        if not busy[-1] and not wanted.empty():
            box.mailbox.post(echo, [wanted.get() for _ in range(wanted.qsize())][-1])

    box = make_box(supply=supply, interval=60.0)
    peer = bare_system.member("Echo")
    os.kill(peer.pid, signal.SIGSTOP)
    try:
        for number in range(10):
            wanted.put(number)
            box.mailbox.wake()
            eventually(lambda number=number: len(busy) > number)
    finally:
        os.kill(peer.pid, signal.SIGCONT)
    assert [box.heard.get(timeout=10), box.heard.get(timeout=10)] == [0, 9]
    assert busy[:10] == [False] + [True] * 9


def test_a_tick_that_takes_longer_than_its_interval_does_not_stop_the_post(
    bare_system: BareSystem, make_box: Callable[..., Box]
) -> None:
    """On a machine that is too busy there is no time left until the next tick; messages come and go all the same."""
    ticked = threading.Event()

    def tick() -> None:
        ticked.set()
        time.sleep(0.02)

    box = make_box(tick=tick, interval=0.01)
    assert ticked.wait(10)
    box.mailbox.post(address_of(bare_system.echo), "hello")
    assert box.heard.get(timeout=10) == "hello"


def test_a_closed_mailbox_is_not_woken(box: Box) -> None:
    """Whoever would ask by it is told at once."""
    box.mailbox.close()
    with pytest.raises(NodeUnreachableError):
        box.mailbox.wake()


def test_threads_that_share_a_mailbox_get_only_their_own_answers(bare_system: BareSystem) -> None:
    """8 threads, 100 asks each, one mailbox (trap 4)."""
    waiting: dict[int, queue.SimpleQueue[Any]] = {thread: queue.SimpleQueue() for thread in range(8)}
    mailbox = Mailbox(lambda message, _: waiting[message[0]].put(message), lambda *_: None)
    wrong: list[Any] = []

    def ask(thread: int) -> None:
        for number in range(100):
            mailbox.post(address_of(bare_system.echo), (thread, number))
            if (answer := waiting[thread].get(timeout=20)) != (thread, number):
                wrong.append(answer)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    mailbox.close()
    assert wrong == []
    assert all(answers.empty() for answers in waiting.values())


def test_a_message_to_a_dead_port_comes_back_at_once(box: Box) -> None:
    """Nobody listens there, and the sender is told."""
    box.mailbox.post(address_of(free_port()), "hello")
    assert box.returned.get(timeout=1) == "hello"


def test_a_message_to_a_dead_port_is_not_delivered_to_its_sender(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may pick the very port that is called, and a socket so connected to itself would acknowledge."""
    port = free_port()
    box.mailbox.post(address_of(port), "first")
    assert box.returned.get(timeout=2) == "first"

    def unlucky(_: object, make: Callable[..., Any], *args: Any) -> Any:
        made = make(*args)
        if args:  # else it has accepted a connection
            made.bind(("127.0.0.1", port))
        return made

    monkeypatch.setattr(ClientTransport, "new_socket", unlucky)
    box.mailbox.post(address_of(port), "hello")
    assert box.returned.get(timeout=2) == "hello"
    assert box.heard.empty()


def test_a_message_to_a_peer_that_dies_over_it_comes_back(bare_system: BareSystem, box: Box) -> None:
    """Sent, not acknowledged, and then the peer is killed: no hang (trap 3)."""
    peer = bare_system.member("Echo")
    box.mailbox.post(address_of(bare_system.echo), "connected")
    assert box.heard.get(timeout=10) == "connected"
    os.kill(peer.pid, signal.SIGSTOP)
    box.mailbox.post(address_of(bare_system.echo), "lost")
    box.mailbox.post(address_of(bare_system.echo), "lost too")
    assert box.returned.empty()
    os.kill(peer.pid, signal.SIGKILL)
    assert [box.returned.get(timeout=3), box.returned.get(timeout=3)] == ["lost", "lost too"]


def test_a_stopped_peer_holds_up_nobody_else(bare_system: BareSystem, make_box: Callable[..., Box]) -> None:
    """A hundred unread messages to one peer delay no other, and come back when patience ends (P11, trap 5)."""
    box = make_box(patience=1.5)
    peer = bare_system.member("Echo")
    os.kill(peer.pid, signal.SIGSTOP)
    try:
        for number in range(100):
            box.mailbox.post(address_of(bare_system.echo), number)
        began = time.monotonic()
        box.mailbox.post(address_of(bare_system.parent), ("make",))
        assert isinstance(box.heard.get(timeout=10), tuple)
        assert time.monotonic() - began < 1
        assert sorted(box.returned.get(timeout=5) for _ in range(100)) == list(range(100))
    finally:
        os.kill(peer.pid, signal.SIGCONT)


def test_stopped_peers_hold_up_nobody_else_however_many_they_are(make_box: Callable[..., Box]) -> None:
    """Thespian's limit of 20 unread messages over all peers is not ours (trap 5)."""
    box, other = make_box(), make_box()
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(40)]
    for server in servers:
        box.mailbox.post(address_of(server.getsockname()[1]), "unread")
    box.mailbox.post(other.mailbox.address, "hello")
    assert other.heard.get(timeout=2) == "hello"
    for server in servers:
        server.close()  # resets what is under way, and what waits for its turn is refused
    assert [box.returned.get(timeout=5) for _ in servers] == ["unread"] * 40


def test_a_mailbox_can_write_to_itself(box: Box) -> None:
    """Without a connection, and what comes is the message."""
    box.mailbox.post(box.mailbox.address, "to myself")
    assert box.heard.get(timeout=2) == "to myself"


def test_what_cannot_be_sent_is_refused_where_it_is_posted(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unpicklable message, no address, or one too many: the caller hears of it, the thread does not (P12)."""
    with pytest.raises((AttributeError, TypeError, ValueError), match=r"pickle|lambda"):
        box.mailbox.post(address_of(1), lambda: None)
    monkeypatch.setattr(mailbox_module, "MAX_WAITING", 0)
    with pytest.raises(OverloadedError):
        box.mailbox.post(address_of(1), "one too many")
    assert box.mailbox.alive


def test_a_callback_that_raises_does_not_stop_the_mailbox(
    bare_system: BareSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises is logged, and the next message is handed over."""
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen(message: Any, _: object) -> None:
        heard.put(message)
        raise SystemExit("out of a callback")

    def fail(*_: object) -> None:
        raise ValueError("out of a callback")

    mailbox = Mailbox(listen, fail, tick=fail, interval=0.01)
    mailbox.post(address_of(free_port()), "nobody")
    for number in range(3):
        mailbox.post(address_of(bare_system.echo), number)
    assert [heard.get(timeout=10) for _ in range(3)] == [0, 1, 2]
    mailbox.close()
    assert {record.name for record in caplog.records if record.levelno >= logging.ERROR} == {"saga_actors"}


def test_the_tick_comes_about_every_interval(make_box: Callable[..., Box]) -> None:
    """Also when nothing else happens."""
    ticks: queue.SimpleQueue[float] = queue.SimpleQueue()
    make_box(tick=lambda: ticks.put(time.monotonic()), interval=0.05)
    times = [ticks.get(timeout=5) for _ in range(10)]
    assert 0.3 < times[-1] - times[0] < 2


def test_closing_sends_what_was_posted(bare_system: BareSystem, make_box: Callable[..., Box]) -> None:
    """What was posted before the close is not lost by it; closing twice is fine, posting after it is not."""
    sender, receiver = make_box(), make_box()
    for _ in range(20):
        sender.mailbox.post(address_of(bare_system.echo), ("answer", receiver.mailbox.address))
    began = time.monotonic()
    sender.mailbox.close()
    sender.mailbox.close()
    assert time.monotonic() - began < 0.5
    assert len([receiver.heard.get(timeout=10) for _ in range(20)]) == 20
    assert not sender.mailbox.alive
    with pytest.raises(NodeUnreachableError):
        sender.mailbox.post(address_of(bare_system.echo), "late")


def test_closing_beside_a_stopped_peer_takes_about_a_second(bare_system: BareSystem, box: Box) -> None:
    """What cannot be sent by then comes back."""
    peer = bare_system.member("Echo")
    os.kill(peer.pid, signal.SIGSTOP)
    try:
        box.mailbox.post(address_of(bare_system.echo), "one")
        box.mailbox.post(address_of(bare_system.echo), "two")
        began = time.monotonic()
        box.mailbox.close()
        assert time.monotonic() - began < 2
        assert [box.returned.get_nowait(), box.returned.get_nowait()] == ["one", "two"]
    finally:
        os.kill(peer.pid, signal.SIGCONT)


def test_a_callback_may_close_the_mailbox(bare_system: BareSystem) -> None:
    """The thread does not wait for itself."""
    mailboxes: list[Mailbox] = []
    mailboxes.append(Mailbox(lambda *_: mailboxes[0].close(), lambda *_: None))
    mailboxes[0].post(address_of(bare_system.echo), "stop")
    eventually(lambda: not mailboxes[0].alive)


def test_closing_leaves_no_thread_and_no_descriptor(bare_system: BareSystem, make_box: Callable[..., Box]) -> None:
    """A process that makes and closes mailboxes stays as it was."""
    gc.collect()
    before = (threading.active_count(), psutil.Process().num_fds())
    for _ in range(5):
        box = make_box()
        box.mailbox.post(address_of(bare_system.echo), "hello")
        assert box.heard.get(timeout=10) == "hello"
        box.mailbox.close()
    assert (threading.active_count(), psutil.Process().num_fds()) == before


def test_ctrl_c_is_the_main_threads_alone(bare_system: BareSystem, box: Box) -> None:
    """The mailbox goes on after a KeyboardInterrupt."""
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        box.heard.get(timeout=5)
    box.mailbox.post(address_of(bare_system.echo), "still here")
    assert box.heard.get(timeout=10) == "still here"


def test_a_forked_child_leaves_its_parents_mailbox_alone(bare_system: BareSystem, box: Box) -> None:
    """The child's copy is dead and lets go quietly; the parent's connections stay whole."""
    system = SealedActorSystem.attach(bare_system.admin)
    box.mailbox.post(address_of(bare_system.echo), "before")
    assert box.heard.get(timeout=10) == "before"
    assert system.ask(address_of(bare_system.echo), "before", 10) == "before"
    connections = psutil.Process().net_connections("tcp")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forking beside threads
        child = os.fork()
    if child == 0:
        os._exit(in_the_child(box, system))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert psutil.Process().net_connections("tcp") == connections
    box.mailbox.post(address_of(bare_system.echo), "after")
    assert box.heard.get(timeout=1) == "after"
    assert system.ask(address_of(bare_system.echo), "after", 1) == "after"
    assert box.returned.empty()
    system.close()


def in_the_child(box: Box, system: SealedActorSystem) -> int:
    try:
        assert not box.mailbox.alive
        with pytest.raises(NodeUnreachableError):
            box.mailbox.post(address_of(1), "from the child")
        box.mailbox.close()
        system.close()
        assert psutil.Process().net_connections("tcp") == []
    except BaseException:
        return 1
    return 0


def test_a_round_trip_takes_about_a_millisecond(bare_system: BareSystem, box: Box) -> None:
    """Mailbox, actor, mailbox, waiting thread: well under a millisecond at rest, and bounded on a busy machine."""
    times = []
    for number in range(300):
        began = time.perf_counter()
        box.mailbox.post(address_of(bare_system.echo), number)
        assert box.heard.get(timeout=5) == number
        times.append(time.perf_counter() - began)
    assert sorted(times)[150] < 0.01
