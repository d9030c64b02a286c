"""Fillers: they come when people are few, go when people come, rest when nobody is there, and play decently."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from game.arena import Arena, lives
from game.arena.fillers import angle_of
from game.batch import Batch
from game.commands import Command, Disconnect, Join, Leave, TickCommands
from tests.game.arena.field import Field


def fillers_in(field: Field) -> list[int]:
    """Their seats."""
    return np.flatnonzero(field.rows.filler[0]).tolist()


def join(name: str) -> Command:
    return Join("r", name, name, "j")


def test_they_fill_up_from_the_last_seat_one_a_tick_while_somebody_is_there() -> None:
    field = Field(20, players=0, seats=6, fillers=4)
    field.steps(5)
    assert fillers_in(field) == []
    field.step(commands=[join("a")])
    assert fillers_in(field) == [5]
    field.steps(5)
    assert fillers_in(field) == [3, 4, 5], "four bodies with the one person"
    rows = field.rows
    assert rows.seated[0].tolist() == [1, 0, 0, 0, 0, 0]
    assert lives.living(rows)[0].tolist() == [True, False, False, True, True, True]
    field.step(commands=[Disconnect("r", 0, 1, 30)])
    field.steps(10)
    assert fillers_in(field) == [3, 4, 5], "the player may come back"
    field.step(commands=[Leave("r", 0, 1)])
    assert fillers_in(field) == []
    assert not rows.state[0].any()
    for column in (rows.move_x, rows.move_y, rows.aim, rows.buttons, rows.score, rows.shot):
        assert not column.any()


def test_people_take_the_seats_of_fillers() -> None:
    field = Field(20, players=1, seats=4, fillers=4)
    field.steps(300)
    assert fillers_in(field) == [1, 2, 3]
    field.rows.score[0] = 7
    field.rows.deaths[0] = 7
    for number, name in enumerate("bcd", 1):
        seated = field.step(commands=[join(name)]).seated[0]
        assert (seated.seat, seated.error) == (number, None)
        rows = field.rows
        assert fillers_in(field) == [seat for seat in (1, 2, 3) if seat > number]
        assert (rows.score[0, number], rows.deaths[0, number], rows.hp[0, number]) == (0, 0, 100)
        assert rows.move_x[0, number] == rows.aim[0, number] == rows.buttons[0, number] == 0
    seated = field.step(commands=[join("e")]).seated[0]
    assert seated.error is not None


def test_one_goes_for_each_person_too_many() -> None:
    field = Field(20, players=2, seats=6, fillers=3)
    field.steps(3)
    assert fillers_in(field) == [5]
    field.step(commands=[join("x")])
    assert fillers_in(field) == []


def test_teams_are_filled_up_evenly() -> None:
    field = Field(20, players=2, seats=8, fillers=8, teams=2)
    field.step(commands=[Leave("r", 1, 1)])
    field.steps(10)
    teams = field.rows.team[0].tolist()
    assert sorted(teams) == [1] * 4 + [2] * 4
    field.step(commands=[join("x")])
    assert field.rows.team[0, 1] == 2, "people are balanced first"
    field.steps(4)
    assert sorted(field.rows.team[0].tolist()) == [1] * 4 + [2] * 4, "and then a filler changes sides"


def test_people_push_the_fillers_out_of_all_teams() -> None:
    field = Field(20, players=2, seats=8, fillers=5, teams=2)
    field.steps(5)
    field.step(commands=[join("x"), join("y"), join("z")])
    field.steps(5)
    assert field.rows.team[0].tolist().count(0) == 3
    assert fillers_in(field) == [], "wherever the last one played"


def test_they_get_no_results_and_win_nothing() -> None:
    field = Field(10, players=2, seats=6, fillers=6, match_s=5)
    field.steps(48)
    field.rows.score[0] = [1, 0, 9, 9, 9, 9]
    results = [result for _, result in field.step().results]
    assert [(result.seat, result.won) for result in results] == [(0, True), (1, False)]


def test_they_find_each_other_and_fight() -> None:
    """One idle person, nine fillers, a minute: they kill about as often as people do, and they do not stand about."""
    field = Field(20, players=1, seats=10, fillers=10, protect_ms=1500, match_s=3600)
    field.steps(20)
    moved = np.zeros(10)
    for _ in range(1200):
        before = field.rows.x[0].copy(), field.rows.y[0].copy()
        field.step()
        moved += (field.rows.x[0] != before[0]) | (field.rows.y[0] != before[1])
    kills = field.events("kill")
    assert 20 <= len(kills) <= 150
    assert len({killer for killer, _, _ in kills}) >= 7
    assert {weapon for _, _, weapon in kills} == {0, 1}
    assert {what for _, what in field.events("pickup")} == {0, 1, 2}
    assert moved[1:].min() > 600


def test_mates_among_them_do_not_fight() -> None:
    field = Field(20, players=1, seats=10, fillers=10, teams=2, match_s=3600)
    field.steps(600)
    team = field.rows.team[0]
    kills = field.events("kill")
    assert kills
    assert all(team[killer] != team[victim] for killer, victim, _ in kills)


def test_they_are_a_function_of_the_state_alone() -> None:
    """A room with fillers saved and loaded at another row goes on with the same hashes."""
    options = {"seats": 8, "fillers": 8, "teams": 2, "map": 1}
    one = Batch(Arena(options, 20))
    one.open("r", 3)
    one.step(TickCommands(np.zeros(0, one.input_record), (Join("r", "a", "a", "j"),)))
    nothing = TickCommands(np.zeros(0, one.input_record), ())
    for _ in range(100):
        one.step(nothing)
    two = Batch(Arena(options, 20))
    two.open("other", 9)
    two.load(one.save("r"))
    for _ in range(100):
        assert one.step(nothing).hashes[0] == two.step(nothing).hashes[1]


@given(st.integers(-2000, 2000), st.integers(-2000, 2000))
def test_angles_of_vectors(x: int, y: int) -> None:
    angle = int(angle_of(np.array([x]), np.array([y]))[0])
    assert 0 <= angle < 65536
    expected = math.atan2(y, x) / math.tau * 65536
    assert abs((angle - expected + 32768) % 65536 - 32768) <= 65536 / 360 / 3
