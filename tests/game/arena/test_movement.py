"""Moving: as fast at every tick rate, never into a wall, and predicted by the client as the server does
it."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from game.arena import Arena
from game.arena.maps import MAPS, TILE_BITS, TILE_UNITS
from game.arena.movement import HALF, SPEED_UNITS_S, Pace, move
from game.fixed import UNIT
from game.view import Viewer, view_layout
from netcode.frame import Frame
from tests.effort import examples
from tests.game.arena.field import Field

RATES = (10, 20, 30, 33, 60, 64, 128)
RIGHT = {"move_x": 1, "move_y": 0}


def run_right(tick_hz: int, seconds: int) -> tuple[float, float]:
    """Units covered, and the speed at the end in units a second, on the yard's open southern lane."""
    field = Field(tick_hz)
    field.put(0, 2 * TILE_UNITS, 17 * TILE_UNITS + 16)
    start, _ = field.place(0)
    for _ in range(seconds * tick_hz):
        field.step({0: RIGHT})
    return field.place(0)[0] - start, int(field.rows.vx[0, 0]) * tick_hz / UNIT


@pytest.mark.parametrize("tick_hz", RATES)
def test_a_second_is_a_second_at_every_tick_rate(tick_hz: int) -> None:
    covered, speed = run_right(tick_hz, 3)
    assert speed == pytest.approx(SPEED_UNITS_S, rel=0.005)
    # From standing, half of the 0.12 s of acceleration is lost: coarse ticks lose or win half a tick of it.
    assert covered == pytest.approx(SPEED_UNITS_S * (3 - 0.06), abs=SPEED_UNITS_S / tick_hz)


def test_diagonals_are_no_faster() -> None:
    pace = Pace.at(30)
    still = np.zeros((1, 1), np.int32)
    x = y = np.full((1, 1), 400 * UNIT, np.int32)
    vx = vy = still
    wish = np.ones((1, 1), np.int8)
    for _ in range(20):
        _, _, vx, vy = move(pace, MAPS[1], x, y, vx, vy, wish, wish)
    speed = float(np.hypot(vx, vy)[0, 0]) * 30 / UNIT
    assert SPEED_UNITS_S * 0.99 < speed <= SPEED_UNITS_S


def test_letting_go_stops_within_a_quarter_of_a_second() -> None:
    field = Field(60)
    field.put(0, 2 * TILE_UNITS, 17 * TILE_UNITS + 16)
    for _ in range(30):
        field.step({0: RIGHT})
    for _ in range(15):
        field.step({0: {"move_x": 0}})
    assert field.rows.vx[0, 0] == 0


@pytest.mark.parametrize("tick_hz", [10, 33, 128])
@pytest.mark.parametrize(("move_x", "move_y"), [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_a_wall_is_touched_and_not_entered(tick_hz: int, move_x: int, move_y: int) -> None:
    field = Field(tick_hz, map=1)
    field.put(0, 512, 496)  # the duel's middle
    for _ in range(3 * tick_hz):
        field.step({0: {"move_x": move_x, "move_y": move_y}})
    x, y = field.place(0)
    edge = (x + 12 * move_x, y + 12 * move_y)
    assert edge[0 if move_x else 1] % TILE_UNITS == 0
    assert field.rows.vx[0, 0] == field.rows.vy[0, 0] == 0


STEPS = st.lists(st.tuples(st.integers(-1, 1), st.integers(-1, 1), st.integers(1, 12)), min_size=1, max_size=12)


@settings(max_examples=examples(30))
@given(which=st.sampled_from(MAPS), tick_hz=st.sampled_from(RATES), spawn=st.integers(0, 19), steps=STEPS)
def test_no_walk_leads_into_a_wall(which, tick_hz, spawn, steps) -> None:  # type: ignore[no-untyped-def]
    pace = Pace.at(tick_hz)
    x, y = (part[spawn : spawn + 1, None] for part in (which.spawn_x, which.spawn_y))
    vx = vy = np.zeros((1, 1), np.int32)
    for wish_x, wish_y, ticks in steps:
        for _ in range(ticks):
            wishes = np.array([[[wish_x]], [[wish_y]]], np.int8)
            x, y, vx, vy = move(pace, which, x, y, vx, vy, wishes[0], wishes[1])
            corners_x = (x + np.array([-HALF, HALF - 1])) >> TILE_BITS
            corners_y = (y + np.array([[-HALF], [HALF - 1]])) >> TILE_BITS
            assert not which.solid[corners_y * which.width + corners_x].any()


@settings(max_examples=examples(30))
@given(
    tick_hz=st.sampled_from(RATES),
    number=st.integers(0, len(MAPS) - 1),
    buttons=st.integers(0, 3),
    steps=STEPS,
)
def test_the_client_predicts_what_the_server_does(
    tick_hz: int, number: int, buttons: int, steps: list[tuple[int, int, int]]
) -> None:
    """From what a frame holds, so through the wire's types: the views of the seat, turned back."""
    field = Field(tick_hz, players=1, map=number, protect_ms=500)
    client = Arena({"seats": 4, "map": number, "protect_ms": 500}, tick_hz)
    layout = view_layout(client)
    viewer = Viewer(field.game)

    def seen() -> dict[str, int]:
        shared, mine = viewer.shared(field.rows)[0].tolist(), viewer.own(field.rows)[0, 0].tolist()
        frame = Frame(0, 0, 0, 0, None, layout, array("q", shared), array("q", mine))
        names = [part.name for part in layout.shared if part.per == "seat"] + ["vx", "vy"]
        return {name: frame.mine(name, 0) for name in names}

    predicted = seen()
    for move_x, move_y, ticks in steps:
        wanted = {"move_x": move_x, "move_y": move_y, "aim": 0, "buttons": buttons}
        for _ in range(ticks):
            own = seen()
            before = dict(own)
            after = client.predict(own, {}, wanted)
            assert own == before
            predicted = client.predict(predicted, {}, wanted)
            field.step({0: wanted})
            for name in ("x", "y", "vx", "vy"):
                assert after[name] == predicted[name] == int(getattr(field.rows, name)[0, 0])


@pytest.mark.parametrize("tick_hz", range(10, 129))
def test_velocities_are_whole_grains_that_fit_a_byte(tick_hz: int) -> None:
    pace = Pace.at(tick_hz)
    for values in (pace.speed, pace.rate):
        assert not (values & ((1 << pace.grain_bits) - 1)).any()
    assert 0 < pace.speed[2] < pace.speed[1] < 128 << pace.grain_bits
    assert (pace.rate > 0).all()


def test_the_dead_are_predicted_to_stay() -> None:
    own = {"x": 99_000, "y": 99_000, "vx": 0, "vy": 0, "state": 2}
    assert Arena().predict(own, {}, {"move_x": 1, "move_y": 1, "aim": 0, "buttons": 0}) == own
