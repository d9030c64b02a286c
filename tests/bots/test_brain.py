"""Brains: the same seed gives the same play, inputs lie within their limits, and the arena's brain knows what to do."""

from __future__ import annotations

import itertools
import math

import pytest

from bots.brain import ArenaBrain, Dice, RandomWalk, inside_world, make_brain
from game.api import Input
from game.arena import Arena, maps
from game.view import view_layout
from netcode.frame import Frame
from netcode.play import SeatInfo

GAME = Arena({"seats": 4})
LAYOUT = view_layout(GAME)
INFO = SeatInfo("r", "arena", 0, 4, 1, 30, GAME.option, GAME.inputs, LAYOUT)
WALLS = maps.MAPS[0]


def frame(tick: int, places: list[tuple[int, int]], states: list[int], shots: dict[int, tuple[int, int]]) -> Frame:
    """A frame of players at places (in units), with shots by slot: (word, born)."""
    values = [0] * LAYOUT.shared_width
    for field in LAYOUT.shared:
        if field.name in "xy":
            for seat, place in enumerate(places):
                values[field.start + seat] = (place["xy".index(field.name)] << 8) >> field.shift
        elif field.name == "state":
            values[field.start : field.start + len(states)] = states
        elif field.name in ("shot", "shot_born"):
            for slot, shot in shots.items():
                values[field.start + slot] = shot[field.name == "shot_born"]
    return Frame(tick, 0, 0, 0, None, LAYOUT, values, [0] * LAYOUT.own_width)


def open_floor() -> tuple[int, int]:
    """The middle of a place with five free tiles to its right."""
    for tile in range(WALLS.width * WALLS.width):
        if not WALLS.solid[tile : tile + 6].any():
            return tile % WALLS.width * 32 + 16, tile // WALLS.width * 32 + 16
    raise AssertionError("no such place")


def some_frames(count: int) -> list[Frame]:
    dice = Dice(7)
    x, y = open_floor()
    return [
        frame(
            tick,
            [(x + dice.below(64), y), (x + dice.below(64), y), (x, y), (x, y)],
            [1, dice.below(2), dice.below(3), 0],
            {},
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


def test_it_aims_and_fires_at_who_stands_in_sight() -> None:
    x, y = open_floor()
    brain = ArenaBrain(1, 1, 0, 30)
    for tick in range(0, 20, 2):
        wanted = brain.decide(frame(tick, [(x, y), (x + 150, y), (x, y), (x, y)], [1, 1, 0, 0], {}))
        off = (wanted["aim"] + 32768) % 65536 - 32768
        assert abs(off) <= ArenaBrain.WOBBLE + 1
        assert wanted["buttons"] == 1


def test_it_leads_a_target_that_moves() -> None:
    x, y = open_floor()
    brain = ArenaBrain(1, 1, 0, 30)
    brain.decide(frame(0, [(x, y), (x + 140, y - 16), (x, y), (x, y)], [1, 1, 0, 0], {}))
    wanted = brain.decide(frame(2, [(x, y), (x + 140, y), (x, y), (x, y)], [1, 1, 0, 0], {}))
    straight = math.atan2(0, 140)
    assert (wanted["aim"] + 32768) % 65536 - 32768 > straight + ArenaBrain.WOBBLE


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
    assert ArenaBrain(1, 1, 0, 30).decide(frame(0, places, [1, 1, 0, 0], {}))["buttons"] == 0
    assert ArenaBrain(1, 1, 0, 30).decide(frame(0, places, [1, 0, 2, 0], {}))["buttons"] == 0
    dead = ArenaBrain(1, 1, 0, 30).decide(frame(0, places, [2, 1, 0, 0], {}))
    assert dead == {"move_x": 0, "move_y": 0, "buttons": 0}


def test_it_steps_aside_from_a_shot_that_comes_its_way() -> None:
    x, y = open_floor()
    word = (x - 100) | (y + 4) << 11 | 0 << 22  # flies to the right, passes a little below
    moves = set()
    for seed in range(12):
        wanted = ArenaBrain(seed, 1, 0, 30).decide(
            frame(4, [(x, y), (x, y), (x, y), (x, y)], [1, 0, 0, 0], {2: (word, 4)})
        )
        moves.add((wanted["move_x"], wanted["move_y"]))
    assert (0, -1) in moves


def test_who_is_outside_the_world_is_found() -> None:
    inside = inside_world(INFO)
    assert inside is not None
    edge = WALLS.size_units
    assert inside(frame(0, [(0, 0), (edge - 1, edge - 1), (5, 5), (5, 5)], [1] * 4, {}))
    assert not inside(frame(0, [(0, 0), (edge, 5), (5, 5), (5, 5)], [1] * 4, {}))
    assert not inside(frame(0, [(0, 0), (5, -1), (5, 5), (5, 5)], [1] * 4, {}))
    assert inside_world(SeatInfo("r", "chess", 0, 2, 1, 10, {}, GAME.inputs, LAYOUT)) is None
