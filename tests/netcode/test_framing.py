"""Framing: any cut of the stream gives the same packets, and a bad length ends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcode.framing import FrameKind, FrameReader, FramingError, frame

packets = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=12)


@given(packets=packets, data=st.data())
def test_any_cut_of_the_stream_gives_the_same_packets(packets: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(frame(kind, payload) for kind, payload in packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader = FrameReader()
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += reader.feed(stream[start:end])
    assert got == packets
    assert reader.waiting == 0


def test_byte_by_byte() -> None:
    reader = FrameReader()
    stream = frame(FrameKind.MESSAGE, b"hello") + frame(FrameKind.REALTIME, b"")
    got = [packet for byte in stream for packet in reader.feed(bytes([byte]))]
    assert got == [(0, b"hello"), (1, b"")]


def test_the_bytes_are_as_drawn() -> None:
    assert frame(FrameKind.REALTIME, b"ab") == b"\x03\x00\x00\x00\x01ab"


def test_a_cut_stream_shows_what_waits() -> None:
    reader = FrameReader()
    assert reader.feed(frame(0, b"hello")[:-1]) == []
    assert reader.waiting == 9


@pytest.mark.parametrize("length", [0, 101, 2**32 - 1])
def test_a_bad_length_is_refused_as_soon_as_it_is_seen(length: int) -> None:
    reader = FrameReader(bytes_max=100)
    reader.feed(frame(0, bytes(99)) + length.to_bytes(4, "little")[:3])
    with pytest.raises(FramingError, match=str(length)):
        reader.feed(length.to_bytes(4, "little")[3:])
    with pytest.raises(FramingError):
        reader.feed(frame(0, b"fine"))
    assert reader.waiting == 0


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_what_waits_is_bounded_whatever_comes(pieces: list[bytes]) -> None:
    reader = FrameReader(bytes_max=16)
    try:
        for piece in pieces:
            for _, payload in reader.feed(piece):
                assert len(payload) < 16
            assert reader.waiting < 4 + 16
    except FramingError:
        assert reader.waiting == 0


def test_the_callers_buffer_is_not_kept() -> None:
    reader = FrameReader()
    piece = bytearray(frame(0, b"hello")[:6])
    reader.feed(bytes(piece))
    piece[:] = bytes(6)
    assert reader.feed(b"ello") == [(0, b"hello")]
