"""The arena as a whole: its limits, what its views cost, and that whole numbers suffice."""

from __future__ import annotations

import numpy as np
import pytest

from game.arena import Arena, lives
from game.batch import Batch
from game.errors import BadOption
from game.view import Viewer
from tests.game.arena.field import Field
from tests.game.driver import run


@pytest.mark.parametrize("tick_hz", [9, 1])
def test_too_slow_a_tick_is_refused(tick_hz: int) -> None:
    with pytest.raises(BadOption, match="10 to 128"):
        Arena(tick_hz=tick_hz)


def test_one_team_is_refused() -> None:
    with pytest.raises(BadOption, match="teams=1"):
        Arena({"teams": 1})


def test_columns_that_an_option_makes_meaningless_are_not_sent() -> None:
    def seen(**options: int) -> set[str]:
        return {field.name for field in Viewer(Arena(options)).layout.shared}

    assert seen(teams=2) - seen() == {"team", "team_score"}
    assert seen(fillers=3) - seen() == {"filler"}


@pytest.mark.parametrize("seats", [2, 16])
@pytest.mark.parametrize("tick_hz", [10, 128])
def test_it_plays_at_its_limits(seats: int, tick_hz: int) -> None:
    options = {"seats": seats, "match_s": 5, "respawn_ms": 0, "score_limit": 1, "teams": 4, "fillers": 16}
    batch = Batch(Arena(options, tick_hz))
    batch.open("room", 11)
    for _ in run(batch, {"room": 11}, 60):
        assert (batch.rows.x > 0).all()
        assert (batch.rows.x >> 8 < 2048).all()


def test_standing_still_costs_nothing_on_the_wire() -> None:
    field = Field(30)
    field.steps(30)
    viewer = Viewer(field.game)
    shared, own = viewer.shared(field.rows), viewer.own(field.rows)
    field.steps(30)
    assert (viewer.shared(field.rows) == shared).all()
    assert (viewer.own(field.rows) == own).all()


def test_a_runner_changes_by_less_than_a_signed_byte_in_ten_ticks() -> None:
    field = Field(20)
    field.put(0, 64, 17 * 32 + 16)
    viewer = Viewer(field.game)
    for _ in range(20):
        field.step({0: {"move_x": 1}})
    before = viewer.shared(field.rows)
    for _ in range(10):
        field.step({0: {"move_x": 1}})
    change = viewer.shared(field.rows) - before
    assert np.count_nonzero(change) == 1
    assert 100 < change.max() < 128


def test_the_facing_follows_the_aim_of_the_living() -> None:
    field = Field(30)
    field.step({0: {"aim": 40_000}, 1: {"aim": 123}})
    assert field.rows.facing[0].tolist() == [40_000, 0, 0, 0], "a little off is not worth a byte"
    field.step({0: {"aim": 36_000}, 1: {"aim": 62_000}})
    assert field.rows.facing[0].tolist() == [36_000, 62_000, 0, 0]
    field.rows.state[0, 0], field.rows.hp[0, 0] = lives.DEAD, 0
    field.rows.until[0, 0] = 10_000
    field.step({0: {"aim": 5}})
    assert field.rows.facing[0, 0] == 36_000
