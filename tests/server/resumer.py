"""A player in a process of its own, to be killed: `python -m tests.server.resumer HOST:PORT FILE`.

It takes up the session in FILE, or logs in and joins; keeps its session in FILE; and tells one JSON object a line: the
seat it has (or null), then each frame's tick and the last input that is acknowledged. A line on its standard input
makes it stop its inputs, leave, and tell the server's books.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import trio

from netcode.client import Client, SavedSession, SeatedRoom, connect
from netcode.errors import ErrorCode, RemoteError


def say(**told: Any) -> None:
    """One line for whoever watches."""
    print(json.dumps(told), flush=True)


@contextlib.asynccontextmanager
async def _connected(server: str, saved: SavedSession | None) -> AsyncIterator[Client | None]:
    """A client; None when there is no session any more to resume."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(connect(server, resume=saved))
        except RemoteError as error:
            if error.code is not ErrorCode.SESSION_GONE:
                raise
            client = None
        yield client


def _load(file: Path) -> SavedSession | None:
    return SavedSession.from_bytes(file.read_bytes()) if file.exists() else None


async def play(server: str, file: Path) -> None:
    """The player's life."""
    saved = _load(file)
    async with _connected(server, saved) as client:
        if client is None:
            say(seat=None)
            return
        room = await client.join("counter") if saved is None else await client.resumed_room()
        if room is None:
            say(seat=None)
            return
        assert isinstance(room, SeatedRoom)
        await trio.Path(file).write_bytes(client.saved().to_bytes())
        info = room.info
        say(seat=[info.room, info.seat, info.generation], first=room.play.window.newest, session=client.session)
        room.want(add=1)
        stopped = trio.Event()

        async def listen() -> None:
            await trio.lowlevel.FdStream(os.dup(0)).receive_some()
            stopped.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            while not stopped.is_set():
                frame = await room.next_frame()
                say(tick=frame.tick, last_seq=frame.last_seq, sent=room.play.window.newest)
            nursery.cancel_scope.cancel()
        client.sending = False
        while room.play.window.acknowledged < room.play.window.newest:
            await room.next_frame()
        left = await client.leave()
        say(left=[left.last_seq, left.applied], sent=room.play.window.newest)


if __name__ == "__main__":
    trio.run(play, sys.argv[1], Path(sys.argv[2]))
