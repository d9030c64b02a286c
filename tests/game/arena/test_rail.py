"""The rail hits at once, where the shooter saw the others; how far back it looks has its limits."""

from __future__ import annotations

import numpy as np
import pytest

from game.arena import Arena, lives, rail, weapons
from game.arena.rail import ring_ticks
from game.batch import Batch
from game.commands import TickCommands
from game.fixed import TURN
from tests.game.arena.field import EAST, NORTH, WEST, Field

RATES = (10, 20, 30, 60, 128)
LANE = 17 * 32 + 16


def shoot(field: Field, aim: int = EAST, rewind: int = 0) -> None:
    """A beam of seat 0; it may fire at once, however often it did."""
    field.rows.ready_at[0, 0] = 0
    field.rows.charges[0, 0] = 1
    field.shoot(0, aim, weapons.RAIL, rewind)


def hp(field: Field) -> list[int]:
    found: list[int] = field.rows.hp[0].tolist()
    return found


def crossing(tick_hz: int, back: int, rewind: int) -> int:
    """Health of one who ran across the line of fire `back` ticks ago (as frames showed it), and is out of it."""
    field = Field(tick_hz)
    field.put(0, 64, LANE)
    field.put(1, 500, LANE - 60)
    field.step()
    field.put(1, 500, LANE)
    field.step()
    for _ in range(back):
        field.put(1, 500, LANE + 60)
        field.step()
    shoot(field, rewind=rewind)
    return hp(field)[1]


