"""Servers for tests of bots: in this process, or in one of its own for commands that run Trio themselves."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import trio

from game.api import RowGame
from game.arena import Arena
from holdfast.demo.launch import server_log, server_port, server_process
from server.node import Address, PlayedGame, Running, run_node
from server.settings import Settings


@contextlib.asynccontextmanager
async def node(data: Path, *games: RowGame, **settings: Any) -> AsyncIterator[str]:
    """A node in this process, with the arena or these games; gives its address."""
    stop, started = trio.Event(), trio.Event()
    found: list[Address] = []

    def on_start(running: Running) -> None:
        found.append(running.address)
        started.set()

    played = [PlayedGame(game, game.name) for game in games or (Arena({"match_s": 5}),)]
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await run_node(Settings(data=data, port=0, **settings), played, stop=stop, started=on_start)

        nursery.start_soon(run)
        await started.wait()
        try:
            yield f"127.0.0.1:{found[0].port}"
        finally:
            stop.set()


@contextlib.contextmanager
def serving(data: Path) -> Iterator[str]:
    """Gives the server's address."""
    with server_process(Settings(), data) as process:
        yield f"127.0.0.1:{trio.run(_port, process)}"


async def _port(process: subprocess.Popen[bytes]) -> int:
    return await server_port(server_log(process))
