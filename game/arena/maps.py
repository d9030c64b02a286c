"""The arena's maps: square grids of tiles, drawn once as their upper left quarter and mirrored, so that no
corner is better.

    '#' wall   '.' floor   'S' spawn point   '+' health   'O' shield   'A' charges for the rail

A tile is 32 units wide; walls close the border all around. `Walls.solid` is flat (tile y * width + tile x), for one
`take` a corner; y grows downwards, as in a browser. Items are numbered row by row over the whole map: bit i of the
column `pickups` is item i.
"""

from __future__ import annotations

from functools import cache

import attrs
import numpy as np

from game.fixed import UNIT, UNIT_BITS

TILE_UNITS = 32
TILE_BITS = UNIT_BITS + 5
"""A 24.8 position shifted right by this is its tile."""
WORLD_UNITS_MAX = 2048
"""In quarter units a place then fits 13 bits: the arithmetic of `game.arena.shots` counts on it."""
ITEMS_MAX = 16
"""Items of a map: the bits of the column `pickups`."""
HEALTH, SHIELD, CHARGES = 0, 1, 2
"""What an item is; the event `pickup` names it so."""

YARD = """
########################
#.......................
#.S.........#...........
#...........#......S....
#...####....#...........
#...#.......#.....####..
#...#...................
#...#.+.................
#.........##..........A.
#.........##......##....
#..............S..##....
#.S.....................
#.......#...............
#####...#.....####......
#.......#.....#.........
#.......#.....#..+......
#...S.........#..S......
#.......................
#..........#............
#....###...#......##....
#....#............#.....
#....#..................
#...........###.......O.
#.....S.................
"""

DUEL = """
################
#...............
#.S.............
#.......S..##...
#...##..........
#...#.+.........
#.........#.....
#.........#.....
#..S......#.....
#.............A.
#....###.....##.
#..........S....
#...............
#.S...#.........
#.....#.....#.O.
#...............
"""

_ITEM_OF = {"+": HEALTH, "O": SHIELD, "A": CHARGES}
_MIDDLE = TILE_UNITS * UNIT // 2


@attrs.frozen(eq=False)
class Walls:
    """A map, ready to be asked."""

    name: str
    width: int
    """Tiles a side."""
    solid: np.ndarray
    """(width * width,) bool."""
    spawn_x: np.ndarray
    spawn_y: np.ndarray
    """(points,) int32: the middles of the spawn tiles, 24.8."""
    item_kind: np.ndarray
    """(items,) int8: HEALTH, SHIELD or CHARGES."""
    item_tile: np.ndarray
    """(items,) int32: the flat tile that each item lies on."""
    item_at: np.ndarray
    """(width * width,) int8: the item of a tile, -1 for none."""

    @property
    def size_units(self) -> int:
        """Units a side."""
        return self.width * TILE_UNITS

    @classmethod
    def mirrored(cls, name: str, quarter: str) -> Walls:
        """The whole map from its upper left quarter."""
        corner = np.array([list(line) for line in quarter.split()])
        top = np.hstack([corner, corner[:, ::-1]])
        tiles = np.vstack([top, top[::-1]])
        at_y, at_x = np.nonzero(tiles == "S")
        flat = tiles.reshape(-1).tolist()
        items = [tile for tile, letter in enumerate(flat) if letter in _ITEM_OF]
        item_at = np.full(len(flat), -1, np.int8)
        item_at[items] = np.arange(len(items))
        return cls(
            name=name,
            width=len(tiles),
            solid=(tiles == "#").reshape(-1),
            spawn_x=((at_x << TILE_BITS) + _MIDDLE).astype(np.int32),
            spawn_y=((at_y << TILE_BITS) + _MIDDLE).astype(np.int32),
            item_kind=np.array([_ITEM_OF[flat[tile]] for tile in items], np.int8),
            item_tile=np.array(items, np.int32),
            item_at=item_at,
        )


MAPS = (Walls.mirrored("yard", YARD), Walls.mirrored("duel", DUEL))
"""By the number that the option `map` takes."""


@cache
def ways(walls: Walls) -> np.ndarray:
    """(items, width * width) int32: the flat tile to go to next from each tile, on a shortest way to each item.

    Ways lead to any of the eight neighbours, but never around the corner of a wall; from the item's own tile (and
    from walls) the way leads nowhere: the tile itself. Found by letting all items' distances spread at once.
    """
    width, floor = walls.width, ~walls.solid.reshape(walls.width, walls.width)
    items = len(walls.item_tile)
    far = np.int32(1 << 20)
    distance: np.ndarray = np.full((items, width * width), far, np.int32)
    distance[np.arange(items), walls.item_tile] = 0
    distance = distance.reshape(items, width, width)
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    steps.sort(key=lambda step: step[0] != 0 and step[1] != 0)  # straight before slanting, at equal distance
    inner = (slice(1, -1), slice(1, -1))

    def beside(grid: np.ndarray, dy: int, dx: int) -> np.ndarray:
        """What lies one step away from every inner tile."""
        return grid[..., 1 + dy : width - 1 + dy, 1 + dx : width - 1 + dx]

    open_to = [beside(floor, dy, dx) & beside(floor, dy, 0) & beside(floor, 0, dx) & floor[inner] for dy, dx in steps]
    while True:
        around = np.stack(
            [
                np.where(is_open, beside(distance, dy, dx) + (3 if dy and dx else 2), far)
                for (dy, dx), is_open in zip(steps, open_to, strict=True)
            ]
        )
        nearer = np.minimum(around.min(axis=0), distance[:, 1:-1, 1:-1])
        if (nearer == distance[:, 1:-1, 1:-1]).all():
            break
        distance[:, 1:-1, 1:-1] = nearer
    offsets = np.array([dy * width + dx for dy, dx in steps], np.int32)
    leads = (around.min(axis=0) < far) & (distance[:, 1:-1, 1:-1] > 0)
    to: np.ndarray = np.arange(width * width, dtype=np.int32).reshape(width, width) + np.zeros((items, 1, 1), np.int32)
    to[:, 1:-1, 1:-1] += np.where(leads, offsets[around.argmin(axis=0)], 0)
    return to.reshape(items, width * width)
