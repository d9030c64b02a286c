from __future__ import annotations

import struct

import msgpack
import pytest

from benchmarks.peers.dialects import DIALECTS, ColyseusReader, Seen, wanted

STATE = "0e80000000008101ff018000a94a794f79676432414102ff028000008100008200830000"
PATCH = "0fff0280c0008140008201830100ff008003000000"
TIMED_STATE = "8e50000000000000008001ff018000a9455f51344a7157315502ff028000008100008200"
TIMED_PATCH = "8f7501000004000000ff0280c0ff8140008204"
"""Recorded from @colyseus/core 0.18.17, with messages and with inputs; the patches cut to the one player."""
JOIN = bytes([10, 3]) + b"abc"


def plain_frame(tick: int, *players: tuple[int, int, int, int]) -> bytes:
    return struct.pack("<I", tick) + b"".join(struct.pack("<HHBH", *player) for player in players)


def test_everybody_goes_somewhere_at_every_input_and_turns() -> None:
    ways = [wanted(player, seq) for player in range(20) for seq in range(1, 100)]
    assert all((move_x, move_y) != (0, 0) and {move_x, move_y} <= {-1, 0, 1} for move_x, move_y, _ in ways)
    assert {(move_x, move_y) for move_x, move_y, _ in ways} == {(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)} - {
        (0, 0)
    }
    assert all(wanted(3, seq)[2] >> 8 != wanted(3, seq + 1)[2] >> 8 for seq in range(100)), "a facing that stays"


def test_plain_frames() -> None:
    dialect = DIALECTS["plain"]
    assert dialect.is_seated(bytes([1]))
    assert not dialect.is_frame(bytes([1]))
    reader = dialect.reader(bytes([1]), "")
    first = plain_frame(7, (10, 10, 0, 3), (20, 20, 0, 5))
    assert dialect.is_frame(first)
    assert reader.receive(first) == Seen(acked=5, players=2, moved=0)
    assert reader.receive(plain_frame(8, (10, 11, 0, 4), (20, 20, 9, 6))) == Seen(acked=6, players=2, moved=1)


def test_a_plain_input() -> None:
    assert struct.unpack("<HbbHB", DIALECTS["plain"].input(3, 65537)) == (1, *wanted(3, 65537), 0)


@pytest.mark.parametrize(
    ("name", "session", "state", "patch", "acked"),
    [
        ("colyseus-messages", "JyOygd2AA", STATE, PATCH, 1),
        ("colyseus-input", "E_Q4JqW1U", TIMED_STATE, TIMED_PATCH, 4),
    ],
)
def test_colyseus_patches(name: str, session: str, state: str, patch: str, acked: int) -> None:
    dialect, whole, change = DIALECTS[name], bytes.fromhex(state), bytes.fromhex(patch)
    assert dialect.answer(JOIN) == bytes([10])
    assert [dialect.is_seated(message) for message in (JOIN, whole, change)] == [False, True, False]
    assert [dialect.is_frame(message) for message in (JOIN, whole, change)] == [False, False, True]
    reader = dialect.reader(whole, session)
    assert reader.receive(change) == Seen(acked=acked, players=1, moved=1)
    assert reader.receive(change) == Seen(acked=acked, players=1, moved=0)


def test_a_patch_without_the_own_player_acknowledges_nothing() -> None:
    assert ColyseusReader("another", inputs=False).receive(bytes.fromhex(STATE)).acked == 0


def test_a_colyseus_message() -> None:
    message = DIALECTS["colyseus-messages"].input(3, 9)
    assert message[:7] == b"\x0d\xa5input"
    move_x, move_y, aim = wanted(3, 9)
    assert msgpack.unpackb(message[7:]) == {"seq": 9, "move_x": move_x, "move_y": move_y, "aim": aim, "buttons": 0}


def test_a_colyseus_input_says_what_differs_from_the_one_before() -> None:
    dialect = DIALECTS["colyseus-input"]
    move_x, move_y, aim = wanted(3, 1)
    aims = aim.to_bytes(2, "little")
    assert dialect.input(3, 1) == bytes([19, 0x80, move_x & 255, 0x81, move_y & 255, 0x82, *aims, 0x83, 0])
    later = next(seq for seq in range(2, 99) if wanted(3, seq)[:2] == wanted(3, seq - 1)[:2])
    assert dialect.input(3, later) == bytes([19, 0x82, *wanted(3, later)[2].to_bytes(2, "little")])
    turn = next(seq for seq in range(2, 99) if wanted(3, seq)[:2] != wanted(3, seq - 1)[:2])
    assert {0x80, 0x81} & set(dialect.input(3, turn)[1::2])
