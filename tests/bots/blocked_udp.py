"""Bots whose UDP is blocked by a filter of our own and opened again, over real sockets.

    python -m tests.bots.blocked_udp --players 200            a server and its bots in this process; prints JSON

The filter is a socket filter of the kernel (SO_ATTACH_FILTER with a program that drops everything), so that nothing of
ours knows of it and no privilege is needed: on the server's socket nothing gets up, on the bots' nothing comes down.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import trio

from bots.crew import Crew, Plan
from bots.report import report
from holdfast.logs import configure
from tests.bots.serving import node

WAYS = ("up", "down", "both")
HANG_S = 20.0
FRAMES_OF = 20
IN_FLIGHT = 4
LOOK_EVERY_S = 0.01
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_RETURN_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0), 8)


def can_block() -> bool:
    """Whether this system has socket filters."""
    return sys.platform == "linux"


@contextlib.contextmanager
def blocked(sockets: Sequence[socket.socket]) -> Iterator[None]:
    """Nothing arrives on these sockets in the block."""
    program = struct.pack("@HP", 1, ctypes.addressof(_RETURN_NOTHING))
    for sock in sockets:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    try:
        yield
    finally:
        for sock in sockets:
            sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def udp_sockets(port: int | None = None) -> list[socket.socket]:
    """Handles of this process' UDP sockets: the one on this port, or all that are bound to one."""
    sockets = []  # nothing else is copied: a copy of a pipe's end that is left behind keeps its reader waiting
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                sockets.append(int(name))
    found = []
    for number in sockets:
        with contextlib.suppress(OSError):
            sock = socket.socket(fileno=os.dup(number))
            bound = sock.family == socket.AF_INET and sock.type == socket.SOCK_DGRAM and sock.getsockname()[1]
            if bound and port in (None, bound):
                found.append(sock)
            else:
                sock.close()
    return found


async def play_blocked(
    players: int, full_share: float, data: Path, *, ways: Sequence[str] = WAYS, open_s: float = 1.0
) -> dict[str, Any]:
    """Block and open these directions in turn, with `open_s` of good play before each.

    For each: how long it took all bots to move, what they saw then, how long it took them to return and to be without
    lag; and the report of the run.
    """
    async with node(data) as server, trio.open_nursery() as nursery:
        plan = Plan(server=server, players=players, seconds=600.0, full_share=full_share)
        crew = Crew(plan)
        tallies = []

        async def run() -> None:
            tallies.append(await crew.run())
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        crew.go.set()
        await crew.ready.wait()
        turns = []
        with contextlib.ExitStack() as handles:
            up = [handles.enter_context(sock) for sock in udp_sockets(int(server.rpartition(":")[2]))]
            every = [handles.enter_context(sock) for sock in udp_sockets()]
            down = [sock for sock in every if sock.getsockname() != up[0].getsockname()]
            sockets = {"up": up, "down": down, "both": up + down}
            for way in ways:
                await trio.sleep(open_s)
                with blocked(sockets[way]):
                    found_s = await _until(crew, by_datagram=False)
                    seen = await _frames(crew)
                turns.append({"blocked": way, "found_s": found_s, "frames_min": min(seen), "frames_of": FRAMES_OF})
                turns[-1]["back_s"] = await _until(crew, by_datagram=True)
                turns[-1]["caught_up_s"] = await _caught_up(crew)
        crew.enough.set()
    result = report(tallies[0], seconds=crew.measured_s, transport=plan.transport)
    return {"turns": turns, "report": result}


async def _frames(crew: Crew) -> list[int]:
    """How many frames each bot gets while one of them gets FRAMES_OF."""
    before = [bot.series.frames for bot in crew.bots]
    with trio.fail_after(HANG_S):
        while crew.bots[0].series.frames - before[0] < FRAMES_OF:  # noqa: ASYNC110 - the series is pure
            await trio.sleep(LOOK_EVERY_S)
    return [bot.series.frames - was for bot, was in zip(crew.bots, before, strict=True)]


async def _caught_up(crew: Crew) -> float:
    """Seconds until no bot has more than IN_FLIGHT inputs under way: the outage has left no lag."""
    start = trio.current_time()
    with trio.fail_after(HANG_S):
        while max(bot.in_flight for bot in crew.bots) > IN_FLIGHT:  # noqa: ASYNC110 - the window is pure
            await trio.sleep(LOOK_EVERY_S)
    return round(trio.current_time() - start, 3)


async def _until(crew: Crew, *, by_datagram: bool) -> float:
    """Seconds until all bots' inputs take this channel."""
    start = trio.current_time()
    with trio.fail_after(HANG_S):
        while any(bot.by_datagram is not by_datagram for bot in crew.bots):  # noqa: ASYNC110 - the path is pure
            await trio.sleep(LOOK_EVERY_S)
    return round(trio.current_time() - start, 3)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Bots whose UDP is blocked and opened again.")
    parser.add_argument("--players", type=int, default=200)
    parser.add_argument("--full-share", type=float, default=0.05)
    told = parser.parse_args()
    configure("warning", "auto")
    with tempfile.TemporaryDirectory() as data:
        print(json.dumps(trio.run(play_blocked, told.players, told.full_share, Path(data)), indent=2))


if __name__ == "__main__":
    main()
