"""A new life is protected until a while is over or it fires."""

from __future__ import annotations

import pytest

from game.arena import lives, weapons
from game.commands import Join
from tests.game.arena.field import EAST, Field

LANE = 17 * 32 + 16


def field_of_two(tick_hz: int, protect_ms: int = 1500) -> Field:
    field = Field(tick_hz, protect_ms=protect_ms)
    field.put(0, 64, LANE)
    field.put(1, 264, LANE)
    return field


@pytest.mark.parametrize("tick_hz", [10, 30, 128])
def test_protection_lasts_its_time_and_shows_when_it_ends(tick_hz: int) -> None:
    field = field_of_two(tick_hz)
    began = int(field.rows.tick[0])
    assert field.rows.state[0].tolist() == [lives.PROTECTED] * 2 + [lives.EMPTY] * 2
    until = int(field.rows.until[0, 1])
    assert until == began + 1500 * tick_hz // 1000
    while field.rows.tick[0] < until - 1:
        field.step()
        assert field.rows.state[0, 1] == lives.PROTECTED
    field.step()
    assert field.rows.state[0, :2].tolist() == [lives.ALIVE] * 2


@pytest.mark.parametrize("button", [weapons.FIRE, weapons.RAIL])
def test_the_protected_are_not_hurt_and_stop_shots(button: int) -> None:
    field = field_of_two(30)
    field.step()
    field.shoot(0, EAST, button)
    field.steps(12)
    assert field.rows.hp[0, 1] == 100
    assert field.flying() == []
    assert field.rows.state[0].tolist()[:2] == [lives.ALIVE, lives.PROTECTED], "who fires is protected no more"
    field.steps(45)
    field.rows.charges[0, 0] = 1
    field.shoot(0, EAST, button)
    field.steps(12)
    assert field.rows.hp[0, 1] < 100


def test_to_hold_a_trigger_that_does_nothing_keeps_the_protection() -> None:
    field = field_of_two(30)
    field.rows.charges[0, 0] = 0
    field.step({0: {"buttons": weapons.RAIL}})
    assert field.rows.state[0, 0] == lives.PROTECTED


def test_every_new_life_is_protected_and_starts_as_the_first_did() -> None:
    field = field_of_two(30)
    field.steps(50)
    field.rows.hp[0, 1] = 10
    field.rows.charges[0, 1] = 6
    field.shoot(0, EAST)
    field.steps(12)
    assert field.rows.state[0, 1] == lives.DEAD
    while field.rows.state[0, 1] == lives.DEAD:
        field.step()
    rows = field.rows
    assert (rows.state[0, 1], rows.hp[0, 1], rows.charges[0, 1]) == (lives.PROTECTED, 100, lives.CHARGES_START)
    assert rows.born_at[0, 1] == rows.tick[0]


def test_without_protect_ms_there_is_none() -> None:
    field = field_of_two(30, protect_ms=0)
    field.step(commands=[Join("r", "c", "n", "j")])
    assert field.rows.state[0].tolist() == [lives.ALIVE] * 3 + [lives.EMPTY]
