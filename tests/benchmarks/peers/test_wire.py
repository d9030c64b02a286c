from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers.wire import BINARY, PING, SchemaState, WireError, masked, number, split, upgraded


def framed(payload: bytes, opcode: int = BINARY) -> bytes:
    """As a server says it."""
    size = len(payload)
    head = bytes([0x80 | opcode, size]) if size < 126 else bytes([0x80 | opcode, 126, size >> 8, size & 255])
    return head + payload


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(0, 2000))
def test_frames_are_found_however_they_are_cut(payloads: list[bytes], cut: int) -> None:
    data = b"".join(framed(payload) for payload in payloads)
    first, rest = split(data[:cut])
    second, left = split(rest + data[cut:])
    assert [payload for _, payload in first + second] == payloads
    assert left == b""


def test_a_frame_says_what_it_is() -> None:
    assert split(framed(b"", PING) + framed(b"x")) == ([(PING, b""), (BINARY, b"x")], b"")


@pytest.mark.parametrize("data", [b"\x82\x7f" + bytes(8), b"\x82\x85" + bytes(9), b"\x02\x01x"])
def test_a_frame_that_no_peer_sends_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        split(data)


@given(st.binary(max_size=125), st.integers(0, 2**32 - 1))
def test_a_server_unmasks_what_was_meant(payload: bytes, key: int) -> None:
    frame = masked(payload, key)
    assert frame[:2] == bytes([0x80 | BINARY, 0x80 | len(payload)])
    assert bytes(byte ^ frame[2 + at % 4] for at, byte in enumerate(frame[6:])) == payload


def test_an_upgrade_is_awaited_to_its_end() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    assert upgraded(answer[:-1]) is None
    assert upgraded(answer + b"\x82\x00") == b"\x82\x00"
    with pytest.raises(WireError, match="403"):
        upgraded(b"HTTP/1.1 403 Forbidden\r\n\r\n")


@pytest.mark.parametrize(("data", "value"), [("05", 5), ("ccc8", 200), ("cd2c01", 300), ("ce00000100", 65536)])
def test_numbers_of_the_schema(data: str, value: int) -> None:
    assert number(bytes.fromhex(data), 0) == (value, len(data) // 2)


ROOT, PLAYER = {0: 4, 1: 0}, {0: 2, 1: 2, 2: 1, 3: 2}
# Recorded from @colyseus/core 0.18.17: the state at the join of JyOygd2AA, a patch in which another joins, and a patch.
STATE = "0e80000000008101ff018000a94a794f79676432414102ff028000008100008200830000"
JOINED = "0fff02804000814000ff008001000000ff018001a9416e326377576a324103ff038070178170178200830000"
PATCH = "0fff0280c0008140008201830100ff0380f01781f017ff008003000000"


def test_a_recorded_state_and_its_patches() -> None:
    state = SchemaState(ROOT, PLAYER)
    state.decode(bytes.fromhex(STATE), 1)
    assert state.root == {0: 0}
    assert state.players == {"JyOygd2AA": {0: 0, 1: 0, 2: 0, 3: 0}}
    state.decode(bytes.fromhex(JOINED), 1)
    assert state.root == {0: 1}
    assert state.players["An2cwWj2A"] == {0: 6000, 1: 6000, 2: 0, 3: 0}
    state.decode(bytes.fromhex(PATCH), 1)
    assert state.root == {0: 3}
    assert state.players == {"JyOygd2AA": {0: 192, 1: 64, 2: 1, 3: 1}, "An2cwWj2A": {0: 6128, 1: 6128, 2: 0, 3: 0}}


def test_a_player_who_leaves_is_gone() -> None:
    state = SchemaState(ROOT, PLAYER)
    state.decode(bytes.fromhex(STATE), 1)
    state.decode(bytes.fromhex("ff014000"), 0)
    assert state.players == {}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("ff0980", id="a reference that nobody has told"),
        pytest.param("84", id="a field that there is not"),
        pytest.param("800100", id="a number that ends early"),
        pytest.param("ff018002a141", id="a player without a reference"),
        pytest.param("ff018002c141", id="a key that is no string"),
    ],
)
def test_a_state_that_cannot_be_read_is_refused(data: str) -> None:
    state = SchemaState(ROOT, PLAYER)
    state.decode(bytes.fromhex(STATE), 1)
    with pytest.raises(WireError):
        state.decode(bytes.fromhex(data), 0)
