"""The lobby: which room a player gets, and on which node.

    join by id, by code ─► here: the seat is asked for      elsewhere: Redirect
    quick-join          ─► the fullest open room of the game with the options wanted, on any node;
                           where there is none: a new room, on the node that `place` names

Seats asked for but not yet given count as taken. A private room is found by its code only. A player keeps one seat at a
time. Whoever was sent here with a ticket is not sent on for the same wish.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import trio

from cluster.placement import place
from netcode import messages
from netcode.errors import ErrorCode, ProtocolError
from netcode.limits import Buckets
from netcode.session import Session
from server.held import HeldSeats
from server.host import Host
from server.housekeeping import Housekeeping
from server.listing import Listed, Listing
from server.registry import Elsewhere, Registry, answered
from server.rooms import Room
from server.stage import Occupant
from server.tenure import Tenure
from server.watchers import Watchers

ROOMS_OPENED_MAX = 4
"""Rooms of one account that may be there at once on a node; an empty one is closed after a few seconds."""
OPENINGS_A_SECOND, OPENINGS_AT_ONCE = 0.2, 4
"""Rooms that one account may open."""


class Lobby:
    """All games and rooms of this node, and the way to those of the others."""

    def __init__(
        self,
        hosts: dict[str, Host],
        *,
        registry: Registry,
        tenure: Tenure,
        housekeeping: Housekeeping,
        held: HeldSeats,
        rooms_max: int,
    ) -> None:
        self.hosts = hosts
        self.listing = Listing(hosts, tenure)
        self.held = held
        self._registry = registry
        self._tenure = tenure
        self._housekeeping = housekeeping
        self._rooms_max = rooms_max
        self._openings = Buckets(OPENINGS_A_SECOND, OPENINGS_AT_ONCE)

    @property
    def room_count(self) -> int:
        """All rooms of this node."""
        return sum(len(host.rooms.by_id) for host in self.hosts.values())

    def room(self, room: str) -> Room | None:
        """A room of this node."""
        return next((found for host in self.hosts.values() if (found := host.rooms.by_id.get(room))), None)

    @property
    def watchers(self) -> Watchers:
        """All who watch a room of this node."""
        return next(iter(self.hosts.values())).watchers

    # -- what players ask for -----------------------------------------------------------------------------------------

    async def create(self, session: Session, request: messages.CreateRoom) -> messages.RoomCreated | messages.Redirect:
        """Open a room, or tell which node to ask; raises ProtocolError."""
        host, ticket = self._host(request.game), session.ticket
        if ticket is None or ticket.purpose != "create":
            elsewhere = self._place()
            if elsewhere is not None:
                return self._registry.redirect(elsewhere.member, session.id, "create", ref=request.ref)
        session.ticket = None
        async with host.opening:
            room = await self._open(host, session, request.options, request.private)
        return messages.RoomCreated(ref=request.ref, room=room.id, seats=room.stage.game.seats, code=room.code)

    async def join(self, session: Session, request: messages.Join) -> messages.Redirect | None:
        """Put a session into the room that it names, or into the best one; None: `Seated` follows. Raises
        ProtocolError."""
        if session.seat is not None or session.joining:
            raise ProtocolError(ErrorCode.ALREADY_SEATED, "leave your seat before you take another")
        if request.code:
            found = await self._find_code(request.code)
        elif request.room:
            found = await self._find(request.room, session)
        else:
            found = await self._best(session, request)
        if isinstance(found, Elsewhere):
            return self._registry.redirect(
                found.member, session.id, "join", ref=request.ref, room=found.room, epoch=found.epoch
            )
        session.ticket = None
        join_id = await self._registry.reserve(session, found.id)
        if self._has_changed(session):
            raise ProtocolError(ErrorCode.ALREADY_SEATED, "another request of yours was faster")
        room = self.room(found.id)
        if room is None or room.closing:
            raise ProtocolError(ErrorCode.ROOM_MOVING, "the room has gone meanwhile; try again")
        self._host_of(room.id).seating.join(session, room, request.ref, join_id)
        return None

    async def watch(self, session: Session, request: messages.Watch) -> messages.Redirect | None:
        """Let a session watch the room that it names, under the rules of `join`; None: `Watching` follows. Raises
        ProtocolError."""
        if session.seat is not None or session.joining:
            raise ProtocolError(ErrorCode.ALREADY_SEATED, "leave your seat before you watch")
        found = await (self._find_code(request.code) if request.code else self._find(request.room, session))
        if isinstance(found, Elsewhere):
            return self._registry.redirect(
                found.member, session.id, "watch", ref=request.ref, room=found.room, epoch=found.epoch
            )
        session.ticket = None
        if self._has_changed(session):
            raise ProtocolError(ErrorCode.ALREADY_SEATED, "another request of yours was faster")
        if self.room(found.id) is not found:
            raise ProtocolError(ErrorCode.ROOM_MOVING, "the room has gone meanwhile; try again")
        self.watchers.watch(session, found, request.ref)
        return None

    @staticmethod
    def _has_changed(session: Session) -> bool:
        """Whether a session that was free to join is no more, after it had to wait."""
        return bool(session.seat is not None or session.joining or session.ended or session.lost_at is not None)

    def seat_of(self, session: Session) -> tuple[Host, Occupant]:
        """The seat that a session is in; raises ProtocolError(NOT_SEATED)."""
        occupant = session.seat
        if not isinstance(occupant, Occupant):
            raise ProtocolError(ErrorCode.NOT_SEATED, "you have no seat")
        return self._host_of(occupant.room), occupant

    # -- sessions that come and go ------------------------------------------------------------------------------------

    def take_over(self, session: Session, room: str) -> None:
        """A session that another node has served so far: its seat, if it has one in a room that is ours now."""
        found = self.room(room)
        if found is not None:
            session.seat = self._host_of(room).seating.take_over(session, room)

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

    # -- which room, which node ---------------------------------------------------------------------------------------

    def _place(self) -> Elsewhere | None:
        """The node that a new room belongs to; None: this one."""
        me = self._tenure.incarnation
        chosen = place(secrets.token_hex(8), self._tenure.present())
        if chosen in (None, me):
            return None
        return next((Elsewhere(m, "", 0) for m in self._tenure.others() if m.incarnation == chosen), None)

    async def _open(self, host: Host, session: Session, options: Mapping[str, Any], private: bool) -> Room:
        """Open a room here; `host.opening` is held. Raises ProtocolError."""
        account = session.account
        opened = sum(room.opened_by == account for one in self.hosts.values() for room in one.rooms.by_id.values())
        if opened >= ROOMS_OPENED_MAX:
            raise ProtocolError(ErrorCode.LIMITED, f"you have opened {ROOMS_OPENED_MAX} rooms that are still there")
        if self.room_count >= self._rooms_max:
            raise ProtocolError(ErrorCode.TOO_MANY_ROOMS, f"this server runs {self._rooms_max} rooms at once")
        wanted = dict(host.rooms.options_of(options))
        usual = host.game.option
        if wanted != usual and any(
            room.opened_by == account and room.entry.options not in (wanted, usual)
            for room in host.rooms.by_id.values()
        ):
            raise ProtocolError(ErrorCode.LIMITED, "you have opened a room with other options of your own already")
        if not self._openings.take(account, trio.current_time()):
            raise ProtocolError(ErrorCode.LIMITED, "you open rooms too fast; wait a moment")
        entry = host.rooms.draft(
            options, private=private, account=account, owner=self._tenure.incarnation, first=self._housekeeping.next
        )
        async with answered():
            await self._housekeeping.enter(entry)
        try:
            return host.rooms.open(entry)
        except ProtocolError:
            self._housekeeping.ended(entry)
            raise

    async def _best(self, session: Session, request: messages.Join) -> Room | Elsewhere:
        """For a quick-join: the fullest open room, ours or another node's, or a new one. Raises ProtocolError."""
        host, ticket = self._host(request.game), session.ticket
        async with host.opening:
            sent = None if ticket is None else host.rooms.by_id.get(ticket.room)
            if sent is not None and sent.free_seats > 0 and not sent.closing:
                return sent
            ours = self._fullest(host, session, request.options)
            if ticket is None:
                theirs = self._fullest_elsewhere(host, request.options)
                if theirs is not None and theirs.member is not None and self._better(theirs, ours, session):
                    return Elsewhere(theirs.member, theirs.told["room"], 0)
                elsewhere = None if ours is not None else self._place()
                if elsewhere is not None:
                    return elsewhere
            return ours or await self._open(host, session, request.options, False)

    @staticmethod
    def _better(theirs: Listed, ours: Room | None, session: Session) -> bool:
        """Whether another node's room is fuller than ours, in which the player has no seat yet."""
        if ours is None:
            return True
        mine = ours.stage.batch.ledger(ours.id).seat_of(session.account)
        return mine is None and bool(theirs.told["players"] > ours.taken_seats)

    def _fullest(self, host: Host, session: Session, options: Mapping[str, Any]) -> Room | None:
        wanted, best, most = dict(host.rooms.options_of(options)), None, -1
        for room in host.rooms.by_id.values():
            if room.code or room.closing or room.stage.game.option != wanted:
                continue
            if room.stage.batch.ledger(room.id).seat_of(session.account) is not None:
                return room
            if room.free_seats > 0 and room.taken_seats > most:
                best, most = room, room.taken_seats
        return best

    def _fullest_elsewhere(self, host: Host, options: Mapping[str, Any]) -> Listed | None:
        wanted = dict(host.rooms.options_of(options))
        found = [
            listed
            for listed in self.listing.theirs()
            if listed.told["game"] == host.game.name and listed.told["options"] == wanted and listed.open
        ]
        return min(found, key=lambda listed: listed.order, default=None)

    def _host(self, game: str) -> Host:
        if game not in self.hosts:
            raise ProtocolError(
                ErrorCode.UNKNOWN_GAME, f"no game {game!r} here; there is: {', '.join(sorted(self.hosts))}"
            )
        return self.hosts[game]

    def _host_of(self, room: str) -> Host:
        return next(host for host in self.hosts.values() if room in host.rooms.by_id)

    async def _find(self, room: str, session: Session) -> Room | Elsewhere:
        """A room by its id; a private one only for those who hold a seat in it or have opened it."""
        found: Room | Elsewhere | None = self.room(room)
        if isinstance(found, Room) and (
            found.code
            and found.opened_by != session.account
            and found.stage.batch.ledger(room).seat_of(session.account) is None
        ):
            found = None
        elif found is None:
            where = await self._registry.locate(room)
            found = where if isinstance(where, Elsewhere) else self.room(where)
        if found is None or (isinstance(found, Room) and found.closing):
            raise ProtocolError(ErrorCode.UNKNOWN_ROOM, f"no room {room!r} here")
        return found

    async def _find_code(self, code: str) -> Room | Elsewhere:
        plain = code.upper().replace("-", "").replace(" ", "")
        for host in self.hosts.values():
            if plain in host.rooms.by_code:
                return host.rooms.by_code[plain]
        entry = await self._registry.by_code(plain)
        where = "" if entry is None else await self._registry.locate(entry.room)
        found = where if isinstance(where, Elsewhere) else self.room(where)
        if found is None:
            raise ProtocolError(ErrorCode.UNKNOWN_ROOM, "no room has this code")
        return found
