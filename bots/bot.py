"""One bot: its control connection, its seat, what it sends and what it makes of its frames.

Every bot does all that a client does on the wire, by the same pure parts as `netcode.client` (ControlChannel,
ClientEnd, Play). A *full* one also reads every frame, checks it (ticks are new, the seat's own values are there,
everybody is inside the world) and lets its brain decide from it; a *lean* one keeps its eyes shut: its inputs are
real, but from a seed alone. A frame that fails a check is counted by its kind, and the bot plays on.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from bots.brain import Brain, inside_world, make_brain
from bots.report import PlayerSeries
from netcode import messages
from netcode.certificate import client_trust
from netcode.client import parse_address
from netcode.control import PROTOCOL, ControlChannel, message_bytes
from netcode.errors import BadFrame, ErrorCode, ProtocolError, RemoteError, error_code
from netcode.frame import Frame
from netcode.messages import Message
from netcode.play import Play
from netcode.realtime import ClientEnd
from netcode.seal import Suite
from netcode.tcp import ByteLink, LinkClosed

if TYPE_CHECKING:
    from bots.swarm import Swarm

ANSWER_S = 20.0


@attrs.frozen
class Identity:
    """Who a bot is, and where it plays."""

    server: str
    transport: str
    trust: str | None
    seed: int
    player: int
    name: str
    secret: bytes


class Bot:
    """One player of a swarm. `full`: it reads every frame, checks it, and decides from what it sees."""

    def __init__(self, who: Identity, swarm: Swarm, *, full: bool) -> None:
        self.who = who
        self.full = full
        self.series = PlayerSeries()
        self.faults: dict[str, int] = {}
        self.error: Exception | None = None
        """Why the session ended; None while it lives."""
        self.frame_bytes = 0
        """Bytes of all frames so far."""
        self.link: ByteLink
        self.end: ClientEnd
        self.udp_port = 0
        self._swarm = swarm
        self._channel = ControlChannel(server=False)
        self._games: list[str] = []
        self._sending = True
        self._play: Play | None = None
        self._brain: Brain
        self._inside: Callable[[Frame], bool] | None = None
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

    @property
    def room(self) -> str:
        """Id of the room that the bot sits in; "" before it has a seat."""
        return self._play.info.room if self._play is not None else ""

    def stop_inputs(self) -> None:
        """Send nothing new; what is unacknowledged is still repeated."""
        self._sending = False

    async def open_room(self) -> tuple[str, int]:
        """Open a room of the server's (first) game: its id and its seats. Raises RemoteError."""
        answer = await self._ask(messages.CreateRoom(game=self._games[0] if self._games else ""))
        assert isinstance(answer, messages.RoomCreated)
        return answer.room, answer.seats

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

    async def rooms(self) -> list[dict[str, Any]]:
        """The server's rooms. Raises RemoteError."""
        answer = await self._ask(messages.ListRooms())
        assert isinstance(answer, messages.Rooms)
        return answer.rooms

    async def stats(self, window_s: int) -> dict[str, Any]:
        """The server's own figures. Raises RemoteError."""
        answer = await self._ask(messages.StatsRequest(window_s=window_s))
        assert isinstance(answer, messages.Stats)
        return answer.figures

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
        changed = self._brain.decide(play.newest if self.full else None)
        if changed:
            play.want(**changed)
        return play.next_packet(ack, now)

    def take_frame(self, data: bytes, size: int, now: float) -> None:
        """A frame came at `now`. Reading a view takes its time, so it waits until all that has come is timed."""
        self.frame_bytes += size
        if self.full:
            self._swarm.read_later(self, data, size, now)
        else:
            self.read_frame(data, size, now)

    def read_frame(self, data: bytes, size: int, now: float) -> None:
        """Acknowledge, time and check the frame that came at `now`."""
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
        if self.full:
            self._check_view(play, frame)

    def _check_view(self, play: Play, frame: Frame) -> None:
        if play.newest is not frame and self.who.transport == "tcp":
            self._fault("tick_went_back")
        if len(frame.own) != play.info.layout.own_width:
            self._fault("own_values_missing")
        if self._inside is not None and not self._inside(frame):
            self._fault("outside_world")

    def score(self) -> int | None:
        """The seat's score in the newest frame; None where the game shows none, or the bot does not look."""
        play = self._play
        if not self.full or play is None or play.newest is None:
            return None
        if not any(field.name == "score" and field.per == "seat" for field in play.info.layout.shared):
            return None
        return play.newest.values("score")[play.info.seat]

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
                self._play = Play(item, decode=self.full)
                self._brain = make_brain(self._play.info, self.who.seed, self.who.player, sees=self.full)
                self._inside = inside_world(self._play.info) if self.full else None
            case messages.Events() if self._play is not None:
                for _, _, kind, data in item.events:
                    if kind == "skipped" and data[0] == self._play.info.seat:
                        self.series.skipped += data[-1] - data[-2] + 1
            case messages.Error() if item.fatal or item.code == ErrorCode.ROOM_CLOSED.number:
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
