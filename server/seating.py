"""Seats: what players ask for between ticks, and what a tick makes of it.

    join     ─► Join command       ─► (tick) ─► Seated        the seat, or a typed refusal
    resume   ─► Connect command    ─► (tick) ─► Seated + events since     inputs go on after the last applied one
    leave    ─► Leave command      ─► (tick) ─► Left          the server's books of the seat
    lost     ─► Disconnect command ─► held for hold_s of room ticks, then free

A seat belongs to an account; its occupant is the session that plays it. Answers are only built here: they go into the
tick's `Outcome` and leave when the tick is stored. One held seat an account (`server.held`): another gives it up.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import attrs
import trio

from game.base_batch import Failure
from game.batch import Seated, StepResult, Vacated
from game.commands import Applied, Chat, Connect, Disconnect, Join, Leave
from game.errors import GAME_FAULTS
from netcode import messages
from netcode.control import message_bytes
from netcode.errors import ErrorCode, ProtocolError
from netcode.limits import Buckets
from netcode.session import Session
from server.held import HeldSeats
from server.outcome import Outcome
from server.rooms import Room, Rooms
from server.stage import Occupant, Stage

CHATS_A_SECOND, CHATS_AT_ONCE = 2.0, 4
"""What one account may say; leaving and joining changes nothing."""
NO_SEAT_ANY_MORE = "the seat is not yours any more"


@attrs.frozen
class _Waiting:
    """A join or a resume that waits for its tick."""

    session: Session
    room: str
    ref: int
    connection: int
    """The session's generation: an answer to an earlier connection's request carries no reference."""
    resumes: Occupant | None = None
    after: tuple[int, int] = (0, 0)
    """Id of the last event that the player knows."""


class Seating:
    """Who sits where in the rooms of one game."""

    def __init__(
        self, rooms: Rooms, hold_s: float, held: HeldSeats, left: Callable[[Session], None] = lambda _: None
    ) -> None:
        self.hold_ticks = max(1, int(hold_s * rooms.game.tick_hz))
        self.unseen: list[tuple[Stage, str, Failure]] = []
        """Rooms whose game failed to show itself to a player: to be quarantined."""
        self._rooms = rooms
        self._held = held
        self._left = left
        self._waiting: dict[str, _Waiting] = {}
        self._chats = Buckets(CHATS_A_SECOND, CHATS_AT_ONCE)

    # -- what players ask for -----------------------------------------------------------------------------------------

    def join(self, session: Session, room: Room, ref: int, join_id: str) -> None:
        """Ask for a seat, under the id that the join was reserved by; raises ProtocolError(LIMITED)."""
        if not room.stage.submit(Join(room.id, session.account, session.name, join_id, session.profile)):
            raise ProtocolError(ErrorCode.LIMITED, "too many requests wait for this room's next tick")
        self._waiting[join_id] = _Waiting(session, room.id, ref, session.generation)
        session.joining = join_id
        room.reserved += 1

    def leave(self, occupant: Occupant, ref: int) -> None:
        """Give a seat up; `Left` follows when the tick is stored."""
        if occupant.leaving:
            raise ProtocolError(ErrorCode.NOT_SEATED, "you are leaving your seat already")
        occupant.leaving, occupant.leave_ref, occupant.leave_from = True, ref, occupant.session.generation
        self._submit(Leave(occupant.room, occupant.seat, occupant.generation))

    def lost(self, occupant: Occupant) -> None:
        """The session of a seat has lost its connection: the seat is held, and stays the session's."""
        if not occupant.away or occupant.session.joining:
            occupant.away = True
            self._hold(occupant.session.account, occupant.room, occupant.seat, occupant.generation)

    def abandon(self, occupant: Occupant) -> None:
        """The session of a seat is gone for good: the seat is held for the account alone."""
        self.lost(occupant)
        stage = self._rooms.by_id[occupant.room].stage
        if stage.occupants.get((occupant.room, occupant.seat)) is occupant:
            stage.vacate(occupant)

    def take_over(self, session: Session, room: str) -> Occupant | None:
        """The seat that the account of a session has in a room whose players this node has not met yet; None where it
        has none. It is away until `resume`."""
        found = self._rooms.by_id.get(room)
        if found is None:
            return None
        stage, seat = found.stage, found.stage.batch.ledger(room).seat_of(session.account)
        if seat is None or (room, seat) in stage.occupants:
            return None
        occupant = stage.occupy(session, room, seat, stage.batch.generation(room, seat))
        occupant.away = True
        return occupant

    def resume(self, occupant: Occupant, after: tuple[int, int]) -> None:
        """The session of a seat has a new connection; the seat goes on at the next tick."""
        session, join_id = occupant.session, secrets.token_hex(8)
        occupant.away, session.joining = True, join_id
        self._waiting[join_id] = _Waiting(session, occupant.room, 0, session.generation, occupant, after)
        self._submit(Connect(occupant.room, occupant.seat, occupant.generation, join_id))

    def chat(self, occupant: Occupant, text: str) -> None:
        """Say something to the occupant's room; raises ProtocolError(LIMITED)."""
        if not self._chats.take(occupant.session.account, trio.current_time()):
            raise ProtocolError(ErrorCode.LIMITED, "you say too much at once; wait a moment")
        text = "".join(letter if letter.isprintable() else " " for letter in text)
        room = self._rooms.by_id.get(occupant.room)
        if room is not None and not room.stage.submit(Chat(occupant.room, occupant.seat, occupant.generation, text)):
            raise ProtocolError(ErrorCode.LIMITED, "too many requests wait for this room's next tick")

    def applied(self, room: str, op_ids: Sequence[str]) -> None:
        """The profiles hold these results: they may leave the room's outbox."""
        found = self._rooms.by_id.get(room)
        if found is not None:
            found.stage.submit(Applied(room, tuple(op_ids)))

    # -- what a tick made of it ---------------------------------------------------------------------------------------

    def settle(self, stage: Stage, result: StepResult, outcome: Outcome) -> None:
        """Turn a tick's seats into answers. First those given up: a seat may be given away again in the same tick."""
        for vacated in result.vacated:
            self._vacate(stage, vacated, outcome)
        for seated in result.seated:
            if seated.room not in result.closed:  # else: told with everybody who waits for it
                self._seat(stage, seated, outcome)

    def evict(self, stage: Stage, room: str, refusal: ProtocolError, outcome: Outcome) -> None:
        """A room ends: everybody in it, and everybody who waits for it, is told."""
        self._held.closed(room)
        told = message_bytes(messages.Error.of(refusal))
        for occupant in [o for o in stage.occupants.values() if o.room == room]:
            stage.vacate(occupant)
            self._unseat(occupant)
            outcome.farewell(occupant.session, told)
        for join_id, waiting in list(self._waiting.items()):
            if waiting.room == room:
                del self._waiting[join_id]
                if waiting.session.joining == join_id:
                    waiting.session.joining = ""
                    if waiting.resumes is None:
                        told = message_bytes(messages.Error.of(refusal, self._ref(waiting)))
                        outcome.farewell(waiting.session, told)

    def let_go(self, stage: Stage, room: str) -> None:
        """A room goes on elsewhere, and so do its players: their sessions are only forgotten here."""
        self._held.closed(room)
        for occupant in [o for o in stage.occupants.values() if o.room == room]:
            stage.vacate(occupant)
            occupant.session.seat = None
        for join_id, waiting in list(self._waiting.items()):
            if waiting.room == room:
                del self._waiting[join_id]
                waiting.session.joining = ""

    def _seat(self, stage: Stage, seated: Seated, outcome: Outcome) -> None:
        waiting = self._waiting.pop(seated.join_id)
        session = waiting.session
        wanted = session.joining == seated.join_id and not session.ended  # else: given up, or overtaken by a resume
        if session.joining == seated.join_id:
            session.joining = ""
        if waiting.resumes is not None:
            if wanted:
                self._reseat(stage, waiting.resumes, seated, waiting.after, outcome)
            return
        self._rooms.by_id[seated.room].reserved -= 1
        if seated.error is not None:
            if wanted:
                error = ProtocolError(ErrorCode.ROOM_FULL, str(seated.error))
                outcome.message(session, message_bytes(messages.Error.of(error, self._ref(waiting))))
            return
        if not wanted:
            self._hold(session.account, seated.room, seated.seat, seated.generation)
            return
        self._held.taken(session.account, seated.room, seated.seat, seated.generation)
        occupant = session.seat = stage.occupy(session, seated.room, seated.seat, seated.generation)
        if session.lost_at is not None:
            self.lost(occupant)
        else:
            self._welcome(stage, occupant, self._ref(waiting), outcome)

    def _reseat(
        self, stage: Stage, occupant: Occupant, seated: Seated, after: tuple[int, int], outcome: Outcome
    ) -> None:
        session = occupant.session
        if session.seat is not occupant:
            return  # given up in the same tick: the player is told of that
        if seated.error is not None:
            if stage.occupants.get((occupant.room, occupant.seat)) is occupant:
                stage.vacate(occupant)
            self._unseat(occupant)
            error = ProtocolError(ErrorCode.NOT_SEATED, NO_SEAT_ANY_MORE)
            outcome.message(session, message_bytes(messages.Error.of(error)))
        elif session.lost_at is None:  # else it is lost again, and a Disconnect waits for its tick
            self._held.taken(session.account, occupant.room, occupant.seat, occupant.generation)
            occupant.away = False
            stage.admit(occupant)
            ledger = stage.batch.ledger(occupant.room)
            missed = after != (0, 0) and ledger.dropped > after
            until = (stage.batch.tick_of(occupant.room), -1)  # this tick's own events are told to everybody
            since = [event for event in ledger.events if after < (event.tick, event.index) < until]
            self._welcome(stage, occupant, 0, outcome, resumed=True, missed=missed)
            if since:
                outcome.message(session, stage.told_before(occupant, since))

    def _welcome(
        self,
        stage: Stage,
        occupant: Occupant,
        ref: int,
        outcome: Outcome,
        *,
        resumed: bool = False,
        missed: bool = False,
    ) -> None:
        try:
            told = stage.welcome(occupant, ref, resumed, missed)
        except GAME_FAULTS as error:  # a game that cannot be looked at cannot be played
            self.unseen.append((stage, occupant.room, Failure(error, view_of=occupant.seat)))
        else:
            outcome.message(occupant.session, told)

    def _vacate(self, stage: Stage, vacated: Vacated, outcome: Outcome) -> None:
        self._held.freed(vacated.room, vacated.seat, vacated.generation)
        occupant = stage.occupants.get((vacated.room, vacated.seat))
        if occupant is None or occupant.generation != vacated.generation:
            return
        stage.vacate(occupant)
        self._unseat(occupant)
        left = messages.Left(
            ref=occupant.leave_ref if occupant.leave_from == occupant.session.generation else 0,
            room=vacated.room,
            seat=vacated.seat,
            last_seq=vacated.last_seq,
            applied=vacated.applied,
        )
        outcome.farewell(occupant.session, message_bytes(left))

    def _ref(self, waiting: _Waiting) -> int:
        return waiting.ref if waiting.connection == waiting.session.generation else 0

    def _hold(self, account: str, room: str, seat: int, generation: int) -> None:
        """Keep a seat for a player who is gone; one seat an account, so an older one is given up."""
        self._held.hold(account, room, seat, generation, self._submit)
        self._submit(Disconnect(room, seat, generation, self.hold_ticks))

    def _unseat(self, occupant: Occupant) -> None:
        occupant.session.seat = None
        self._left(occupant.session)

    def _submit(self, command: Leave | Disconnect | Connect) -> None:
        """No limit of the stage applies: each seat has few of these, and a lost one would be a lost seat."""
        room = self._rooms.by_id.get(command.room)
        if room is not None:
            room.stage.pending.append(command)
