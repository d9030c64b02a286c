"""Items: who gets one, what it does, when it is back, and that everybody sees it."""

from __future__ import annotations

import numpy as np
import pytest

from game.arena import pickups
from game.arena.maps import CHARGES, HEALTH, MAPS, SHIELD
from tests.game.arena.field import Field

YARD = MAPS[0]


def item_of(kind: int) -> tuple[int, int, int]:
    """The first item of a kind: its number and its place in units."""
    item = int(np.flatnonzero(YARD.item_kind == kind)[0])
    tile = int(YARD.item_tile[item])
    return item, tile % YARD.width * 32 + 16, tile // YARD.width * 32 + 16


def there(field: Field, item: int) -> bool:
    return bool(field.rows.pickups[0] >> item & 1)


@pytest.mark.parametrize(
    ("kind", "hp", "charges", "after"),
    [
        (HEALTH, 30, 1, (80, 1)),
        (HEALTH, 66, 1, (100, 1)),
        (SHIELD, 30, 1, (80, 1)),
        (SHIELD, 120, 1, (150, 1)),
        (CHARGES, 30, 0, (30, 2)),
        (CHARGES, 30, 5, (30, 6)),
    ],
)
def test_what_items_give(kind: int, hp: int, charges: int, after: tuple[int, int]) -> None:
    field = Field(20)
    item, x, y = item_of(kind)
    field.rows.hp[0, 0], field.rows.charges[0, 0] = hp, charges
    assert there(field, item)
    field.put(0, x + 10, y - 15)
    field.step()
    assert (field.rows.hp[0, 0], field.rows.charges[0, 0]) == after
    assert field.events("pickup") == [(0, kind)]
    assert not there(field, item)
    back = int(field.rows.back_at[0, item])
    assert back == field.rows.tick[0] + field.game.terms.back_ticks[kind]
    field.put(0, x, y + 60)
    while field.rows.tick[0] < back - 1:
        assert not there(field, item)
        field.step()
    field.step()
    assert there(field, item)


@pytest.mark.parametrize(
    ("kind", "hp", "charges"), [(HEALTH, 100, 0), (HEALTH, 130, 0), (SHIELD, 150, 0), (CHARGES, 10, 6)]
)
def test_what_is_of_no_use_stays(kind: int, hp: int, charges: int) -> None:
    field = Field(20)
    item, x, y = item_of(kind)
    field.rows.hp[0, 0], field.rows.charges[0, 0] = hp, charges
    field.put(0, x, y)
    field.step()
    assert there(field, item)
    assert field.events("pickup") == []


def test_of_two_at_once_one_gets_it_and_turns_are_taken() -> None:
    takers = []
    for wait in range(4):
        field = Field(20, players=4)
        _, x, y = item_of(HEALTH)
        field.steps(wait)
        field.rows.hp[0] = 10
        for seat in range(4):
            field.put(seat, x, y)
        field.step()
        assert sorted(field.rows.hp[0].tolist()) == [10, 10, 10, 60]
        takers += [seat for seat, _ in field.events("pickup")]
    assert sorted(takers) == [0, 1, 2, 3]


def test_the_one_who_can_use_it_gets_it() -> None:
    for wait in range(2):
        field = Field(20)
        _, x, y = item_of(HEALTH)
        field.steps(wait)
        field.rows.hp[0, 0] = 10
        field.put(0, x, y)
        field.put(1, x, y)
        field.step()
        assert field.rows.hp[0, :2].tolist() == [60, 100]


def test_the_dead_and_the_gone_take_nothing() -> None:
    field = Field(20)
    item, x, y = item_of(HEALTH)
    field.put(0, x, y)
    field.put(3, x, y)
    field.rows.state[0, 0], field.rows.hp[0, 0], field.rows.until[0, 0] = 2, 0, 1000
    field.steps(3)
    assert there(field, item)


def test_only_the_map_s_items_are_shown() -> None:
    for number, walls in enumerate(MAPS):
        field = Field(20, map=number)
        assert int(field.rows.pickups[0]) == (1 << len(walls.item_kind)) - 1
        assert (field.rows.back_at[0] == pickups.NEVER).sum() == 16 - len(walls.item_kind)
