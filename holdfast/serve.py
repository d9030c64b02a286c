"""`holdfast serve`: one node in this process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import click
import trio

from holdfast.files import raise_file_limit
from holdfast.games import load_game, make_game
from holdfast.options import settings_options
from server.settings import Settings

if TYPE_CHECKING:
    from server.node import PlayedGame


@click.command()
@settings_options()
def serve(settings: Settings) -> int:
    """Run a server until Ctrl-C or SIGTERM.

    \b
    holdfast serve
    holdfast serve --port 7777 --tick-hz 20 -o match_s=60
    holdfast serve --game my_game:MyGame
    holdfast serve --game arena,whiteboard
    """
    from holdfast.logs import configure
    from server.node import StartFailed

    configure(settings.log_level, settings.log_format)
    raise_file_limit()
    games = played_games(settings)
    failed = ""
    try:
        trio.run(_serve, settings, games)
    except* StartFailed as group:  # not raised from in here: Python before 3.11.4 wraps what is
        failed = str(group.exceptions[0])
    if failed:
        raise click.UsageError(failed)
    return 0


def played_games(settings: Settings) -> list[PlayedGame]:
    """The games that `--game` names, separated by commas; each takes those of the options that it declares."""
    from server.node import PlayedGame

    specs = [spec.strip() for spec in settings.game.split(",")]
    declared = {spec: {option.name for option in load_game(spec).options} for spec in specs}
    for name in settings.options:
        if not any(name in names for names in declared.values()):  # let the game say what it has
            make_game(specs[0], settings.options, settings.tick_hz)
    games = []
    for spec in specs:
        options = {name: value for name, value in settings.options.items() if name in declared[spec]}
        games.append(PlayedGame(make_game(spec, options, settings.tick_hz), spec))
    names = [played.game.name for played in games]
    if len(set(names)) < len(names):
        raise click.UsageError(f"--game {settings.game}: two games have the same name")
    return games


async def _serve(settings: Settings, games: list[PlayedGame]) -> None:
    from server.node import run_node

    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signals, stop)
        await run_node(settings, games, stop=stop)
        nursery.cancel_scope.cancel()


async def stop_on_signals(stop: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Set `stop` on the first SIGTERM or SIGINT; a second one ends the process at once."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if stop.is_set():
                os._exit(1)
            stop.set()
