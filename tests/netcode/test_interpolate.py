"""Interpolation: what is drawn between frames, and when."""

from __future__ import annotations

import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from game.view import Field, ViewLayout
from netcode.frame import Frame
from netcode.interpolate import BEHIND_MAX_S, FRAMES_KEPT, JUMP, Interpolator, Playhead
from netcode.timesync import TickClock

LAYOUT = ViewLayout(
    (
        Field("x", "seat", 0, 2, 16, False, 7),
        Field("facing", "seat", 2, 2, 8, False, 8),
        Field("state", "seat", 4, 2, 8, False, 0),
        Field("y", 2, 6, 2, 16, True, 0),
        Field("phase", "room", 8, 1, 8, False, 0),
    ),
    (),
)


def frame(tick: int, x: int = 0, facing: int = 0, state: int = 1, y: int = 0, phase: int = 0) -> Frame:
    """Seat 1 and entity 1 stand still."""
    return Frame(tick, 0, 0, 0, None, LAYOUT, array("q", [x, 10, facing, 0, state, 1, y, -5, phase]))


def kept(*frames: Frame) -> Interpolator:
    interpolator = Interpolator(LAYOUT, tick_hz=20)
    for one in frames:
        interpolator.add(one)
    return interpolator


def test_places_go_straight_and_the_rest_is_of_the_older_frame() -> None:
    view = kept(frame(10, x=100, y=-100, phase=1), frame(11, x=104, y=300, phase=2)).at(10.25)
    assert view["x"] == [pytest.approx(101 * 128), 10 * 128]
    assert view["y"] == [pytest.approx(0), -5]
    assert view["phase"] == [1]
    assert view["state"] == [1, 1]


@pytest.mark.parametrize(("before", "after", "middle"), [(10, 20, 15), (250, 4, 255), (4, 250, 255), (0, 128, 192)])
def test_angles_go_the_shorter_way_round(before: int, after: int, middle: int) -> None:
    view = kept(frame(10, facing=before), frame(11, facing=after)).at(10.5)
    assert view["facing"][0] == pytest.approx(middle * 256)


def test_a_missing_frame_is_bridged() -> None:
    assert kept(frame(10, x=0), frame(14, x=40)).at(11.0)["x"][0] == pytest.approx(10 * 128)


def test_at_a_frame_it_is_that_frame() -> None:
    interpolator = kept(*(frame(tick, x=tick * tick, phase=tick) for tick in range(5, 10)))
    for tick in range(5, 10):
        view = interpolator.at(float(tick))
        assert (view["x"][0], view["phase"][0]) == (tick * tick * 128, tick)


def test_beyond_the_newest_it_goes_on_for_a_quarter_second_and_stands() -> None:
    interpolator = kept(frame(10, x=100, phase=1), frame(12, x=120, phase=2))
    assert interpolator.at(13.0)["x"][0] == pytest.approx(130 * 128)
    assert interpolator.at(13.0)["phase"] == [2]
    assert interpolator.at(17.0)["x"] == interpolator.at(1000.0)["x"] == [pytest.approx(170 * 128), 1280]


def test_what_leapt_or_became_something_else_does_not_walk() -> None:
    leap = JUMP // 128
    walked = kept(frame(10, x=0), frame(12, x=2 * leap))
    assert walked.at(11.0)["x"][0] == pytest.approx(JUMP)
    leapt = kept(frame(10, x=0), frame(11, x=leap + 1))
    assert leapt.at(10.9)["x"][0] == 0
    assert leapt.at(11.0)["x"][0] == (leap + 1) * 128
    assert leapt.at(11.5)["x"][0] == (leap + 1) * 128
    risen = kept(frame(10, x=0, facing=0, state=2), frame(11, x=10, facing=100))
    assert (risen.at(10.9)["x"][0], risen.at(10.9)["facing"][0]) == (0, 0)
    assert risen.at(11.0)["x"][0] == 1280


def test_before_the_oldest_it_is_the_oldest_and_without_frames_nothing() -> None:
    assert kept().at(5.0) == {}
    assert kept(frame(10, x=7)).at(5.0)["x"][0] == kept(frame(10, x=7)).at(50.0)["x"][0] == 7 * 128
    interpolator = kept(frame(10, x=7), frame(11, x=9))
    assert interpolator.at(3.0)["x"][0] == 7 * 128
    interpolator.clear()
    assert interpolator.at(3.0) == {}


