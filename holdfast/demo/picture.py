"""What the demo shows, as plain values: nodes, rooms and what flows. Pure: everything is told to it, with the time.

log of the server ──heard──► nodes: starting, alive, killed, dead        (a life of a node is an incarnation)
store and bots ─────look───► rooms: where they are, at which epoch, what their players see
counts of all bots ─flow───► rates over the last second, and a strip of the last half minute
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs

from cluster.model import RoomEntry

HIGHLIGHT_S = 5.0
"""How long a room that has moved stands out."""
CELL_S = 0.25
CELLS_MAX = 120


@attrs.define
class Gauge:
    """What a node says of itself when it is asked."""

    tick_ms: float = 0.0
    late_ms: float = 0.0
    """Of a tick's start, p99."""
    rss_mb: float = 0.0


@attrs.define
class Node:
    """A node, through all of its lives."""

    name: str
    state: Literal["starting", "alive", "killed", "dead"] = "starting"
    since: float = 0.0
    incarnation: str = ""
    pid: int = 0
    life: int = 0
    """Counts its incarnations."""
    restart_at: float | None = None
    gauge: Gauge = attrs.field(factory=Gauge)


@attrs.define
class Room:
    """A room: who runs it, and what its players see of it."""

    id: str
    node: str = ""
    owner: str = ""
    """The incarnation."""
    epoch: int = 0
    runs: bool = False
    """Its owner lives, and its players see what it makes of the room."""
    came_from: str = ""
    moved_at: float = -math.inf
    tick: int = 0
    heard_at: float = 0.0
    players: int = 0
    leader: str = ""
    score: int | None = None

    def moved(self, now: float) -> bool:
        """Whether it has another owner since a moment ago."""
        return now - self.moved_at < HIGHLIGHT_S


@attrs.frozen
class Sight:
    """What one player sees: where it sits, its newest frame and when that came."""

    name: str
    room: str
    epoch: int
    tick: int
    at: float
    score: int | None


class Flow:
    """Counts of all bots over time."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, Sequence[int]]] = deque(maxlen=CELLS_MAX + 1)

    def add(self, now: float, counts: Sequence[int]) -> None:
        """Counts so far; those that come sooner than a cell after the last are left out."""
        if not self._points or now - self._points[-1][0] >= CELL_S * 0.8:
            self._points.append((now, counts))

    def rates(self, over_s: float = 1.0) -> list[float]:
        """Per second, over the last moments; [] before there are any."""
        if len(self._points) < 2:
            return []
        end, counts = self._points[-1]
        start, before = next((p for p in reversed(self._points) if end - p[0] >= over_s), self._points[0])
        return [max(0.0, (b - a) / (end - start)) for a, b in zip(before, counts, strict=True)]

    def strip(self, which: int = 0) -> list[float]:
        """The rate of one count in every cell, oldest first."""
        pairs = zip(self._points, list(self._points)[1:], strict=False)
        return [max(0.0, (b[which] - a[which]) / (until - since)) for (since, a), (until, b) in pairs]


class Picture:
    """All of it."""

    def __init__(self, address: str = "", bots: int = 0) -> None:
        self.address = address
        self.page = ""
        """Where a browser finds the page, with the token that it shows."""
        self.bots = bots
        self.tick_hz = 0
        self.playing = 0
        self.nodes: dict[str, Node] = {}
        self.rooms: dict[str, Room] = {}
        self.top: list[Sight] = []
        """Players with the best scores."""
        self.flow = Flow()
        self.note = ""
        """A word to who watches."""
        self.kill_at: float | None = None
        """When a node will be killed by itself."""
        self._node_of: dict[str, str] = {}

    def heard(self, entry: Mapping[str, Any], now: float) -> None:
        """An entry of the server's log."""
        event, name = entry.get("event"), entry.get("node")
        if not isinstance(name, str):
            return
        node = self.nodes.get(name) or Node(name, since=now)
        match event:
            case "node_process":
                node.state, node.since, node.restart_at = "starting", now, None
                self._born(node, entry["incarnation"], entry["pid"])
            case "node_started":
                if node.incarnation != entry["incarnation"]:  # without a supervisor
                    self._born(node, entry["incarnation"], 0)
                node.state, node.since = "alive", now
            case "node_died":
                if node.state != "killed":
                    node.state, node.since = "dead", now
            case "node_restarts":
                if node.state != "killed":
                    node.state, node.since = "dead", now
                node.restart_at = now + entry["wait_s"]
            case _:
                return
        self.nodes[name] = node

    def _born(self, node: Node, incarnation: str, pid: int) -> None:
        node.incarnation, node.pid, node.gauge = incarnation, pid, Gauge()
        node.life += 1
        self._node_of[incarnation] = node.name

    def killed(self, name: str, now: float) -> None:
        """We have killed this node."""
        node = self.nodes[name]
        node.state, node.since, node.restart_at = "killed", now, None

    def look(
        self, now: float, living: Collection[str], entries: Sequence[RoomEntry], sights: Sequence[Sight]
    ) -> list[Room]:
        """Bring the rooms up to date; those that have moved since the last look. `living` are incarnations."""
        self.playing, moved = len(sights), []
        seen: dict[str, list[Sight]] = {}
        for sight in sights:
            seen.setdefault(sight.room, []).append(sight)
        self.rooms = {entry.room: self.rooms.get(entry.room) or Room(entry.room) for entry in entries}
        for entry in entries:
            room = self.rooms[entry.room]
            if room.owner not in ("", entry.owner):
                room.came_from, room.moved_at = room.node, now
                moved.append(room)
            room.owner, room.node, room.epoch = entry.owner, self.node_of(entry.owner), entry.epoch
            self._look_at(room, seen.get(room.id, []))
            shown = max((sight.epoch for sight in seen.get(room.id, [])), default=room.epoch)
            room.runs = entry.owner in living and not entry.target and shown >= room.epoch
        scored = [sight for sight in sights if sight.score is not None]
        self.top = sorted(scored, key=lambda sight: (-(sight.score or 0), sight.name))
        return moved

    def _look_at(self, room: Room, seen: Iterable[Sight]) -> None:
        room.players, room.leader, room.score = 0, "", None
        for sight in seen:
            room.players += 1
            if sight.tick > room.tick:
                room.tick, room.heard_at = sight.tick, sight.at
            if sight.score is not None and (room.score is None or sight.score > room.score):
                room.leader, room.score = sight.name, sight.score

    def node_of(self, incarnation: str) -> str:
        """The node that an incarnation is a life of."""
        return self._node_of.get(incarnation) or incarnation.rpartition(".")[0]

    def rooms_of(self, node: str) -> list[Room]:
        """The rooms that a node has, in an order that stays."""
        return [self.rooms[room] for room in sorted(self.rooms) if self.rooms[room].node == node]

    def in_order(self) -> list[Node]:
        """The nodes by name, the tenth behind the ninth."""
        return sorted(self.nodes.values(), key=lambda node: (len(node.name), node.name))

    @property
    def whole(self) -> bool:
        """Whether every node is alive, and every room runs."""
        return all(node.state == "alive" for node in self.nodes.values()) and all(
            room.runs for room in self.rooms.values()
        )
