"""Full clients: bots that are `netcode.client` and nothing else, so what they see is what a player's program sees.

Each decodes every frame, checks it, and lets its brain decide from it. What is checked: ticks are new (over TCP they
also only grow), the seat's own values are there, and everybody is inside the world. A fault is counted by its kind; the
bot plays on.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import attrs
import trio

from bots.brain import Brain, inside_world, make_brain
from bots.report import PlayerSeries
from netcode.client import Client, SeatedRoom, connect
from netcode.frame import Frame
from netcode.messages import Left


@attrs.frozen
class Identity:
    """Who a bot is, and where it plays."""

    server: str
    transport: str
    trust: str | None
    seed: int
    player: int
    name: str
    secret: bytes


class FullBot:
    """One bot with a client of its own."""

    full = True

    def __init__(self, who: Identity) -> None:
        self.who = who
        self.series = PlayerSeries()
        self.faults: dict[str, int] = {}
        """Frames that failed a check, by kind."""
        self.room: SeatedRoom | None = None
        self._client: Client | None = None
        self._brain: Brain
        self._books: list[tuple[int, int]] = []

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Logged in, until the block ends. Raises what `connect` raises."""
        who = self.who
        async with connect(
            who.server, name=who.name, secret=who.secret, transport=who.transport, trust=who.trust
        ) as client:
            self._client = client
            yield

    @property
    def _logged_in(self) -> Client:
        assert self._client is not None
        return self._client

    @property
    def alive(self) -> bool:
        """Whether the session lives."""
        return self._client is not None and self._client.error is None

    @property
    def error(self) -> Exception | None:
        """Why the session ended."""
        return self._client.error if self._client is not None else None

    @property
    def settled(self) -> bool:
        """Whether everything that was sent is acknowledged."""
        return self.room is None or self.room.play.window.acknowledged == self.room.play.window.newest

    @property
    def tick_hz(self) -> int:
        """Ticks a second of the room."""
        return self.room.info.tick_hz if self.room is not None else 0

    def stop_inputs(self) -> None:
        """Send nothing new; what is unacknowledged is still repeated."""
        self._logged_in.sending = False

    async def open_room(self) -> str:
        """Open a room of the server's (first) game. Raises RemoteError."""
        games = self._logged_in.games
        return await self._logged_in.create_room(games[0] if games else "")

    async def join(self, room: str) -> None:
        """Take a seat in this room and play. Raises RemoteError."""
        self.room = await self._logged_in.join(room=room)
        info = self.room.info
        self._brain = make_brain(info, self.who.seed, self.who.player, sees=True)
        self._inside = inside_world(info)
        self._counted = self._logged_in.datagram_bytes
        self.room.on_frame = self._see

    async def leave(self) -> None:
        """Give the seat up and take the server's books. Raises RemoteError."""
        room = self.room
        assert room is not None
        left: Left = await self._logged_in.leave()
        self.series.left = (left.last_seq, left.applied)

    async def stats(self, window_s: int) -> dict[str, Any]:
        """The server's own figures. Raises RemoteError."""
        return await self._logged_in.stats(window_s)

    async def rooms(self) -> list[dict[str, Any]]:
        """The server's rooms. Raises RemoteError."""
        return await self._logged_in.rooms()

    @property
    def frame_bytes(self) -> int:
        """Bytes of all frames so far."""
        return self._client.datagram_bytes if self._client is not None else 0

    def score(self) -> int | None:
        """The seat's score in the newest frame; None where the game shows none."""
        room = self.room
        if room is None or room.play.newest is None:
            return None
        if not any(field.name == "score" and field.per == "seat" for field in room.info.layout.shared):
            return None
        return room.play.newest.values("score")[room.info.seat]

    async def watch(self) -> None:
        """Count skipped inputs, until cancelled."""
        room = self.room
        assert room is not None
        while True:
            event = await room.next_event()
            if event.kind == "skipped" and event.data[:1] == (room.info.seat,):
                self.series.skipped += event.data[-1] - event.data[-2] + 1

    def tally(self) -> None:
        """Bring the series' counts of inputs up to date."""
        if self.room is not None:
            window = self.room.play.window
            self.series.sent, self.series.acknowledged = window.newest, window.acknowledged
        if self._client is not None and self._client.bad_frames:
            self.faults["bad_frame"] = self._client.bad_frames

    def _see(self, frame: Frame) -> None:
        room, client = self.room, self._client
        assert room is not None
        assert client is not None
        now = trio.current_time()
        size, self._counted = client.datagram_bytes - self._counted, client.datagram_bytes
        newest = room.play.newest is frame
        if not self.series.frame(frame.tick, now, size):
            self._fault("tick_repeated")
        elif not newest and self.who.transport == "tcp":
            self._fault("tick_went_back")
        self.series.round_trips(room.play.rtt_ms, now)
        if len(frame.own) != room.info.layout.own_width:
            self._fault("own_values_missing")
        if self._inside is not None and not self._inside(frame):
            self._fault("outside_world")
        if newest and client.sending:
            room.want(**self._brain.decide(frame))

    def _fault(self, kind: str) -> None:
        self.faults[kind] = self.faults.get(kind, 0) + 1
