"""What a client's questions come to when they cannot be sent: those who asked are told, and nobody else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from saga_actors.actors import mailbox, seal
from saga_actors.actors.client import Client
from saga_actors.actors.connector import Connector
from saga_actors.actors.protocol import Bundle, Located, Member
from saga_actors.actors.seal import PacketError
from saga_actors.actors.transport import ClientTransport, address_of, port_of
from saga_actors.errors import NodeUnreachableError, OverloadedError
from saga_actors.messages import SagaStarted, StartSaga, new_id
from saga_actors.node_spec import NodeSpec

PATIENCE = 10.0


pytestmark = pytest.mark.usefixtures("own_key")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """One that starts no node."""
    made = Client(NodeSpec(f"sqlite:///{tmp_path}/sagas.db"), tuple, starts=False)
    yield made
    made.close()


def attach(client: Client, port: int) -> None:
    """Have it take whoever listens there for its supervisor."""
    member = Member("supervisor", 1, 0.0, address_of(port))
    client._heard = client._beat = time.monotonic()
    client._where = Located(new_id(), "life", member, member, ())


def start(size: int) -> StartSaga:
    return StartSaga(
        correlation_id=new_id(), saga_id=new_id(), saga="shop:Order", fingerprint="f", digest="d", context=b"x" * size
    )


def answer_next(supervisor: ClientTransport) -> list[str]:
    """Answer the next message with questions; the ids of the sagas that it would start."""
    while True:
        message, sender = supervisor.receive(PATIENCE) or (None, None)
        asked = [item for item in message.items if isinstance(item, StartSaga)] if message is not None else []
        answers = Bundle(tuple(SagaStarted(item.correlation_id, item.saga_id) for item in asked))
        supervisor.transmit(sender, answers, supervisor.packet(answers), PATIENCE, lambda _: None)
        if asked:
            return [item.saga_id for item in asked]


def test_only_whoever_asks_too_much_is_told_that_it_is_too_long(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no packet can hold fails its own question; those asked before and after it in one breath are answered."""
    monkeypatch.setattr(seal, "MAX_PACKET", 400_000)
    supervisor = ClientTransport()
    try:
        attach(client, port_of(supervisor.myAddress))
        before, too_long, after = start(2), start(500_000), start(2)
        futures = client.ask_many([before, too_long, after])
        with pytest.raises(PacketError, match="too long"):
            futures[1].result(PATIENCE)
        started: list[str] = []
        while len(started) < 2:
            started += answer_next(supervisor)
        while not (futures[0].done() and futures[2].done()):
            supervisor.receive(0.01)
        assert [futures[0].result().saga_id, futures[2].result().saga_id] == started
        assert started == [before.saga_id, after.saga_id]
    finally:
        supervisor.close()


def test_only_those_who_find_no_room_are_told_that_there_is_none(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor reads nothing: what was taken to be sent waits on, and each of the rest is refused on its own."""
    monkeypatch.setattr(mailbox, "MAX_WAITING", 2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        attach(client, deaf.getsockname()[1])
        futures = client.ask_many([start(200_000) for _ in range(4)])
        errors = [future.exception(PATIENCE) for future in futures[2:]]
        assert [type(error) for error in errors] == [OverloadedError] * 2
        assert errors[0] is not errors[1]
        assert not any(future.done() for future in futures[:2])


def test_a_client_that_goes_while_a_search_begins_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search's thread is known before it runs; whoever closes a coordinator just then is told nothing of that."""
    begins, may_begin = threading.Event(), threading.Event()
    begin = threading.Thread.start

    def begin_late(thread: threading.Thread) -> None:
        if thread.name == "saga_actors-connector":
            begins.set()
            may_begin.wait(PATIENCE)
        begin(thread)

    def find_nothing(_: Connector) -> None:
        raise NodeUnreachableError("there is none")

    client = Client(NodeSpec(f"sqlite:///{tmp_path}/sagas.db"), tuple, starts=True)
    monkeypatch.setattr(Connector, "find", find_nothing)
    monkeypatch.setattr(threading.Thread, "start", begin_late)
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(client.ask, start(2))
        assert begins.wait(PATIENCE)
        left = pool.submit(client.leave, 0.0)
        wait([left], 0.2)  # it waits now, for the lock; if it did not, it would be done
        may_begin.set()
        assert left.result(PATIENCE) is None
        assert isinstance(asked.result(PATIENCE).exception(PATIENCE), NodeUnreachableError)
    client.close()
