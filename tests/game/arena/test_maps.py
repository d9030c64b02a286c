"""Every map is fair, closed, connected, and has room for everybody."""

from __future__ import annotations

import numpy as np
import pytest

from game.arena.maps import CHARGES, HEALTH, ITEMS_MAX, MAPS, SHIELD, TILE_BITS, WORLD_UNITS_MAX, Walls, ways


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


@pytest.mark.parametrize("walls", MAPS, ids=lambda walls: walls.name)
def test_items_lie_on_the_floor_one_of_each_in_every_corner(walls: Walls) -> None:
    assert len(walls.item_kind) <= ITEMS_MAX
    assert not walls.solid[walls.item_tile].any()
    assert walls.item_at[walls.item_tile].tolist() == list(range(len(walls.item_tile)))
    assert (walls.item_at >= 0).sum() == len(walls.item_tile)
    for kind in (HEALTH, SHIELD, CHARGES):
        assert (walls.item_kind == kind).sum() % 4 == 0
        assert (walls.item_kind == kind).any()


@pytest.mark.parametrize("walls", MAPS, ids=lambda walls: walls.name)
def test_ways_lead_to_every_item_from_everywhere_and_not_around_the_corners_of_walls(walls: Walls) -> None:
    to, floor = ways(walls), np.flatnonzero(~walls.solid)
    at = np.tile(floor, (len(walls.item_tile), 1))
    for _ in range(3 * walls.width):
        beyond = np.take_along_axis(to, at, axis=1)
        for one, other in ((at, beyond), (beyond, at)):
            corner = one // walls.width * walls.width + other % walls.width
            assert not walls.solid[corner].any()
        assert np.abs(at // walls.width - beyond // walls.width).max() <= 1
        assert np.abs(at % walls.width - beyond % walls.width).max() <= 1
        at = beyond
    assert (at == walls.item_tile[:, None]).all()


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
