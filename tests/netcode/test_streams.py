"""Realtime packets of many connections in one pass: the same as one connection at a time."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from netcode.control import ControlChannel, realtime_bytes
from netcode.framing import FrameKind, frame
from netcode.packed import packed
from netcode.streams import PACKET_MAX, first_packets, framed
from netcode.websocket import WebSocket

PLAINTEXTS = st.lists(
    st.tuples(st.one_of(st.binary(max_size=300), st.integers(0, 70).map(lambda n: bytes(80 + n))), st.booleans()),
    min_size=1,
    max_size=8,
)


def end(*, server: bool) -> WebSocket:
    """One open end."""
    uri = WebSocketURI(False, "localhost", 1, "/", "")
    return WebSocket(ServerProtocol(state=OPEN) if server else ClientProtocol(uri, state=OPEN))


def read(wire: bytes, *, web: bool, server: bool) -> list[bytes]:
    """What the rules' own readers make of it."""
    channel = ControlChannel(server=server)
    channel.logged_in()
    found = channel.receive_data(end(server=server).receive(wire, 0.0) if web else wire)
    assert all(isinstance(packet, bytes) for packet in found)
    return [packet for packet in found if isinstance(packet, bytes)]


def first(pieces: Sequence[bytes], web: Sequence[bool], *, masked: bool = True) -> list[tuple[bytes, int]]:
    packets, taken = first_packets(packed(pieces), np.array(web, bool), masked=masked)
    return list(zip(packets.strings(), taken.tolist(), strict=True))


def message(payload: bytes, opcode: Opcode = Opcode.BINARY, *, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(opcode, payload, fin=fin).serialize(mask=mask)


@given(PLAINTEXTS, st.booleans(), st.binary(max_size=3))
def test_what_is_framed_is_found_by_both_kinds_of_readers(
    told: list[tuple[bytes, bool]], masked: bool, more: bytes
) -> None:
    plaintexts, web = [each[0] for each in told], [each[1] for each in told]
    keys = np.arange(4 * len(told), dtype=np.uint8).reshape(-1, 4) if masked else None
    wire = framed(packed(plaintexts), 9, np.array(web), keys).strings()
    for plaintext, is_web, bytes_ in zip(plaintexts, web, wire, strict=True):
        assert read(bytes_, web=is_web, server=masked) == [b"\x09" + plaintext]
    found = first([bytes_ + more for bytes_ in wire], web, masked=masked)
    assert found == [(b"\x09" + plaintext, len(w)) for plaintext, w in zip(plaintexts, wire, strict=True)]


@pytest.mark.parametrize("size", [113, 114, 119, 120, 121, 300, PACKET_MAX - 2, PACKET_MAX - 1, 50_000])
@pytest.mark.parametrize("masked", [True, False])
def test_lengths_at_the_edges(size: int, masked: bool) -> None:
    keys = np.full((2, 4), 7, np.uint8) if masked else None
    wire = framed(packed([bytes(size)] * 2), 3, np.array([True, False]), keys).strings()
    for web, bytes_ in zip((True, False), wire, strict=True):
        assert read(bytes_, web=web, server=masked) == [b"\x03" + bytes(size)]
    lengths = [taken for _, taken in first(wire, [True, False], masked=masked)]
    assert lengths == ([len(bytes_) for bytes_ in wire] if size + 2 <= PACKET_MAX else [0, 0]), "longer ones are left"


PACKET = realtime_bytes(b"\x03plaintext")
ODD = {
    "a part": message(PACKET)[:-1],
    "one byte": b"\x82",
    "a part of ours": message(PACKET[:-1]),
    "two packets in a message": message(PACKET * 2),
    "a packet and a part": message(PACKET + b"\x05"),
    "a message of the control channel": message(frame(FrameKind.MESSAGE, b"\x80")),
    "a kind that nobody knows": message(frame(7, b"abc")),
    "nothing in it": message(frame(FrameKind.REALTIME, b"")),
    "no length": message(struct.pack("<IB", 0, 1)),
    "a giant length": message(struct.pack("<IB", 0xFFFF_FFFF, 1) + b"abc"),
    "text": message(PACKET, Opcode.TEXT),
    "a ping": message(PACKET, Opcode.PING),
    "the beginning of a message": message(PACKET, fin=False),
    "the end of one": message(PACKET, Opcode.CONT),
    "a close": message(b"\x03\xe8", Opcode.CLOSE),
    "without a mask": message(PACKET, mask=False),
    "an extension's bit": bytes([0xC2]) + message(PACKET)[1:],
    "a length in eight bytes": b"\x82\xff" + struct.pack("!Q", len(PACKET)) + bytes(4) + PACKET,
    "a longer length than need be": b"\x82\xfe" + struct.pack("!H", len(PACKET)) + bytes(4) + PACKET,
    "an empty message": message(b""),
    "not a frame": b"\xff" * 30,
}


@pytest.mark.parametrize("piece", ODD.values(), ids=ODD)
def test_what_is_not_usual_is_left_alone(piece: bytes) -> None:
    """And does not keep its neighbours from being found."""
    good = message(PACKET)
    assert first([good, piece, good], [True] * 3) == [(PACKET[5:], len(good)), (b"", 0), (PACKET[5:], len(good))]


@pytest.mark.parametrize(
    "piece", [PACKET[:-1], PACKET[:3], frame(0, b"\x80"), frame(9, b"x"), bytes(12), b"\xff" * 12, frame(1, b"")]
)
def test_what_is_not_usual_without_a_websocket_is_left_alone(piece: bytes) -> None:
    assert first([PACKET, piece], [False, False]) == [(PACKET[5:], len(PACKET)), (b"", 0)]
    assert first([piece], [False]) == [(b"", 0)]


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.booleans()), min_size=1, max_size=6), st.booleans())
def test_bytes_of_any_kind_are_no_fault(told: list[tuple[bytes, bool]], masked: bool) -> None:
    """What is found in them is what the reader of one connection finds, too."""
    pieces = [each[0] for each in told]
    for (packet, taken), (piece, web) in zip(first(pieces, [w for _, w in told], masked=masked), told, strict=True):
        assert 0 <= taken <= len(piece)
        if taken:
            assert read(piece[:taken], web=web, server=masked) == [packet]


def test_packets_that_came_together_are_found_one_after_the_other() -> None:
    pieces = [message(PACKET) * 3, PACKET * 3]
    for web, piece in zip((True, False), pieces, strict=True):
        rest, found = piece, list[bytes]()
        while rest:
            ((packet, taken),) = first([rest], [web])
            assert taken
            found.append(packet)
            rest = rest[taken:]
        assert found == [PACKET[5:]] * 3
