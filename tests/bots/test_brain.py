"""Brains: the same seed gives the same play, inputs lie within their limits, and the arena's brain knows what to do."""

from __future__ import annotations

import itertools
from array import array

import numpy as np
import pytest

from bots.brain import DECIDES_PER_S, ArenaBrain, Dice, RandomWalk, inside_world, make_brain
from game.api import Input
from game.arena import Arena, lives, maps, shots, weapons
from game.view import ViewLayout, view_layout
from netcode.frame import Frame
from netcode.play import SeatInfo

GAME = Arena({"seats": 4})
LAYOUT = view_layout(GAME)
INFO = SeatInfo("r", "arena", 0, 4, 1, 30, GAME.option, GAME.inputs, LAYOUT)
WALLS = maps.MAPS[0]


def brain_of(seed: int = 1, seat: int = 0, **options: int) -> ArenaBrain:
    return ArenaBrain(seed, 1, seat, 30, {"map": 0, **options})


def frame(
    tick: int,
    places: list[tuple[int, int]],
    states: list[int],
    layout: ViewLayout = LAYOUT,
    own: dict[str, int] | None = None,
    **columns: list[int],
) -> Frame:
    """A frame of players at places (in units); nobody is hurt, everything else is 0 unless given."""
    columns = {"state": states, "hp": [100] * 4, **columns}
    values = [0] * layout.shared_width
    for field in layout.shared:
        if field.name in "xy":
            for seat, place in enumerate(places):
                values[field.start + seat] = (place["xy".index(field.name)] << 8) >> field.shift
        elif field.name in columns:
            given = columns[field.name]
            values[field.start : field.start + len(given)] = given
    mine = [(own or {}).get(field.name, 0) for field in layout.own]
    return Frame(tick, 0, 0, 0, None, layout, array("q", values), array("q", mine))


def open_floor() -> tuple[int, int]:
    """The middle of a place with five free tiles to its right."""
    for tile in range(WALLS.width * WALLS.width):
        if not WALLS.solid[tile : tile + 6].any():
            return tile % WALLS.width * 32 + 16, tile // WALLS.width * 32 + 16
    raise AssertionError("no such place")


EVERY = INFO.tick_hz // DECIDES_PER_S
"""Seat 0 looks at frames of so many ticks, and decides."""
LONG = (64, 17 * 32 + 16)
"""The west end of the yard's open southern lane."""


def some_frames(count: int) -> list[Frame]:
    dice = Dice(7)
    x, y = open_floor()
    return [
        frame(
            tick,
            [(x + dice.below(64), y), (x + dice.below(64), y), (x, y), (x, y)],
            [1, dice.below(2), dice.below(3), 0],
            own={"charges": dice.below(2)},
        )
        for tick in range(count)
    ]


@pytest.mark.parametrize("sees", [True, False])
def test_the_same_seed_decides_the_same(sees: bool) -> None:
    def play(seed: int, player: int) -> list[object]:
        brain = make_brain(INFO, seed, player, sees=sees)
        return [dict(brain.decide(one if sees else None)) for one in some_frames(200)]

    assert play(1, 2) == play(1, 2)
    assert play(1, 2) != play(1, 3)
    assert play(1, 2) != play(2, 2)


@pytest.mark.parametrize("sees", [True, False])
def test_what_is_wanted_lies_within_the_limits_and_everything_is_used(sees: bool) -> None:
    limits = {field.name: (field.low, field.high) for field in GAME.inputs}
    used: dict[str, set[int]] = {name: set() for name in limits}
    brain = make_brain(INFO, 5, 1, sees=sees)
    for one in some_frames(1000):
        for name, value in brain.decide(one).items():
            low, high = limits[name]
            assert low <= value <= high
            used[name].add(value)
    assert all(len(values) > 1 for values in used.values())


def test_a_wide_field_turns_little_by_little() -> None:
    brain = RandomWalk(1, 1, (Input("aim", "u2", 0, 65535),), 30)
    turned = [value for _ in range(500) if (value := brain.decide().get("aim")) is not None]
    assert len(turned) > 20
    for one, next_one in itertools.pairwise(turned):
        assert min((next_one - one) % 65536, (one - next_one) % 65536) <= 2 * 65536 // 16


def off(aim: int, from_angle: int = 0) -> int:
    """How far an aim is from an angle, to either side."""
    return (aim - from_angle + 32768) % 65536 - 32768


def test_it_aims_and_fires_at_who_stands_in_sight() -> None:
    x, y = open_floor()
    brain = brain_of()
    for tick in range(0, 10 * EVERY, EVERY):
        wanted = brain.decide(frame(tick, [(x, y), (x + 150, y), (x, y), (x, y)], [1, 1, 0, 0]))
        assert abs(off(wanted["aim"])) <= ArenaBrain.WOBBLE + 1
        assert wanted["buttons"] == weapons.FIRE


def test_it_takes_the_rail_where_it_is_far_and_charged() -> None:
    x, y = LONG
    for away, charges, button in ((300, 1, weapons.RAIL), (300, 0, weapons.FIRE), (100, 1, weapons.FIRE)):
        places = [(x, y), (x + away, y), (x, y), (x, y)]
        wanted = brain_of().decide(frame(0, places, [1, 1, 0, 0], own={"charges": charges}))
        assert wanted["buttons"] == button


