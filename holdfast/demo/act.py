"""What the demo does to its cluster, and how it looks at it: the store by a handle that only reads, and the bots.

look   store ─► who lives, which rooms ─┐
       bots ─► what players see ────────┴─► Picture, Kills
kill   who lives? ─► the one with most players ─► does it still live? ─► SIGKILL to its process
ask    a bot on each node ─► the node's own figures ─► its gauge
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

import attrs
import trio

from bots.bot import Bot
from bots.chaos.history import PlayerHistory
from bots.chaos.watch import Recorder, lives, living, owned
from bots.crew import Crew
from cluster.model import Member, RoomEntry
from cluster.store import Store
from holdfast.demo.kills import Kill, Kills
from holdfast.demo.picture import Gauge, Picture, Room, Sight
from netcode.errors import NetcodeError

ASK_EVERY_S = 1.0
ASK_WITHIN_S = 0.5
ASK_WINDOW_S = 5


@attrs.frozen
class News:
    """What a look has found."""

    moved: list[Room]
    settled: list[Kill]


class Cluster:
    """The demo's cluster, from outside."""

    def __init__(self, picture: Picture, kills: Kills) -> None:
        self.picture = picture
        self.kills = kills
        self.store: Store | None = None
        self.crew: Crew | None = None
        self._players: dict[Bot, PlayerHistory] = {}
        self._busy: dict[str, tuple[str, float, float]] = {}

    def on_bot(self, bot: Bot) -> None:
        """Watch what a bot sees from now on."""
        player = self._players[bot] = PlayerHistory(bot.who.name)
        self.kills.players.append(player)
        Recorder(bot, player, keep=False)

    # -- look ----------------------------------------------------------------------------------------------------------

    async def look(self) -> News:
        """Bring the picture up to date. Raises ClusterError."""
        store, bots = self.store, self._playing()
        assert store is not None
        members = await living(store)
        entries = await store.rooms.entries()
        now, picture = trio.current_time(), self.picture
        for bot in bots:
            bot.tally()
        inputs = sum(bot.series.acknowledged for bot in bots)
        picture.flow.add(now, (sum(bot.series.packets for bot in bots), inputs, sum(bot.frame_bytes for bot in bots)))
        picture.tick_hz = max((bot.tick_hz for bot in bots), default=0)
        sights = [sight for bot in bots if (sight := self._sight(bot)) is not None]
        moved = picture.look(now, {member.incarnation for member in members}, entries, sights)
        return News(moved, self.kills.look(now, picture.rooms))

    def _playing(self) -> list[Bot]:
        return [] if self.crew is None else [bot for bot in self.crew.playing if bot.alive]

    def _sight(self, bot: Bot) -> Sight | None:
        frames = self._players[bot].seen
        if not frames:
            return None
        newest = frames[-1]
        return Sight(bot.who.name, newest.seat[0], newest.epoch, newest.tick, newest.at, bot.score())

    # -- kill ----------------------------------------------------------------------------------------------------------

    async def kill(self, name: str = "") -> Kill | None:
        """Kill the node with this name, or the one that has the most players. None: not now, and the picture's note
        says why. Raises ClusterError."""
        store, picture = self.store, self.picture
        if store is None:
            picture.note = "not yet: the nodes are starting"
            return None
        hit = {kill.fault.incarnation for kill in self.kills.all}
        members = [member for member in await living(store) if member.incarnation not in hit]
        rooms = await owned(store, members)
        victim = choose(members, rooms, {room.id: room.players for room in picture.rooms.values()}, name)
        if isinstance(victim, str):
            picture.note = victim
            return None
        if not lives(store, victim):
            picture.note = f"{victim.node} has just ended by itself"
            return None
        epochs = {entry.room: entry.epoch for entry in rooms[victim.incarnation]}
        now = trio.current_time()
        os.kill(victim.pid, signal.SIGKILL)
        picture.killed(victim.node, now)
        picture.note = ""
        return self.kills.hit(victim.node, victim.incarnation, epochs, now)

    def died(self, node: str, incarnation: str) -> Kill | None:
        """The log says that a node was ended by a signal: a kill by the page, where it is none of ours."""
        if any(kill.fault.incarnation == incarnation for kill in self.kills.all):
            return None
        now, rooms = trio.current_time(), self.picture.rooms.values()
        self.picture.killed(node, now)
        return self.kills.hit(
            node, incarnation, {room.id: room.epoch for room in rooms if room.owner == incarnation}, now
        )

    # -- ask -----------------------------------------------------------------------------------------------------------

    async def keep_asking(self) -> None:
        """Ask every node for its figures now and then, for ever."""
        while True:
            await trio.sleep(ASK_EVERY_S)
            asked: dict[str, Bot] = {}
            for bot in self._playing():
                room = self.picture.rooms.get(bot.room)
                if room is not None and room.runs and bot.trouble is None:
                    asked.setdefault(room.node, bot)
            async with trio.open_nursery() as nursery:
                for node, bot in asked.items():
                    nursery.start_soon(self._ask, node, bot)

    async def _ask(self, name: str, bot: Bot) -> None:
        try:
            with trio.fail_after(ASK_WITHIN_S):
                figures = await bot.stats(ASK_WINDOW_S)
        except (NetcodeError, trio.TooSlowError):
            return
        node, now, busy_s = self.picture.nodes[name], trio.current_time(), figures["ticks_busy_s"]
        life, since, before_s = self._busy.get(name, ("", 0.0, 0.0))
        self._busy[name] = (node.incarnation, now, busy_s)
        tick_ms = (busy_s - before_s) / (now - since) * 1000 / max(1, bot.tick_hz) if life == node.incarnation else 0.0
        node.gauge = Gauge(tick_ms, figures["tick_lateness_ms"]["p99"], figures["rss_mb"])


def choose(
    members: Sequence[Member], rooms: Mapping[str, Sequence[RoomEntry]], players: Mapping[str, int], name: str = ""
) -> Member | str:
    """Whom to kill of those that live: the one with this name, or with the most players; or why nobody is.

    `rooms` by incarnation, `players` by room.
    """
    if name and not any(member.node == name for member in members):
        return f"{name} is not alive just now"
    if len(members) < 2:
        return "the last node alive is spared: its rooms would have nowhere to go"

    def weight(member: Member) -> tuple[int, int]:
        its = rooms[member.incarnation]
        return sum(players.get(entry.room, 0) for entry in its), len(its)

    return max((member for member in members if name in ("", member.node)), key=weight)
