"""The swarm: hundreds of full bots or thousands of lean ones in one process, without being the limit oneself.

    a control connection a bot ──────────────────────────────────────────► log in, join, leave (and all else with tcp)
    a sealed channel a bot, 16 UDP sockets for all:   recvmmsg ─► connection id ─► bot: open, time ─► read (full bots)
    one clock for all, in 16 slices of the tick:      slice's bots ─► next input, sealed ─► one sendmmsg a socket

A frame's time is that of the batch it was received in; views are read after everything that has come is timed, so
that one bot's reading does not count as another's waiting. Deadlines of the clock are absolute; when the loop is late
the report says so (see `bots.crew`). With link conditions every packet goes through `bots.weather` on its way.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque

import attrs
import trio

from bots.bot import Bot
from bots.weather import Parcel, Way, Weather
from game.api import RowGame
from game.arena import Arena
from game.errors import BadOption
from netcode import messages
from netcode.conditions import Conditions
from netcode.mmsg import address_token, make_batch
from netcode.seal import peek_connection_id

SOCKETS = 16
SLICES = 16
SLICES_AT_ONCE = 4
"""Slices that a late clock makes up for before others may run."""
UNREAD_MAX = 4096
READ_AT_ONCE = 16
"""Frames that full bots read before others may run: 2 ms of work; or a quarter of those that wait, if that is more,
so that a late swarm does not fall behind without end."""
RECEIVED_MAX = 256
BUFFER_BYTES = 4 << 20
_SO_RCVBUFFORCE = 33


class Swarm:
    """The sockets, the clock and the link conditions that the bots of a process share. `run` must be running."""

    def __init__(self, conditions: Conditions | None = None) -> None:
        self._lanes: list[_Lane] = []
        self._bots: dict[int, Bot] = {}
        self._lane_of: dict[Bot, _Lane] = {}
        self._slices: list[dict[_Lane | None, list[Bot]]] = [{} for _ in range(SLICES)]
        self._added = 0
        self._out = make_batch(1024)
        self._in = make_batch(RECEIVED_MAX)
        self._period_s = 0.0
        self._started = trio.Event()
        self._unread: deque[tuple[Bot, bytes, int, float, bool]] = deque()
        self._came = trio.Event()
        self._weather = None if conditions is None else Weather(conditions, self._deliver)
        self._addresses: dict[tuple[str, int], bytes] = {}
        self._rules: dict[str, RowGame | None] = {}
        self._nursery: trio.Nursery

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive and send until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                self._nursery.start_soon(self._read_frames)
                if self._weather is not None:
                    self._nursery.start_soon(self._weather.run)
                await self._started.wait()
                await self._clock()
        finally:
            for lane in self._lanes:
                lane.socket.close()

    def address(self, host: str, port: int) -> bytes:
        """Token of a UDP address."""
        if (host, port) not in self._addresses:
            *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            self._addresses[host, port] = address_token(address)
        return self._addresses[host, port]

    def add(self, bot: Bot) -> None:
        """Let a seated bot send and receive from now on, in the slice that comes next."""
        lane = None
        if bot.who.transport == "udp":
            lane = self._lane(bot.link.peer[0])
            self._bots[bot.end.connection] = bot
            self._lane_of[bot] = lane
        self._slices[self._added % SLICES].setdefault(lane, []).append(bot)
        self._added += 1
        if not self._started.is_set():
            self._period_s = 1.0 / bot.tick_hz
            self._started.set()

    def remove(self, bot: Bot) -> None:
        """The bot's session has ended."""
        self._bots.pop(bot.end.connection, None)
        self._lane_of.pop(bot, None)
        if self._weather is not None:
            self._weather.forget(bot)
        for part in self._slices:
            for bots in part.values():
                if bot in bots:
                    bots.remove(bot)

    def moved(self, bot: Bot, before: int) -> None:
        """The bot has resumed its session: another connection id."""
        if self._bots.pop(before, None) is not None:
            self._bots[bot.end.connection] = bot

    def rules(self, seat: messages.Seated) -> RowGame | None:
        """The rules of a seat's room for prediction, shared by all of its kind; None where the game is not known."""
        kind = f"{seat.game} {seat.tick_hz} {sorted(seat.options.items())}"
        if kind not in self._rules:
            self._rules[kind] = None
            if seat.game == Arena.name:
                with contextlib.suppress(BadOption):  # of another version: it plays, and does not predict
                    self._rules[kind] = Arena(seat.options, seat.tick_hz)
        return self._rules[kind]

    def say(self, bot: Bot, packet: bytes, now: float) -> None:
        """Send a realtime packet over the bot's control connection."""
        if self._weather is None:
            bot.link.write(packet)
        else:
            self._weather.push(bot, Way.STREAM_UP, packet, now)

    def heard(self, bot: Bot, packet: bytes) -> None:
        """A realtime packet came over the bot's control connection."""
        now = trio.current_time()
        if self._weather is None:
            bot.take_frame(packet[1:], len(packet), now, by_datagram=False)
        else:
            self._weather.push(bot, Way.STREAM_DOWN, packet, now)

    def _lane(self, host: str) -> _Lane:
        """One of the sockets in turn; all nodes of a server have addresses of one family."""
        if len(self._lanes) < SOCKETS:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.setblocking(False)
            for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
            sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
            lane = _Lane(sock)
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
        now, bots, weather = trio.current_time(), self._bots, self._weather
        replies: list[tuple[Bot, bytes]] = []
        for packet, _ in received:
            bot = bots.get(peek_connection_id(packet) or 0)
            if bot is None:
                continue
            if weather is not None:
                weather.push(bot, Way.DOWN, packet, now)
            elif (reply := self._open(bot, packet, now)) is not None:
                replies.append((bot, reply))
        self._send(lane, replies)
        return len(received)

    def _open(self, bot: Bot, packet: bytes, now: float) -> bytes | None:
        """Let a bot have its datagram; what it answers at once."""
        frame, reply = bot.end.receive(packet, now)
        if frame is not None:
            bot.take_frame(frame, len(packet), now, by_datagram=True)
        return reply

    def _send(self, lane: _Lane, packets: list[tuple[Bot, bytes]]) -> None:
        if packets:
            self._out.send(lane.socket, [packet for _, packet in packets], [bot.address for bot, _ in packets])

    def _deliver(self, arrived: list[Parcel], now: float) -> None:
        """What the weather lets through, at both ends."""
        assert self._weather is not None
        sent: dict[_Lane, list[tuple[Bot, bytes]]] = {}
        for bot, way, packet in arrived:
            if way is Way.UP:
                if bot in self._lane_of:
                    sent.setdefault(self._lane_of[bot], []).append((bot, packet))
            elif way is Way.DOWN:
                if (reply := self._open(bot, packet, now)) is not None:
                    self._weather.push(bot, Way.UP, reply, now)
            elif way is Way.STREAM_UP:
                bot.link.write(packet)
            else:
                bot.take_frame(packet[1:], len(packet), now, by_datagram=False)
        for lane, packets in sent.items():
            self._send(lane, packets)

    def read_later(self, bot: Bot, data: bytes, size: int, now: float, by_datagram: bool) -> None:
        """Let a bot read a frame when what has come is timed. A full queue is read at once."""
        self._unread.append((bot, data, size, now, by_datagram))
        if len(self._unread) >= UNREAD_MAX:
            self._read_now(UNREAD_MAX)
        else:
            self._came.set()

    def _read_now(self, frames_max: int) -> None:
        unread = self._unread
        for _ in range(min(frames_max, len(unread))):
            bot, data, size, now, by_datagram = unread.popleft()
            bot.read_frame(data, size, now, by_datagram)

    async def _read_frames(self) -> None:
        while True:
            if self._unread:
                self._read_now(max(READ_AT_ONCE, len(self._unread) // 4))
                await trio.lowlevel.checkpoint()
            else:
                self._came = trio.Event()
                await self._came.wait()

    async def _clock(self) -> None:
        slice_s = self._period_s / SLICES
        due, turn = trio.current_time(), 0
        while True:
            now = trio.current_time()
            due = max(due, now - self._period_s)  # beyond a tick a burst would only make it worse
            for _ in range(min(SLICES_AT_ONCE, int((now - due) / slice_s) + 1)):
                self._take_turns(self._slices[turn % SLICES], now)
                turn += 1
                due += slice_s
            await trio.sleep_until(due)

    def _take_turns(self, part: dict[_Lane | None, list[Bot]], now: float) -> None:
        """Let the bots of a slice say what they have to say."""
        for lane, bots in part.items():
            packets = [(bot, packet) for bot in bots if (packet := bot.turn(now)) is not None]
            if self._weather is not None:
                for bot, packet in packets:
                    self._weather.push(bot, Way.UP, packet, now)
            elif lane is not None:
                self._send(lane, packets)


@attrs.frozen(eq=False)
class _Lane:
    """A socket that many bots share."""

    socket: socket.socket
