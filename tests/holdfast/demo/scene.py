"""A small cluster on paper: three nodes by their log, four rooms by their rows, their players by what they see.

`Scene` moves through time and tells a `Picture` and its `Kills` what a demo would tell them.
"""

from __future__ import annotations

import attrs

from bots.chaos.history import PlayerHistory, Seen
from cluster.model import RoomEntry
from holdfast.demo.kills import Kill, Kills
from holdfast.demo.picture import Picture, Room, Sight
from tests.cluster.helpers import entry

NODES = ("node-1", "node-2", "node-3")
ROOMS = {"aa": "node-1", "bb": "node-2", "cc": "node-2", "dd": "node-3"}
TICK_S = 0.05


def incarnation(node: str, life: int = 1) -> str:
    return f"{node}.{life:016x}"


class Scene:
    """Everything alive at epoch 1, two players in each room, a tick seen every 50 ms."""

    def __init__(self) -> None:
        self.now = 100.0
        self.picture = Picture("127.0.0.1:7777", 8)
        self.picture.tick_hz = 20
        self.kills = Kills()
        self.owner = {room: incarnation(node) for room, node in ROOMS.items()}
        self.epoch = dict.fromkeys(ROOMS, 1)
        self.given = set[str]()
        """Rooms whose owner has not begun."""
        self.living = {incarnation(node) for node in NODES}
        self.lives = dict.fromkeys(NODES, 0)
        self.tick = 0
        self.silent = set[str]()
        """Rooms of which nobody sees anything."""
        self.players = {f"{room}-{number}": PlayerHistory(f"{room}-{number}") for room in ROOMS for number in (1, 2)}
        self.kills.players = list(self.players.values())
        for node in NODES:
            self.starts(node)

    def starts(self, node: str) -> None:
        """A node's process starts, and it serves."""
        self.lives[node] += 1
        born = incarnation(node, self.lives[node])
        self.picture.heard({"event": "node_process", "node": node, "incarnation": born, "pid": 4711}, self.now)
        self.picture.heard({"event": "node_started", "node": node, "incarnation": born, "port": 1}, self.now)
        self.living.add(born)

    def plays(self, seconds: float) -> None:
        """Time passes, and players see ticks of the rooms that are not silent."""
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            self.tick += 1
            for name, player in self.players.items():
                room = name[:2]
                if room not in self.silent:
                    player.seen.append(Seen(self.now, (room, 0, 1), self.epoch[room], self.tick, 0, 0))

    def kill(self, node: str) -> Kill:
        """Its rooms fall silent."""
        victim = incarnation(node, self.lives[node])
        rooms = [room for room, owner in self.owner.items() if owner == victim]
        kill = self.kills.hit(node, victim, {room: self.epoch[room] for room in rooms}, self.now)
        self.picture.killed(node, self.now)
        self.living.remove(victim)
        self.silent.update(rooms)
        return kill

    def claims(self, room: str, node: str) -> None:
        """A node takes a room over; nobody sees anything of it yet."""
        self.owner[room] = incarnation(node, self.lives[node])
        self.epoch[room] += 1

    def goes_on(self, *rooms: str) -> None:
        """They are seen again from now on."""
        self.silent.difference_update(rooms)

    def look(self) -> tuple[list[Room], list[Kill]]:
        """Rooms that have moved, kills that have settled."""
        sights = [self._sight(player) for player in self.players.values() if player.seen]
        moved = self.picture.look(self.now, self.living, [self._entry(room) for room in self.owner], sights)
        return moved, self.kills.look(self.now, self.picture.rooms)

    def _entry(self, room: str) -> RoomEntry:
        row = entry(room, self.owner[room], epoch=self.epoch[room])
        return attrs.evolve(row, target=self.owner[room]) if room in self.given else row

    def _sight(self, player: PlayerHistory) -> Sight:
        last = player.seen[-1]
        return Sight(player.name, last.seat[0], last.epoch, last.tick, last.at, int(player.name[-1]))
