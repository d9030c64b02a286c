"""Every map is fair, closed, connected, and has room for everybody."""

from __future__ import annotations

import numpy as np
import pytest

from game.arena.maps import MAPS, TILE_BITS, WORLD_UNITS_MAX, Walls


@pytest.mark.parametrize("walls", MAPS, ids=lambda walls: walls.name)
def test_a_map_can_be_played(walls: Walls) -> None:
    tiles = walls.solid.reshape(walls.width, walls.width)
    assert walls.size_units <= WORLD_UNITS_MAX
    assert (tiles == tiles[::-1]).all(), "no corner is better"
    assert (tiles == tiles[:, ::-1]).all()
    assert tiles[0].all(), "closed"
    assert tiles[:, 0].all()
    assert len(walls.spawn_x) >= 16
    spawns = {
        (x >> TILE_BITS, y >> TILE_BITS) for x, y in zip(walls.spawn_x.tolist(), walls.spawn_y.tolist(), strict=True)
    }
    assert len(spawns) == len(walls.spawn_x)
    assert reached(tiles, next(iter(spawns))) == {(x, y) for y, x in np.argwhere(~tiles).tolist()}


def reached(tiles: np.ndarray, start: tuple[int, int]) -> set[tuple[int, int]]:
    """Floor tiles that can be walked to from one."""
    found, edge = {start}, [start]
    while edge:
        x, y = edge.pop()
        for step in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if not tiles[step[1], step[0]] and step not in found:
                found.add(step)
                edge.append(step)
    return found
