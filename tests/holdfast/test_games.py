"""`--game` finds built-in games and the user's own, and refuses the rest in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest

from game.api import RowGame
from game.objects import ObjectGame
from holdfast.games import BUILT_IN, OUR_NAMES, UnknownGame, load_game, make_game

TAG = '''
"""A user's game."""
from holdfast import Column, Input, ObjectGame, Option, RowGame

class Tag(RowGame):
    name, version, seats = "tag", 1, 4
    options = (Option("speed", 3, 1, 9, ""),)
    columns = (Column("x", "i4", per="seat", see="all"),)
    inputs = (Input("run", "i1", -1, 1),)

class Unfinished(RowGame):
    name = "unfinished"

class Talk(ObjectGame):
    name = "talk"

class Listed(ObjectGame):
    name = "listed"
    def open(self, rng):
        return []

number = 5
'''


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a user's game in it; modules and the path are put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "tag_game.py").write_text(TAG)
    return tmp_path


def refused(spec: str) -> str:
    with pytest.raises(UnknownGame) as caught:
        load_game(spec)
    message = caught.value.format_message()
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def test_a_game_of_the_user_is_found_in_the_working_directory(user: Path) -> None:
    cls = load_game("tag_game:Tag")
    assert issubclass(cls, RowGame)
    assert sys.path[-1] == str(user), "behind everything that is installed"
    assert make_game("tag_game:Tag", {"speed": "5"}, 20).option == {"speed": 5}


def test_the_working_directory_is_appended_once(user: Path) -> None:
    load_game("tag_game:Tag")
    load_game("tag_game:Tag")
    assert sys.path.count(str(user)) == 1


@pytest.mark.parametrize("name", sorted(OUR_NAMES))
def test_a_module_named_like_one_of_our_folders_is_refused(user: Path, name: str) -> None:
    (user / f"{name}.py").write_text(TAG)
    assert refused(f"{name}:Tag") == (
        f"{name}:Tag: {name!r} is a folder of Holdfast's own; rename your module, to my_{name} for example"
    )


def test_a_file_beside_it_does_not_hide_an_installed_module(user: Path) -> None:
    (user / "json.py").write_text(TAG)
    assert "has no 'Tag'" in refused("json:Tag")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("aren", "unknown game 'aren'; did you mean 'arena'? (or a game of your own as module:Class)"),
        ("chess", "unknown game 'chess'; there are: arena, whiteboard (or a game of your own as module:Class)"),
        ("tag_game:", "'tag_game:' is not module:Class"),
        (":Tag", "':Tag' is not module:Class"),
        ("../tag:Tag", "'../tag:Tag' is not module:Class"),
        ("nowhere:Tag", "nowhere:Tag: no module 'nowhere' here"),
        ("tag_game.sub:Tag", "tag_game.sub:Tag: no module 'tag_game.sub' here"),
        ("tag_game:Tug", "has no 'Tug'"),
        ("tag_game:number", "number is no game; write `class number(RowGame)` or `class number(ObjectGame)`"),
    ],
)
def test_what_is_no_game_is_refused_in_one_line(user: Path, spec: str, message: str) -> None:
    assert message in refused(spec)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import not_installed_anywhere", "imports not_installed_anywhere, which is not installed"),
        ("def f(:\n  pass", "SyntaxError: invalid syntax"),
        ("x = 1\nraise ValueError('two\\nlines')", "ValueError: two lines ("),
    ],
)
def test_a_game_that_cannot_be_imported_says_where(user: Path, source: str, message: str) -> None:
    (user / "broken_game.py").write_text(source)
    assert message in refused("broken_game:Tag")


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("tag_game:Tag", {"sped": "1"}, "tag has no option 'sped'; it has: speed"),
        ("tag_game:Tag", {"speed": "x"}, "tag option speed='x': a whole number is wanted"),
        ("tag_game:Unfinished", {}, "tag_game:Unfinished is no playable game: "),
    ],
)
def test_bad_options_of_a_game_are_one_line(user: Path, spec: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        make_game(spec, options)
    assert caught.value.format_message().startswith(message)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_built_in_games_are_playable(name: str) -> None:
    assert make_game(name, {}).name == name


def test_a_game_of_objects_is_found_too(user: Path) -> None:
    cls = load_game("tag_game:Talk")
    assert issubclass(cls, ObjectGame)
    assert make_game("tag_game:Talk", {}).name == "talk"
    with pytest.raises(UnknownGame, match="a room's state is a dict, not list"):
        make_game("tag_game:Listed", {})
