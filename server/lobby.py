"""The lobby: which rooms there are, and which one a player gets.

Quick-join takes the fullest room of the game that still has a free seat (seats asked for but not yet given count as
taken), so players meet; where there is none, a new room is opened. A player keeps one seat at a time.
"""

from __future__ import annotations

from typing import Any

from netcode import messages
from netcode.errors import ErrorCode, ProtocolError
from netcode.session import Session
from server.host import Host, Room
from server.stage import Occupant

LISTED_MAX = 500
ROOMS_OPENED_MAX = 4
"""Rooms of one session that may be there at once; an empty one is closed after a few seconds."""


class Lobby:
    """All games and rooms of this node."""

    def __init__(self, hosts: dict[str, Host]) -> None:
        self.hosts = hosts

    def list_rooms(self, request: messages.ListRooms) -> messages.Rooms:
        """The rooms, fullest first, at most LISTED_MAX."""
        found: list[dict[str, Any]] = []
        for name, host in self.hosts.items():
            if request.game in ("", name):
                for room in host.rooms.values():
                    players = room.stage.batch.ledger(room.id).players
                    taken = len(players) - players.count(None)
                    entry = {"room": room.id, "game": name, "players": taken, "seats": len(players)}
                    found.append({**entry, "tick": room.stage.batch.tick_of(room.id)})
        found.sort(key=lambda entry: (-entry["players"], entry["room"]))
        return messages.Rooms(ref=request.ref, rooms=found[:LISTED_MAX])

    def create(self, session: Session, request: messages.CreateRoom) -> messages.RoomCreated:
        """Open a room; raises ProtocolError."""
        session.opened = [room for room in session.opened if any(room in host.rooms for host in self.hosts.values())]
        if len(session.opened) >= ROOMS_OPENED_MAX:
            raise ProtocolError(ErrorCode.LIMITED, f"you have opened {ROOMS_OPENED_MAX} rooms that are still there")
        host = self._host(request.game)
        session.opened.append(host.open_room())
        return messages.RoomCreated(ref=request.ref, room=session.opened[-1], seats=host.game.seats)

    def join(self, session: Session, request: messages.Join) -> None:
        """Put a session into the room that it names, or into the best one; raises ProtocolError."""
        if session.seat is not None or session.joining:
            raise ProtocolError(ErrorCode.ALREADY_SEATED, "leave your seat before you take another")
        if request.room:
            host, room = self._find(request.room)
        else:
            host = self._host(request.game)
            room = self._fullest(host, session) or host.rooms[host.open_room()]
        host.join(session, room, request.ref)

    def seat_of(self, session: Session) -> tuple[Host, Occupant]:
        """The seat that a session is in; raises ProtocolError(NOT_SEATED)."""
        occupant = session.seat
        if not isinstance(occupant, Occupant):
            raise ProtocolError(ErrorCode.NOT_SEATED, "you have no seat")
        return self._find(occupant.room)[0], occupant

    def forget(self, session: Session) -> None:
        """A session has ended: its seat is held for its player, a join that waits is let go."""
        occupant, session.seat, session.joining = session.seat, None, ""
        if isinstance(occupant, Occupant):
            for host in self.hosts.values():
                if occupant.room in host.rooms:
                    host.disconnect(occupant)

    def _fullest(self, host: Host, session: Session) -> Room | None:
        best, most = None, -1
        for room in host.rooms.values():
            ledger = room.stage.batch.ledger(room.id)
            if ledger.seat_of(session.account) is not None:
                return room
            free = host.free_seats(room)
            if free > 0 and len(ledger.players) - free > most:
                best, most = room, len(ledger.players) - free
        return best

    def _host(self, game: str) -> Host:
        if game not in self.hosts:
            raise ProtocolError(
                ErrorCode.UNKNOWN_GAME, f"no game {game!r} here; there is: {', '.join(sorted(self.hosts))}"
            )
        return self.hosts[game]

    def _find(self, room: str) -> tuple[Host, Room]:
        for host in self.hosts.values():
            if room in host.rooms:
                return host, host.rooms[room]
        raise ProtocolError(ErrorCode.UNKNOWN_ROOM, f"no room {room!r} here")
