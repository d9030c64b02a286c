"""`holdfast serve`: one node in this process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import signal

import click
import trio

from holdfast.games import make_game
from holdfast.options import settings_options
from server.settings import Settings


@click.command()
@settings_options()
def serve(settings: Settings) -> int:
    """Run a server until Ctrl-C or SIGTERM.

    \b
    holdfast serve
    holdfast serve --port 7777 --tick-hz 20 -o match_s=60
    holdfast serve --game my_game:MyGame
    """
    from holdfast.logs import configure
    from server.node import StartFailed

    configure(settings.log_level, settings.log_format)
    game = make_game(settings.game, settings.options, settings.tick_hz)
    failed = ""
    try:
        trio.run(_serve, settings, game)
    except* StartFailed as group:  # not raised from in here: Python before 3.11.4 wraps what is
        failed = str(group.exceptions[0])
    if failed:
        raise click.UsageError(failed)
    return 0


async def _serve(settings: Settings, game: object) -> None:
    from game.api import RowGame
    from server.node import run_node

    assert isinstance(game, RowGame)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signals, stop)
        await run_node(settings, game, stop=stop)
        nursery.cancel_scope.cancel()


async def stop_on_signals(stop: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Set `stop` on the first SIGTERM or SIGINT; a second one ends the process at once."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if stop.is_set():
                os._exit(1)
            stop.set()
