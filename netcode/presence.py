"""A player's presence on a server: what it has, and what connections bring for it, whichever connection it is.

    Lifeline ── welcomed ─► seats that stay, or end      Connection ── take ───────► Seated, Part, Left, Events, Pong
             ── lost ─────► paused                                  ── take_frame ─► the room's frames
             ── over ─────► everybody who waits is told              ◄─ playing ──── the seat that inputs are made for

A seat that is the same on a new connection (room, number, generation) goes on as the same object; any other is new, and
the old one ends. `Client` adds what a player asks for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from game.api import RowGame
from netcode import messages
from netcode.errors import BadFrame, ErrorCode, ProtocolError
from netcode.lifeline import Lifeline
from netcode.messages import Message
from netcode.play import Play
from netcode.reach import Place
from netcode.resume import SavedSession
from netcode.seated import ObjectRoom, SeatedRoom, seat

NOTICES_KEPT = 16
PONGS_KEPT = 8
"""Round trips that a room's clock begins with."""


class Presence:
    """A session with its seat."""

    def __init__(
        self, server: str, places: list[Place], transport: str, login: messages.Login | None, nursery: trio.Nursery
    ) -> None:
        self.server = server
        self.transport = transport
        self.account = ""
        self.name = ""
        self.games: list[str] = []
        """What can be played on this server."""
        self.held_room = ""
        """After a log-in: the room in which a seat is held for this account; joining it takes the seat again."""
        self.room: SeatedRoom | ObjectRoom | None = None
        self.rules: dict[str, type[RowGame]] = {}
        """By the name of the game: rules to predict one's own moves with."""
        self.sending = True
        """False stops the input clock: nothing new is sent, what is unacknowledged is still repeated."""
        self.on_pause: Callable[[], None] | None = None
        """Called when the connection is lost; must neither block nor raise."""
        self.on_resume: Callable[[], None] | None = None
        """Called when the session goes on, with its seat if that was kept; once for each `on_pause`, unless it ends."""
        self.datagrams = 0
        self.datagram_bytes = 0
        """Packets that brought frames: how many, and their bytes (UDP payload; tcp: the realtime packet)."""
        self.bad_frames = 0
        self.notices: deque[str] = deque(maxlen=NOTICES_KEPT)
        """What the server's operator has said, oldest first."""
        self._login = login
        self._lifeline = Lifeline(self, places, transport, login, nursery)
        self._seated_last: SeatedRoom | ObjectRoom | None = None
        self._expected = ""  # the room whose seat comes back by itself
        self._after: tuple[int, int] | None = None  # id of the last event, of a session that another process began
        self._pongs: deque[tuple[float, float]] = deque(maxlen=PONGS_KEPT)  # sent and answered, on this connection
        self._away = False  # `on_pause` was called, and `on_resume` not yet

    @property
    def session(self) -> str:
        """Id of the session."""
        return self._lifeline.session

    @property
    def paused(self) -> bool:
        """Whether the connection is lost, or the seat not back yet."""
        return self._lifeline.paused and self.error is None

    @property
    def resumes(self) -> int:
        """How often the session was taken up again."""
        return self._lifeline.resumes

    @property
    def error(self) -> ProtocolError | None:
        """Why the session is over; None while it is not."""
        return self._lifeline.error

    def say(self, message: Message) -> None:
        """Send a message over the present connection."""
        self._lifeline.say(message)

    def take(self, message: Message) -> None:
        """A message came. Raises ProtocolError."""
        room = self.room
        match message:
            case messages.Seated():
                self._seated(message)
            case messages.Part() if isinstance(room, ObjectRoom) and message.room == room.info.room:
                room._take_part(message)
                self._check_back()
            case messages.Left():
                self._left(message)
            case messages.Events() if room is not None and message.room == room.info.room:
                room._take_events(message)
            case messages.Pong():
                self._pongs.append((message.time_us / 1e6, trio.current_time()))
                if isinstance(room, SeatedRoom):
                    room.play.clock.pong(*self._pongs[-1])
            case messages.Notice():
                self.notices.append(message.text)
            case messages.Redirect() if not message.ref:
                self._lifeline.seek(message)
            case messages.Error() if message.code in _SEAT_GONE and not message.ref:
                self._seat_gone(ProtocolError(_SEAT_GONE[message.code], message.message))
            case _:
                pass

    def take_frame(self, data: bytes, size: int) -> None:
        """A frame came."""
        room = self.room
        if not isinstance(room, SeatedRoom):
            return
        self.datagrams += 1
        self.datagram_bytes += size
        now = trio.current_time()
        try:
            frame = room._receive(data, now)
        except BadFrame:
            self.bad_frames += 1
        else:
            connection = self._lifeline.connection
            if frame is not None and self._lifeline.missing:
                self._lifeline.never_mind()
                self._check_back()
            if frame is not None and frame.acks is not None and connection is not None:
                connection.end.acknowledged(*frame.acks, now)

    async def playing(self) -> Play:
        """Wait for a seat in a room of rows."""
        while self._expected or not isinstance(self.room, SeatedRoom):
            await self._lifeline.change()
        return self.room.play

    def welcomed(self, welcome: messages.Welcome, resumed: bool) -> None:
        """There is a connection."""
        self.account, self.name, self.games = welcome.account, welcome.name, welcome.games
        self._expected, self.held_room = (welcome.room, "") if resumed else ("", welcome.room)
        self._after = self._after if resumed else None
        self._pongs.clear()
        if self.room is not None and self.room.info.room != self._expected:
            code = ErrorCode.NOT_SEATED if resumed else ErrorCode.SESSION_GONE
            self._end_room(ProtocolError(code, "the seat was lost with the connection"))
        self._check_back()

    def last_event(self) -> tuple[int, int]:
        """Id of the newest event that came."""
        return (self._after or (0, 0)) if self.room is None else self.room.heard

    def epoch(self) -> int:
        """Of the room that the session sits in; 0 without one."""
        return 0 if self.room is None else self.room.epoch

    def silent(self) -> bool:
        """Whether nothing has been heard of the room for longer than it should take."""
        return self.room is not None and self.room.silent(trio.current_time())

    def lost(self) -> None:
        """The connection is lost."""
        if self.room is not None:
            self.room._lost()
        if not self._away:
            self._away = True
            if self.on_pause is not None:
                self.on_pause()

    def over(self, error: ProtocolError) -> None:
        """The session is over."""
        if self.room is not None:
            self.room._end(error)

    def _entry(self, saved: SavedSession | None) -> messages.Login | messages.Resume:
        if saved is None:
            assert self._login is not None
            return self._login
        self._after = (saved.event_tick, saved.event_index)
        return messages.Resume(
            session=saved.session, secret=saved.secret, event_tick=saved.event_tick, event_index=saved.event_index
        )

    def _seated(self, message: messages.Seated) -> None:
        room = self.room
        if room is not None and message.resumed and room._continues(message):
            room._resume(message)
        else:
            after = self._after if message.resumed else None
            new = seat(self, message, after, self.rules.get(message.game))
            if room is not None:
                room._end(ProtocolError(ErrorCode.NOT_SEATED, "another seat has taken its place"))
            self.room = self._seated_last = new
        if isinstance(self.room, SeatedRoom):
            for pong in self._pongs:
                self.room.play.clock.pong(*pong)
        self._expected = self.held_room = ""
        self._check_back()
        self._lifeline.changed()

    def _left(self, left: messages.Left) -> None:
        if self.room is not None and self.room.info.room == left.room:
            self.room.left = left
            self._seat_gone(ProtocolError(ErrorCode.NOT_SEATED, "the seat was given up"))

    def _seat_gone(self, error: ProtocolError) -> None:
        self._expected = ""
        self._end_room(error)
        self._check_back()

    def _end_room(self, error: ProtocolError) -> None:
        room, self.room = self.room, None
        if room is not None:
            room._end(error)

    def _check_back(self) -> None:
        """A pause ends when the seat is back, or known to be gone."""
        if not self._lifeline.paused or self._expected or (self.room is not None and not self.room.ready):
            return
        self._lifeline.back()
        if self._away:
            self._away = False
            if self.on_resume is not None:
                self.on_resume()


_SEAT_GONE = {code.number: code for code in (ErrorCode.ROOM_CLOSED, ErrorCode.NOT_SEATED)}
