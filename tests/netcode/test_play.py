"""One seat as its client plays it: the window, the clock, and what may be wanted."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from game.view import view_layout
from netcode import messages
from netcode.errors import BadFrame, ErrorCode, ProtocolError
from netcode.frame import HEADER
from netcode.inputs import UNACKED_MAX, parse_input_packet
from netcode.play import SLOWEST, Play
from tests.netcode.ends import Drift

SIZE = 3
FIELD = {"name": "x", "per": 1, "count": 1, "bits": 8, "signed": True, "shift": 0, "exact": False}


def seated(**fields: Any) -> messages.Seated:
    told: dict[str, Any] = {
        "room": "r", "game": "drift", "options": {}, "seat": 1, "seats": 3, "generation": 2, "stream": 4, "epoch": 0,
        "tick": 100, "tick_hz": 20, "last_seq": 0, "inputs": [["go", "i1", -1, 1], ["aim", "u2", 0, 1000]],
        "view": view_layout(Drift()).describe(), "roster": [],
    }  # fmt: skip
    return messages.Seated(**{**told, **fields})


def frame(tick: int, last_seq: int = 0, depth: int = 0, stream: int = 4) -> bytes:
    """A full frame whose deltas change nothing."""
    fields = view_layout(Drift())
    codes = -(-len(fields.shared) // 4) + -(-len(fields.own) // 4)
    return HEADER.pack(0, stream, 0, tick & 0xFFFF, 0, last_seq & 0xFFFF, depth) + bytes(codes)


def test_inputs_are_repeated_until_a_frame_settles_them() -> None:
    play = Play(seated())
    play.want(go=-1, aim=513)
    first = parse_input_packet(play.next_packet((1, 2), 10.0), SIZE)
    assert (first.stream, first.newest, first.count, first.baseline) == (4, 1, 1, -1)
    assert first.inputs == struct.pack("<bH", -1, 513)
    play.want(go=1)
    second = parse_input_packet(play.next_packet((1, 2), 10.05), SIZE)
    assert second.inputs == struct.pack("<bHbH", 1, 513, -1, 513)
    assert play.receive(frame(101, last_seq=1), 10.08) is not None
    assert list(play.rtt_ms) == [pytest.approx(80.0)]
    third = parse_input_packet(play.repeat_packet((1, 2)), SIZE)
    assert (third.count, third.newest, third.baseline, third.seen) == (1, 2, 101, 101)
    play.receive(frame(102, last_seq=2), 10.11)
    assert list(play.rtt_ms) == [pytest.approx(80.0), pytest.approx(60.0)]
    assert parse_input_packet(play.repeat_packet((1, 2)), SIZE).count == 0


def test_one_frame_may_settle_several_inputs_each_with_its_own_age() -> None:
    play = Play(seated(last_seq=40))
    for number in range(4):
        play.next_packet((0, 0), 10.0 + number)
    play.receive(frame(101, last_seq=43), 14.0)
    assert sorted(play.rtt_ms) == [pytest.approx(age * 1000) for age in (2, 3, 4)]


def test_the_clock_stops_at_a_full_window_and_goes_on() -> None:
    play = Play(seated())
    for _ in range(UNACKED_MAX + 10):
        said = parse_input_packet(play.next_packet((0, 0), 0.0), SIZE)
    assert (said.newest, said.count) == (UNACKED_MAX, UNACKED_MAX)
    play.receive(frame(101, last_seq=5), 1.0)
    assert parse_input_packet(play.next_packet((0, 0), 0.0), SIZE).newest == UNACKED_MAX + 1
    assert len(play.rtt_ms) == 5


@pytest.mark.parametrize(("depth", "factor"), [(0, 1.0), (1, 1.0), (2, SLOWEST), (8, SLOWEST)])
def test_the_clock_slows_while_the_servers_queue_is_long(depth: int, factor: float) -> None:
    play = Play(seated())
    assert play.input_period_s == pytest.approx(0.05)
    play.receive(frame(101, depth=depth), 1.0)
    assert play.input_period_s == pytest.approx(0.05 * factor)
    play.receive(frame(102), 1.0)
    assert play.input_period_s == pytest.approx(0.05)


def test_the_queue_drains_and_settles_at_one() -> None:
    """A burst put five inputs into the server's queue: the steered clock brings it back, and it stays."""
    play, waiting, due, depths = Play(seated()), 5.0, 0.0, []
    for tick in range(200):
        now = tick * 0.05
        while due <= now:
            waiting += 1
            due += play.input_period_s
        waiting = max(0, waiting - 1)
        play.receive(frame(101 + tick, depth=int(waiting)), now)
        depths.append(waiting)
    assert max(depths[80:]) <= 1


def test_late_frames_count_but_are_not_the_newest() -> None:
    play = Play(seated())
    play.receive(frame(105, last_seq=0), 1.0)
    late = play.receive(frame(103), 1.0)
    assert late is not None
    assert late.tick == 103
    assert play.newest is not None
    assert play.newest.tick == 105
    assert play.receive(frame(106, stream=5), 1.0) is None
    with pytest.raises(BadFrame):
        play.receive(b"x", 1.0)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"jump": 1}, "no input 'jump'; it has: go, aim"),
        ({"go": 2}, r"go=2 lies outside -1\.\.1"),
        ({"aim": -1}, r"aim=-1 lies outside 0\.\.1000"),
        ({"aim": 10, "go": -5}, "go=-5"),
    ],
)
def test_what_cannot_be_wanted_is_refused_and_changes_nothing(fields: dict[str, int], wanted: str) -> None:
    play = Play(seated())
    before = dict(play.held)
    with pytest.raises(ProtocolError, match=wanted) as caught:
        play.want(**fields)
    assert caught.value.code is ErrorCode.BAD_OPTION
    assert play.held == before == {"go": 0, "aim": 0}


@pytest.mark.parametrize("value", [0.5, "1", None])
def test_only_whole_numbers_can_be_wanted(value: Any) -> None:
    play = Play(seated())
    with pytest.raises(ProtocolError, match="whole number"):
        play.want(go=value)
    assert parse_input_packet(play.next_packet((0, 0), 0.0), SIZE).inputs == bytes(3)


@pytest.mark.parametrize(
    "fields",
    [
        {"view": {}},
        {"view": {"shared": [], "own": 3}},
        {"view": {"shared": [{**FIELD, "bits": 9}], "own": []}},
        {"inputs": [["go", "f8", 0, 1]]},
        {"inputs": [["go"]]},
        {"inputs": [["go", "i1", -500, 1]]},
    ],
)
def test_a_description_that_makes_no_sense_is_a_protocol_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        Play(seated(**fields))
    assert caught.value.code is ErrorCode.BAD_MESSAGE


def test_an_input_that_cannot_be_zero_starts_at_its_nearest_limit() -> None:
    play = Play(seated(inputs=[["gear", "i1", 1, 5], ["brake", "i1", -5, -2]]))
    assert play.held == {"gear": 1, "brake": -2}
