"""Packets: signed, bounded, and not unpickled unless ours."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_actors.actors import seal

pytestmark = pytest.mark.usefixtures("own_key")


def packet(message: object) -> bytes:
    sealed = seal.dumps(message)
    return b"%d>" % len(sealed) + sealed


@given(st.integers() | st.binary() | st.text() | st.lists(st.integers()))
def test_a_message_comes_back_as_it_went(message: object) -> None:
    """Sealing changes nothing."""
    assert seal.loads(seal.dumps(message)) == message


@given(st.data())
def test_a_changed_byte_anywhere_is_refused_before_it_is_unpickled(data: st.DataObject) -> None:
    """Neither the signature nor the content can be altered."""
    sealed = bytearray(seal.dumps({"order": 1}))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(seal.SealError):
        seal.loads(sealed)


@given(st.binary(max_size=200))
def test_what_is_not_signed_is_refused(data: bytes) -> None:
    """Any bytes at all, also fewer than a signature has."""
    with pytest.raises(seal.SealError):
        seal.loads(data)


def test_a_plain_pickle_runs_nothing(tmp_path: Path) -> None:
    """The check comes before the unpickling."""
    with pytest.raises(seal.SealError):
        seal.loads(pickle.dumps(_Mkdir(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


class _Mkdir:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.mkdir, (self.path,)


@given(st.binary(max_size=3000), st.data())
def test_a_packet_arrives_in_whatever_pieces_it_is_read(message: bytes, data: st.DataObject) -> None:
    """Reading at most what the buffer asks for never reads into the next packet, and ends with the message."""
    stream = packet(message) + packet("next")
    buffer = seal.PacketBuffer()
    assert buffer.is_empty()
    while not buffer.isDone():
        assert buffer.completed() is None
        size = data.draw(st.integers(1, buffer.remainingAmount()))
        buffer.addMore(stream[:size])
        stream = stream[size:]
        assert not buffer.is_empty()
    assert buffer.completed() == (message, b"")
    assert stream == packet("next")


@pytest.mark.parametrize(
    "header",
    [
        b"99999999999999>x",
        b"-5>xxxxx",
        b"+50>",
        b"5_0>",
        b"0>",
        b"32>",
        b">",
        b"x>",
        b"9" * 20,
        b"67108865>",
        b"\n" * 20,
    ],
)
def test_a_length_that_no_packet_has_is_refused(header: bytes) -> None:
    """Huge, negative, too small for a signature, no number, or no end: refused when it is read."""
    with pytest.raises(seal.PacketError):
        seal.PacketBuffer().addMore(header)


def test_a_message_that_nobody_would_take_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender's limit is the receiver's."""
    monkeypatch.setattr(seal, "MAX_PACKET", 1000)
    longest = 1000 - seal.DIGEST_BYTES - (len(pickle.dumps(b"x" * 900, 5)) - 900)
    buffer = seal.PacketBuffer()
    buffer.addMore(packet(b"x" * longest))
    assert buffer.isDone()
    with pytest.raises(seal.PacketError, match="too long"):
        seal.dumps(b"x" * (longest + 1))
