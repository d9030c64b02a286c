"""The lean swarm: thousands of bots in one process, to load a server without being the limit oneself.

    a control connection a bot ───────────────────────────► log in, join, leave (and all else with --transport tcp)
    a sealed channel a bot, 16 UDP sockets for all:         recvmmsg ─► connection id ─► bot: open, acknowledge, time
    a clock for all, in 16 slices of the tick:              slice's bots ─► next input, sealed ─► a sendmmsg a socket

A lean bot does all that a client does on the wire, but it does not read the views: its inputs are real and seeded, its
eyes are shut. Frames are timed when their batch was read. Deadlines of the clock are absolute; when the loop is late
the report says so (see `bots.crew`).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import attrs
import trio

from bots.brain import Brain, make_brain
from bots.full import Identity
from bots.report import PlayerSeries
from netcode import messages
from netcode.certificate import client_trust
from netcode.client import parse_address
from netcode.control import PROTOCOL, ControlChannel, message_bytes, realtime_bytes
from netcode.errors import BadFrame, ErrorCode, ProtocolError, RemoteError, error_code
from netcode.messages import Message
from netcode.mmsg import address_token, make_batch
from netcode.play import Play
from netcode.realtime import ClientEnd
from netcode.seal import DatagramType, Suite, peek_connection_id
from netcode.tcp import ByteLink, LinkClosed

SOCKETS = 16
SLICES = 16
RECEIVED_MAX = 256
BUFFER_BYTES = 4 << 20
ANSWER_S = 20.0
_INPUT = bytes([DatagramType.INPUT])
_SO_RCVBUFFORCE = 33


class Swarm:
    """The sockets and the clock that the lean bots of a process share. `run` must be running."""

    def __init__(self) -> None:
        self._lanes: list[_Lane] = []
        self._lane_of: dict[int, _Lane] = {}
        self._bots: dict[int, LeanBot] = {}
        self._slices: list[dict[_Lane | None, list[LeanBot]]] = [{} for _ in range(SLICES)]
        self._added = 0
        self._out = make_batch(1024)
        self._in = make_batch(RECEIVED_MAX)
        self._period_s = 0.0
        self._started = trio.Event()
        self._nursery: trio.Nursery

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive and send until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await self._started.wait()
                await self._clock()
        finally:
            for lane in self._lanes:
                lane.socket.close()

    def add(self, bot: LeanBot, host: str) -> None:
        """Let a seated bot send and receive from now on, in the slice that comes next."""
        lane = None
        if bot.who.transport == "udp":
            lane = self._lane(host, bot.udp_port)
            self._bots[bot.end.connection] = bot
        self._slices[self._added % SLICES].setdefault(lane, []).append(bot)
        self._added += 1
        if not self._started.is_set():
            self._period_s = 1.0 / bot.tick_hz
            self._started.set()

    def remove(self, bot: LeanBot) -> None:
        """The bot's session has ended."""
        self._bots.pop(bot.end.connection, None)
        for part in self._slices:
            for bots in part.values():
                if bot in bots:
                    bots.remove(bot)

    def _lane(self, host: str, port: int) -> _Lane:
        """One of the sockets in turn; all bots of a swarm play on one server."""
        if len(self._lanes) < SOCKETS:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            sock = socket.socket(family, kind)
            sock.setblocking(False)
            for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
            sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
            lane = _Lane(sock, address_token(address))
            self._lanes.append(lane)
            self._nursery.start_soon(self._read, lane)
        return self._lanes[self._added % len(self._lanes)]

    async def _read(self, lane: _Lane) -> None:
        sock = lane.socket
        while True:
            await trio.lowlevel.wait_readable(sock)
            while (count := self._receive(lane)) == RECEIVED_MAX:
                await trio.lowlevel.checkpoint()
            assert count >= 0

    def _receive(self, lane: _Lane) -> int:
        received = self._in.receive(lane.socket)
        now, bots = trio.current_time(), self._bots
        replies = []
        for packet, _ in received:
            bot = bots.get(peek_connection_id(packet) or 0)
            if bot is None:
                continue
            frame, reply = bot.end.receive(packet, now)
            if frame is not None:
                bot.take_frame(frame, len(packet), now)
            elif reply is not None:
                replies.append(reply)
        if replies:
            self._out.send(lane.socket, replies, [lane.server] * len(replies))
        return len(received)

    async def _clock(self) -> None:
        slice_s = self._period_s / SLICES
        due, turn = trio.current_time(), 0
        while True:
            for lane, bots in self._slices[turn % SLICES].items():
                now = trio.current_time()
                if lane is None:
                    for bot in bots:
                        bot.link.write(realtime_bytes(_INPUT + bot.input_packet((0, 0), now)))
                    continue
                packets = [packet for bot in bots if (packet := bot.datagram(now)) is not None]
                self._out.send(lane.socket, packets, [lane.server] * len(packets))
            turn += 1
            due += slice_s
            behind_s = trio.current_time() - due
            if behind_s > self._period_s:  # sending a burst would only make it worse
                due += behind_s
            await trio.sleep_until(due)


