"""One seat as its client plays it: the window, the clock, and what may be wanted."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from game.view import view_layout
from netcode import messages
from netcode.errors import BadFrame, ErrorCode, ProtocolError
from netcode.frame import HEADER
from netcode.inputs import UNACKED_MAX
from netcode.play import BEATS, Play
from tests.netcode.ends import Drift
from tests.netcode.queue import parse_input_packet

SIZE = 3
FIELD = {"name": "x", "per": 1, "count": 1, "bits": 8, "signed": True, "shift": 0, "exact": False}


def seated(**fields: Any) -> messages.Seated:
    told: dict[str, Any] = {
        "room": "r", "game": "drift", "options": {}, "seat": 1, "seats": 3, "generation": 2, "stream": 4, "epoch": 0,
        "tick": 100, "tick_hz": 20, "last_seq": 0, "inputs": [["go", "i1", -1, 1], ["aim", "u2", 0, 1000]],
        "view": view_layout(Drift()).describe(), "roster": [],
    }  # fmt: skip
    return messages.Seated(**{**told, **fields})


def frame(tick: int, last_seq: int = 0, depth: int = 0, stream: int = 4, epoch: int = 0) -> bytes:
    """A full frame whose deltas change nothing."""
    fields = view_layout(Drift())
    codes = -(-len(fields.shared) // 4) + -(-len(fields.own) // 4)
    return HEADER.pack(0, stream, epoch, tick & 0xFFFF, 0, last_seq & 0xFFFF, depth) + bytes(codes)


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


def test_inputs_are_due_by_the_steered_clock() -> None:
    play = Play(seated())
    assert play.due_at == -math.inf
    play.next_packet((0, 0), 10.0)
    assert play.due_at == pytest.approx(10.05)
    play.receive(frame(101, last_seq=1), 10.04)
    play.next_packet((0, 0), 10.05)
    play.receive(frame(102, last_seq=1, depth=7), 10.09)
    assert play.due_at == pytest.approx(10.05 + 2 * 0.05)


def test_a_fixed_clock_leaves_one_out_when_the_queue_was_never_empty() -> None:
    play, tick, beats = Play(seated()), 100, []
    for _ in range(3):
        play.next_packet((0, 0), 1.0)
    for depth in [1] * (BEATS - 1) + [0] + [2] * (BEATS + 3 + BEATS):
        tick += 1
        play.receive(frame(tick, depth=depth), 1.0)
        beats.append(play.beat())
    assert [at for at, makes in enumerate(beats) if not makes] == [2 * BEATS - 1, 3 * BEATS + 2]


def test_a_fixed_clock_halves_its_pace_while_half_the_queue_is_full() -> None:
    play, beats = Play(seated()), []
    for tick, depth in enumerate([0, 7, 7, 7, 5, 4, 3, 3]):
        play.receive(frame(tick + 1, depth=depth), 0.0)
        beats.append(play.beat())
    assert beats == [True, False, True, False, True, False, True, True]


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


# -- epochs, resume, prediction and what is drawn ---------------------------------------------------------------------


class Swimmer(Drift):
    """One input moves a seat by one."""

    name = "swimmer"

    def predict(self, own: dict[str, int], view: Mapping[str, np.ndarray], wanted: Mapping[str, int]) -> dict[str, int]:
        return own | {"x": own["x"] + wanted["go"]}


def swimming(**fields: Any) -> messages.Seated:
    layout = view_layout(Swimmer()).describe()
    told = {"game": "swimmer", "tick_hz": 30, "inputs": [["go", "i1", -1, 1]], "view": layout}
    return seated(**{**told, **fields})


def test_a_higher_epoch_is_newer_whatever_its_tick() -> None:
    play = Play(seated())
    play.receive(frame(105), 1.0)
    assert play.clock.newest == 105
    taken_over = play.receive(frame(102, epoch=1), 1.5)
    assert play.newest is taken_over
    assert (play.clock.newest, play.steering.lead_s) == (102, None)
    assert play.receive(frame(106), 1.6) is None
    assert parse_input_packet(play.repeat_packet((0, 0), 1.6), SIZE).seen == 102


def test_what_is_drawn_begins_anew_with_an_epoch() -> None:
    play = Play(seated())
    for tick in (104, 105):
        play.receive(frame(tick), tick / 20)
    play.view_at(5.25)
    play.receive(frame(52, epoch=1), 5.5)
    assert play.interpolator is not None
    assert len(play.interpolator) == 1
    play.view_at(5.5)
    assert parse_input_packet(play.repeat_packet((0, 0), 5.5), SIZE).seen == 50


def test_a_resumed_seat_settles_what_was_applied_and_repeats_the_rest() -> None:
    play = Play(seated())
    for number in range(5):
        play.want(aim=number)
        play.next_packet((0, 0), 1.0 + number / 20)
    play.receive(frame(101, last_seq=1), 1.3)
    play.resume(seated(stream=5, tick=140, last_seq=3, resumed=True))
    assert play.newest is None
    assert play.receive(frame(141, last_seq=3), 3.0) is None  # of the old stream
    said = parse_input_packet(play.repeat_packet((0, 0), 3.0), SIZE)
    assert (said.stream, said.newest, said.count, said.baseline, said.seen) == (5, 5, 2, -1, 140)
    assert said.inputs == struct.pack("<bHbH", 0, 4, 0, 3)
    assert play.receive(frame(141, last_seq=5, stream=5), 3.0) is not None
    play.next_packet((0, 0), 3.05)
    assert play.window.newest == 6


def test_a_process_that_knows_less_than_the_server_goes_on_behind_it() -> None:
    play = Play(seated())
    play.next_packet((0, 0), 1.0)
    play.resume(seated(stream=5, last_seq=70_000, resumed=True))
    play.next_packet((0, 0), 2.0)
    assert parse_input_packet(play.repeat_packet((0, 0)), SIZE).newest == 70_001 & 0xFFFF
    assert play.window.newest == 70_001


@pytest.mark.parametrize("fields", [{"seat": 2}, {"room": "other"}, {"generation": 3}])
def test_another_seat_is_no_resumption(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        Play(seated()).resume(seated(**fields))
    assert caught.value.code is ErrorCode.BAD_MESSAGE


def test_own_moves_are_drawn_at_once_and_the_others_a_little_ago() -> None:
    game = Swimmer()
    play = Play(swimming(seat=1), game=game)
    assert play.view_at(0.9) == {}
    for tick in range(101, 111):
        play.receive(frame(tick), tick / 30)
    view = play.view_at(110 / 30)
    assert view["x"] == [0.0, 0.0, 0.0]
    assert set(view) == {"x", "angle", "things", "score", "quiet"}
    play.want(go=1)
    for number in range(3):
        said = parse_input_packet(play.next_packet((0, 0), 110 / 30 + number / 1000), 1)
    assert said.seen == 108  # two ticks behind the newest: what was drawn
    assert play.view_at(111.5 / 30)["x"] == [0.0, 3.0, 0.0]
    assert parse_input_packet(play.repeat_packet((0, 0), 120 / 30), 1).seen == 110  # nothing drawn since long
    assert play.predictor is not None
    assert play.predictor.state is not None
    assert play.predictor.state["x"] == 3


def test_without_rules_or_without_eyes_nothing_is_predicted() -> None:
    assert Play(swimming()).predictor is None
    assert Play(swimming(), decode=False, game=Swimmer()).predictor is None
    drift = {"game": "drift", "tick_hz": 30, "inputs": [["go", "i1", -1, 1]]}
    assert Play(seated(**drift), game=Drift()).predictor is None  # its rules predict nothing
    with pytest.raises(ValueError, match="does not decode"):
        Play(swimming(), decode=False).view_at(1.0)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"game": "drift"}, "name"),
        ({"tick_hz": 20}, "tick rate"),
        ({"options": {"map": 1}}, "options"),
        ({"inputs": [["go", "i1", -1, 2]]}, "inputs"),
        ({"view": {"shared": [FIELD], "own": []}}, "shared columns"),
    ],
)
def test_rules_that_are_not_the_rooms_are_refused(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(ProtocolError, match=f"another {what}") as caught:
        Play(swimming(**fields), game=Swimmer())
    assert caught.value.code is ErrorCode.BAD_OPTION
