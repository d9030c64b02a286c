"""How a player moves: one function for the server's step over (rooms, seats) and for the client's prediction
over (1, 1).

A player is a square of 24 units in a grid of tiles of 32. Each tick, an axis at a time: steer the velocity
towards what the keys want, move, and when the leading edge ends up in a wall, stand against it. Positions are
24.8; velocities are 1/256 units *a tick*, so that moving is one addition; what a second is worth in ticks is
worked out once (`Pace`). No step is longer than a tile, so no wall is jumped. All velocities are multiples of a
grain, so that a player is told its own exactly in a byte.
"""

from __future__ import annotations

import attrs
import numpy as np

from game.arena.maps import TILE_BITS, Walls
from game.fixed import UNIT

SPEED_UNITS_S = 240
ACCEL_UNITS_S2 = 2000
FRICTION_UNITS_S2 = 1500
HALF = 12 * UNIT
"""Half of a player's width, 24.8."""
_TILE = 1 << TILE_BITS


@attrs.frozen(eq=False)
class Pace:
    """The constants of movement at one tick rate, as tables to take from."""

    speed: np.ndarray
    """(3,) int32: wanted speed along an axis when 0, 1 or 2 axes are pressed (2: 1/sqrt(2) of it each)."""
    rate: np.ndarray
    """(2,) int32: how much velocity may change a tick on an axis let go (friction) or pressed."""
    grain_bits: int
    """Every velocity is a multiple of 1 << grain_bits, and less than 128 of them."""

    @classmethod
    def at(cls, tick_hz: int) -> Pace:
        """The pace at so many ticks a second."""
        full = SPEED_UNITS_S * UNIT // tick_hz
        grain_bits = max(full.bit_length() - 7, 0)
        square = tick_hz * tick_hz
        speed = [grains << grain_bits for grains in (0, full >> grain_bits, (full * 181 // 256) >> grain_bits)]
        rate = [
            max(1, (change * UNIT // square + (1 << grain_bits >> 1)) >> grain_bits) << grain_bits
            for change in (FRICTION_UNITS_S2, ACCEL_UNITS_S2)
        ]
        return cls(np.array(speed, np.int32), np.array(rate, np.int32), grain_bits)


Moved = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def move(
    pace: Pace,
    walls: Walls,
    x: np.ndarray,
    y: np.ndarray,
    vx: np.ndarray,
    vy: np.ndarray,
    wish_x: np.ndarray,
    wish_y: np.ndarray,
) -> Moved:
    """New (x, y, vx, vy), int32, after one tick.

    All arrays have one shape; x and y are int32, vx and vy int16 or int32, the wishes int8 in -1..1.
    """
    speed = pace.speed.take(wish_x * wish_x + wish_y * wish_y)
    vx = _steer(vx, wish_x * speed, pace.rate.take(wish_x & 1))
    vy = _steer(vy, wish_y * speed, pace.rate.take(wish_y & 1))
    x, vx = _slide(x, y, vx, walls, 1, walls.width)
    y, vy = _slide(y, x, vy, walls, walls.width, 1)
    return x, y, vx, vy


def _steer(velocity: np.ndarray, wanted: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """The velocity, closer to what is wanted by `rate` at most."""
    steered: np.ndarray = velocity + np.minimum(np.maximum(wanted - velocity, -rate), rate)
    return steered


def _slide(
    along: np.ndarray, across: np.ndarray, velocity: np.ndarray, walls: Walls, stride: int, stride_across: int
) -> tuple[np.ndarray, np.ndarray]:
    """Move on one axis, up to the edge of the tile where one of the two leading corners is in a wall."""
    to = along + velocity
    forward = velocity > 0
    tile = (to + np.where(forward, HALF - 1, -HALF)) >> TILE_BITS
    line = tile * stride
    one_side = ((across - HALF) >> TILE_BITS) * stride_across
    other_side = ((across + (HALF - 1)) >> TILE_BITS) * stride_across
    hit = walls.solid.take(line + one_side) | walls.solid.take(line + other_side)
    edge = (tile << TILE_BITS) + np.where(forward, -HALF, _TILE + HALF)
    return np.where(hit, edge, to), np.where(hit, 0, velocity)
