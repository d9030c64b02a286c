"""A declaration that cannot work is refused when the game is made; a fingerprint tells rules apart."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pytest

from game import api
from game.api import Column, Input, RowGame
from game.arena import Arena
from game.batch import Batch
from game.commands import Join, TickCommands
from game.errors import BadGame, BadOption
from game.rows import RowLayout
from tests.game.games import Tally


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"name": "two words"}, "plain identifier"),
        ({"name": "_private"}, "plain identifier"),
        ({"name": "x", "dtype": "f4"}, "dtype"),
        ({"name": "x", "dtype": "u8", "see": "all"}, "32 bits"),
        ({"name": "x", "see": "all", "length": 3}, "history"),
        ({"name": "x", "see": "own"}, "per seat"),
        ({"name": "x", "see": "own", "per": 4}, "per seat"),
        ({"name": "x", "per": "seat", "see": "all", "exact": True}, "shift"),
        ({"name": "x", "per": "seat", "see": "own", "exact": True, "shift": 3}, "exact"),
        ({"name": "x", "shift": 32}, "shift"),
    ],
)
def test_a_bad_column_is_refused(declared: dict[str, Any], words: str) -> None:
    with pytest.raises(BadGame, match=words):
        Column(**declared)


def test_a_bad_input_is_refused() -> None:
    with pytest.raises(BadGame, match="does not fit"):
        Input("x", "i1", -1, 128)
    with pytest.raises(BadGame, match="dtype"):
        Input("x", "u8", 0, 1)


def test_bad_games_are_refused() -> None:
    class Nameless(Tally):
        name = ""

    class Crowded(Tally):
        seats = 257

    class Twice(Tally):
        columns = (*Tally.columns, Column("add"))

    class Deaf(Tally):
        inputs = ()

    for game, words in ((Nameless, "name"), (Crowded, "seats"), (Twice, "twice: add"), (Deaf, "input")):
        with pytest.raises(BadGame, match=words):
            game()


@pytest.mark.parametrize("name", ["tick", "seated", "emit", "pack"])
def test_names_of_the_server_are_taken(name: str) -> None:
    class Grabby(Tally):
        columns = (Column(name),)

    with pytest.raises(BadGame, match="taken by the server"):
        RowLayout(Grabby())


def test_options() -> None:
    assert Arena({"match_s": "10"}).option["match_s"] == 10
    assert Arena({"seats": 4}).seats == 4
    for given, words in (({"speed": 1}, "match_s"), ({"seats": "many"}, "whole number"), ({"seats": 17}, "2..16")):
        with pytest.raises(BadOption, match=words):
            Arena(given)
    with pytest.raises(BadOption, match="1 to 128"):
        Tally(tick_hz=129)


def test_the_fingerprint_tells_rules_apart() -> None:
    base = Arena(tick_hz=30).fingerprint
    assert base == Arena({}, 30).fingerprint
    others = [Arena(tick_hz=20), Arena({"match_s": 9}, 30), Arena({"map": 1}, 30), Tally()]
    assert len({base, *(game.fingerprint for game in others)}) == 5


def test_a_game_without_a_step_says_so() -> None:
    class Idle(RowGame):
        name = "idle"
        inputs = (Input("x", "i1", 0, 1),)

    with pytest.raises(BadGame, match="Idle has no step"):
        Idle().step(None)  # type: ignore[arg-type]
    assert Idle().predict({"x": 1}, {}, {}) == {"x": 1}


def test_the_example_at_the_top_of_the_api_plays() -> None:
    assert api.__doc__ is not None
    example = api.__doc__.partition("::\n\n")[2].partition("\n`rooms.x`")[0]
    names: dict[str, Any] = {"__name__": "example"}
    exec(textwrap.dedent(example), names)
    batch = Batch(names["Tag"]())
    batch.open("room", 1)
    batch.step(TickCommands(np.zeros(0, batch.input_record), (Join("room", "ann", "Ann", "join"),)))
    run = np.array([(0, 0, 1, 0, 1)], batch.input_record)
    assert batch.step(TickCommands(run)).failed == {}
    assert batch.rows.x[0, 0] == 256
