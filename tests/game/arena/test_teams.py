"""Teams: who goes where, who hurts whom, and who has won."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from game.arena import weapons
from game.commands import Join, Leave
from tests.game.arena.field import EAST, Field

LANE = 17 * 32 + 16


def teams_of(field: Field) -> list[int]:
    found: list[int] = field.rows.team[0].tolist()
    return found


def test_joins_balance_the_teams() -> None:
    field = Field(20, players=4, seats=8, teams=3)
    assert teams_of(field)[:4] == [1, 2, 3, 1]
    field.step(commands=[Leave("r", 1, 1), Leave("r", 2, 1)])
    assert teams_of(field)[:4] == [1, 0, 0, 1]
    field.step(commands=[Join("r", name, "n", "j") for name in "xyz"])
    assert teams_of(field)[:5] == [1, 2, 3, 1, 2]


def test_without_teams_there_are_none() -> None:
    assert teams_of(Field(20, players=4)) == [0, 0, 0, 0]


@pytest.mark.parametrize("button", [weapons.FIRE, weapons.RAIL])
@pytest.mark.parametrize("friendly", [0, 1])
def test_mates_are_hurt_only_with_friendly_fire(button: int, friendly: int) -> None:
    field = Field(20, players=3, teams=2, friendly_fire=friendly)
    assert teams_of(field)[:3] == [1, 2, 1]
    for seat, x in ((0, 64), (2, 164), (1, 264)):
        field.put(seat, x, LANE)
    field.step()
    field.shoot(0, EAST, button)
    field.steps(10)
    mate, foe = int(field.rows.hp[0, 2]), int(field.rows.hp[0, 1])
    assert (mate < 100) == bool(friendly)
    assert foe < 100 or (friendly and button == weapons.FIRE), "a shot passes through mates that it cannot hurt"


def test_a_mate_s_death_is_no_point_and_a_foe_s_is_one_for_the_team() -> None:
    field = Field(20, players=3, teams=2, friendly_fire=1, respawn_ms=10_000)
    for seat, x in ((0, 64), (2, 164), (1, 264)):
        field.put(seat, x, LANE)
    field.rows.hp[0, :3] = 20
    field.step()
    field.shoot(0, EAST, weapons.RAIL)
    assert field.events("kill") == [(0, 1, 1), (0, 2, 1)]
    assert field.rows.score[0].tolist() == [1, 0, 0, 0]
    assert field.rows.team_score[0].tolist() == [1, 0, 0, 0]
    field.step(commands=[Leave("r", 0, 1)])
    assert field.rows.team_score[0].tolist() == [1, 0, 0, 0], "a team keeps the points of those who leave"


@pytest.mark.parametrize(
    ("players", "points", "winners", "told"),
    [
        (4, [1, 5, 0, 0], [1, 3], (-1, 2)),
        (3, [0, 2, 0, 0], [1], (1, 2)),
        (4, [3, 3, 0, 0], [0, 1, 2, 3], (-1, 0)),
        (4, [0, 0, 0, 0], [], (-1, 0)),
        (1, [4, 0, 0, 0], [], (-1, 0)),
    ],
)
def test_the_team_s_points_decide(players: int, points: list[int], winners: list[int], told: Any) -> None:
    field = Field(10, players=players, teams=2, match_s=5)
    field.steps(48)
    field.rows.team_score[0] = points
    field.rows.score[0, 0] = 9
    results = [result for _, result in field.step().results]
    assert [result.seat for result in results if result.won] == winners
    assert field.events("match_over") == [told]


def test_the_score_limit_counts_the_team_s_points() -> None:
    field = Field(10, players=4, teams=2, score_limit=3)
    field.rows.score[0, :4] = [2, 0, 0, 0]
    field.rows.team_score[0, 0] = 2
    field.steps(2)
    assert field.events("match_over") == []
    field.rows.team_score[0, 0] = 3
    field.step()
    assert field.events("match_over") == [(-1, 1)]


@pytest.mark.parametrize("teams", [2, 3, 4])
def test_a_match_starts_with_mates_side_by_side_and_foes_apart(teams: int) -> None:
    field = Field(10, players=0, seats=12, teams=teams, match_s=5)
    field.step(commands=[Join("r", str(player), "n", "j") for player in range(12)])
    field.steps(50 + 30 - 1)
    assert "match_start" in field.kinds()
    walls = field.game.terms.walls
    points = list(zip((walls.spawn_x / 256).tolist(), (walls.spawn_y / 256).tolist(), strict=True))
    order = sorted(range(12), key=lambda seat: points.index(field.place(seat)))
    assert len({field.place(seat) for seat in range(12)}) == 12
    sides = [teams_of(field)[seat] for seat in order]
    changes = sum(sides[at] != sides[at - 1] for at in range(12))
    assert changes == teams, "going round the map, each team is met once"


def test_one_comes_back_far_from_foes_not_from_mates() -> None:
    """With all mates close to every spawn point but one, and the foe at that one, nobody comes back there."""
    chosen = set()
    for seed in range(12):
        field = Field(20, players=2, teams=2, respawn_ms=100)
        field.rows.seed[0] = seed
        walls = field.game.terms.walls
        field.put(1, int(walls.spawn_x[0]) // 256, int(walls.spawn_y[0]) // 256)
        field.rows.state[0, 0], field.rows.hp[0, 0], field.rows.until[0, 0] = 2, 0, 0
        field.step()
        apart = float(np.hypot(*np.subtract(field.place(0), field.place(1))))
        chosen.add(apart > 250)
    assert chosen == {True}
