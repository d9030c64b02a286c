"""The Python client: log in, take a seat, send inputs, see frames.

    async with connect("127.0.0.1:7777", name="Ann") as client:
        room = await client.join("arena")
        room.want(move_x=1)                      # what every input carries from now on
        while True:
            frame = await room.next_frame()
            print(frame.tick, frame.values("x"))

One task reads the control channel, one the datagrams, one is the input clock. All decisions are made by the pure
parts (`control`, `realtime`, `play`); this file only moves bytes and wakes those who wait.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import trio

from game.api import Event
from netcode import messages
from netcode.certificate import client_trust
from netcode.control import PROTOCOL, ControlChannel, message_bytes, realtime_bytes
from netcode.errors import BadFrame, ErrorCode, ProtocolError, RemoteError, error_code
from netcode.frame import Frame
from netcode.messages import Message
from netcode.play import Play
from netcode.realtime import KEEPALIVE_EVERY_S, PROBE_EVERY_S, ClientEnd
from netcode.seal import DatagramType, Suite
from netcode.tcp import ByteLink, LinkClosed

ANSWER_S = 10.0
FALLBACK_S = 1.0
"""When datagrams have not passed for so long, inputs (and so frames) take the control channel until they do."""
EVENTS_KEPT = 1024
"""Events that wait to be read; when that many wait, the oldest is dropped."""
_INPUT = bytes([DatagramType.INPUT])
_DATAGRAM_MAX = 2048


@contextlib.asynccontextmanager
async def connect(
    server: str = "127.0.0.1:7777",
    *,
    name: str = "",
    secret: bytes | None = None,
    transport: str = "udp",
    trust: str | None = None,
) -> AsyncIterator[Client]:
    """A logged-in client, until the block ends.

    `server` is host:port; `secret` (16 to 64 bytes) is what this device is known by, a new guest without; `transport`
    is "udp" or "tcp" (frames and inputs over the control channel); `trust` as in `netcode.certificate.client_trust`.
    Raises OSError when nobody listens, RemoteError when the server refuses, and what `ByteLink.client` raises.
    """
    if transport not in ("udp", "tcp"):
        raise ValueError(f"transport is udp or tcp, not {transport!r}")
    host, port = parse_address(server)
    alone: BaseException
    try:
        async with trio.open_nursery() as nursery:
            link = await ByteLink.client(host, port, client_trust(host, trust), nursery)
            client = Client(link, transport)
            try:
                nursery.start_soon(client._read_control)
                await client._log_in(secret or secrets.token_bytes(32), name)
                if transport == "udp":
                    client._open_datagrams(link.peer[0])
                    nursery.start_soon(client._read_datagrams)
                nursery.start_soon(client._keep_alive)
                nursery.start_soon(client._input_clock)
                yield client
            finally:
                client._close_datagrams()
                with trio.CancelScope(shield=True):
                    await link.aclose()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        alone = group.exceptions[0]  # the nursery wraps also what the caller's own block raises
    else:
        return
    raise alone


class SeatedRoom:
    """A seat in a room: what to want, and what is seen."""

    def __init__(self, client: Client, play: Play, roster: list[Any]) -> None:
        self.play = play
        self.info = play.info
        self.roster = roster
        """Names by seat as of joining; "" is free."""
        self.on_frame: Callable[[Frame], None] | None = None
        """Called for every new frame, before `next_frame` wakes; must not block."""
        self.left: messages.Left | None = None
        """The server's books of this seat, once it is given up."""
        self.ended: ProtocolError | None = None
        """Why no more frames come; None while the seat is ours."""
        self._client = client
        self._next = trio.Event()
        self._send_events, self._events = trio.open_memory_channel[Event](EVENTS_KEPT)

    def want(self, **fields: int) -> None:
        """What the player wants from now on; see `Play.want`."""
        self.play.want(**fields)

    async def next_frame(self) -> Frame:
        """Wait for a frame newer than what was there; always the newest. Raises RemoteError once the seat is gone."""
        if self.ended is None:
            await self._next.wait()
        self._check_ours()
        assert self.play.newest is not None
        return self.play.newest

    async def next_event(self) -> Event:
        """The next event of the room, each once and in order. Raises RemoteError once the seat is gone and all read."""
        try:
            return await self._events.receive()
        except trio.EndOfChannel:
            self._check_ours()
            raise

    def _check_ours(self) -> None:
        if self.ended is not None:
            raise RemoteError(self.ended.code, str(self.ended))

    def _end(self, error: ProtocolError) -> None:
        self.ended = self.ended or error
        self._send_events.close()
        self._wake()

    def _receive(self, data: bytes, now: float) -> Frame | None:
        before = self.play.newest
        frame = self.play.receive(data, now)
        if frame is not None and self.on_frame is not None:
            self.on_frame(frame)
        if self.play.newest is not before:
            self._wake()
        return frame

    def _wake(self) -> None:
        self._next.set()
        self._next = trio.Event()

    def _tell(self, event: Event) -> None:
        try:
            self._send_events.send_nowait(event)
        except trio.WouldBlock:
            self._events.receive_nowait()
            self._send_events.send_nowait(event)


