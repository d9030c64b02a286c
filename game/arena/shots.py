"""Projectiles that cost nothing to fly: a shot is the record of its birth; where it is follows from its age.

    shot       u4   | x: 11 bits | y: 11 bits | direction: 10 bits |  low to high; units, 1024ths of a turn
    shot_born  u1   tick of birth as tick % 255 + 1, 0 while the slot is free

Two small values on the wire when a shot is born, one when it ends; in between a client works its path out as
the server does (`place`), from the same numbers, exactly. Slots 2 * seat and 2 * seat + 1 belong to a seat,
so the record need not say whose it is; a shot lives shorter than two cooldowns, so one of the two is always
free.

Each tick a shot sweeps a strip from where it was to where it is. Walls are sampled every 8 units (a corner
may be clipped by less than that; a tile is 32 wide). A player is hit whose middle lies within 14 units of the
strip; the strip reaches back by as much as a player moves in a tick, so that two that rush at each other
cannot pass through. Lengths are in quarter units and directions in Q14 here, so that every sum of products
fits int32: (2**15 + 2**13) * 2**14 * 2 < 2**31.
"""

from __future__ import annotations

import attrs
import numpy as np

from game.arena.maps import TILE_UNITS, Walls
from game.arena.movement import SPEED_UNITS_S
from game.fixed import ONE_BITS, TURN, UNIT_BITS, cos_sin

SLOTS = 2
"""Shots that a seat may have in the air."""
SHOT_UNITS_S = 750
LIFE_MS = 960
COOLDOWN_MS = 500
RADIUS_UNITS = 14
AGES = 255

_QUARTERS = 4
_SAMPLE = 8 * _QUARTERS
_FAR = np.int32(1 << 15)
_TILE_BITS = (TILE_UNITS * _QUARTERS).bit_length() - 1
_TO_QUARTERS = UNIT_BITS - 2
_WIDE = (RADIUS_UNITS * _QUARTERS) << ONE_BITS
_COS, _SIN = cos_sin(np.arange(1024) * (TURN // 1024))


@attrs.frozen(eq=False)
class Ballistics:
    """The constants of shooting at one tick rate."""

    life_ticks: int
    cooldown_ticks: int
    flown: np.ndarray
    """(life + 1,) int32: quarter units flown at an age in ticks."""
    samples: np.ndarray
    """(m, life + 1) int32: where a step is tested for walls, quarter units from the origin, nearest first."""
    back: np.ndarray
    """(life + 1,) int32: how far behind its last place a shot still hits."""

    @classmethod
    def at(cls, tick_hz: int) -> Ballistics:
        """The ballistics at so many ticks a second."""
        life = LIFE_MS * tick_hz // 1000
        flown = SHOT_UNITS_S * _QUARTERS * np.arange(life + 1) // tick_hz
        before = np.maximum(np.arange(life + 1) - 1, 0)
        step = flown - flown[before]
        count = -(-int(step.max()) // _SAMPLE)
        parts = np.arange(1, count + 1)[:, None]
        back = np.full(life + 1, -max(RADIUS_UNITS, -(-SPEED_UNITS_S // tick_hz)) * _QUARTERS)
        back[:2] = 0  # a shot does not hit what stands behind the one who fired it
        return cls(
            life_ticks=life,
            cooldown_ticks=-(-COOLDOWN_MS * tick_hz // 1000),
            flown=flown.astype(np.int32),
            samples=(flown[before] + step * parts // count).astype(np.int32),
            back=back.astype(np.int32),
        )


def pack_shot(x: np.ndarray, y: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """The birth record (uint32) of shots from (x, y), 24.8, towards `angle`, 16-bit turns."""
    way = ((angle.astype(np.int64) + 32) >> 6) & 1023
    word: np.ndarray = (x >> UNIT_BITS) | (y >> UNIT_BITS) << 11 | way << 22
    return word.astype(np.uint32)


def unpack_shot(word: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Origin x and y in quarter units, cosine and sine of the direction in Q14, all int32."""
    wide = word.astype(np.int64)
    way = wide >> 22
    x, y = (wide & 2047) << 2, (wide >> 11 & 2047) << 2
    return x.astype(np.int32) + np.int32(2), y.astype(np.int32) + np.int32(2), _COS[way], _SIN[way]


def birth_stamp(tick: np.ndarray) -> np.ndarray:
    """What `shot_born` holds for a shot fired at `tick` (int32, 1..255)."""
    return (tick % np.uint32(AGES)).astype(np.int32) + np.int32(1)


def place(ballistics: Ballistics, word: np.ndarray, age: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where shots of `age` ticks (0..life) are, in quarter units; for clients, which draw them."""
    x, y, cos, sin = unpack_shot(word)
    flown = ballistics.flown[age]
    return x + (cos * flown >> ONE_BITS), y + (sin * flown >> ONE_BITS)


@attrs.frozen(eq=False)
class Flight:
    """What became of the shots in the air in one tick; all arrays have one element a shot."""

    row: np.ndarray
    slot: np.ndarray
    ended: np.ndarray
    """It hit something or is too old."""
    victim: np.ndarray
    """The seat that it hit, -1 for none."""


def fly(
    ballistics: Ballistics,
    walls: Walls,
    tick: np.ndarray,
    shot: np.ndarray,
    born: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    alive: np.ndarray,
) -> Flight | None:
    """One tick of all shots; None when nothing flies.

    Shapes: `tick` (n,), `shot` and `born` (n, slots), `x`, `y` (24.8) and `alive` (n, seats).
    """
    row, slot = np.nonzero(born)
    if not row.size:
        return None
    from_x, from_y, cos, sin = unpack_shot(shot[row, slot])
    age = (birth_stamp(tick)[row] - born[row, slot]) % AGES
    reach, walled = _walls_ahead(ballistics, walls, from_x, from_y, cos, sin, age)

    # Who stands in the strip? Arrays are (seats, shots): the loops over shots are the inner ones.
    seat_x = np.where(alive, x >> _TO_QUARTERS, -_FAR).T[:, row] - from_x
    seat_y = np.where(alive, y >> _TO_QUARTERS, -_FAR).T[:, row] - from_y
    ahead = (seat_x * cos + seat_y * sin) >> ONE_BITS
    aside = seat_x * sin - seat_y * cos
    last = ballistics.flown[age - 1] + ballistics.back[age]
    struck = (np.abs(aside) <= _WIDE) & (ahead >= last) & (ahead <= reach)
    struck[slot // SLOTS, np.arange(row.size)] = False

    hits = struck.any(axis=0)
    victim = np.full(row.size, -1)
    if hits.any():
        victim[hits] = np.where(struck[:, hits], ahead[:, hits], _FAR).argmin(axis=0)
    return Flight(row, slot, walled | hits | (age >= ballistics.life_ticks), victim)


def _walls_ahead(
    ballistics: Ballistics,
    walls: Walls,
    from_x: np.ndarray,
    from_y: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    age: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """How far from its origin each shot gets this tick (quarter units), and whether a wall stops it."""
    at = ballistics.samples[:, age]
    tile_x = (from_x + (cos * at >> ONE_BITS)) >> _TILE_BITS
    tile_y = (from_y + (sin * at >> ONE_BITS)) >> _TILE_BITS
    # Samples behind the border wall may lie off the map: clipped to some tile, they come after the one hit.
    blocked = walls.solid.take(tile_y * walls.width + tile_x, mode="clip")
    free = np.where(blocked, at, _FAR).min(axis=0)
    return np.minimum(free, at[-1]), free < _FAR
