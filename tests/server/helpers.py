"""A real node on a free port, in the test's own nursery; and raw connections to it, for peers who do not behave."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

import attrs
import msgpack
import pytest
import trio

from cluster.codec import Snapshot, StageRecord
from cluster.journal import JournalFenced, NoJournal
from cluster.memory import MemoryWorld, StoredSession
from cluster.model import Member, RoomEntry, SessionRecord
from cluster.tickets import Tickets
from game.api import Game, Result
from netcode import messages
from netcode.certificate import client_trust
from netcode.client import Client, SeatedRoom, connect
from netcode.control import ControlChannel, message_bytes
from netcode.ends import ServerEnds
from netcode.errors import RemoteError
from netcode.frame import Frame
from netcode.framing import FrameKind, FrameReader
from netcode.messages import Message
from netcode.seal import Suite
from netcode.server_end import SLOT_BITS, Channel, ServerEnd
from netcode.session import Session
from netcode.tcp import ByteLink
from server.datagrams import Datagrams
from server.evidence import EvidenceFolder
from server.gate import Always
from server.held import HeldSeats
from server.host import Host, Services
from server.housekeeping import Housekeeping
from server.limits import Limits
from server.lobby import Lobby
from server.metrics import Metrics
from server.node import PlayedGame, Running, run_node, stage_maker
from server.registry import Registry
from server.row_stage import RowOccupant
from server.settings import Settings
from server.snapshots import Snapshots
from server.stage import Occupant
from server.tenure import Tenure
from server.watchdog import Watchdog
from tests.server.games import Counter

HOST = "127.0.0.1"
ME = "me.0123456789abcdef"
HANG_S = 10.0
"""A test that waits for so long has failed."""


@attrs.frozen
class Node:
    """A running node."""

    port: int
    metrics: Metrics
    lobby: Lobby
    data: Path
    stop: trio.Event
    stopped: trio.Event
    parts: Running

    @property
    def server(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def host(self) -> Host:
        (host,) = self.lobby.hosts.values()
        return host

    @property
    def people(self) -> list[Occupant]:
        """Everybody who sits somewhere, in rooms of any game."""
        stages = [stage for host in self.lobby.hosts.values() for stage in host.rooms.stages]
        return [occupant for stage in stages for occupant in stage.occupants.values()]

    @property
    def occupants(self) -> list[RowOccupant]:
        """Everybody who sits in a room of rows."""
        return [occupant for occupant in self.people if isinstance(occupant, RowOccupant)]


@contextlib.asynccontextmanager
async def running(data: Path, games: Game | Sequence[PlayedGame] | None = None, **settings: Any) -> AsyncIterator[Node]:
    """A node with its data in `data`, playing a counter where nothing else is asked for; stopped cleanly at the end."""
    if not isinstance(games, Sequence):
        games = [PlayedGame(games or Counter(), "counter")]
    played = games
    with trio.fail_after(HANG_S * 2 + settings.get("hold_s", 0.0)):
        async with trio.open_nursery() as nursery:
            send, receive = trio.open_memory_channel[Running](1)
            stop, stopped = trio.Event(), trio.Event()

            async def run() -> None:
                await run_node(
                    Settings(host=HOST, port=0, data=data, **settings),
                    played,
                    stop=stop,
                    started=send.send_nowait,
                )
                stopped.set()

            nursery.start_soon(run)
            found = await receive.receive()
            yield Node(found.address.port, found.metrics, found.lobby, data, stop, stopped, found)
            stop.set()
            await stopped.wait()


@contextlib.asynccontextmanager
async def playing(
    node: Node, *, secret: bytes | None = None, transport: str = "udp", reconnect: bool = True
) -> AsyncIterator[tuple[Client, SeatedRoom]]:
    """A client in a seat that has seen a frame."""
    async with connect(node.server, secret=secret, transport=transport, reconnect=reconnect) as client:
        room = await client.join(next(iter(node.lobby.hosts)))
        await room.next_frame()
        yield client, room


async def frame_when(room: SeatedRoom, test: Callable[[Frame], bool]) -> Frame:
    """The first frame for which `test` holds."""
    with trio.fail_after(HANG_S):
        while True:
            frame = await room.next_frame()
            if test(frame):
                return frame


async def until(test: Callable[[], bool], room: SeatedRoom | None = None, within_s: float = HANG_S) -> None:
    """Wait until `test` holds: looked at in every pass of the scheduler, or after each frame of `room`."""
    with trio.fail_after(within_s):
        while not test():
            if room is None:
                await trio.lowlevel.checkpoint()
            else:
                await room.next_frame()


async def refused(request: Awaitable[Any]) -> RemoteError:
    """The error that a request ends with."""
    with trio.fail_after(HANG_S), pytest.raises(RemoteError) as caught:
        await request
    return caught.value


async def last_frame(room: SeatedRoom) -> None:
    """Play on until frames end; raises what ends them."""
    while True:
        await room.next_frame()


class Rude:
    """A control connection that sends what it likes."""

    def __init__(self, link: ByteLink) -> None:
        self.link = link
        self._channel = ControlChannel(server=False)
        self._got: list[Message | bytes] = []

    def say(self, *said: Message) -> None:
        self.link.write(b"".join(message_bytes(message) for message in said))

    async def hear(self, wanted: type[Any]) -> Any:
        """The next message of that class; what comes before it is passed over."""
        with trio.fail_after(HANG_S):
            while True:
                while self._got:
                    item = self._got.pop(0)
                    if isinstance(item, wanted):
                        return item
                data = await self.link.receive()
                assert data, f"the stream ended before {wanted.__name__}"
                self._got.extend(self._channel.receive_data(data))

    async def log_in(self, secret: bytes = b"x" * 16, name: str = "") -> messages.Welcome:
        self.say(messages.Hello(protocol=1), messages.Login(secret=secret, name=name))
        welcome: messages.Welcome = await self.hear(messages.Welcome)
        return welcome

    async def seat(self, game: str = "counter") -> messages.Seated:
        self.say(messages.Join(game=game, ref=9))
        seated: messages.Seated = await self.hear(messages.Seated)
        return seated

    async def ended(self) -> None:
        """Wait until the server has closed the connection."""
        with trio.fail_after(HANG_S), contextlib.suppress(Exception):
            while await self.link.receive():
                pass


@contextlib.asynccontextmanager
async def rude(node: Node) -> AsyncIterator[Rude]:
    """A TLS connection to the node's control channel, not greeted yet."""
    async with trio.open_nursery() as nursery:
        link = await ByteLink.client(HOST, node.port, client_trust(HOST), nursery)
        try:
            yield Rude(link)
        finally:
            link.close()
            nursery.cancel_scope.cancel()