class Client:
    """A logged-in player. Made by `connect`."""

    def __init__(self, link: ByteLink, transport: str) -> None:
        self.transport = transport
        self.account = ""
        self.name = ""
        self.session = ""
        self.games: list[str] = []
        """What can be played on this server."""
        self.room: SeatedRoom | None = None
        self.sending = True
        """False stops the input clock: nothing new is sent, what is unacknowledged is still repeated."""
        self.error: ProtocolError | None = None
        """Why the connection ended; None while it is open."""
        self.datagrams = 0
        self.datagram_bytes = 0
        """Packets that brought frames: how many, and their bytes (UDP payload; tcp: the realtime packet)."""
        self.bad_frames = 0
        self._link = link
        self._channel = ControlChannel(server=False)
        self._answers: dict[int, tuple[trio.Event, list[Message]]] = {}
        self._ref = 0
        self._udp_port = 0
        self._end: ClientEnd | None = None
        self._socket: socket.socket | None = None

    # -- requests -----------------------------------------------------------------------------------------------------

    async def join(self, game: str = "", *, room: str = "") -> SeatedRoom:
        """Take a seat: in the named room, or in the fullest open room of `game`. Raises RemoteError."""
        await self._request(messages.Join(game=game, room=room))
        if self.room is None:
            raise RemoteError(ErrorCode.ROOM_CLOSED, "the room was closed at once")
        return self.room

    async def create_room(self, game: str) -> str:
        """Open a room and return its id. Raises RemoteError."""
        answer = await self._request(messages.CreateRoom(game=game))
        assert isinstance(answer, messages.RoomCreated)
        return answer.room

    async def rooms(self, game: str = "") -> list[dict[str, Any]]:
        """The rooms of the server, fullest first."""
        answer = await self._request(messages.ListRooms(game=game))
        assert isinstance(answer, messages.Rooms)
        return answer.rooms

    async def leave(self) -> messages.Left:
        """Give the seat up; returns the server's books of it. Raises RemoteError."""
        room = self.room
        answer = await self._request(messages.Leave())
        assert room is not None
        assert isinstance(answer, messages.Left)
        return answer

    async def chat(self, text: str) -> None:
        """Say something to the room."""
        self._link.write(message_bytes(messages.Chat(text=text)))

    async def stats(self, window_s: int = 60) -> dict[str, Any]:
        """The server's own figures (on loopback only)."""
        answer = await self._request(messages.StatsRequest(window_s=window_s))
        assert isinstance(answer, messages.Stats)
        return answer.figures

    async def _request(self, message: Message) -> Message:
        self._check_open()
        self._ref += 1
        ref, answered, box = self._ref, trio.Event(), list[Message]()
        self._answers[ref] = (answered, box)
        self._link.write(message_bytes(attrs.evolve(message, ref=ref)))
        try:
            with trio.fail_after(ANSWER_S):
                await answered.wait()
        except trio.TooSlowError:
            raise RemoteError(ErrorCode.TIMED_OUT, f"no answer to {message.kind} within {ANSWER_S:g} s") from None
        finally:
            del self._answers[ref]
        if not box:
            self._check_open()
        answer = box[0]
        if isinstance(answer, messages.Error):
            raise RemoteError(error_code(answer.code), answer.message)
        return answer

    async def _log_in(self, secret: bytes, name: str) -> None:
        await self._request(messages.Hello(protocol=PROTOCOL, agent="holdfast python"))
        welcome = await self._request(messages.Login(secret=secret, name=name))
        assert isinstance(welcome, messages.Welcome)
        self.account, self.name, self.session = welcome.account, welcome.name, welcome.session
        self.games = welcome.games
        self._udp_port = welcome.udp_port
        self._end = ClientEnd(welcome.connection, welcome.key_up, welcome.key_down, Suite(welcome.suite))

    def _check_open(self) -> None:
        if self.error is not None:
            raise RemoteError(self.error.code, str(self.error))

    # -- what comes in ------------------------------------------------------------------------------------------------

    async def _read_control(self) -> None:
        try:
            while data := await self._link.receive():
                for item in self._channel.receive_data(data):
                    self._receive(item)
            self._ended(ProtocolError(ErrorCode.SESSION_GONE, "the server has closed the connection"))
        except LinkClosed as error:
            self._ended(ProtocolError(ErrorCode.SESSION_GONE, str(error)))
        except ProtocolError as error:
            self._ended(error)
            self._link.close()

    def _receive(self, item: Message | bytes) -> None:
        if isinstance(item, bytes):
            if self.room is not None:
                self.datagrams += 1
                self.datagram_bytes += len(item)
                self._take_frame(self.room, item[1:])
            return
        match item:
            case messages.Seated():
                self.room = SeatedRoom(self, Play(item), item.roster)
            case messages.Left():
                self._left(item)
            case messages.Events() if self.room is not None:
                for tick, index, kind, data in item.events:
                    self.room._tell(Event(tick, index, kind, tuple(data)))
            case messages.Error() if item.fatal:
                self._ended(ProtocolError(error_code(item.code), item.message))
            case messages.Error() if item.code == ErrorCode.ROOM_CLOSED.number:
                self._seat_gone(ProtocolError(ErrorCode.ROOM_CLOSED, item.message))
            case _:
                pass
        if item.ref in self._answers:
            answered, box = self._answers[item.ref]
            box.append(item)
            answered.set()

    def _left(self, left: messages.Left) -> None:
        if self.room is not None:
            self.room.left = left
            self._seat_gone(ProtocolError(ErrorCode.NOT_SEATED, "the seat was given up"))

    def _seat_gone(self, error: ProtocolError) -> None:
        room, self.room = self.room, None
        if room is not None:
            room._end(error)

    def _take_frame(self, room: SeatedRoom, data: bytes) -> None:
        now = trio.current_time()
        try:
            frame = room._receive(data, now)
            if frame is not None and frame.acks is not None and self._end is not None:
                self._end.acks.acknowledged(*frame.acks, now)
        except BadFrame:
            self.bad_frames += 1

    def _ended(self, error: ProtocolError) -> None:
        if self.error is None:
            self.error = error
        for answered, _ in self._answers.values():
            answered.set()
        if self.room is not None:
            self.room._end(error)

    # -- datagrams and the input clock ---------------------------------------------------------------------------------

    def _open_datagrams(self, host: str) -> None:
        family, kind, _, _, address = socket.getaddrinfo(host, self._udp_port, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind)
        self._socket.setblocking(False)
        self._socket.connect(address)

    def _close_datagrams(self) -> None:
        if self._socket is not None:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._socket = None

    async def _read_datagrams(self) -> None:
        end = self._end
        assert end is not None
        while (sock := self._socket) is not None:
            try:
                await trio.lowlevel.wait_readable(sock)
                packet = sock.recv(_DATAGRAM_MAX)
            except (BlockingIOError, ConnectionRefusedError):
                continue
            except (OSError, trio.ClosedResourceError):
                return
            frame, reply = end.receive(packet, trio.current_time())
            if reply is not None:
                self._send(reply)
            if frame is not None and self.room is not None:
                self.datagrams += 1
                self.datagram_bytes += len(packet)
                self._take_frame(self.room, frame)

    def _send(self, packet: bytes) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # UDP: what does not go out now is repeated with the next input
                self._socket.send(packet)

    async def _keep_alive(self) -> None:
        end, pinged_at = self._end, float("-inf")
        assert end is not None
        while self.error is None:
            now = trio.current_time()
            packet = end.due(now) if self._socket is not None else None
            if packet is not None:
                self._send(packet)
            if not end.proven and now - pinged_at >= KEEPALIVE_EVERY_S:
                pinged_at = now
                self._link.write(message_bytes(messages.Ping(time_us=int(now * 1e6))))
            await trio.sleep(PROBE_EVERY_S if self._socket is not None and not end.proven else KEEPALIVE_EVERY_S)

    async def _input_clock(self) -> None:
        due = trio.current_time()
        while self.error is None:
            room = self.room
            if room is None:
                await trio.sleep(0.02)
                due = trio.current_time()
                continue
            now = trio.current_time()
            self._send_inputs(room.play, now)
            due = max(due + room.play.input_period_s, now - 1.0)
            await trio.sleep_until(due)

    def _send_inputs(self, play: Play, now: float) -> None:
        end = self._end
        assert end is not None
        datagram = self._socket is not None and end.proven
        if self._socket is not None and not datagram and now - end.unproven_since < FALLBACK_S:
            return
        ack = end.acks.ack if datagram else (0, 0)
        packet = play.next_packet(ack, now) if self.sending else play.repeat_packet(ack)
        if datagram:
            self._send(end.seal_input(packet, now))
        else:
            self._link.write(realtime_bytes(_INPUT + packet))


def parse_address(server: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port"; raises ValueError."""
    host, colon, port = server.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError(f"{server!r} is not host:port, such as 127.0.0.1:7777")
    return host.strip("[]"), int(port)
