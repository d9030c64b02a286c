"""The swarm: hundreds of full bots or thousands of lean ones in one process, without being the limit oneself.

    a control connection a bot ──────────────────────────────────────────► log in, join, leave (and all else with tcp)
    a sealed channel a bot, 4 UDP sockets for all:   recvmmsg ─┬─► rows of bots with whom all is usual: `bots.columns`
                                                               └─► connection id ─► bot: open, time ─► read (full bots)
    one clock for all, in 8 slices of the tick:      slice's bots ─► next input, sealed ─► few messages

Two slices share a socket (a *lane*), and all lanes are drained together, so that batches are large; what the bots of a
slice say goes to the kernel as a few messages, which it cuts. A frame's time is that of its batch; views are read after
everything that has come is timed, so that one bot's reading does not count as another's waiting. Deadlines of the clock
are absolute; when the loop is late the report says so (see `bots.crew`). With link conditions every packet goes through
`bots.weather` on its way.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
from collections import deque
from collections.abc import Callable

import numpy as np
import trio

from bots.bot import Bot
from bots.columns import Columns, gather
from bots.streams import Streams
from bots.weather import Parcel, Way, Weather
from game.api import RowGame
from game.arena import Arena
from game.errors import BadOption
from netcode import messages
from netcode.conditions import Conditions
from netcode.mmsg import address_token, make_batch
from netcode.pool import LinkPool
from netcode.received import Received
from netcode.seal import peek_connection_id

SLICES = 8
"""Parts of a tick that the bots are spread over."""
LANES = 4
"""UDP sockets; slice n has that of n modulo LANES: few are drained with few calls."""
GATHERED = 1024
"""Datagrams that are taken at once."""
FEW, GATHER_S = 256, 0.002
"""A batch has a price of its own: behind one of fewer than so many the next ones are waited for."""
READ_FOR_S = 0.008
"""Control connections are read for so long before others may run."""
SENT_AT_ONCE = 1024
ASLEEP_S = 0.1
"""A clock that is so much later than a tick was kept from hearing, too: its bots have not been left alone."""
SLICES_AT_ONCE = 2
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
        self.columns = Columns()
        self._lanes: list[socket.socket] = []
        self._ready = selectors.DefaultSelector()
        self._bots: dict[int, Bot] = {}
        self._slices = [_Slice() for _ in range(SLICES)]
        self._slice_of: dict[Bot, _Slice] = {}
        self._added = 0
        self._streams = Streams(self.columns, self._hear_alone)
        self.pool = LinkPool(self._streams.take, at_once=GATHERED, for_s=READ_FOR_S)
        """Reads the control connections of all bots."""
        self._out = make_batch(SENT_AT_ONCE)
        self._in = make_batch(RECEIVED_MAX)
        self._period_s = 0.0
        self._started = trio.Event()
        self._unread: deque[Callable[[], None]] = deque()
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
                self._nursery.start_soon(self.pool.run)
                self._nursery.start_soon(self._receive)
                self._nursery.start_soon(self._read_frames)
                if self._weather is not None:
                    self._nursery.start_soon(self._weather.run)
                await self._started.wait()
                await self._clock()
        finally:
            self._ready.close()
            for lane in self._lanes:
                lane.close()

    def address(self, host: str, port: int) -> bytes:
        """Token of a UDP address."""
        if (host, port) not in self._addresses:
            *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            self._addresses[host, port] = address_token(address)
        return self._addresses[host, port]

    def add(self, bot: Bot) -> None:
        """Let a seated bot send and receive from now on, in the slice that comes next."""
        part = self._slices[self._added % SLICES]
        self._added += 1
        if bot.who.transport == "udp":
            if part.lane is None:
                part.lane = self._lane(self._slices.index(part) % LANES, bot.link.peer[0])
            self._bots[bot.end.connection] = bot
        self._slice_of[bot] = part
        part.bots[bot] = None
        if not self._started.is_set():
            self._period_s = 1.0 / bot.tick_hz
            self._started.set()

    def remove(self, bot: Bot) -> None:
        """The bot's session has ended."""
        self.take_back(bot)
        self._bots.pop(bot.end.connection, None)
        if self._weather is not None:
            self._weather.forget(bot)
        part = self._slice_of.pop(bot, None)
        if part is not None:
            del part.bots[bot]

    def moved(self, bot: Bot, before: int) -> None:
        """The bot has resumed its session: another connection id."""
        if self._bots.pop(before, None) is not None:
            self._bots[bot.end.connection] = bot

    def take_back(self, bot: Bot) -> None:
        """What is not usual is done by the bot itself: it leaves its row, if it is in one."""
        self._streams.settle()
        if bot.row >= 0:
            part = self._slice_of[bot]
            part.leave(bot.row)
            self.columns.release(bot.row)
            part.bots[bot] = None

    def open_window(self, now: float) -> None:
        """What all bots see from now on counts in their series."""
        self.columns.start, self.columns.end = now, math.inf

    def close_window(self, now: float) -> None:
        """What they see from now on does not."""
        self.columns.end = now

    @property
    def frames(self) -> int:
        """Frames that came in the window and that no series knows of yet."""
        return int(self.columns.frames.sum())

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
            self._streams.heard(bot, packet, now)
        else:
            self._weather.push(bot, Way.STREAM_DOWN, packet, now)

    def _hear_alone(self, bot: Bot, packet: bytes, now: float) -> None:
        """The same, for a bot whose row cannot take it."""
        self.take_back(bot)
        bot.take_frame(packet[1:], len(packet), now, by_datagram=False)

    def _lane(self, number: int, host: str) -> socket.socket:
        """The socket that every LANES-th slice shares."""
        while number >= len(self._lanes):
            self._open_lane(host)
        return self._lanes[number]

    def _open_lane(self, host: str) -> None:
        """Another lane; all nodes of a server have addresses of one family."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        self._lanes.append(sock)
        self._ready.register(sock, selectors.EVENT_READ, sock)

    async def _receive(self) -> None:
        """Take what has come on all lanes together, so that a batch is large."""
        while True:
            await trio.lowlevel.wait_readable(self._ready.fileno())
            while ready := self._ready.select(0):
                parts, count = [], 0
                for lane, _ in ready:
                    parts.append(gather([self._in.take(lane.data)]))
                    count += len(parts[-1])
                    if count >= GATHERED:
                        break
                if count:
                    self._take(gather(parts), trio.current_time())
                await trio.sleep(GATHER_S if count < FEW else 0)

    def _take(self, came: Received, now: float) -> None:
        """Datagrams of all kinds of bots."""
        rest = self.columns.receive(came, now)
        for bot, frame, size in rest.frames:
            self.take_back(bot)
            bot.end.heard_at = now
            bot.take_frame(frame, size, now, by_datagram=True)
        replies: list[tuple[Bot, bytes]] = []
        for index in rest.datagrams:
            packet = came.packet(index)
            whose = self._bots.get(peek_connection_id(packet) or 0)
            if whose is None:
                continue
            self.take_back(whose)
            if self._weather is not None:
                self._weather.push(whose, Way.DOWN, packet, now)
            elif (reply := self._open(whose, packet, now)) is not None:
                replies.append((whose, reply))
        self._send_each(replies)

    def _open(self, bot: Bot, packet: bytes, now: float) -> bytes | None:
        """Let a bot have its datagram; what it answers at once."""
        frame, reply = bot.end.receive(packet, now)
        if frame is not None:
            bot.take_frame(frame, len(packet), now, by_datagram=True)
        return reply

    def _send_each(self, packets: list[tuple[Bot, bytes]]) -> None:
        """Send datagrams of bots of any slices."""
        by_lane: dict[socket.socket, tuple[list[bytes], list[bytes]]] = {}
        for bot, packet in packets:
            part = self._slice_of.get(bot)
            if part is not None and part.lane is not None:
                told = by_lane.setdefault(part.lane, ([], []))
                told[0].append(packet)
                told[1].append(bot.address)
        for lane, (datagrams, addresses) in by_lane.items():
            self._out.send(lane, datagrams, addresses)

    def _deliver(self, arrived: list[Parcel], now: float) -> None:
        """What the weather lets through, at both ends."""
        assert self._weather is not None
        sent: list[tuple[Bot, bytes]] = []
        for bot, way, packet in arrived:
            if way is Way.UP:
                sent.append((bot, packet))
            elif way is Way.DOWN:
                if (reply := self._open(bot, packet, now)) is not None:
                    self._weather.push(bot, Way.UP, reply, now)
            elif way is Way.STREAM_UP:
                bot.link.write(packet)
            else:
                bot.take_frame(packet[1:], len(packet), now, by_datagram=False)
        self._send_each(sent)

    def read_later(self, read: Callable[[], None]) -> None:
        """Let a bot read a frame when what has come is timed. A full queue is read at once."""
        self._unread.append(read)
        if len(self._unread) >= UNREAD_MAX:
            self._read_now(UNREAD_MAX)
        else:
            self._came.set()

    def _read_now(self, frames_max: int) -> None:
        unread = self._unread
        for _ in range(min(frames_max, len(unread))):
            unread.popleft()()

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
            if now - due > self._period_s + ASLEEP_S:
                self.columns.woke_at = now
            due = max(due, now - self._period_s)  # beyond a tick a burst would only make it worse
            for _ in range(min(SLICES_AT_ONCE, int((now - due) / slice_s) + 1)):
                self._take_turns(self._slices[turn % SLICES], now)
                turn += 1
                due += slice_s
            await trio.sleep_until(due)

    def _take_turns(self, part: _Slice, now: float) -> None:
        """Let the bots of a slice say what they have to say."""
        columns, weather = self.columns, self._weather
        self._streams.settle()
        for row in columns.failing(part.rows, now):
            self.take_back(columns.bot(row))
        streamed = columns.streamed[part.rows]
        if streamed.any():
            self._streams.send(part.rows[streamed], now)
        rows = part.rows[~streamed]
        if len(rows):
            assert part.lane is not None
            for begin in range(0, len(rows), SENT_AT_ONCE):
                self._out.burst(part.lane, *columns.send(rows[begin : begin + SENT_AT_ONCE], now))
        packets = [(bot, packet) for bot in part.bots if (packet := bot.turn(now)) is not None]
        if weather is not None:
            for bot, packet in packets:
                weather.push(bot, Way.UP, packet, now)
            return
        self._send_each(packets)
        for bot in [bot for bot in part.bots if bot.plain and columns.takes(bot, now)]:
            del part.bots[bot]
            columns.enter(bot)
            part.enter(bot.row)


class _Slice:
    """The bots that have their turn at the same time, and share a socket."""

    def __init__(self) -> None:
        self.lane: socket.socket | None = None
        self.bots: dict[Bot, None] = {}
        """Those that are in no row."""
        self._rows: dict[int, None] = {}
        self._column: np.ndarray | None = None

    @property
    def rows(self) -> np.ndarray:
        """The rows of the others."""
        if self._column is None:
            self._column = np.array(list(self._rows), np.intp)
        return self._column

    def enter(self, row: int) -> None:
        """A bot got this row."""
        self._rows[row] = None
        self._column = None

    def leave(self, row: int) -> None:
        """It is in a row no more."""
        del self._rows[row]
        self._column = None
