"""The Python client: log in, take a seat, send inputs, see frames; and come back when the connection is lost.

    async with connect("127.0.0.1:7777", name="Ann") as client:
        room = await client.join("arena")
        room.want(move_x=1)                      # what every input carries from now on
        while True:
            frame = await room.next_frame()
            print(frame.tick, frame.values("x"))

A connection that is lost is taken up again (`netcode.lifeline`): the same room goes on, no input is lost or applied
twice, and `saved()` lets another process do the same after the death of this one.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

import trio

from game.api import RowGame
from netcode import messages
from netcode.errors import BadFrame, ErrorCode, ProtocolError, RemoteError
from netcode.lifeline import Lifeline
from netcode.messages import Message, RoomCreated
from netcode.play import Play
from netcode.reach import Place, parse_address, places_of
from netcode.resume import SavedSession
from netcode.seated import EVENTS_KEPT, ObjectRoom, Room, SeatedRoom, seat

__all__ = ["EVENTS_KEPT", "Client", "ObjectRoom", "Room", "SavedSession", "SeatedRoom", "connect", "parse_address"]

DEFAULT_SERVER = "127.0.0.1:7777"
PONGS_KEPT = 8
"""Round trips that a room's clock begins with."""
Answer = TypeVar("Answer", bound=Message)


@contextlib.asynccontextmanager
async def connect(
    server: str | None = None,
    *,
    name: str = "",
    secret: bytes | None = None,
    transport: str = "udp",
    trust: str | None = None,
    resume: SavedSession | None = None,
    reconnect: bool = True,
    reconnect_s: float | None = None,
    rules: Iterable[type[RowGame]] = (),
) -> AsyncIterator[Client]:
    """A logged-in client, until the block ends.

    `server` is host:port, or several with commas between, tried 200 ms apart ("127.0.0.1:7777", or that of `resume`);
    `secret` (16 to 64 bytes) is what this device is known by, a new guest without; `transport` is "udp" or "tcp"
    (frames and inputs over the control channel); `trust` as in `netcode.certificate.client_trust`; `resume` takes up
    the session of a process that is no more (see `Client.saved`, `Client.resumed_room`). A lost connection is taken up
    again for `reconnect_s` (default: as long as the server keeps the session) unless `reconnect` is false. `rules` are
    games whose own moves are predicted.

    Raises OSError when nobody listens, RemoteError when the server refuses (SESSION_GONE: there is nothing to resume),
    and what `ByteLink.client` raises.
    """
    if transport not in ("udp", "tcp"):
        raise ValueError(f"transport is udp or tcp, not {transport!r}")
    server = server or (resume.server if resume is not None else DEFAULT_SERVER)
    places = places_of(server, trust)
    device = secret or (resume.device_secret if resume is not None else secrets.token_bytes(32))
    login = messages.Login(secret=device, name=name) if device else None
    alone: BaseException
    try:
        async with trio.open_nursery() as nursery:
            client = Client(server, places, transport, login, nursery)
            client.rules.update({game.name: game for game in rules})
            try:
                await client._lifeline.start(client._entry(resume))
                nursery.start_soon(client._lifeline.live, reconnect, reconnect_s)
                yield client
            finally:
                with trio.CancelScope(shield=True):
                    await client._lifeline.aclose()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        alone = group
        while isinstance(alone, BaseExceptionGroup):  # nurseries wrap also what the caller's own block raises
            if len(alone.exceptions) > 1:
                raise
            alone = alone.exceptions[0]
    else:
        return
    raise alone


class Client:
    """A logged-in player. Made by `connect`."""

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

    # -- requests -----------------------------------------------------------------------------------------------------

    async def join(
        self,
        game: str = "",
        *,
        room: str | RoomCreated = "",
        code: str = "",
        options: dict[str, Any] | None = None,
        rules: type[RowGame] | None = None,
    ) -> Any:
        """Take a seat: in the named room, in the one that has the `code`, or in the fullest open room of `game` with
        these options (made when there is none).

        Returns a SeatedRoom, or an ObjectRoom with its view there: the game decides, so annotate what you expect.
        With the `rules` of a game of rows own moves are predicted. Raises RemoteError.
        """
        if rules is not None:
            self.rules[rules.name] = rules
        before, name = self.room, room.room if isinstance(room, RoomCreated) else room
        try:
            await self._lifeline.request(messages.Join(game=game, room=name, code=code, options=options or {}))
        except RemoteError as error:  # the seat may have been given, and the answer lost with the connection
            if error.code is not ErrorCode.TIMED_OUT or await self.resumed_room() in (before, None):
                raise
        joined = self._seated_last
        assert joined is not None
        if isinstance(joined, ObjectRoom):
            await joined._loaded()
        joined._check_ours()
        return joined

    async def resumed_room(self) -> SeatedRoom | ObjectRoom | None:
        """Wait until the session is served and the seat that was kept for it is back: that seat, None without one.

        Raises RemoteError when the session is over.
        """
        await self._lifeline.ready()
        return self.room

    async def create_room(
        self, game: str, *, options: dict[str, Any] | None = None, private: bool = False
    ) -> RoomCreated:
        """Open a room: its id (`room`), `seats`, and the `code` of a private one. Raises RemoteError."""
        return await self._ask(messages.CreateRoom(game=game, options=options or {}, private=private), RoomCreated)

    async def rooms(
        self, game: str = "", *, options: dict[str, Any] | None = None, open: bool = False
    ) -> list[dict[str, Any]]:
        """The rooms of the server, fullest first; `open` leaves out those that are full. Raises RemoteError."""
        answer = await self._ask(messages.ListRooms(game=game, options=options or {}, open=open), messages.Rooms)
        return answer.rooms

    async def leave(self) -> messages.Left:
        """Give the seat up; returns the server's books of it. Raises RemoteError."""
        return await self._ask(messages.Leave(), messages.Left)

    async def chat(self, text: str) -> None:
        """Say something to the room; during a pause this waits. Raises RemoteError when the session is over."""
        message = messages.Chat(text=text)
        await self._lifeline.ready()
        self.say(message)

    async def stats(self, window_s: int = 60) -> dict[str, Any]:
        """The server's own figures (on loopback only)."""
        return (await self._ask(messages.StatsRequest(window_s=window_s), messages.Stats)).figures

    def saved(self, *, device_secret: bool = False) -> SavedSession:
        """What another process needs to go on if this one dies: `connect(resume=…)`. Good as long as the session is.

        Events that were not read yet come again there. `device_secret` puts that in, too: to log in anew with it when
        the session is gone.
        """
        tick, index = (0, 0) if self.room is None else self.room.read
        return SavedSession(
            self.server,
            self.account,
            self.name,
            self.session,
            self._lifeline.secret,
            tick,
            index,
            self._login.secret if device_secret and self._login is not None else b"",
        )

    def rebind(self) -> None:
        """The network has changed: datagrams go through a new socket from now on. A socket that fails is renewed
        without being asked."""
        connection = self._lifeline.connection
        if connection is not None and connection.udp is not None:
            connection.udp.rebind()

    async def _ask(self, message: Message, wanted: type[Answer]) -> Answer:
        answer = await self._lifeline.request(message)
        assert isinstance(answer, wanted)  # the table of requests has seen to it
        return answer

    # -- what connections bring ---------------------------------------------------------------------------------------

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
