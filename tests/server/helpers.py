"""A real node on a free port, in the test's own nursery; and raw connections to it, for peers who do not behave."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from game.api import RowGame
from netcode import messages
from netcode.certificate import client_trust
from netcode.client import Client, SeatedRoom, connect
from netcode.control import ControlChannel, message_bytes
from netcode.frame import Frame
from netcode.messages import Message
from netcode.tcp import ByteLink
from server.lobby import Lobby
from server.metrics import Metrics
from server.node import Address, run_node
from server.settings import Settings
from tests.server.games import Counter

HOST = "127.0.0.1"
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

    @property
    def server(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def host(self) -> Any:
        (host,) = self.lobby.hosts.values()
        return host


@contextlib.asynccontextmanager
async def running(data: Path, game: RowGame | None = None, **settings: Any) -> AsyncIterator[Node]:
    """A node with its data in `data`; stopped cleanly when the block ends."""
    with trio.fail_after(HANG_S * 2):
        async with trio.open_nursery() as nursery:
            send, receive = trio.open_memory_channel[tuple[Address, Metrics, Lobby]](1)
            stop, stopped = trio.Event(), trio.Event()

            async def run() -> None:
                await run_node(
                    Settings(host=HOST, port=0, data=data, **settings),
                    game or Counter(),
                    stop=stop,
                    started=lambda *told: send.send_nowait(told),
                )
                stopped.set()

            nursery.start_soon(run)
            address, metrics, lobby = await receive.receive()
            yield Node(address.port, metrics, lobby, data, stop, stopped)
            stop.set()
            await stopped.wait()


@contextlib.asynccontextmanager
async def playing(node: Node, *, secret: bytes | None = None, transport: str = "udp") -> AsyncIterator[tuple[Client, SeatedRoom]]:
    """A client in a seat that has seen a frame."""
    async with connect(node.server, secret=secret, transport=transport) as client:
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


async def until(test: Callable[[], bool], room: SeatedRoom | None = None) -> None:
    """Wait until `test` holds, looked at in every pass of the scheduler."""
    with trio.fail_after(HANG_S):
        while not test():
            await (room.next_frame() if room is not None else trio.sleep(0.001))


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
def datagrams(node: Node) -> Any:
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


def insecure_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def kinds(items: Sequence[Message]) -> list[str]:
    return [item.kind for item in items]