def test_columns_can_be_named_by_the_caller() -> None:
    interpolator = Interpolator(LAYOUT, 20, places=("phase", "y"), angles=())
    interpolator.add(frame(10, x=0, facing=0, y=0, phase=0))
    interpolator.add(frame(11, x=10, facing=10, y=10, phase=10))
    view = interpolator.at(10.5)
    assert (view["x"][0], view["facing"][0], view["y"][0], view["phase"][0]) == (0, 0, 5, 0)  # a room's is no place


@given(st.permutations(range(40)), st.floats(0.0, 45.0))
def test_the_order_in_which_frames_came_makes_no_difference(order: list[int], at: float) -> None:
    frames = [frame(tick, x=tick * 3) for tick in range(40)]
    shuffled = kept(*(frames[tick] for tick in order), *(frames[tick] for tick in order if tick >= 40 - FRAMES_KEPT))
    assert len(shuffled) == FRAMES_KEPT
    assert shuffled.at(at) == kept(*frames).at(at)


def test_a_tick_that_is_known_is_not_told_anew() -> None:
    assert kept(frame(10, x=1), frame(11, x=2), frame(10, x=99)).at(10.0)["x"][0] == 128


# -- the playhead -----------------------------------------------------------------------------------------------------


def clock_with(jitter_s: float, frames: int = 200, tick_hz: int = 20) -> TickClock:
    clock, chance = TickClock(tick_hz), random.Random(5)
    for tick in range(frames):
        clock.frame(tick, tick / tick_hz + jitter_s * chance.random())
    return clock


def test_it_is_two_ticks_behind_or_as_far_as_jitter_demands_up_to_a_limit() -> None:
    assert Playhead(clock_with(0.0)).behind_ticks == 2.0
    assert Playhead(clock_with(0.0)).at(10.0) == pytest.approx(198.0)
    for tick_hz, jitter_ms, behind in ((20, 10, 2.0), (20, 40, 3.4), (20, 900, BEHIND_MAX_S * 20), (4, 900, 2.0)):
        clock = clock_with(0.0, tick_hz=tick_hz)
        clock.jitter_ms = jitter_ms
        assert Playhead(clock).behind_ticks == pytest.approx(behind)


@pytest.mark.parametrize("jitter_s", [0.0, 0.030, 0.090])
def test_it_runs_evenly_and_is_rarely_ahead_of_the_frames(jitter_s: float) -> None:
    clock, chance = TickClock(20), random.Random(2)
    playhead, newest, ahead, drawn = Playhead(clock), 0, 0, 0.0
    arrivals = sorted((tick / 20 + jitter_s * chance.random(), tick) for tick in range(600))
    now = arrivals[0][0]
    while arrivals:
        while arrivals and arrivals[0][0] <= now:
            arrived, tick = arrivals.pop(0)
            clock.frame(tick, arrived)
            newest = max(newest, tick)
        before, drawn = drawn, playhead.at(now)
        if now > 1.0:
            assert 0.9 / 60 * 20 - 1e-9 <= drawn - before <= 1.1 / 60 * 20 + 1e-9
            ahead += drawn > newest
        now += 1 / 60
    assert ahead < 50  # of 1,740


def test_after_a_pause_it_goes_on_where_the_frames_are_and_never_goes_back() -> None:
    clock = clock_with(0.0, frames=100)
    playhead = Playhead(clock)
    assert playhead.at(5.0) == pytest.approx(98.0)
    assert playhead.at(6.0) == pytest.approx(118.0)  # nothing says yet that time stood still
    for tick in range(100, 110):
        clock.frame(tick, tick / 20 + 2.0)
    assert [playhead.at(now) for now in (7.45, 7.5, 7.9)] == [pytest.approx(118.0)] * 3
    now, before = 7.9, 118.0
    while now < 20.0:
        now += 0.05
        drawn = playhead.at(now)
        assert 0.9 - 1e-9 <= drawn - before <= 1.1 + 1e-9
        before = drawn
    assert before == pytest.approx((now - 2.0) * 20 - 2.0)
    playhead.restart()
    assert playhead.at(5.0) == pytest.approx(58.0)
