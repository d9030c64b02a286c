"""The rail: a beam that hits at once, where the shooter saw the others.

    tick       t-1-rewind ........... t-1 | t         rewind: how many ticks before the last one the shooter saw
    others     where they are hit         |
    shooter                               | from here, at the aim of the input

What a player aims at is what its screen shows, and that is a while old when the input is applied. So the server
keeps where everybody was (`past`, a ring of a quarter of a second, a word a seat and tick) and tests the beam against
the tick that the shooter saw (Bernier, "Latency Compensating Methods in Client/Server In-game Protocol Design and
Optimization", 2001). The ring is part of the state like any other column. A life that began after that tick is not
hit: the shooter saw its predecessor, or nobody. The beam goes through players and stops at walls.
"""

from __future__ import annotations

import attrs
import numpy as np

from game.arena.maps import Walls
from game.arena.shots import QUARTERS, SAMPLE, TO_QUARTERS, WIDE, first_wall
from game.fixed import ONE_BITS, cos_sin
from game.rows import Rows

DAMAGE = 70
COOLDOWN_MS = 1500
CHARGES_MAX = 6
REWIND_MS = 250

_CHUNK = 32
"""Samples a chunk: most beams end in a wall after a few hundred units, so the rest is not looked at."""


def ring_ticks(tick_hz: int) -> int:
    """Length of the ring `past`: the last tick, and as many before it as a shooter may look back."""
    return -(-REWIND_MS * tick_hz // 1000) + 1


@attrs.frozen(eq=False)
class Sweep:
    """Where beams are tested for walls."""

    samples: np.ndarray
    """(m, 1) int32: quarter units from the origin, as far as anything on the map can be."""

    @classmethod
    def over(cls, walls: Walls) -> Sweep:
        """For this map, corner to corner."""
        reach = walls.size_units * QUARTERS * 3 // 2
        return cls(np.arange(SAMPLE, reach + _CHUNK * SAMPLE, SAMPLE, dtype=np.int32)[:, None])

    def walls_ahead(
        self, walls: Walls, from_x: np.ndarray, from_y: np.ndarray, cos: np.ndarray, sin: np.ndarray
    ) -> np.ndarray:
        """(k,) how far each beam goes, in quarter units; every beam ends, for walls close the border."""
        reach = np.zeros(from_x.size, np.int32)
        left = np.arange(from_x.size)
        for start in range(0, len(self.samples), _CHUNK):
            at = self.samples[start : start + _CHUNK]
            reach[left] = found = first_wall(walls, from_x[left], from_y[left], cos[left], sin[left], at)
            left = left[found > self.samples[-1, 0]]
            if not left.size:
                break
        return reach


def remember(rooms: Rows) -> None:
    """Write down where everybody is at the end of the tick: one word a seat, x and y in quarter units."""
    ring = rooms.past.shape[2]
    word = rooms.x >> TO_QUARTERS | rooms.y >> TO_QUARTERS << 16
    rooms.past[np.arange(rooms.n), :, rooms.tick % np.uint32(ring)] = word.astype(np.uint32)


def strike(
    rooms: Rows, walls: Walls, sweep: Sweep, row: np.ndarray, seat: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Who is hit by k beams from these seats: (beam, victim) for each hit.

    `targets` (k, seats) bool: who may be hit, as things are now.
    """
    ring = rooms.past.shape[2]
    rewind = np.minimum(np.where(rooms.seated[row, seat] > 0, rooms.rewind[row, seat], 0), ring - 1)
    seen = rooms.tick[row].astype(np.int64) - 1 - rewind
    word = rooms.past[row, :, seen % ring].astype(np.int64)
    from_x, from_y = (rooms.x[row, seat] >> TO_QUARTERS)[:, None], (rooms.y[row, seat] >> TO_QUARTERS)[:, None]
    cos, sin = cos_sin(rooms.aim[row, seat])
    reach = sweep.walls_ahead(walls, from_x[:, 0], from_y[:, 0], cos, sin)[:, None]
    away_x, away_y = (word & 0xFFFF) - from_x, (word >> 16) - from_y
    ahead = (away_x * cos[:, None] + away_y * sin[:, None]) >> ONE_BITS
    aside = away_x * sin[:, None] - away_y * cos[:, None]
    hit = targets & (np.abs(aside) <= WIDE) & (ahead >= 0) & (ahead <= reach) & (rooms.born_at[row] <= seen[:, None])
    beam, victim = np.nonzero(hit)
    return beam, victim
