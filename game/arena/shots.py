"""The blaster's projectiles, which cost nothing to fly: a shot is the record of its birth; where it is follows from
its age.

    shot       u2   | stamp: 7 bits | rail: 1 bit | direction: 8 bits |   low to high; seen by all
    shot_from  u4   | x: 16 bits    | y: 16 bits                      |   whole units; not sent

    stamp      tick of birth as tick % 127 + 1; 0 while nothing is to be seen
    direction  256ths of a turn: at the end of its range a shot passes within 6 units of where it was aimed

Two bytes on the wire when a shot is born, two when it ends. A shot starts where frames show its shooter at the tick
of its birth, so a client knows that place already (if it missed that very frame, from those around it) and works the
path out as the server does (`place`), from the same numbers. A seat has one shot: its life ends before the weapon is
ready again. The beam of a rail (`game.arena.rail`) is the same record with its bit set: it has hit what it hits
in the tick of its birth, goes from its origin to the wall, and is shown for BEAM_MS.

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

SHOT_UNITS_S = 900
LIFE_MS = 500
COOLDOWN_MS = 500
DAMAGE = 34
BEAM_MS = 250
RADIUS_UNITS = 14
AGES = 127
"""Ticks after which a stamp comes again; nothing is shown for so long."""

QUARTERS = 4
"""Quarter units in a unit."""
TO_QUARTERS = UNIT_BITS - 2
"""A 24.8 position shifted right by this is in quarter units."""
TILE_BITS = (TILE_UNITS * QUARTERS).bit_length() - 1
"""Quarter units shifted right by this are a tile."""
SAMPLE = 8 * QUARTERS
"""How far apart a path is tested for walls, quarter units."""
WIDE = (RADIUS_UNITS * QUARTERS) << ONE_BITS
FAR = np.int32(1 << 15)
"""Quarter units that lie off every map."""
_WAYS = 256
_COS, _SIN = cos_sin(np.arange(_WAYS) * (TURN // _WAYS))
_STAMP, _RAIL, _WAY_BITS = 127, 128, 8


@attrs.frozen(eq=False)
class Ballistics:
    """The constants of shooting at one tick rate."""

    life_ticks: int
    cooldown_ticks: int
    beam_ticks: int
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
        flown = SHOT_UNITS_S * QUARTERS * np.arange(life + 1) // tick_hz
        before = np.maximum(np.arange(life + 1) - 1, 0)
        step = flown - flown[before]
        count = -(-int(step.max()) // SAMPLE)
        parts = np.arange(1, count + 1)[:, None]
        back = np.full(life + 1, -max(RADIUS_UNITS, -(-SPEED_UNITS_S // tick_hz)) * QUARTERS)
        back[:2] = 0  # a shot does not hit what stands behind the one who fired it
        return cls(
            life_ticks=life,
            cooldown_ticks=-(-COOLDOWN_MS * tick_hz // 1000),
            beam_ticks=max(1, BEAM_MS * tick_hz // 1000),
            flown=flown.astype(np.int32),
            samples=(flown[before] + step * parts // count).astype(np.int32),
            back=back.astype(np.int32),
        )


def pack_shot(tick: np.ndarray, angle: np.ndarray, beam: np.ndarray) -> np.ndarray:
    """The birth record (uint16) of shots at `tick` towards `angle`, 16-bit turns; `beam` (bool): of the rail."""
    way = (angle.astype(np.int64) + 128) >> 8 & (_WAYS - 1)
    word: np.ndarray = (tick % np.uint32(AGES)).astype(np.int64) + 1 | beam * _RAIL | way << _WAY_BITS
    return word.astype(np.uint16)


def pack_origin(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where shots start (uint32), from 24.8."""
    word: np.ndarray = x >> UNIT_BITS | y >> UNIT_BITS << 16
    return word.astype(np.uint32)


def is_rail(shot: np.ndarray) -> np.ndarray:
    """Which records are of the rail."""
    beams: np.ndarray = (shot & np.uint16(_RAIL)) > 0
    return beams


def age_of(shot: np.ndarray, tick: np.ndarray) -> np.ndarray:
    """Ticks (int64) since the birth of shots that are not 0."""
    age: np.ndarray = (tick.astype(np.int64) + 1 - (shot & np.uint16(_STAMP))) % AGES
    return age


def unpack_shot(shot: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Origin x and y in quarter units, cosine and sine of the direction in Q14, all int32."""
    way, wide = shot >> _WAY_BITS, origin.astype(np.int64)
    x, y = (wide & 0xFFFF) * QUARTERS, (wide >> 16) * QUARTERS
    return x.astype(np.int32) + np.int32(2), y.astype(np.int32) + np.int32(2), _COS[way], _SIN[way]


def place(
    ballistics: Ballistics, shot: np.ndarray, origin: np.ndarray, age: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where shots of `age` ticks (0..life) are, in quarter units; for clients, which draw them."""
    x, y, cos, sin = unpack_shot(shot, origin)
    flown = ballistics.flown[age]
    return x + (cos * flown >> ONE_BITS), y + (sin * flown >> ONE_BITS)


@attrs.frozen(eq=False)
class Flight:
    """What became of the shots in the air in one tick; all arrays have one element a shot."""

    ended: np.ndarray
    """It hit something or is too old."""
    victim: np.ndarray
    """The seat that it hit, -1 for none."""


def fly(
    ballistics: Ballistics,
    walls: Walls,
    tick: np.ndarray,
    row: np.ndarray,
    shot: np.ndarray,
    origin: np.ndarray,
    targets: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
) -> Flight:
    """One tick of k shots in the air.

    Shapes: `tick` (n,); `row`, `shot` and `origin` (k,); `targets` (k, seats) bool: whom each may hit; `x` and `y`
    (n, seats), 24.8.
    """
    from_x, from_y, cos, sin = unpack_shot(shot, origin)
    age = age_of(shot, tick[row])
    reach, walled = _walls_ahead(ballistics, walls, from_x, from_y, cos, sin, age)

    # Who stands in the strip? Arrays are (seats, shots): the loops over shots are the inner ones.
    seat_x = (x >> TO_QUARTERS).T[:, row] - from_x
    seat_y = (y >> TO_QUARTERS).T[:, row] - from_y
    ahead = (seat_x * cos + seat_y * sin) >> ONE_BITS
    aside = seat_x * sin - seat_y * cos
    last = ballistics.flown[age - 1] + ballistics.back[age]
    struck = targets.T & (np.abs(aside) <= WIDE) & (ahead >= last) & (ahead <= reach)

    hits = struck.any(axis=0)
    victim = np.full(row.size, -1)
    if hits.any():
        victim[hits] = np.where(struck[:, hits], ahead[:, hits], FAR).argmin(axis=0)
    return Flight(walled | hits | (age >= ballistics.life_ticks), victim)


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
    free = first_wall(walls, from_x, from_y, cos, sin, at)
    return np.minimum(free, at[-1]), free < FAR


def first_wall(
    walls: Walls, from_x: np.ndarray, from_y: np.ndarray, cos: np.ndarray, sin: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """(k,) the least of the distances `at` (m, k or 1; quarter units, nearest first) that lies in a wall; FAR where
    none does."""
    tile_x = (from_x + (cos * at >> ONE_BITS)) >> TILE_BITS
    tile_y = (from_y + (sin * at >> ONE_BITS)) >> TILE_BITS
    # Samples behind the border wall may lie off the map: clipped to some tile, they come after the one hit.
    blocked = walls.solid.take(tile_y * walls.width + tile_x, mode="clip")
    free: np.ndarray = np.where(blocked, at, FAR).min(axis=0)
    return free
