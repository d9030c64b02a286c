"""Which rooms there are: ours, and what the other nodes tell of theirs.

Every node writes the rooms that it lists into its lease (`published`), fullest first with those that have free seats
before the full ones; the others read it there (`Tenure.members`). So a list is up to a second old, and whoever acts on
it finds out in the room itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import msgpack
import trio

from cluster.model import Member
from netcode import messages
from server.host import Host
from server.rooms import plain_options
from server.tenure import Tenure

LIST_EVERY_S = 0.5
LISTED_MAX = 500
LISTED_BYTES_MAX = messages.MESSAGE_MAX - 1024
PUBLISHED_MAX = 200


@attrs.frozen
class Listed:
    """A room that anybody may see. `member`: who runs it, None for ourselves."""

    told: dict[str, Any]
    """What a client is told: room, game, options, players, seats, tick."""
    bytes: int
    member: Member | None = None

    @property
    def open(self) -> bool:
        """Whether a seat is free."""
        return bool(self.told["players"] < self.told["seats"])

    @property
    def order(self) -> tuple[int, str]:
        """Fullest first."""
        return -self.told["players"], self.told["room"]


class Listing:
    """Rooms of all nodes, looked at anew every LIST_EVERY_S: a thousand of them cost 10 ms."""

    def __init__(self, hosts: Mapping[str, Host], tenure: Tenure) -> None:
        self.http_port = 0
        """Where this very node answers HTTP; 0: nowhere."""
        self._hosts = hosts
        self._tenure = tenure
        self._ours: list[Listed] = []
        self._looked_at = float("-inf")
        self._looked_of: list[frozenset[str]] = []
        self._theirs: dict[str, tuple[bytes, list[dict[str, Any]]]] = {}

    def tell(self, request: messages.ListRooms) -> messages.Rooms:
        """The rooms that a client asks for, fullest first, as many as fit into a message."""
        wanted = plain_options(request.options)
        found, size = list[dict[str, Any]](), 0
        for listed in sorted([*self.ours(), *self.theirs()], key=lambda one: one.order):
            told = listed.told
            full = request.open and not listed.open
            if full or request.game not in ("", told["game"]) or not matches(told["options"], wanted):
                continue
            size += listed.bytes
            if len(found) == LISTED_MAX or size > LISTED_BYTES_MAX:
                break
            found.append(told)
        return messages.Rooms(ref=request.ref, rooms=found)

    def published(self) -> bytes:
        """What our lease tells the other nodes."""
        rooms = sorted(self.ours(), key=lambda one: (not one.open, *one.order))
        told = {"http": self.http_port, "rooms": [listed.told for listed in rooms[:PUBLISHED_MAX]]}
        data: bytes = msgpack.packb(told)
        return data

    def ours(self) -> Sequence[Listed]:
        """The rooms of this node that are not private, as of the last look; at once when rooms have come or gone."""
        now, there = trio.current_time(), [frozenset(host.rooms.by_id) for host in self._hosts.values()]
        if now - self._looked_at >= LIST_EVERY_S or there != self._looked_of:
            told = [
                {
                    "room": room.id,
                    "game": name,
                    "options": room.stage.game.option,
                    "players": room.taken_seats,
                    "seats": room.stage.game.seats,
                    "tick": room.stage.batch.tick_of(room.id),
                }
                for name, host in self._hosts.items()
                for room in host.rooms.by_id.values()
                if not room.code and not room.closing
            ]
            self._ours = [Listed(entry, len(msgpack.packb(entry))) for entry in told]
            self._looked_at, self._looked_of = now, there
        return self._ours

    def theirs(self) -> Iterable[Listed]:
        """The rooms of the other nodes that are there, as they have told."""
        here = {room for host in self._hosts.values() for room in host.rooms.by_id}
        for member in self._tenure.others():
            before, rooms = self._theirs.get(member.incarnation, (b"", []))
            if before != member.listing:
                rooms = msgpack.unpackb(member.listing)["rooms"]
                self._theirs[member.incarnation] = member.listing, rooms
            for told in rooms:
                if told["room"] not in here:
                    yield Listed(told, len(member.listing) // len(rooms), member)


def http_port_of(member: Member) -> int:
    """Where a node answers HTTP, as it has told; 0: nowhere."""
    return int(msgpack.unpackb(member.listing)["http"]) if member.listing else 0


def matches(option: Mapping[str, int], wanted: Mapping[str, int]) -> bool:
    """Whether a room's options are those that are wanted; those that are not named may be any."""
    return all(option.get(name) == value for name, value in wanted.items())
