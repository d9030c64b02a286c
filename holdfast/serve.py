"""`holdfast serve`: one node in this process, or several under a supervisor, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
import trio

from holdfast.files import raise_file_limit
from holdfast.games import load_game, make_game
from holdfast.options import settings_options
from server.settings import Settings

if TYPE_CHECKING:
    from server.node import Identity, PlayedGame, Running

SWITCH_S = 0.0002
"""How long a thread may keep Python to itself while another one wants it. Python's own 5 ms is what a tick
that falls due waits for the thread that writes the profiles."""
FENCED = 75
"""Exit code of a node that was taken for dead; a supervisor starts it anew."""


@click.command()
@settings_options()
def serve(settings: Settings) -> int:
    """Run a server until Ctrl-C or SIGTERM. Its rooms go on at the next start.

    \b
    holdfast serve
    holdfast serve --port 7777 --tick-hz 20 -o match_s=60
    holdfast serve --game my_game:MyGame
    holdfast serve --game arena,whiteboard
    holdfast serve --nodes 3
    """
    from holdfast.logs import configure

    configure(settings.log_level, settings.log_format)
    raise_file_limit()
    games = played_games(settings)
    if settings.nodes > 1:
        if settings.journal == "off":
            raise click.UsageError("--nodes needs a journal: without one no room outlives its process")
        return _run(_supervise, settings)
    return _run(_serve, settings, games, None)


def _run(main: Any, *arguments: Any) -> int:
    from server.listeners import CannotListen
    from server.node import NodeFenced
    from server.start import StartFailed

    failed, code = "", 0
    sys.setswitchinterval(SWITCH_S)
    try:
        trio.run(main, *arguments)
    except* (StartFailed, CannotListen) as group:  # not raised from in here: Python before 3.11.4 wraps what is
        failed = str(_first(group))
    except* NodeFenced:
        code = FENCED
    if failed:
        raise click.UsageError(failed)
    return code


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


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


# -- one node ----------------------------------------------------------------------------------------------------------


async def _serve(settings: Settings, games: list[PlayedGame], identity: Identity | None) -> None:
    from server.node import run_node

    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signals, stop)
        started = _nothing
        if identity is not None:
            started = partial(_started, nursery, stop)
        await run_node(settings, games, stop=stop, started=started, identity=identity)
        nursery.cancel_scope.cancel()


def _nothing(_: Running) -> None:
    pass


def _started(nursery: trio.Nursery, stop: trio.Event, running: Running) -> None:
    """A node of several: tell the supervisor, and hear what it tells."""
    from server.supervisor import words_from

    def take(words: dict[str, Any]) -> None:
        if "dead" in words:
            running.tenure.died(words["dead"])
            running.rescuer.call()
        if "stop" in words:
            running.end_with_all()
            stop.set()

    print(json.dumps({"started": running.address.port}), flush=True)
    nursery.start_soon(words_from, 0, take)


async def stop_on_signals(stop: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Set `stop` on the first SIGTERM or SIGINT; a second one ends the process at once."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if stop.is_set():
                os._exit(1)
            stop.set()


# -- several nodes -----------------------------------------------------------------------------------------------------


async def _supervise(settings: Settings) -> None:
    import structlog

    from server.listeners import front_socket, resolve
    from server.start import StartFailed
    from server.supervisor import Supervisor

    log = structlog.get_logger("holdfast.supervisor")
    family, address = resolve(settings.host, settings.port)
    with contextlib.ExitStack() as stack:  # bound and not listening: these keep the numbers, and take nobody
        front = stack.enter_context(front_socket(family, address))
        port = front.getsockname()[1]
        http_port = 0
        if settings.http_port >= 0:
            http = stack.enter_context(
                front_socket(family, (address[0], settings.http_port, *address[2:]), "--http-port")
            )
            http_port = http.getsockname()[1]
        nodes = [f"{settings.node}-{number}" for number in range(1, settings.nodes + 1)]
        supervisor = Supervisor(nodes, partial(node_command, settings, port, http_port))
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(stop_on_signals, stop)

            async def tell() -> None:
                ports = await supervisor.started()
                log.info("nodes_started", host=settings.host, port=port, http_port=http_port, nodes=ports)

            nursery.start_soon(tell)
            await supervisor.run(stop)
            nursery.cancel_scope.cancel()
    if len(supervisor.refused) == len(nodes):
        raise StartFailed("none of the nodes could start; each has told why")


def node_command(settings: Settings, front_port: int, http_port: int, node: str, incarnation: str) -> list[str]:
    """What starts a node's process; see `node_main`."""
    told = {
        "settings": {
            name: str(value) if isinstance(value, Path) else value for name, value in attrs.asdict(settings).items()
        },
        "identity": [node, incarnation, front_port, http_port],
        "path": sys.path,
    }
    return [sys.executable, "-m", "holdfast.serve", json.dumps(told)]


def node_main(told: dict[str, Any]) -> int:
    """A node's process under a supervisor."""
    from holdfast.logs import configure
    from server.node import Identity

    sys.path.extend(part for part in told["path"] if part not in sys.path)
    fields = told["settings"]
    for name in ("data", "tls_cert", "tls_key", "http_token_file"):
        fields[name] = None if fields[name] is None else Path(fields[name])
    settings = Settings(**{**fields, "nodes": 1})
    configure(settings.log_level, settings.log_format)
    raise_file_limit()
    try:
        return _run(_serve, settings, played_games(settings), Identity(*told["identity"]))
    except click.UsageError as error:
        click.echo(f"holdfast: {error.message}", err=True)
        return 2


if __name__ == "__main__":
    sys.exit(node_main(json.loads(sys.argv[1])))
