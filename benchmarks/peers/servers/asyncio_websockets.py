"""The workload on asyncio with `websockets`: rooms by hand, each a task, and one binary frame a tick, made once a room.

    python asyncio_websockets.py [uvloop]

    in     seq u16, move_x i8, move_y i8, aim u16, buttons u8                                      (little-endian)
    frame  tick u32, then of each seat: x u16, y u16, facing u8, last input u16

The first message to a client is its seat, one byte. `broadcast` is what the library advises for the same message to
many; compression is off, as it advises for small messages and memory. The world is that of `world.mjs`.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from typing import Any

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

TICK_HZ, SEATS, SPEED = 20, 10, 64
INPUT = struct.Struct("<HbbHB")
PLAYER = struct.Struct("<HHBH")
TICK = struct.Struct("<I")


class Player:
    """One client's place, and the inputs that wait for the tick."""

    __slots__ = ("connection", "facing", "going", "inputs", "seq", "x", "y")

    def __init__(self, connection: ServerConnection, seat: int) -> None:
        self.connection = connection
        self.x = self.y = seat * 6000
        self.facing = self.seq = 0
        self.going = (1, 1, 0)
        self.inputs: list[tuple[int, int, int, int, int]] = []

    def step(self) -> bytes:
        """One tick; returns the player's part of the frame."""
        for seq, move_x, move_y, aim, _ in self.inputs:
            self.seq, self.going = seq, (move_x, move_y, aim)
        self.inputs.clear()
        move_x, move_y, aim = self.going
        self.x = (self.x + move_x * SPEED) & 0xFFFF
        self.y = (self.y + move_y * SPEED) & 0xFFFF
        self.facing = aim >> 8
        return PLAYER.pack(self.x, self.y, self.facing, self.seq)


class Room:
    """Ten seats and a task that ticks while somebody is there."""

    def __init__(self) -> None:
        self.players: list[Player] = []
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        """Tick at absolute times; what is late is not made up for, as a timer of Node does."""
        loop = asyncio.get_running_loop()
        due, tick = loop.time(), 0
        while True:
            due = max(due + 1 / TICK_HZ, loop.time())
            await asyncio.sleep(due - loop.time())
            tick += 1
            frame = TICK.pack(tick) + b"".join([player.step() for player in self.players])
            broadcast([player.connection for player in self.players], frame)


class Lobby:
    """Fills one room after the other."""

    def __init__(self) -> None:
        self.open: Room | None = None

    async def play(self, connection: ServerConnection) -> None:
        """One client, from its first message to its last."""
        if self.open is None or len(self.open.players) == SEATS:
            self.open = Room()
        room = self.open
        seat = len(room.players)
        player = Player(connection, seat)
        room.players.append(player)
        try:
            await connection.send(bytes([seat]))
            async for message in connection:
                player.inputs.append(INPUT.unpack(message))  # type: ignore[arg-type]  # bytes, or the peer is none of ours
        except ConnectionClosed:
            pass
        finally:
            room.players.remove(player)
            if not room.players:
                room.task.cancel()
                if self.open is room:
                    self.open = None


async def main() -> None:
    """Serve until killed."""
    async with serve(Lobby().play, "127.0.0.1", 0, compression=None) as server:
        print(f"listening {server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    factory: Any = None
    if sys.argv[1:] == ["uvloop"]:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
