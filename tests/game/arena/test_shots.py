"""Shots: what a client draws is where they are; they hit who is there, at every tick rate, and stop at
walls."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from game.arena import Arena, shots
from game.arena.shots import LIFE_MS, SHOT_UNITS_S, Ballistics
from game.arena.terms import Terms
from game.commands import Leave
from game.fixed import UNIT
from tests.game.arena.field import EAST, NORTH, WEST, Field

RATES = (10, 20, 30, 128)
LANE = 17 * 32 + 16  # the yard's open southern lane, y in units


@given(st.integers(0, 2047), st.integers(0, 2047), st.integers(0, 65535), st.integers(0, 2**32 - 200), st.booleans())
def test_a_birth_record_comes_back(x: int, y: int, angle: int, tick: int, beam: bool) -> None:
    places = np.array([[x], [y]], np.int32) * UNIT + 77
    shot = shots.pack_shot(np.array([tick], np.uint32), np.array([angle], np.uint16), np.array([beam]))
    origin = shots.pack_origin(places[0], places[1])
    assert (shot.itemsize, origin.itemsize) == (2, 4)
    assert shot[0] & 127, "0 says that nothing is there"
    from_x, from_y, cos, sin = (int(part[0]) for part in shots.unpack_shot(shot, origin))
    assert (from_x, from_y) == (x * 4 + 2, y * 4 + 2)
    turned = math.atan2(sin, cos) / math.tau * 65536
    assert abs((turned - angle + 32768) % 65536 - 32768) <= 129  # a half of a 256th of a turn, rounded
    assert bool(shots.is_rail(shot)[0]) == beam
    assert shots.age_of(shot, np.array([tick + 100], np.uint32)).tolist() == [100]


def test_whatever_is_in_range_can_be_hit() -> None:
    half_step = math.tau / 256 / 2
    assert SHOT_UNITS_S * LIFE_MS / 1000 * math.sin(half_step) < shots.RADIUS_UNITS


@pytest.mark.parametrize("tick_hz", RATES)
def test_a_shot_flies_as_far_in_a_second_at_every_tick_rate(tick_hz: int) -> None:
    ballistics = Ballistics.at(tick_hz)
    assert ballistics.flown[-1] / 4 == pytest.approx(SHOT_UNITS_S * LIFE_MS / 1000, abs=SHOT_UNITS_S / tick_hz)
    assert ballistics.life_ticks <= ballistics.cooldown_ticks, "the one before has ended when one is fired"
    assert ballistics.life_ticks < shots.AGES
    assert ballistics.beam_ticks < min(shots.AGES, Terms.of(Arena().option, tick_hz).rail_ticks)
    reach = ballistics.samples
    assert (reach[-1] == ballistics.flown).all()
    assert np.diff(np.concatenate([ballistics.flown[None, :-1], reach[:, 1:]]), axis=0).max() <= 32


@pytest.mark.parametrize("tick_hz", RATES)
def test_the_trigger_fires_twice_a_second_and_shots_end(tick_hz: int) -> None:
    field = Field(tick_hz)
    field.put(0, 64, LANE)
    field.put(1, 64, 700)
    births = 0
    before = 0
    for _ in range(3 * tick_hz):
        field.step({0: {"aim": EAST, "buttons": 1}})
        ready = int(field.rows.ready_at[0, 0])
        births, before = births + (ready != before), ready
        assert set(field.flying()) <= {0}
    assert births == 6
    field.step({0: {"buttons": 0}})
    field.steps(tick_hz)
    assert field.flying() == []


def test_a_client_draws_a_shot_from_its_birth_record_alone() -> None:
    field = Field(30)
    field.put(0, 64, LANE)
    field.put(1, 64, 700)
    field.shoot(0, EAST)
    assert field.shot_place(0) == (64.5 + 30, LANE + 0.5)
    record = (int(field.rows.shot[0, 0]), int(field.rows.shot_from[0, 0]))
    field.steps(9)
    assert field.shot_place(0) == (64.5 + 300, LANE + 0.5)
    assert record == (int(field.rows.shot[0, 0]), int(field.rows.shot_from[0, 0])), "flying changes nothing"


@pytest.mark.parametrize("tick_hz", RATES)
@pytest.mark.parametrize("away", [1, 20, 74, 76, 91, 360])
@pytest.mark.parametrize("aside", [-13, 13])
def test_nobody_in_the_way_is_jumped_over(tick_hz: int, away: int, aside: int) -> None:
    field = Field(tick_hz)
    field.put(0, 64, LANE)
    field.put(1, 64 + away, LANE + aside)
    field.shoot(0, EAST)
    field.steps(tick_hz)
    assert field.rows.hp[0].tolist()[:2] == [100, 66]
    assert field.flying() == []


@pytest.mark.parametrize("tick_hz", RATES)
def test_who_stands_beside_behind_or_too_far_is_not_hit(tick_hz: int) -> None:
    field = Field(tick_hz, players=4)
    field.put(0, 200, LANE)
    for seat, (x, y) in {1: (400, LANE + 16), 2: (180, LANE), 3: (200 + 480, LANE)}.items():
        field.put(seat, x, y)
    field.shoot(0, EAST)
    field.steps(tick_hz)
    assert field.rows.hp[0].tolist() == [100] * 4


@pytest.mark.parametrize("tick_hz", RATES)
def test_runners_cannot_pass_through_a_shot(tick_hz: int) -> None:
    for start in range(300, 380, 7):
        field = Field(tick_hz)
        field.put(0, 64, LANE)
        field.put(1, start, LANE)
        field.step({0: {"aim": EAST, "buttons": 1}, 1: {"move_x": -1}})
        field.step({0: {"aim": EAST, "buttons": 0}})
        field.steps(tick_hz // 2)
        assert field.rows.hp[0, 1] == 66


@pytest.mark.parametrize("tick_hz", RATES)
def test_walls_stop_shots(tick_hz: int) -> None:
    field = Field(tick_hz)
    # Row 13 of the yard: wall from tile 1 to 4, floor from 5 to 7, wall again at 8.
    field.put(0, 6 * 32, 13 * 32 + 16)
    field.put(1, 9 * 32 + 16, 13 * 32 + 16)
    for aim in (EAST, WEST):
        field.shoot(0, aim)
        field.steps(tick_hz)
        assert field.flying() == []
    assert field.rows.hp[0, 1] == 100


@pytest.mark.parametrize("tick_hz", RATES)
@pytest.mark.parametrize("aim", range(0, 65536, 6007))
def test_shots_from_the_corner_stay_on_the_map(tick_hz: int, aim: int) -> None:
    field = Field(tick_hz)
    field.put(0, 32 + 12, 32 + 12)
    field.put(1, 700, 700)
    field.shoot(0, aim)
    for _ in range(tick_hz):
        field.step()
        for slot in field.flying():
            x, y = field.shot_place(slot)
            assert 32 <= x <= 1504
            assert 32 <= y <= 1504


def test_the_nearest_of_two_in_line_is_hit() -> None:
    field = Field(10, players=3)
    field.put(0, 64, LANE)
    field.put(1, 180, LANE)
    field.put(2, 150, LANE)
    field.shoot(0, EAST)
    field.steps(5)
    assert field.rows.hp[0].tolist()[:3] == [100, 100, 66]


def test_a_leaver_takes_the_shots_along() -> None:
    field = Field(30)
    field.put(0, 64, LANE)
    field.put(1, 600, LANE)
    field.shoot(0, EAST)
    assert field.flying() == [0]
    field.step(commands=[Leave("r", 0, 1)])
    assert field.flying() == []


def test_a_shot_outlives_the_wrap_of_its_stamp() -> None:
    field = Field(30)
    field.rows.tick[:] = shots.AGES * 4 - 3
    field.put(0, 64, LANE)
    field.put(1, 64 + 350, LANE)
    field.shoot(0, EAST)
    field.steps(30)
    assert field.rows.hp[0, 1] == 66


def test_the_dead_are_not_hit_and_do_not_fire() -> None:
    field = Field(30, respawn_ms=30_000)
    field.put(0, 64, LANE)
    field.put(1, 164, LANE)
    for _ in range(3):
        field.shoot(0, EAST)
        field.steps(15)
    assert field.rows.state[0].tolist()[:2] == [1, 2]
    field.shoot(1, NORTH)
    assert field.flying() == []
    field.shoot(0, EAST)
    field.steps(7)
    assert field.flying() == [0], "it flies on, through where the dead one lies"
