"""Finds the game that `--game` names: a built-in one, or `module:Class` from the user's own files.

The working directory is appended to `sys.path`, behind everything that is installed, so that nothing of the
user's can stand in for a library. For the same reason a user's module must not be named like one of our
folders: `game:Tag` would find our `game`, never the user's, and is refused with the remedy.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import click

from holdfast.options import did_you_mean

if TYPE_CHECKING:
    from game.api import Game

BUILT_IN = {"arena": "game.arena:Arena", "whiteboard": "game.whiteboard:Whiteboard"}
OUR_NAMES = frozenset({"bots", "cluster", "game", "holdfast", "netcode", "profiles", "server", "tests", "web"})


class UnknownGame(click.UsageError):
    """`--game` names nothing that can be played. One line with the remedy; exit code 2."""


def load_game(spec: str) -> type[Game]:
    """The game class, of either tier, that `spec` ("arena" or "module:Class") names; raises UnknownGame."""
    home = BUILT_IN.get(spec)
    if home is None:
        return _load_users(spec)
    module, _, name = home.partition(":")
    found: type[Game] = getattr(import_module(module), name)
    return found


def make_game(spec: str, options: Mapping[str, str], tick_hz: int | None = None) -> Game:
    """The game that `spec` names, built with its options; raises UnknownGame or click.UsageError."""
    from game.errors import BadGame, BadOption
    from game.object_batch import batch_for

    cls = load_game(spec)
    try:
        game = cls(options, tick_hz)
        batch_for(game).open("trial", 0)
        return game
    except BadOption as error:
        raise click.UsageError(str(error)) from error
    except BadGame as error:
        raise UnknownGame(f"{spec} is no playable game: {error}") from error
    except Exception as error:
        raise UnknownGame(f"{spec}: making the game failed: {_in_one_line(error)}") from error


def _load_users(spec: str) -> type[Game]:
    from game.api import RowGame
    from game.objects import ObjectGame

    module_name, colon, class_name = spec.partition(":")
    if not colon:
        hint = did_you_mean(spec, BUILT_IN)
        raise UnknownGame(f"unknown game {spec!r}{hint} (or a game of your own as module:Class)")
    if not class_name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise UnknownGame(f"{spec!r} is not module:Class; an example: --game my_game:MyGame")
    top = module_name.partition(".")[0]
    if top in OUR_NAMES:
        raise UnknownGame(f"{spec}: {top!r} is a folder of Holdfast's own; rename your module, to my_{top} for example")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise UnknownGame(f"{spec}: {module_name} imports {error.name}, which is not installed") from error
        raise UnknownGame(
            f"{spec}: no module {error.name!r} here or among the installed ones; start beside {top}.py"
        ) from error
    except Exception as error:
        raise UnknownGame(f"{spec}: importing {module_name} failed: {_in_one_line(error)}") from error
    found = getattr(module, class_name, None)
    if found is None:
        where = getattr(module, "__file__", None) or "a built-in module"
        raise UnknownGame(f"{spec}: {module_name} ({where}) has no {class_name!r}")
    if not (isinstance(found, type) and issubclass(found, RowGame | ObjectGame)):
        raise UnknownGame(
            f"{spec}: {class_name} is no game; write `class {class_name}(RowGame)` or `class {class_name}(ObjectGame)`"
        )
    return found


def _in_one_line(error: Exception) -> str:
    """Kind, message and the place of an error in the user's file."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({place.filename}, line {place.lineno})"
