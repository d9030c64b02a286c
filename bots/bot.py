"""One bot: its seat, what it sends and what it makes of its frames.

Every bot does all that a client does on the wire, by the same pure parts as `netcode.client` (ControlChannel,
ClientEnd, Play): it proves a UDP path, falls back to the control channel when datagrams do not pass and returns when
they do, and resumes its session when the control connection is lost (`bots.control`). A *full* one also reads every
frame, checks it (ticks are new, the seat's own values are there, everybody is inside the world) and lets its brain
decide from it; a *lean* one keeps its eyes shut: its inputs are real, but from a seed alone. A few full ones predict
their own moves, too. A frame that fails a check is counted by its kind, and the bot plays on.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from bots.brain import Brain, inside_world, make_brain
from bots.control import Control, Identity
from bots.report import PlayerSeries
from game.fixed import UNIT_BITS
from netcode import messages
from netcode.control import realtime_bytes
from netcode.errors import BadFrame, ErrorCode, RemoteError, error_code
from netcode.frame import Frame
from netcode.messages import Message
from netcode.play import Play
from netcode.realtime import ClientEnd
from netcode.seal import DatagramType, Suite
from netcode.weblink import Link

if TYPE_CHECKING:
    from bots.swarm import Swarm

USUAL_GAME = "arena"
SILENT_S = 0.5
"""A bot that has seen no frame for so long asks another node."""
_INPUT = bytes([DatagramType.INPUT])
_WORLD_UNIT = float(1 << UNIT_BITS)


class Bot:
    """One player of a swarm. `full`: it reads every frame, checks it, and decides from what it sees; `predicts`: and
    predicts its own moves."""

    def __init__(self, who: Identity, swarm: Swarm, *, full: bool, predicts: bool = False) -> None:
        self.who = who
        self.full = full
        self.predicts = predicts
        self.kept = PlayerSeries()
        """Its series; while it is in a row, as it was when last asked for."""
        self.faults: dict[str, int] = {}
        self.frame_bytes = 0
        """Bytes of all frames so far."""
        self.end: ClientEnd
        self.address = b""
        """Token of the server's UDP address."""
        self.account = ""
        self.on_frame: Callable[[Frame, bytes, float], None] | None = None
        """Is told of every frame that was read, its bytes, and when it came."""
        self.on_seated: Callable[[messages.Seated], None] | None = None
        """Is told of every seat, and of its return."""
        self.heard_at = 0.0
        """When the last frame came."""
        self.last_event = (0, 0)
        """Tick and index of the newest event that came."""
        self.away = False
        """The connection is lost, or the seat not given back yet: nothing is sent."""
        self.sending = True
        """Whether it makes new inputs."""
        self.play: Play | None = None
        """Its seat; None before it has one."""
        self.brain: Brain
        self.row = -1
        """Its row (`bots.rows`), which has the state of `end`, `play`, `kept` then; -1: none."""
        self._swarm = swarm
        self._control = Control(who, self, swarm.pool)
        self._games: list[str] = []
        self._inside: Callable[[Frame], bool] | None = None

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Logged in, until the block ends. Raises what `Control.session` raises."""
        async with self._control.session():
            try:
                yield
            finally:
                if self.play is not None:
                    self._swarm.remove(self)

    @property
    def series(self) -> PlayerSeries:
        """What it has seen so far."""
        if self.row >= 0:
            self._swarm.columns.settle(self.row)
        return self.kept

    @property
    def link(self) -> Link:
        """The control connection of the moment."""
        return self._control.link

    @property
    def error(self) -> Exception | None:
        """Why the session ended; None while it lives."""
        return self._control.error

    @property
    def trouble(self) -> Exception | None:
        """The same, or why the connection is lost just now."""
        return self._control.trouble

    @property
    def alive(self) -> bool:
        """Whether the session lives."""
        return self._control.alive

    @property
    def settled(self) -> bool:
        """Whether everything that was sent is acknowledged."""
        return not self.in_flight

    @property
    def in_flight(self) -> int:
        """Inputs that were sent and not acknowledged."""
        if self.row >= 0:
            return self._swarm.columns.in_flight(self.row)
        return 0 if self.play is None else self.play.window.newest - self.play.window.acknowledged

    @property
    def tick_hz(self) -> int:
        """Ticks a second of the room."""
        return self.play.info.tick_hz if self.play is not None else 0

    @property
    def seat(self) -> tuple[str, int, int]:
        """Room, seat and its generation; ("", -1, 0) before it has one."""
        info = None if self.play is None else self.play.info
        return ("", -1, 0) if info is None else (info.room, info.seat, info.generation)

    @property
    def room(self) -> str:
        """Id of the room that the bot sits in; "" before it has a seat."""
        return self.play.info.room if self.play is not None else ""

    @property
    def epoch(self) -> int:
        """Of the room; 0 before it has a seat."""
        return self.play.frames.epoch if self.play is not None else 0

    @property
    def seeking(self) -> bool:
        """Whether it asks another node because nothing is heard of its room."""
        return self._control.seeking

    @property
    def plain(self) -> bool:
        """Whether it may play in a row while all is as usual."""
        return not self.predicts and self.on_frame is None

    @property
    def streamed(self) -> bool:
        """Whether its inputs and frames take the control connection by its own choice."""
        return self.who.transport != "udp"

    @property
    def moves(self) -> int:
        """Times that it went to another node before its connection was lost."""
        return self._control.moves

    @property
    def by_datagram(self) -> bool:
        """Whether its inputs go by datagram just now."""
        return self.who.transport == "udp" and not self.away and self.end.proven

    def stop_inputs(self) -> None:
        """Send nothing new; what is unacknowledged is still repeated."""
        self.sending = False
        if self.row >= 0:
            self._swarm.columns.sending[self.row] = False

    async def open_room(self, game: str = "", options: Mapping[str, str] | None = None) -> tuple[str, int]:
        """Open a room: its id and its seats. Without `game`: of the arena, or else of the server's first one.

        Raises RemoteError.
        """
        games = self._games
        game = game or (USUAL_GAME if USUAL_GAME in games or not games else games[0])
        answer = await self._control.ask(messages.CreateRoom(game=game, options=dict(options or {})))
        assert isinstance(answer, messages.RoomCreated)
        return answer.room, answer.seats

    async def join(self, room: str) -> None:
        """Take a seat in this room and play. Raises RemoteError."""
        await self._control.ask(messages.Join(room=room))
        assert self.play is not None
        self._swarm.add(self)

    async def leave(self) -> None:
        """Give the seat up and take the server's books. Raises RemoteError."""
        left = await self._control.ask(messages.Leave())
        assert isinstance(left, messages.Left)
        self.kept.left = (left.last_seq, left.applied)

    async def rooms(self) -> list[dict[str, Any]]:
        """The server's rooms. Raises RemoteError."""
        answer = await self._control.ask(messages.ListRooms())
        assert isinstance(answer, messages.Rooms)
        return answer.rooms

    async def stats(self, window_s: int) -> dict[str, Any]:
        """The server's own figures. Raises RemoteError."""
        answer = await self._control.ask(messages.StatsRequest(window_s=window_s))
        assert isinstance(answer, messages.Stats)
        return answer.figures

    def tally(self) -> None:
        """Bring the series up to date."""
        series = self.series
        series.reconnects = self._control.reconnects
        if self.play is not None and self.row < 0:
            series.sent, series.acknowledged = self.play.window.newest, self.play.window.acknowledged
        if self.play is not None:
            series.fallbacks += self.end.fallbacks
            self.end.fallbacks = 0

    # -- what the swarm calls -----------------------------------------------------------------------------------------

    def turn(self, now: float) -> bytes | None:
        """Say what is to be said in this slice; returns the datagram, if it takes one: an input, or a probe."""
        if self.away or self.play is None:
            return None
        if now - max(self.heard_at, self._swarm.columns.woke_at) > SILENT_S:
            self._control.seek()
        if self.who.transport != "udp":
            self._swarm.say(self, realtime_bytes(_INPUT + self._input_packet(self.play, now)), now)
            return None
        end = self.end
        if end.usable(now):
            return end.seal_input(self._input_packet(self.play, now), now)
        if end.blocked(now):
            self._swarm.say(self, realtime_bytes(_INPUT + self._input_packet(self.play, now)), now)
        return end.due(now)

    def _input_packet(self, play: Play, now: float) -> bytes:
        """The next input packet. The clock of slices has one beat a tick: an input is left out when too many wait on
        the server."""
        ack = self.end.acks.ack
        if not self.sending or not play.beat():
            return play.repeat_packet(ack)
        changed = self.brain.decide(play.newest if self.full else None)
        if changed:
            play.want(**changed)
        return play.next_packet(ack, now)

    def take_frame(self, data: bytes, size: int, now: float, by_datagram: bool) -> None:
        """A frame came at `now`. Reading a view takes its time, so it waits until all that has come is timed."""
        self.frame_bytes += size
        if self.full:
            self._swarm.read_later(partial(self.read_frame, data, size, now, by_datagram))
        else:
            self.read_frame(data, size, now, by_datagram)

    def read_frame(self, data: bytes, size: int, now: float, by_datagram: bool) -> None:
        """Acknowledge, time and check the frame that came at `now`."""
        play, series = self.play, self.kept
        if play is None or self.away:
            return
        try:
            frame = play.receive(data, now)
        except BadFrame:
            self.fault("bad_frame")
            return
        if frame is None:
            return
        self.heard_at = max(self.heard_at, now)
        if self._control.seeking:
            self._control.never_mind()
        if frame.acks is not None:
            self.end.acknowledged(*frame.acks, now)
        if self.on_frame is not None:
            self.on_frame(frame, data, now)
        if not series.frame(frame.tick, now, size, by_datagram):
            self.fault("tick_repeated")
        if play.rtt_ms:
            series.round_trips(play.rtt_ms, now)
        if self.full:
            self._check_view(play, frame)
        if play.predictor is not None:
            books = play.predictor.corrections
            series.corrected(books.compared, (off / _WORLD_UNIT for off in books.recent), now)
            books.compared = 0
            books.recent.clear()

    def _check_view(self, play: Play, frame: Frame) -> None:
        if play.newest is not frame and self.who.transport != "udp":
            self.fault("tick_went_back")
        if len(frame.own) != play.info.layout.own_width:
            self.fault("own_values_missing")
        if self._inside is not None and not self._inside(frame):
            self.fault("outside_world")

    def score(self) -> int | None:
        """The seat's score in the newest frame; None where the game shows none, or the bot does not look."""
        play = self.play
        newest = self._swarm.columns.newest_frame(self.row) if self.row >= 0 else None if play is None else play.newest
        if not self.full or play is None or newest is None:
            return None
        field = play.info.layout.shared_at.get("score")
        return None if field is None or field.per != "seat" else newest.values("score")[play.info.seat]

    # -- what the control connection tells ----------------------------------------------------------------------------

    def welcomed(self, welcome: messages.Welcome) -> None:
        """Logged in, or back: fresh keys."""
        before = self.end.connection if self.play is not None else None
        if self.play is not None:
            self.kept.fallbacks += self.end.fallbacks
        self._games, self.account = welcome.games, welcome.account
        self.address = self._swarm.address(self.link.peer[0], welcome.udp_port)
        self.end = ClientEnd(welcome.connection, welcome.key_up, welcome.key_down, Suite(welcome.suite))
        if before is not None:
            self._swarm.moved(self, before)
            if not welcome.room:
                self._control.end(RemoteError(ErrorCode.NOT_SEATED, "the seat was not kept"))

    def lost(self) -> None:
        """The control connection is gone: nothing is sent until the seat is back."""
        self._swarm.take_back(self)
        self.away = True

    def take(self, item: Message | bytes) -> None:
        """What came over the control connection."""
        match item:
            case bytes():
                self._swarm.heard(self, item)
            case messages.Seated():
                self._seated(item)
            case messages.Events():
                self._take_events(item)
            case messages.Error() if item.code == ErrorCode.ROOM_CLOSED.number or (self.away and not item.ref):
                self._control.end(RemoteError(error_code(item.code), item.message))
            case _:
                pass

    def _seated(self, message: messages.Seated) -> None:
        if self.on_seated is not None:
            self.on_seated(message)
        if self.play is not None and message.resumed:
            self.play.resume(message)
            self.away, self.heard_at = False, trio.current_time()
            return
        if message.parts or not message.inputs:
            raise RemoteError(ErrorCode.NOT_ALLOWED, f"bots play games of rows, which {message.game} is not")
        game = self._swarm.rules(message) if self.predicts else None
        self.play = Play(message, decode=self.full, game=game)
        self.predicts = self.play.predictor is not None
        self.play.interpolator, self.play.steered = None, False  # nobody draws, and inputs go by the swarm's clock
        self.away, self.heard_at = False, trio.current_time()
        self.brain = make_brain(self.play.info, self.who.seed, self.who.player, sees=self.full)
        self._inside = inside_world(self.play.info) if self.full else None

    def _take_events(self, message: messages.Events) -> None:
        play = self.play
        for tick, index, kind, data in message.events:
            if (tick, index) <= self.last_event:
                continue
            self.last_event = (tick, index)
            if kind == "skipped" and play is not None and data[0] == play.info.seat:
                self.kept.skipped += data[-1] - data[-2] + 1

    def fault(self, kind: str) -> None:
        """A frame was not what it should be."""
        self.faults[kind] = self.faults.get(kind, 0) + 1