def test_it_leads_a_target_that_moves_but_not_for_the_rail() -> None:
    x, y = LONG
    aims = []
    for charges in (0, 1):
        brain = brain_of()
        own = {"charges": charges}
        brain.decide(frame(0, [(x, y), (x + 240, y - 8 * EVERY), (x, y), (x, y)], [1, 1, 0, 0], own=own))
        wanted = brain.decide(frame(EVERY, [(x, y), (x + 240, y), (x, y), (x, y)], [1, 1, 0, 0], own=own))
        aims.append(off(wanted["aim"]))
    assert aims[0] > 2000
    assert abs(aims[1]) <= ArenaBrain.WOBBLE + 1


def test_it_does_not_shoot_at_walls_nor_when_alone_nor_when_dead() -> None:
    x, y = open_floor()
    walled = next(
        (sx, sy)
        for sx in range(48, WALLS.size_units, 32)
        for sy in range(48, WALLS.size_units, 32)
        if not WALLS.solid[sy // 32 * WALLS.width + sx // 32]
        and WALLS.solid[sy // 32 * WALLS.width + (sx + 32) // 32]
        and sx + 64 < WALLS.size_units
        and not WALLS.solid[sy // 32 * WALLS.width + (sx + 64) // 32]
    )
    behind = (walled[0] + 64, walled[1])
    places = [walled, behind, (x, y), (x, y)]
    assert brain_of().decide(frame(0, places, [1, 1, 0, 0]))["buttons"] == 0
    assert brain_of().decide(frame(0, places, [1, 0, 2, 0]))["buttons"] == 0
    dead = brain_of().decide(frame(0, places, [2, 1, 0, 0]))
    assert dead == {"move_x": 0, "move_y": 0, "buttons": 0}


def test_it_leaves_mates_and_the_protected_alone() -> None:
    game = Arena({"seats": 4, "teams": 2})
    layout = view_layout(game)
    x, y = open_floor()
    places = [(x, y), (x + 100, y), (x + 150, y), (x, y)]
    foe_at = {
        (1, 1): None,
        (1, 2): weapons.FIRE,
    }
    for (mine, other), button in foe_at.items():
        one = frame(0, places, [1, 1, 0, 0], layout, team=[mine, other, 0, 0])
        assert brain_of(teams=2).decide(one)["buttons"] == (button or 0)
    assert brain_of().decide(frame(0, places, [1, lives.PROTECTED, 0, 0]))["buttons"] == 0
    assert brain_of().decide(frame(0, places, [lives.PROTECTED, 1, 0, 0]))["buttons"] == weapons.FIRE


@pytest.mark.parametrize(
    ("hp", "charges", "kinds"), [(40, 6, {maps.HEALTH, maps.SHIELD}), (100, 0, {maps.CHARGES}), (40, 0, {0, 1})]
)
def test_it_fetches_what_it_needs(hp: int, charges: int, kinds: set[int]) -> None:
    """Followed over the map with nobody in sight, it comes to an item of a kind that helps, and nowhere else first."""
    brain = brain_of()
    x, y = int(WALLS.spawn_x[5]), int(WALLS.spawn_y[5])
    everything = [(1 << len(WALLS.item_kind)) - 1]
    for tick in range(0, 300 * EVERY, EVERY):
        place = (x >> 8, y >> 8)
        seen = frame(tick, [place] * 4, [1, 0, 0, 0], own={"charges": charges}, hp=[hp] * 4, pickups=everything)
        wanted = brain.decide(seen)
        x, y = x + wanted["move_x"] * 8 * 256, y + wanted["move_y"] * 8 * 256
        tile = (y >> maps.TILE_BITS) * WALLS.width + (x >> maps.TILE_BITS)
        assert not WALLS.solid[tile]
        item = int(WALLS.item_at[tile])
        if item >= 0 and brain.errand == item:
            assert WALLS.item_kind[item] in kinds
            return
    raise AssertionError("it never arrived")


def test_it_steps_aside_from_a_shot_that_comes_its_way() -> None:
    x, y = open_floor()
    shot = shots.pack_shot(np.array([EVERY - 1], np.uint32), np.array([0], np.uint16), np.array([False]))
    beam = shots.pack_shot(np.array([EVERY - 1], np.uint32), np.array([0], np.uint16), np.array([True]))
    places = [(x + 160, y - 4), (x, y), (x, y), (x, y)]  # it flies to the right and passes a little below seat 0

    def moves(word: int) -> set[tuple[int, int]]:
        wanted = [brain_of(seed).decide(frame(EVERY, places, [1, 2, 0, 0], shot=[0, word, 0, 0])) for seed in range(16)]
        return {(one["move_x"], one["move_y"]) for one in wanted}

    assert (0, -1) in moves(int(shot[0]))
    assert (0, -1) not in moves(int(beam[0])), "too late for that"


def test_who_is_outside_the_world_is_found() -> None:
    inside = inside_world(INFO)
    assert inside is not None
    edge = WALLS.size_units
    assert inside(frame(0, [(0, 0), (edge - 1, edge - 1), (5, 5), (5, 5)], [1] * 4))
    assert not inside(frame(0, [(0, 0), (edge, 5), (5, 5), (5, 5)], [1] * 4))
    assert not inside(frame(0, [(0, 0), (5, -1), (5, 5), (5, 5)], [1] * 4))
    assert inside_world(SeatInfo("r", "chess", 0, 2, 1, 10, {}, GAME.inputs, LAYOUT)) is None
