"""A player who keeps books: of what it was told, and whether it kept its connection."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import trio

from netcode import messages
from netcode.client import Client, SeatedRoom, connect
from netcode.frame import Frame
from netcode.messages import Message
from tests.server.helpers import HANG_S


class Player:
    """Somebody in a seat."""

    def __init__(self, client: Client, room: SeatedRoom) -> None:
        self.client, self.room = client, room
        self.seen: list[tuple[int, int]] = []
        """(epoch, tick) of every frame."""
        self.pongs: list[bool] = []
        """Whether the node was suspended, by every answer to a ping."""
        self.pauses: list[str] = []
        self._pong = trio.Event()
        self._paused = trio.Event()
        client.on_pause = self._pause
        client.on_resume = lambda: self.pauses.append("resumed")
        client.take, self._take = self._heard, client.take  # type: ignore[method-assign]
        room.on_frame = self._saw
        self._connection = client._lifeline.connection
        room.want(add=1)

    @property
    def room_id(self) -> str:
        """The room's id."""
        return self.room.info.room

    @property
    def acknowledged(self) -> int:
        """The last of its inputs that it knows to be applied."""
        return self.room.play.window.acknowledged

    @property
    def told(self) -> tuple[int, int]:
        """How much it was told: frames, last acknowledged input."""
        return len(self.seen), self.acknowledged

    async def plays(self, frames: int = 10) -> None:
        """Wait for so many frames more."""
        wanted = len(self.seen) + frames
        with trio.fail_after(HANG_S):
            while len(self.seen) < wanted:
                await self.room.next_frame()

    async def plays_at(self, epoch: int) -> None:
        """Wait for a frame of this epoch."""
        with trio.fail_after(HANG_S):
            while not self.seen or self.seen[-1][0] < epoch:
                await self.room.next_frame()

    async def hears(self, suspended: bool) -> None:
        """Wait for an answer to a ping that says so; one comes about every second."""
        self.pongs.clear()
        with trio.fail_after(HANG_S):
            while suspended not in self.pongs:
                await self._pong.wait()

    async def misses(self) -> None:
        """Wait until it notices that its room is not heard any more."""
        with trio.fail_after(HANG_S):
            await self._paused.wait()

    def has_kept_its_socket(self) -> bool:
        """Whether it is on the connection that it began with, and nothing had to be taken up again."""
        return self.client._lifeline.connection is self._connection and self.client.resumes == 0

    async def settle(self) -> None:
        """Make no more inputs, leave, and compare: every input was applied exactly once, and no tick was seen twice."""
        window = self.room.play.window
        self.client.sending = False
        with trio.fail_after(HANG_S):
            while window.acknowledged < window.newest:
                await self.room.next_frame()
        made = window.newest
        left = await self.client.leave()
        assert (left.last_seq, left.applied) == (made, made)
        ticks = [tick for _, tick in self.seen]
        assert len(ticks) == len(set(ticks)), f"a tick was seen twice: {self.seen}"
        epochs = [epoch for epoch, _ in self.seen]
        assert epochs == sorted(epochs)  # ticks may overtake each other where frames change from link to datagrams

    def _saw(self, frame: Frame) -> None:
        self.seen.append((frame.epoch, frame.tick))

    def _pause(self) -> None:
        self.pauses.append("paused")
        self._paused.set()

    def _heard(self, message: Message) -> None:
        if isinstance(message, messages.Pong):
            self.pongs.append(message.suspended)
            self._pong.set()
            self._pong = trio.Event()
        self._take(message)


@contextlib.asynccontextmanager
async def player(server: str, *, own_room: bool = False) -> AsyncIterator[Player]:
    """One in a seat, of a room of its own if it is to be, who has seen frames."""
    async with connect(server) as client:
        room: SeatedRoom = await client.join("counter", room=await client.create_room("counter") if own_room else "")
        found = Player(client, room)
        await found.plays(5)
        yield found