@contextlib.contextmanager
def datagrams(node: Node) -> Iterator[socket.socket]:
    """A UDP socket connected to the node."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((HOST, node.port))
        yield sock


async def datagram(sock: socket.socket) -> bytes:
    """The next datagram."""
    with trio.fail_after(HANG_S):
        while True:
            await trio.lowlevel.wait_readable(sock)
            with contextlib.suppress(BlockingIOError):
                return sock.recv(2048)


class SlowAppend:
    """An append that is stored, or fenced, when the test says so."""

    def __init__(self) -> None:
        self.stored = False
        self._fenced = False
        self._done = trio.Event()

    def finish(self) -> None:
        self.stored = True
        self._done.set()

    def fence(self) -> None:
        self._fenced = True
        self._done.set()

    async def wait(self) -> None:
        await self._done.wait()
        if self._fenced:
            raise JournalFenced


class SlowJournal:
    """Stores when it is told to."""

    wanted = True

    def __init__(self, stores: bool = False) -> None:
        self.appends: list[SlowAppend] = []
        self.records: list[Sequence[StageRecord]] = []
        self.stores = stores

    @property
    def position(self) -> int:
        return len(self.records)

    def begin(self, stages: Sequence[StageRecord]) -> SlowAppend:
        self.appends.append(SlowAppend())
        self.records.append(stages)
        if self.stores:
            self.appends[-1].finish()
        return self.appends[-1]

    def store(self) -> None:
        """Everything begun so far is stored."""
        for append in self.appends:
            append.finish()


class FakeLink:
    """Takes what a session is told, read as a client would."""

    peer = (HOST, 1)
    plain_fd = -1

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.frames: list[bytes] = []
        self._reader = FrameReader()

    def write(self, data: bytes) -> None:
        for kind, payload in self._reader.feed(data):
            if kind == FrameKind.MESSAGE:
                self.told.append(messages.decode(payload))
            else:
                self.frames.append(payload[1:])

    def write_framed(self, data: bytes | memoryview) -> None:
        self.write(bytes(data))

    def heard(self, wanted: type[Any]) -> list[Any]:
        return [message for message in self.told if isinstance(message, wanted)]

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class FakeDatagrams(Datagrams):
    """Nothing comes in; what goes out takes the control channel."""

    def __init__(self, metrics: Metrics) -> None:
        self.ends = ServerEnds(metrics.drops)
        self._metrics = metrics

    def receive(self) -> int:
        return 0


class Rig:
    """A host without sockets: sessions whose links are lists."""

    def __init__(
        self,
        folder: Path,
        game: Game | None = None,
        *,
        phases: int = 1,
        rooms_max: int = 10,
        spec: str = "",
        watchdog_s: float = 60.0,
    ) -> None:
        self.journal, self.metrics = SlowJournal(stores=True), Metrics()
        self.datagrams = FakeDatagrams(self.metrics)
        self.delivered: list[tuple[str, Result]] = []
        self.evidence = EvidenceFolder(folder / "evidence")
        self.limits = Limits(Settings(data=folder), self.metrics.limits)
        self.watchdog = Watchdog(watchdog_s)
        game = game or Counter()
        self.joins = 0
        self.stopped: list[tuple[RoomEntry, str, Snapshot]] = []
        self.world = MemoryWorld()
        store = self.store = self.world.store()
        self.tenure = Tenure(store, lambda counter: Member(incarnation=ME, node="me", host="", port=1), ME)
        snapshots, self.held = Snapshots(store, ME), HeldSeats()
        self.housekeeping = Housekeeping(store, self.tenure, NoJournal(), snapshots)
        self.registry = Registry(
            store, self.tenure, Tickets(bytes(32)), 1.0, lambda room: room in self.host.rooms.by_id
        )
        services = Services(
            right=Always(),
            journal=self.journal,
            snapshots=snapshots,
            housekeeping=self.housekeeping,
            datagrams=self.datagrams,
            metrics=self.metrics,
            evidence=self.evidence,
            held=self.held,
            stopped=lambda entry, target, snapshot: self.stopped.append((entry, target, snapshot)),
            left=self.registry.left,
            deliver=lambda _, room, results: self.delivered.extend((room, result) for result in results),
        )
        self.host = Host(
            game, stage_maker(game, self.watchdog), services, spec=spec or game.name, phases=phases, hold_s=1.0
        )
        self.lobby = Lobby(
            {self.host.game.name: self.host},
            registry=self.registry,
            tenure=self.tenure,
            housekeeping=self.housekeeping,
            held=self.held,
            rooms_max=rooms_max,
        )

    def session(self, number: int, account: str = "") -> tuple[Session, FakeLink]:
        """A player who speaks over the control channel."""
        link = FakeLink()
        end = ServerEnd(number << SLOT_BITS, bytes(32), bytes(32), bytes(32), Suite.AES_256_GCM)
        session = Session(f"s{number}", account or f"a{number}", "", b"", end, 0.0, 0.0, link)
        self.datagrams.ends.open(end, session)
        end.channel = Channel.CONTROL
        session.budget = self.limits.session()
        session.record = SessionRecord(session=session.id, account=session.account, name="", secret_hash=b"")
        body: bytes = msgpack.packb(attrs.asdict(session.record))
        self.world.sessions[session.id] = StoredSession(session.account, inf, 0, body)
        self.world.accounts[session.account] = session.id
        return session, link

    def open(self, **options: int) -> str:
        """Open a room and return its id."""
        rooms = self.host.rooms
        return rooms.open(rooms.draft(options, private=False, account="", owner=ME, first=1)).id

    def _is_here(self, room: str) -> bool:
        return room in self.host.rooms.by_id

    def join(self, session: Session, room: str, ref: int) -> None:
        """Let a session ask for a seat, past the lobby."""
        self.joins += 1
        self.host.seating.join(session, self.host.rooms.by_id[room], ref, f"join-{self.joins}")

    def tick(self, count: int = 1) -> None:
        """So many ticks of every stage, now."""
        for _ in range(count):
            for phase in self.host.rooms.phases:
                if stages := [stage for stage in phase if len(stage.batch)]:
                    self.host._tick(stages)
