"""The link conditions of a whole swarm: one heap of packets under way, released every 2 ms, for all of its bots.

    bot ──► Way.UP ──────────► socket           datagrams: late, lost, doubled, overtaken
        ◄── Way.DOWN ◄──────── socket
        ──► Way.STREAM_UP ───► control link     realtime packets over TCP: late, never out of order
        ◄── Way.STREAM_DOWN ◄─ control link

Each bot and way has a `Conditioner` of its own, from the run's seed and the bot's number. Requests and answers of the
control channel (log-in, join, books) are not touched: they are no part of what is measured.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from netcode.conditions import Conditioner, Conditions, Waiting

if TYPE_CHECKING:
    from bots.bot import Bot

RELEASE_EVERY_S = 0.002
UNDER_WAY_MAX = 1 << 20
"""Packets of all bots together; more are dropped and counted."""


class Way(enum.IntEnum):
    """Which channel, and where to."""

    UP = 0
    DOWN = 1
    STREAM_UP = 2
    STREAM_DOWN = 3


Parcel = tuple["Bot", Way, bytes]


class Weather:
    """What happens to the packets of a swarm. `run` must be running."""

    def __init__(self, conditions: Conditions, deliver: Callable[[list[Parcel], float], None]) -> None:
        self.conditions = conditions
        self._deliver = deliver
        self._waiting: Waiting[Parcel] = Waiting(UNDER_WAY_MAX)
        self._ways: dict[tuple[Bot, Way], Conditioner[Parcel]] = {}
        self._pushed = trio.Event()

    @property
    def dropped(self) -> int:
        """Packets that found too many under way."""
        return self._waiting.dropped

    def push(self, bot: Bot, way: Way, packet: bytes, now: float) -> None:
        """Send a packet off."""
        link = self._ways.get((bot, way))
        if link is None:
            who, stream = bot.who, way >= Way.STREAM_UP
            link = Conditioner(
                self.conditions, who.seed, who.player * len(Way) + way, stream=stream, waiting=self._waiting
            )
            self._ways[bot, way] = link
        link.push((bot, way, packet), now)
        self._pushed.set()

    def forget(self, bot: Bot) -> None:
        """The bot has left; what is under way still arrives."""
        for way in Way:
            self._ways.pop((bot, way), None)

    async def run(self) -> None:
        """Deliver what is due, until cancelled."""
        while True:
            if not len(self._waiting):
                self._pushed = trio.Event()
                await self._pushed.wait()
            await trio.sleep(RELEASE_EVERY_S)
            now = trio.current_time()
            arrived = self._waiting.pop(now)
            if arrived:
                self._deliver(arrived, now)
