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
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

import trio

from game.api import RowGame
from netcode import messages
from netcode.errors import ErrorCode, RemoteError
from netcode.messages import Message, RoomCreated
from netcode.presence import Presence
from netcode.reach import TRANSPORTS, parse_address, places_of
from netcode.resume import SavedSession
from netcode.seated import EVENTS_KEPT, ObjectRoom, Room, SeatedRoom

__all__ = ["EVENTS_KEPT", "Client", "ObjectRoom", "Room", "SavedSession", "SeatedRoom", "connect", "parse_address"]

DEFAULT_SERVER = "127.0.0.1:7777"
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

    `server` is host:port ("127.0.0.1:7777", or that of `resume`), or several with commas between, tried 2 s apart, or
    at once when one fails; `secret` (16 to 64 bytes) is what this device is known by, a new guest without; `transport`
    is how inputs and frames travel, one of `netcode.reach.TRANSPORTS`; `trust` as in
    `netcode.certificate.client_trust`; `resume` takes up the session of a process that is no more (see `Client.saved`,
    `Client.resumed_room`). A lost connection is taken up again for `reconnect_s` (default: as long as the server keeps
    the session) unless `reconnect` is false. `rules` are games whose own moves are predicted.

    Raises OSError when nobody listens, RemoteError when the server refuses (SESSION_GONE: there is nothing to resume),
    and what `netcode.reach.reach` raises.
    """
    if transport not in TRANSPORTS:
        raise ValueError(f"transport is one of {', '.join(TRANSPORTS)}, not {transport!r}")
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
                if reconnect:
                    nursery.start_soon(client._lifeline.watch)
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


class Client(Presence):
    """A logged-in player. Made by `connect`."""

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
