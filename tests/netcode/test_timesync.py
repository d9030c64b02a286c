"""The tick line: what a client knows of the server's clock from the frames that come."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from netcode.timesync import ROUND_TRIPS, TickClock
from tests.effort import examples

HZ = 20


def test_the_least_delayed_frames_make_the_line() -> None:
    clock, chance = TickClock(HZ), random.Random(3)
    for tick in range(1000, 1200):
        clock.frame(tick, tick / HZ + 5.0 + 0.030 * chance.random())
    assert clock.arrival_of(1200) == pytest.approx(65.0, abs=0.003)
    assert clock.tick_at(65.0) == pytest.approx(1200, abs=0.06)
    assert clock.newest == 1199
    assert 5.0 < clock.jitter_ms < 15.0  # of two evenly drawn delays: a third of 30


def test_nothing_is_known_before_the_first_frame() -> None:
    clock = TickClock(HZ)
    assert clock.newest == -1
    with pytest.raises(AssertionError):
        clock.tick_at(1.0)
    clock.frame(7, 3.0)
    assert clock.tick_at(3.05) == pytest.approx(8.0)
    clock.restart()
    assert clock.newest == -1


@hypothesis_settings(max_examples=examples(40))
@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0.0, 0.09)), min_size=1, max_size=80))
def test_in_any_order_and_with_any_delay_no_frame_is_before_the_line(frames: list[tuple[int, float]]) -> None:
    clock = TickClock(HZ)
    for now, tick in sorted((tick / HZ + delay_s, tick) for tick, delay_s in frames):
        clock.frame(tick, now)
        assert clock.arrival_of(tick) <= now + 1e-9
        assert clock.arrival_of(0) >= -1e-9
        assert clock.jitter_ms <= 90.0


def test_a_path_that_got_longer_is_believed_within_two_windows() -> None:
    clock = TickClock(HZ)
    for tick in range(200):
        clock.frame(tick, tick / HZ + (0.0 if tick < 100 else 0.040))
        if tick == 105:
            assert clock.arrival_of(0) == pytest.approx(0.0)
    assert clock.arrival_of(0) == pytest.approx(0.040)
    for tick in range(200, 210):
        clock.frame(tick, tick / HZ)
    assert clock.arrival_of(0) == pytest.approx(0.0)  # shorter: at once


def test_a_pause_that_used_up_no_ticks_is_believed_after_four_frames() -> None:
    clock = TickClock(HZ)
    for tick in range(100):
        clock.frame(tick, tick / HZ)
    for tick in range(100, 103):
        clock.frame(tick, tick / HZ + 1.0)
        assert clock.arrival_of(0) == pytest.approx(0.0)
    clock.frame(103, 103 / HZ + 1.0)
    assert clock.arrival_of(0) == pytest.approx(1.0)
    assert clock.jitter_ms == pytest.approx(0.0, abs=1e-6)


def test_ticks_that_were_caught_up_leave_the_line_where_it_was() -> None:
    clock = TickClock(HZ)
    for tick in range(100):
        clock.frame(tick, tick / HZ)
    for tick in range(100, 106):
        clock.frame(tick, 5.4)
    for tick in range(109, 115):
        clock.frame(tick, tick / HZ)
    assert clock.arrival_of(0) == pytest.approx(0.0)


def test_overtaken_and_double_frames_change_nothing() -> None:
    clock = TickClock(HZ)
    clock.frame(10, 0.5)
    clock.frame(12, 0.6)
    before = (clock.arrival_of(0), clock.jitter_ms)
    clock.frame(11, 0.9)
    clock.frame(12, 0.9)
    assert (clock.arrival_of(0), clock.jitter_ms) == before


def test_the_best_of_the_last_round_trips_counts() -> None:
    clock = TickClock(HZ)
    assert clock.rtt_ms is None
    clock.frame(100, 5.0)
    for rtt_s in (0.050, 0.040, 0.090):
        clock.pong(1.0, 1.0 + rtt_s)
    assert clock.rtt_ms == pytest.approx(40.0)
    clock.pong(2.0, 1.0)  # not of this clock
    assert clock.rtt_ms == pytest.approx(40.0)
    for _ in range(ROUND_TRIPS):
        clock.pong(1.0, 1.070)
    assert clock.rtt_ms == pytest.approx(70.0)
