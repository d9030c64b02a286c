"""Kills, lives and matches."""

from __future__ import annotations

import numpy as np
import pytest

from game.api import Result
from game.arena import lives, match, weapons
from game.commands import Disconnect, Join, Leave
from tests.game.arena.field import EAST, WEST, Field

LANE = 17 * 32 + 16


def face_off(field: Field) -> None:
    field.put(0, 64, LANE)
    field.put(1, 164, LANE)


def kill(field: Field) -> None:
    """Seat 0 kills seat 1, which stands to its east."""
    face_off(field)
    for _ in range(3):
        field.shoot(0, EAST)
        field.steps(field.game.terms.ballistics.cooldown_ticks)


def test_three_hits_kill_and_it_is_told() -> None:
    field = Field(30, respawn_ms=10_000)
    kill(field)
    rows = field.rows
    assert (rows.hp[0, 1], rows.state[0, 1]) == (0, lives.DEAD)
    assert (rows.score[0].tolist(), rows.deaths[0].tolist()) == ([1, 0, 0, 0], [0, 1, 0, 0])
    assert field.events("kill") == [(0, 1, weapons.BLASTER_KILL)]


def test_the_dead_come_back_after_respawn_ms_far_from_the_others() -> None:
    field = Field(30, respawn_ms=1000)
    kill(field)
    waited = 0
    while field.rows.state[0, 1] == lives.DEAD:
        field.step({1: {"move_x": 1}})
        waited += 1
    died = next(event.tick for event in field.told if event.kind == "kill")
    assert field.rows.tick[0] - died == 30
    assert waited <= 30
    assert field.rows.hp[0, 1] == lives.HP_MAX
    assert np.hypot(*np.subtract(field.place(0), field.place(1))) > 300


def test_two_can_kill_each_other_in_one_tick() -> None:
    field = Field(30, respawn_ms=10_000)
    field.put(0, 64, LANE)
    field.put(1, 64 + 95, LANE)
    field.rows.hp[0, :2] = 10
    field.step({0: {"aim": EAST, "buttons": 1}, 1: {"aim": WEST, "buttons": 1}})
    field.steps(10)
    assert field.rows.score[0].tolist() == [1, 1, 0, 0]
    assert field.events("kill") == [(1, 0, 0), (0, 1, 0)]


def test_a_victim_of_two_at_once_is_one_kill_and_turns_are_taken() -> None:
    killers = set()
    for wait in range(4):
        field = Field(30, players=3, respawn_ms=10_000)
        field.steps(wait)
        field.put(0, 64, LANE)
        field.put(1, 64 + 95, LANE)
        field.put(2, 64 + 190, LANE)
        field.rows.hp[0, 1] = 50
        field.step({0: {"aim": EAST, "buttons": 1}, 2: {"aim": WEST, "buttons": 1}})
        field.steps(10)
        kills = field.events("kill")
        assert len(kills) == 1
        assert field.rows.hp[0, 1] == 0
        killers.add(kills[0][0])
    assert killers == {0, 2}


def test_the_clock_ends_a_match_and_starts_the_next() -> None:
    field = Field(10, match_s=5, respawn_ms=500)
    kill(field)
    results = []
    while field.rows.phase[0] == match.PLAYING:
        results += [result for _, result in field.step().results]
    assert field.rows.tick[0] == 50
    assert [(r.account, r.score, r.rank, r.won, r.stats) for r in results] == [
        ("a", 1, 1, True, {"kills": 1, "deaths": 0}),
        ("b", 0, 2, False, {"kills": 0, "deaths": 1}),
    ]
    field.steps(29)
    assert field.rows.phase[0] == match.INTERMISSION
    field.rows.hp[0, 0] = 1
    field.step()
    rows = field.rows
    assert (rows.phase[0], rows.ends_at[0]) == (match.PLAYING, 80 + 50)
    assert not rows.score.any()
    assert not rows.deaths.any()
    assert rows.hp[0].tolist() == [100, 100, 0, 0]
    assert field.place(0) != field.place(1)
    assert [(e.kind, e.data) for e in field.told if "match" in e.kind] == [
        ("match_over", (0, 0)),
        ("match_start", (1,)),
    ]


def test_nothing_is_fired_in_the_intermission() -> None:
    field = Field(10, match_s=5)
    face_off(field)
    field.steps(45)
    field.step({0: {"aim": EAST, "buttons": 1}})
    while field.rows.phase[0] == match.PLAYING:
        field.step()
    for _ in range(5):
        field.step()
        assert field.flying() == []
    field.step({0: {"move_x": 1, "buttons": 1}})
    assert field.rows.vx[0, 0] > 0, "but one may walk"


def test_the_score_limit_ends_a_match_early() -> None:
    field = Field(30, score_limit=1)
    kill(field)
    assert field.rows.phase[0] == match.INTERMISSION
    assert "match_over" in field.kinds()


@pytest.mark.parametrize(
    ("players", "scores", "winners", "told"),
    [(1, [5], [], -1), (2, [0, 0], [], -1), (3, [2, 2, 1], [0, 1], -1), (3, [0, 0, 3], [2], 2)],
)
def test_who_has_won(players: int, scores: list[int], winners: list[int], told: int) -> None:
    field = Field(10, players=players, match_s=5)
    field.steps(48)
    field.rows.score[0, :players] = scores
    results = [result for _, result in field.step().results]
    assert [result.seat for result in results] == list(range(players)), "everybody gets a result"
    assert [result.seat for result in results if result.won] == winners
    assert field.events("match_over") == [(told, 0)]


def test_a_match_without_anybody_ends_without_results() -> None:
    field = Field(10, players=0, match_s=5)
    results = [result for _ in range(60) for result in field.step().results]
    assert results == []
    assert field.rows.match[0] == 1


def test_the_held_stand_still_can_be_shot_and_get_a_result() -> None:
    field = Field(30, match_s=5)
    field.step({1: {"move_y": 1, "buttons": 1}})
    field.step(commands=[Disconnect("r", 1, 1, 10_000)])
    field.steps(10)
    face_off(field)
    field.shoot(0, EAST)
    field.steps(10)
    assert (field.rows.hp[0, 1], field.place(1)) == (66, (164, LANE))
    results: list[tuple[str, Result]] = []
    while not results:
        results = field.step().results
    assert [result.seat for _, result in results] == [0, 1]


def test_leaving_clears_the_seat_and_joining_starts_afresh() -> None:
    field = Field(30)
    kill(field)
    field.step(commands=[Leave("r", 0, 1)])
    rows = field.rows
    assert (rows.state[0, 0], rows.hp[0, 0], rows.score[0, 0]) == (lives.EMPTY, 0, 0)
    field.step(commands=[Join("r", "z", "Z", "j")])
    assert (rows.state[0, 0], rows.hp[0, 0], rows.score[0, 0]) == (lives.ALIVE, lives.HP_MAX, 0)


def test_sixteen_start_a_match_on_sixteen_places() -> None:
    field = Field(10, players=0, seats=16, match_s=5, map=1)
    field.step(commands=[Join("r", str(player), "name", "j") for player in range(16)])
    field.steps(79)
    assert field.rows.tick[0] == 81
    places = {field.place(seat) for seat in range(16)}
    assert len(places) == 16