@pytest.mark.parametrize("tick_hz", RATES)
def test_the_past_place_is_hit_with_rewind_and_missed_without(tick_hz: int) -> None:
    for back in {1, ring_ticks(tick_hz) // 2, ring_ticks(tick_hz) - 1}:
        assert crossing(tick_hz, back, rewind=back) == 100 - rail.DAMAGE
        assert crossing(tick_hz, back, rewind=0) == 100
        assert crossing(tick_hz, back, rewind=back - 1) == 100


@pytest.mark.parametrize("tick_hz", RATES)
def test_nobody_looks_back_further_than_a_quarter_of_a_second(tick_hz: int) -> None:
    most = ring_ticks(tick_hz) - 1
    assert 0.25 * tick_hz <= most < 0.25 * tick_hz + 1
    assert crossing(tick_hz, most, rewind=200) == 100 - rail.DAMAGE, "what is claimed is cut to the most"
    assert crossing(tick_hz, most + 1, rewind=most + 1) == 100


def test_a_life_that_began_since_is_not_hit_at_the_places_of_the_one_before() -> None:
    field = Field(30, respawn_ms=100)
    field.put(0, 64, LANE)
    field.put(1, 500, LANE)
    field.steps(3)
    field.rows.hp[0, 1] = rail.DAMAGE
    shoot(field)
    assert field.rows.state[0, 1] == lives.DEAD
    field.steps(2)
    assert field.rows.state[0, 1] == lives.ALIVE, "back, and somewhere else"
    shoot(field, rewind=5)
    assert hp(field)[1] == 100
    field.put(1, 500, LANE)
    field.steps(2)
    shoot(field, rewind=1)
    assert hp(field)[1] == 100 - rail.DAMAGE


def test_the_dead_are_not_hit_where_they_lived() -> None:
    field = Field(30, players=3)
    field.put(0, 64, LANE)
    field.put(1, 300, LANE)
    field.put(2, 400, LANE)
    field.steps(3)
    field.rows.state[0, 1], field.rows.hp[0, 1], field.rows.until[0, 1] = lives.DEAD, 0, 10_000
    shoot(field, rewind=2)
    assert hp(field)[:3] == [100, 0, 100 - rail.DAMAGE]
    assert field.events("kill") == []


def test_it_goes_through_players_and_stops_at_walls() -> None:
    field = Field(30, players=4)
    field.put(0, 64, LANE)
    field.put(1, 300, LANE)
    field.put(2, 400, LANE + 13)
    field.put(3, 500, LANE - 16)
    field.step()
    shoot(field)
    assert hp(field) == [100, 30, 30, 100], "the third stands beside"
    # Row 13 of the yard: wall from tile 1 to 4, floor from 5 to 7, wall again at 8.
    field.put(0, 6 * 32, 13 * 32 + 16)
    field.put(3, 9 * 32 + 16, 13 * 32 + 16)
    field.step()
    shoot(field)
    assert hp(field)[3] == 100


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("aim", range(0, TURN, 4111))
def test_every_beam_ends_in_a_wall_of_the_map(number: int, aim: int) -> None:
    field = Field(30, map=number)
    field.put(0, 44, 44)
    terms = field.game.terms
    cos, sin = np.cos(aim / TURN * 2 * np.pi), np.sin(aim / TURN * 2 * np.pi)
    at = np.array([44 * 4], np.int32)
    way = [np.array([round(part * 16384)], np.int32) for part in (cos, sin)]
    reach = int(terms.sweep.walls_ahead(terms.walls, at, at, *way)[0]) / 4
    x, y = 44 + cos * reach, 44 + sin * reach
    assert -1 <= x <= terms.walls.size_units + 1
    assert -1 <= y <= terms.walls.size_units + 1
    assert terms.walls.solid[max(int(y), 0) // 32 * terms.walls.width + max(int(x), 0) // 32]


def test_charges_are_used_up_and_the_other_weapon_waits_too() -> None:
    field = Field(30)
    field.put(0, 64, LANE)
    field.put(1, 700, 700)
    field.rows.charges[0, 0] = 2
    fired: list[tuple[int, bool]] = []
    before = 0
    for tick in range(150):
        field.step({0: {"aim": NORTH, "buttons": weapons.FIRE | weapons.RAIL}})
        ready = int(field.rows.ready_at[0, 0])
        if ready != before:
            fired.append((tick, bool(field.rows.shot[0, 0] & 128)))
        before = ready
    assert fired == [(0, True), (45, True), (90, False), (105, False), (120, False), (135, False)]
    assert field.rows.charges[0, 0] == 0
    field.rows.shot[0, 0], field.rows.ready_at[0, 0] = 0, 0
    field.step({0: {"buttons": weapons.RAIL}})
    assert field.flying() == []


def test_a_beam_is_shown_for_a_while_and_a_kill_names_the_rail() -> None:
    field = Field(20)
    field.put(0, 64, LANE)
    field.put(1, 500, LANE)
    field.rows.hp[0, 1] = 60
    field.step()
    shoot(field, aim=EAST)
    assert field.events("kill") == [(0, 1, weapons.RAIL_KILL)]
    assert field.rows.shot[0, 0] >> 7 == 1, "of the rail, to the east"
    shown = 2  # ticks of `shoot`
    while field.flying():
        field.step()
        shown += 1
    assert shown == 1 + 5


def test_two_beams_can_kill_each_other() -> None:
    field = Field(30)
    field.put(0, 64, LANE)
    field.put(1, 300, LANE)
    field.rows.hp[0, :2] = 10
    field.step()
    field.step({0: {"aim": EAST, "buttons": weapons.RAIL}, 1: {"aim": WEST, "buttons": weapons.RAIL}})
    assert field.events("kill") == [(1, 0, 1), (0, 1, 1)]
    assert field.rows.score[0].tolist() == [1, 1, 0, 0]


def test_the_past_is_part_of_the_state() -> None:
    """Saved with the target's past in the ring, loaded at another row: the same hit, the same hash."""
    field = Field(30)
    field.put(0, 64, LANE)
    field.put(1, 500, LANE)
    field.steps(3)
    field.put(1, 500, LANE + 90)
    field.steps(2)
    moved = Batch(Arena(dict(field.game.option), 30))
    moved.open("other", 5)
    moved.load(field.batch.save("r"))
    hashes = []
    for batch, row in ((field.batch, 0), (moved, 1)):
        inputs = np.zeros(1, batch.input_record)
        inputs["row"], inputs["seq"], inputs["rewind"], inputs["buttons"] = row, 1, 2, weapons.RAIL
        hashes.append(batch.step(TickCommands(inputs, ())).hashes[row])
        assert batch.rows.hp[row, 1] == 100 - rail.DAMAGE
    assert hashes[0] == hashes[1]
