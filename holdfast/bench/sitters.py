"""Processes for `holdfast bench memory`: clients who connect and do nothing more, and a server that knows no sessions.

    sit     N players who have logged in                   ──► holdfast serve
    hold    N connections that have shaken hands           ──► serve (below)
    serve   accepts with the TLS of `netcode.tls`, and keeps socket and TLS state of each, nothing else

A connection that is held has carried a record each way, as that of a session has: TLS has its buffers from then on.

Each says a line of JSON when it is ready (`{"port": …}` or `{"ready": N}`) and ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from bots.control import Control, Identity
from bots.crew import LOGINS_MAX, Plan
from holdfast.files import raise_file_limit
from netcode import messages
from netcode.certificate import client_trust, development_certificate, server_context
from netcode.messages import Message
from netcode.pool import LinkPool
from netcode.tcp import ByteLink
from netcode.tls import READ_SIZE, Tls, accept

LOOPBACK = "127.0.0.1"
BACKLOG = 1024
RECORD = bytes(64)


class _Nobody:
    """A listener that makes nothing of what comes."""

    last_event = (0, 0)
    epoch = 0

    def welcomed(self, welcome: messages.Welcome) -> None:
        """Logged in."""

    def lost(self) -> None:
        """The connection is gone."""

    def take(self, item: Message | bytes) -> None:
        """A message, or a packet."""


async def sit(server: str, seed: int, count: int) -> None:
    """Log so many players in, and stay."""
    plan = Plan(server=server, players=count, seed=seed)

    async def one(player: int, entered: Callable[[], None]) -> None:
        who: Identity = plan.identity(player)
        async with Control(who, _Nobody(), LinkPool()).session():
            entered()
            await trio.sleep_forever()

    await _many(one, count)


async def hold(server: str, count: int) -> None:
    """Shake hands so often, and stay."""
    host, _, port = server.rpartition(":")
    trust = client_trust(host)

    async def one(_: int, entered: Callable[[], None]) -> None:
        async with trio.open_nursery() as nursery, await ByteLink.client(host, int(port), trust, nursery) as link:
            link.write(RECORD)
            await link.receive()
            entered()
            await link.receive()

    await _many(one, count)


async def _many(one: Callable[[int, Callable[[], None]], Awaitable[None]], count: int) -> None:
    """Start so many, as many at the same time as bots do, and tell when all are in."""
    slots, inside, all_in = trio.Semaphore(LOGINS_MAX), 0, trio.Event()

    def entered() -> None:
        nonlocal inside
        inside += 1
        slots.release()
        if inside == count:
            all_in.set()

    async with trio.open_nursery() as nursery:
        for number in range(count):
            await slots.acquire()
            nursery.start_soon(one, number, entered)
        await all_in.wait()
        _say(ready=inside)
        await trio.sleep_forever()


async def serve(folder: str) -> None:
    """Accept whoever comes, and keep what a connection needs: socket and TLS."""
    context = server_context(*development_certificate(Path(folder)))
    kept: list[tuple[socket.socket, Tls]] = []
    with socket.create_server((LOOPBACK, 0), backlog=BACKLOG) as listener:
        listener.setblocking(False)
        _say(port=listener.getsockname()[1])
        async with trio.open_nursery() as nursery:

            async def keep(raw: socket.socket) -> None:
                tls, _ = await accept(raw, context, trio.lowlevel.checkpoint)
                assert tls is not None
                kept.append((raw, tls))
                while not tls.decrypt(len(RECORD))[0]:
                    await trio.lowlevel.wait_readable(raw)
                    tls.incoming.write(raw.recv(READ_SIZE))
                raw.send(tls.encrypt(RECORD))

            while True:
                await trio.lowlevel.wait_readable(listener)
                try:
                    raw, _ = listener.accept()
                except BlockingIOError:
                    continue
                raw.setblocking(False)
                nursery.start_soon(keep, raw)


def _say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


async def _main(what: str, *arguments: Any) -> None:
    async with trio.open_nursery() as nursery:

        async def until_unwanted() -> None:
            async with trio.lowlevel.FdStream(os.dup(0)) as into:
                while await into.receive_some():
                    pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(until_unwanted)
        roles: dict[str, Callable[..., Awaitable[None]]] = {"sit": sit, "hold": hold, "serve": serve}
        await roles[what](*arguments)


if __name__ == "__main__":
    raise_file_limit()
    trio.run(_main, *json.loads(sys.argv[1]))
