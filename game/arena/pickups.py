"""Items to be picked up: health, a shield, charges for the rail. They lie on tiles of the map and come back a while
after they were taken.

    health    + 50, up to 100         shield   + 50 on top, up to 150        charges   + 2, up to 6

Whoever's middle is on an item's tile has it, if it is of use; when several are there in one tick it is one's, in
turns by the tick. The truth is `back_at` (a tick an item); clients see a bit an item, `pickups`, which is on while
the item lies there. Numbers and places of the items belong to the map (`game.arena.maps`).
"""

from __future__ import annotations

import numpy as np

from game.arena import lives
from game.arena.maps import CHARGES, HEALTH, ITEMS_MAX, SHIELD, TILE_BITS
from game.arena.rail import CHARGES_MAX
from game.arena.terms import Terms
from game.rows import Rows

HEALTH_POINTS, SHIELD_POINTS = 50, 50
SHIELDED_HP_MAX = lives.HP_MAX + SHIELD_POINTS
CHARGES_TAKEN = 2
NEVER = 0xFFFF_FFFF
"""`back_at` of the numbers that the map has no item for."""


def lay_out(rooms: Rows, terms: Terms) -> None:
    """All items of the map lie in their places."""
    rooms.back_at[:] = NEVER
    rooms.back_at[:, : len(terms.walls.item_kind)] = 0
    _show(rooms)


def take(rooms: Rows, terms: Terms) -> None:
    """Who stands on an item of use takes it; those whose time has come are back."""
    walls = terms.walls
    item_of = walls.item_at.take((rooms.y >> TILE_BITS) * walls.width + (rooms.x >> TILE_BITS))
    row, seat = np.nonzero(item_of >= 0)
    if row.size:
        item = item_of[row, seat]
        there = lives.living(rooms)[row, seat] & (rooms.back_at[row, item] <= rooms.tick[row])
        if there.any():
            _hand_out(rooms, terms, row[there], seat[there], item[there])
    _show(rooms)


def _hand_out(rooms: Rows, terms: Terms, row: np.ndarray, seat: np.ndarray, item: np.ndarray) -> None:
    kind = terms.walls.item_kind[item]
    hp, charges = rooms.hp[row, seat], rooms.charges[row, seat]
    of_use = np.choose(kind, [hp < lives.HP_MAX, hp < SHIELDED_HP_MAX, charges < CHARGES_MAX])
    row, seat, item, kind = row[of_use], seat[of_use], item[of_use], kind[of_use]
    seats = rooms.hp.shape[1]
    turn = (seat + rooms.tick[row].astype(np.int64)) % seats
    first = np.full((rooms.n, ITEMS_MAX), seats)
    np.minimum.at(first, (row, item), turn)
    takes = first[row, item] == turn
    row, seat, item, kind = row[takes], seat[takes], item[takes], kind[takes]

    hp, charges = rooms.hp[row, seat].astype(np.int64), rooms.charges[row, seat]
    healed = np.where(kind == HEALTH, np.minimum(hp + HEALTH_POINTS, lives.HP_MAX), hp)
    healed = np.where(kind == SHIELD, np.minimum(hp + SHIELD_POINTS, SHIELDED_HP_MAX), healed)
    loaded = np.minimum(charges + np.uint8(CHARGES_TAKEN), CHARGES_MAX)
    rooms.hp[row, seat] = healed
    rooms.charges[row, seat] = np.where(kind == CHARGES, loaded, charges)
    rooms.back_at[row, item] = rooms.tick[row] + np.array(terms.back_ticks, np.uint32)[kind]
    rooms.emit("pickup", row, seat, kind)


def _show(rooms: Rows) -> None:
    there = rooms.back_at <= rooms.tick[:, None]
    rooms.pickups[:] = np.packbits(there, axis=1, bitorder="little").view("<u2")[:, 0]