@attrs.frozen(eq=False)
class _Lane:
    """A socket that many bots share."""

    socket: socket.socket
    server: bytes
    """Address token of the server."""


class LeanBot:
    """One bot of a swarm."""

    full = False

    def __init__(self, who: Identity, swarm: Swarm) -> None:
        self.who = who
        self.series = PlayerSeries()
        self.faults: dict[str, int] = {}
        self.error: Exception | None = None
        self.link: ByteLink
        self.end: ClientEnd
        self.udp_port = 0
        self._swarm = swarm
        self._channel = ControlChannel(server=False)
        self._games: list[str] = []
        self._sending = True
        self._play: Play | None = None
        self._brain: Brain
        self._behind = 0.0
        self._ref = 0
        self._answers: dict[int, tuple[trio.Event, list[Message]]] = {}

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Logged in, until the block ends. Raises OSError, RemoteError, and what `ByteLink.client` raises.

        The nursery's exception groups go to the caller: `bots.crew` takes them apart.
        """
        who = self.who
        host, port = parse_address(who.server)
        async with trio.open_nursery() as nursery:
            self.link = await ByteLink.client(host, port, client_trust(host, who.trust), nursery)
            try:
                nursery.start_soon(self._read)
                await self._log_in()
                yield
            finally:
                if self._play is not None:
                    self._swarm.remove(self)
                with trio.CancelScope(shield=True):
                    await self.link.aclose()
                nursery.cancel_scope.cancel()

    @property
    def alive(self) -> bool:
        """Whether the session lives."""
        return self.error is None

    @property
    def settled(self) -> bool:
        """Whether everything that was sent is acknowledged."""
        return self._play is None or self._play.window.acknowledged == self._play.window.newest

    @property
    def tick_hz(self) -> int:
        """Ticks a second of the room."""
        return self._play.info.tick_hz if self._play is not None else 0

    def stop_inputs(self) -> None:
        """Send nothing new; what is unacknowledged is still repeated."""
        self._sending = False

    async def open_room(self) -> str:
        """Open a room of the server's (first) game. Raises RemoteError."""
        answer = await self._ask(messages.CreateRoom(game=self._games[0] if self._games else ""))
        assert isinstance(answer, messages.RoomCreated)
        return answer.room

    async def join(self, room: str) -> None:
        """Take a seat in this room and play. Raises RemoteError."""
        await self._ask(messages.Join(room=room))
        assert self._play is not None
        self._swarm.add(self, self.link.peer[0])

    async def leave(self) -> None:
        """Give the seat up and take the server's books. Raises RemoteError."""
        left = await self._ask(messages.Leave())
        assert isinstance(left, messages.Left)
        self.series.left = (left.last_seq, left.applied)

    async def stats(self, window_s: int) -> dict[str, Any]:
        """The server's own figures. Raises RemoteError."""
        answer = await self._ask(messages.StatsRequest(window_s=window_s))
        assert isinstance(answer, messages.Stats)
        return answer.figures

    async def watch(self) -> None:
        """Nothing to do: skipped inputs are counted as they are told."""

    def tally(self) -> None:
        """Bring the series' counts of inputs up to date."""
        if self._play is not None:
            self.series.sent, self.series.acknowledged = self._play.window.newest, self._play.window.acknowledged

    # -- what the swarm calls -----------------------------------------------------------------------------------------

    def datagram(self, now: float) -> bytes | None:
        """What to send in this slice: an input, or a probe until the path is proven."""
        end = self.end
        if not end.proven:
            return end.due(now)
        return end.seal_input(self.input_packet(end.acks.ack, now), now)

    def input_packet(self, ack: tuple[int, int], now: float) -> bytes:
        """The next input packet; steered like a client's clock by leaving one out when too many wait on the server."""
        play = self._play
        assert play is not None
        if not self._sending:
            return play.repeat_packet(ack)
        self._behind += play.input_period_s * play.info.tick_hz - 1.0
        if self._behind >= 1.0:
            self._behind -= 1.0
            return play.repeat_packet(ack)
        changed = self._brain.decide(None)
        if changed:
            play.want(**changed)
        return play.next_packet(ack, now)

    def take_frame(self, data: bytes, size: int, now: float) -> None:
        """A frame has come: acknowledge, time, check."""
        play, series = self._play, self.series
        if play is None:
            return
        try:
            frame = play.receive(data, now)
        except BadFrame:
            self._fault("bad_frame")
            return
        if frame is None:
            return
        if frame.acks is not None:
            self.end.acks.acknowledged(*frame.acks, now)
        if not series.frame(frame.tick, now, size):
            self._fault("tick_repeated")
        if play.rtt_ms:
            series.round_trips(play.rtt_ms, now)

    # -- the control connection ---------------------------------------------------------------------------------------

    async def _log_in(self) -> None:
        await self._ask(messages.Hello(protocol=PROTOCOL, agent="holdfast bot"))
        welcome = await self._ask(messages.Login(secret=self.who.secret, name=self.who.name))
        assert isinstance(welcome, messages.Welcome)
        self.udp_port, self._games = welcome.udp_port, welcome.games
        self.end = ClientEnd(welcome.connection, welcome.key_up, welcome.key_down, Suite(welcome.suite))

    async def _ask(self, message: Message) -> Message:
        self._check()
        self._ref += 1
        answered, box = trio.Event(), list[Message]()
        self._answers[self._ref] = (answered, box)
        self.link.write(message_bytes(attrs.evolve(message, ref=self._ref)))
        try:
            with trio.fail_after(ANSWER_S):
                await answered.wait()
        except trio.TooSlowError:
            raise RemoteError(ErrorCode.TIMED_OUT, f"no answer to {message.kind} within {ANSWER_S:g} s") from None
        if not box:
            self._check()
        answer = box[0]
        if isinstance(answer, messages.Error):
            raise RemoteError(error_code(answer.code), answer.message)
        return answer

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    async def _read(self) -> None:
        receive, channel = self.link.receive, self._channel
        try:
            while data := await receive():
                for item in channel.receive_data(data):
                    if isinstance(item, bytes):
                        self.take_frame(item[1:], len(item), trio.current_time())
                    else:
                        self._take(item)
            self._ended(RemoteError(ErrorCode.SESSION_GONE, "the server has closed the connection"))
        except (LinkClosed, ProtocolError) as error:
            self._ended(error)
            self.link.close()

    def _take(self, item: Message) -> None:
        match item:
            case messages.Seated():
                self._play = Play(item, decode=False)
                self._brain = make_brain(self._play.info, self.who.seed, self.who.player, sees=False)
            case messages.Events() if self._play is not None:
                for _, _, kind, data in item.events:
                    if kind == "skipped" and data[0] == self._play.info.seat:
                        self.series.skipped += data[-1] - data[-2] + 1
            case messages.Error() if item.fatal:
                self._ended(RemoteError(error_code(item.code), item.message))
            case _:
                pass
        answer = self._answers.pop(item.ref, None)
        if answer is not None:
            answered, box = answer
            box.append(item)
            answered.set()

    def _ended(self, error: Exception) -> None:
        if self.error is None:
            self.error = error
        for answered, _ in self._answers.values():
            answered.set()

    def _fault(self, kind: str) -> None:
        self.faults[kind] = self.faults.get(kind, 0) + 1
