"""The trial passes games that are pure, and names what is not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest

from game.arena import Arena
from game.errors import NotDeterministic
from game.objects import ObjectGame, Rng, Told
from game.rows import Rows
from game.trial import check_determinism
from game.whiteboard import Whiteboard
from tests.game.games import Boom, Pile, Tally


def add(seat: int, tick: int, chance: Rng) -> Any:
    return {"add": chance.below(10)}


def test_pure_games_pass() -> None:
    assert len(set(check_determinism(Tally(), add))) == 200
    assert len(set(check_determinism(Arena(), ticks=60))) == 60

    def draw(seat: int, tick: int, chance: Rng) -> Any:
        return chance.choice([["begin", "#00ff00", 2, b"1234"], ["extend", b"12345678"], ["undo"], ["clear"], None])

    check_determinism(Whiteboard(), draw)
    check_determinism(Pile(), lambda seat, tick, chance: chance.choice([1, 7, 9, "deal", {"add": 1}, 666]))


def test_another_seed_is_another_run() -> None:
    assert check_determinism(Tally(), add, ticks=20) != check_determinism(Tally(), add, ticks=20, seed=2)


def test_a_variable_outside_of_the_state_is_found() -> None:
    class Remembers(Pile):
        counter = itertools.count()

        def step(self, state: dict[str, Any], inputs: list[tuple[int, Any]], rng: Rng) -> Iterable[Told]:
            state["steps"] = next(self.counter)
            return []

    with pytest.raises(NotDeterministic, match="its state is"):
        check_determinism(Remembers(), add)


def test_a_look_at_the_neighbours_is_found() -> None:
    class Peeks(Tally):
        def step(self, rooms: Rows) -> None:
            rooms.hidden[:] = rooms.n

    with pytest.raises(NotDeterministic, match=r"tally: .* at tick 1: column hidden"):
        check_determinism(Peeks(), add)


def test_what_a_game_raises_comes_through() -> None:
    with pytest.raises(Boom) as caught:
        check_determinism(Tally(), lambda seat, tick, chance: {"light": int(tick == 9)})
    assert "at tick 9" in caught.value.__notes__[0]


def test_a_game_of_objects_needs_players() -> None:
    class Silent(ObjectGame):
        name = "silent"

    with pytest.raises(ValueError, match="say what its players do"):
        check_determinism(Silent())
