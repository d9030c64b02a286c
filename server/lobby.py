"""The lobby: which rooms there are, and which one a player gets.

Quick-join takes the fullest open room of the game with the options wanted that still has a free seat (seats asked for
but not yet given count as taken), so players meet; where there is none, a new room is opened. A private room is found
by its code only. A player keeps one seat at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack
import trio

from netcode import messages
from netcode.errors import ErrorCode, ProtocolError
from netcode.limits import Buckets
from netcode.session import Session
from server.host import Host
from server.rooms import Room
from server.stage import Occupant

LIST_EVERY_S = 0.5
LISTED_MAX = 500
LISTED_BYTES_MAX = messages.MESSAGE_MAX - 1024
ROOMS_OPENED_MAX = 4
"""Rooms of one account that may be there at once; an empty one is closed after a few seconds."""
OPENINGS_A_SECOND, OPENINGS_AT_ONCE = 0.2, 4
"""Rooms that one account may open."""


class Lobby:
    """All games and rooms of this node."""

    def __init__(self, hosts: dict[str, Host]) -> None:
        self.hosts = hosts
        self._openings = Buckets(OPENINGS_A_SECOND, OPENINGS_AT_ONCE)
        self._listed: list[tuple[dict[str, Any], int]] = []
        self._listed_at = float("-inf")
        self._listed_of: list[frozenset[str]] = []

    @property
    def room_count(self) -> int:
        """All rooms there are."""
        return sum(len(host.rooms.by_id) for host in self.hosts.values())

    def list_rooms(self, request: messages.ListRooms) -> messages.Rooms:
        """The open rooms, fullest first, as many as fit into a message; up to LIST_EVERY_S old."""
        found, size = list[dict[str, Any]](), 0
        for entry, length in self._all_rooms():
            full = request.open and entry["players"] >= entry["seats"]
            if full or request.game not in ("", entry["game"]) or not _matches(entry["options"], request.options):
                continue
            size += length
            if len(found) == LISTED_MAX or size > LISTED_BYTES_MAX:
                break
            found.append(entry)
        return messages.Rooms(ref=request.ref, rooms=found)

    def _all_rooms(self) -> list[tuple[dict[str, Any], int]]:
        """What is told of every room that is not private, fullest first, and its bytes.

        Looked at anew every LIST_EVERY_S, and when rooms have come or gone: a thousand of them cost 10 ms.
        """
        now, there = trio.current_time(), [frozenset(host.rooms.by_id) for host in self.hosts.values()]
        if now - self._listed_at < LIST_EVERY_S and there == self._listed_of:
            return self._listed
        found = [
            {
                "room": room.id,
                "game": name,
                "options": room.stage.game.option,
                "players": room.taken_seats,
                "seats": room.stage.game.seats,
                "tick": room.stage.batch.tick_of(room.id),
            }
            for name, host in self.hosts.items()
            for room in host.rooms.by_id.values()
            if not room.code
        ]
        found.sort(key=lambda entry: (-entry["players"], entry["room"]))
        self._listed = [(entry, len(msgpack.packb(entry))) for entry in found]
        self._listed_at, self._listed_of = now, there
        return self._listed

    def create(self, session: Session, request: messages.CreateRoom) -> messages.RoomCreated:
        """Open a room; raises ProtocolError."""
        host = self._host(request.game)
        room = self._open(host, session, request.options, request.private)
        return messages.RoomCreated(ref=request.ref, room=room.id, seats=room.stage.game.seats, code=room.code)

    def join(self, session: Session, request: messages.Join) -> None:
        """Put a session into the room that it names, or into the best one; raises ProtocolError."""
        if session.seat is not None or session.joining:
            raise ProtocolError(ErrorCode.ALREADY_SEATED, "leave your seat before you take another")
        if request.code:
            host, room = self._find_code(request.code)
        elif request.room:
            host, room = self._find(request.room, session)
        else:
            host = self._host(request.game)
            found = self._fullest(host, session, request.options)
            room = found or self._open(host, session, request.options, False)
        host.seating.join(session, room, request.ref)

    def seat_of(self, session: Session) -> tuple[Host, Occupant]:
        """The seat that a session is in; raises ProtocolError(NOT_SEATED)."""
        occupant = session.seat
        if not isinstance(occupant, Occupant):
            raise ProtocolError(ErrorCode.NOT_SEATED, "you have no seat")
        return self._host_of(occupant.room), occupant

    def resumed(self, session: Session, after: tuple[int, int]) -> None:
        """A session has a new connection: its seat, if it has one, goes on."""
        if isinstance(session.seat, Occupant):
            self._host_of(session.seat.room).seating.resume(session.seat, after)

    def lost(self, session: Session) -> None:
        """A session has lost its connection: its seat is held and waits for it; so does a seat it has asked for."""
        if isinstance(session.seat, Occupant):
            self._host_of(session.seat.room).seating.lost(session.seat)

    def forget(self, session: Session) -> None:
        """A session has ended: its seat is held for its account, a join that waits is let go."""
        occupant = session.seat
        if isinstance(occupant, Occupant):
            self._host_of(occupant.room).seating.abandon(occupant)
        session.seat, session.joining = None, ""

    def held_room(self, account: str) -> str:
        """The room in which a seat is held for an account; "" when none is."""
        return next((room for host in self.hosts.values() if (room := host.seating.held_room(account))), "")

    def _open(self, host: Host, session: Session, options: Mapping[str, Any], private: bool) -> Room:
        account = session.account
        opened = sum(room.opened_by == account for one in self.hosts.values() for room in one.rooms.by_id.values())
        if opened >= ROOMS_OPENED_MAX:
            raise ProtocolError(ErrorCode.LIMITED, f"you have opened {ROOMS_OPENED_MAX} rooms that are still there")
        if not self._openings.take(account, trio.current_time()):
            raise ProtocolError(ErrorCode.LIMITED, "you open rooms too fast; wait a moment")
        return host.rooms.open(options, private=private, account=account)

    def _fullest(self, host: Host, session: Session, options: Mapping[str, Any]) -> Room | None:
        wanted, best, most = dict(host.rooms.options_of(options)), None, -1
        for room in host.rooms.by_id.values():
            if room.code or room.stage.game.option != wanted:
                continue
            if room.stage.batch.ledger(room.id).seat_of(session.account) is not None:
                return room
            if room.free_seats > 0 and room.taken_seats > most:
                best, most = room, room.taken_seats
        return best

    def _host(self, game: str) -> Host:
        if game not in self.hosts:
            raise ProtocolError(
                ErrorCode.UNKNOWN_GAME, f"no game {game!r} here; there is: {', '.join(sorted(self.hosts))}"
            )
        return self.hosts[game]

    def _host_of(self, room: str) -> Host:
        return next(host for host in self.hosts.values() if room in host.rooms.by_id)

    def _find(self, room: str, session: Session) -> tuple[Host, Room]:
        """A room by its id; a private one only for those who hold a seat in it or have opened it."""
        for host in self.hosts.values():
            found = host.rooms.by_id.get(room)
            if found is not None and (
                not found.code
                or found.opened_by == session.account
                or found.stage.batch.ledger(room).seat_of(session.account) is not None
            ):
                return host, found
        raise ProtocolError(ErrorCode.UNKNOWN_ROOM, f"no room {room!r} here")

    def _find_code(self, code: str) -> tuple[Host, Room]:
        plain = code.upper().replace("-", "").replace(" ", "")
        for host in self.hosts.values():
            if plain in host.rooms.by_code:
                return host, host.rooms.by_code[plain]
        raise ProtocolError(ErrorCode.UNKNOWN_ROOM, "no room has this code")


def _matches(option: Mapping[str, int], wanted: Mapping[str, Any]) -> bool:
    """Whether a room's options are those that are wanted; those that are not named may be any."""
    return all(name in option and str(option[name]) == str(value) for name, value in wanted.items())
