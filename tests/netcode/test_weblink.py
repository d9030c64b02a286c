"""WebSocket links over real loopback sockets, and links of both kinds that a pool reads."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.lowlevel

from netcode.certificate import ClientTrust, client_trust, development_certificate, server_context
from netcode.control import realtime_bytes
from netcode.errors import CloseReason, ErrorCode, LinkClosed
from netcode.framing import frame
from netcode.origin import UpgradePolicy
from netcode.packed import packed
from netcode.pool import READERS_AT_ONCE, LinkPool
from netcode.seal import DatagramType
from netcode.tcp import ByteLink, HandshakeFailed
from netcode.weblink import Link, UpgradeRefused, WebSocketLink, asks_for_http, write_all

HOST = "127.0.0.1"
HANG_S = 10.0
ONE, TWO = frame(1, b"one"), frame(0, b"two" * 1000)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ClientTrust]:
    return server_context(*development_certificate(tmp_path_factory.mktemp("data"))), client_trust(HOST)


@pytest.fixture(params=["ws", "wss", "tcp", "tls"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@contextlib.asynccontextmanager
async def linked(
    kind: str, contexts: tuple[ssl.SSLContext, ClientTrust], outbox_max: int = 256 * 1024
) -> AsyncIterator[tuple[Link, Link, LinkPool]]:
    """A client's and a server's link, connected; and a pool that runs."""
    context, trust = contexts if kind in ("wss", "tls") else (None, None)
    links: list[Link] = []
    with trio.fail_after(HANG_S), trio.socket.socket() as listener:
        await listener.bind((HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        async with trio.open_nursery() as nursery:
            pool = LinkPool()
            nursery.start_soon(pool.run)

            async def serve() -> None:
                accepted, _ = await listener.accept()
                below = await ByteLink.server(accepted, context, nursery, outbox_max=outbox_max)
                links.append(below)
                if kind in ("ws", "wss"):
                    assert await asks_for_http(below)
                    links[0] = web = WebSocketLink(below)
                    await web.accept(UpgradePolicy())

            async with trio.open_nursery() as handshakes:
                handshakes.start_soon(serve)
                client: Link
                if kind in ("ws", "wss"):
                    client = await WebSocketLink.client(HOST, port, trust, nursery)
                else:
                    client = await ByteLink.client(HOST, port, trust, nursery)
            yield client, links[0], pool
            client.close()
            links[0].close()
            nursery.cancel_scope.cancel()


async def receive_exactly(link: Link, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await link.receive()
        assert piece, f"the stream ended after {len(data)} of {size} bytes"
        data += piece
    assert len(data) == size
    return data


async def test_messages_arrive_both_ways(kind: str, contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    async with linked(kind, contexts) as (client, server, _):
        assert client.peer[0] == server.peer[0] == HOST
        for sender, receiver in ((client, server), (server, client)):
            sender.write(ONE)
            sender.write(b"")
            sender.write(TWO)
            assert await receive_exactly(receiver, len(ONE + TWO)) == ONE + TWO
        assert client.waiting == server.waiting == 0


async def test_a_peer_that_stops_reading_is_closed_as_too_slow(
    kind: str, contexts: tuple[ssl.SSLContext, ClientTrust]
) -> None:
    async with linked(kind, contexts, outbox_max=100_000) as (_, server, _):
        for _ in range(2000):
            server.write(bytes(50_000))
            assert server.waiting <= 100_000
            if server.closed:
                break
        assert server.closed is CloseReason.TOO_SLOW
        server.write(ONE)
        with pytest.raises(LinkClosed, match="too slowly"):
            await server.receive()
        with pytest.raises(LinkClosed):
            await server.flush()


async def test_a_goodbye_ends_the_stream_after_all_that_was_written(
    kind: str, contexts: tuple[ssl.SSLContext, ClientTrust]
) -> None:
    async with linked(kind, contexts) as (client, server, _):
        server.write(TWO)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose, ErrorCode.LIMITED)
            assert await receive_exactly(client, len(TWO)) == TWO
            assert await client.receive() == b""
            assert await client.receive() == b""
            if isinstance(client, WebSocketLink):
                assert client._web is not None
                assert client._web._library.close_rcvd is not None
                assert client._web._library.close_rcvd.code == 4000 + ErrorCode.LIMITED.number
            await client.aclose()
        assert server.closed is CloseReason.LOCAL


async def be_read(server: ByteLink | WebSocketLink, take: Callable[[bytes], bool], pool: LinkPool) -> None:
    """Until the link has left the pool, if it gets in."""
    left = trio.Event()
    if server.be_read(take, left.set, pool):
        await left.wait()


async def test_a_pool_reads_until_there_is_something_for_the_task(
    kind: str, contexts: tuple[ssl.SSLContext, ClientTrust]
) -> None:
    async with linked(kind, contexts) as (client, server, pool):
        came: list[bytes] = []

        def take(data: bytes) -> bool:
            came.append(data)
            return ONE in data

        for _ in range(3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(be_read, server, take, pool)
                for count in range(1, 6):
                    client.write(ONE)
                    while sum(map(len, came)) < count * len(ONE):
                        await trio.lowlevel.checkpoint()
                assert len(pool) == 1
                client.write(frame(0, b"for the task"))
            assert len(pool) == 0
            assert came.pop() == frame(0, b"for the task")
            assert b"".join(came) == ONE * 5
            came.clear()
        client.write(TWO)
        assert await receive_exactly(server, len(TWO)) == TWO, "the task reads by itself in between"


async def test_an_end_takes_a_link_out_of_the_pool(kind: str, contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    async with linked(kind, contexts) as (client, server, pool), trio.open_nursery() as nursery:
        nursery.start_soon(client.aclose)
        await be_read(server, lambda _: True, pool)
        assert len(pool) == 0
        assert await server.receive() == b""
        server.close()


async def test_what_many_are_written_comes_whole_and_in_order(
    kind: str, contexts: tuple[ssl.SSLContext, ClientTrust]
) -> None:
    """Through a socket with little room: at once, in part, and by the outbox."""
    async with linked(kind, contexts, outbox_max=1 << 22) as (client, server, _):
        below = server if isinstance(server, ByteLink) else server._link
        below._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        told: list[bytes] = []
        behind = 0
        while behind < 5 and len(told) < 2000:
            told.append(bytes([len(told) % 256]) * 9000)
            write_all([server], packed(told[-1:]), DatagramType.FRAME, masked=False)
            behind += server.waiting > 0
        assert behind == 5
        expected = b"".join(realtime_bytes(bytes([DatagramType.FRAME]) + one) for one in told)
        assert await receive_exactly(client, len(expected)) == expected
        await server.flush()
        server.close()
        write_all([server], packed([b"late"]), DatagramType.FRAME, masked=False)


async def test_a_reset_in_the_pool(kind: str, contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    async with linked(kind, contexts) as (client, server, pool), trio.open_nursery() as nursery:
        nursery.start_soon(be_read, server, lambda _: True, pool)
        while not len(pool):
            await trio.lowlevel.checkpoint()
        below = client if isinstance(client, ByteLink) else client._link
        below._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        while len(pool):
            await trio.lowlevel.checkpoint()
        assert server.closed is CloseReason.RESET


async def test_a_link_that_is_closed_in_the_pool(kind: str, contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    async with linked(kind, contexts) as (_, server, pool), trio.open_nursery() as nursery:
        nursery.start_soon(be_read, server, lambda _: True, pool)
        while not len(pool):
            await trio.lowlevel.checkpoint()
        server.close(CloseReason.TOO_SLOW)
        while len(pool):
            await trio.lowlevel.checkpoint()
        with pytest.raises(LinkClosed, match="too slowly"):
            await server.receive()
        await be_read(server, lambda _: True, pool)  # and not for ever


async def test_without_a_pool_the_task_reads(kind: str, contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    async with linked(kind, contexts) as (client, server, _):
        await be_read(server, lambda _: True, LinkPool())
        client.write(ONE)
        assert await server.receive() == ONE


async def test_a_pool_that_ends_lets_its_links_go(kind: str, contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    async with linked(kind, contexts) as (client, server, _):
        pool, left = LinkPool(), list[bool]()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.run)
            while not pool.available:
                await trio.lowlevel.checkpoint()
            assert server.be_read(lambda _: True, lambda: left.append(pool.available), pool)
            nursery.cancel_scope.cancel()
        assert (len(pool), left) == (0, [False])
        client.write(ONE)
        assert await server.receive() == ONE


async def test_all_who_have_something_to_say_take_turns() -> None:
    """More sockets than one pass takes, all readable all the time."""
    turns = dict.fromkeys(range(READERS_AT_ONCE + 60), 0)
    pairs = [socket.socketpair() for _ in turns]

    class Reader:
        def __init__(self, number: int) -> None:
            self.key, self.web, self.direct_max = 0, False, 0
            self._number = number

        def read(self) -> bytes:
            return b"there is more"

        def take(self, data: bytes) -> None:
            turns[self._number] += 1

        def broke(self) -> None:
            raise AssertionError("nobody looks")

        def leave(self) -> None:
            pool.remove(pairs[self._number][0])

    async with trio.open_nursery() as nursery:
        pool = LinkPool()
        nursery.start_soon(pool.run)
        while not pool.available:
            await trio.lowlevel.checkpoint()
        for number, (here, there) in enumerate(pairs):
            there.send(b"x")
            pool.add(here, Reader(number))
        with trio.fail_after(HANG_S):
            while min(turns.values()) < 3:
                await trio.lowlevel.checkpoint()
        assert max(turns.values()) - min(turns.values()) <= 1
        nursery.cancel_scope.cancel()
    for here, there in pairs:
        here.close()
        there.close()


async def test_a_server_that_is_none_and_one_that_hangs_up() -> None:
    async def answer(stream: trio.SocketStream, said: bytes) -> None:
        await stream.receive_some()
        await stream.send_all(said)
        await stream.aclose()

    for said, why in ((b"", "hung up"), (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nwhat", "404: what")):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, lambda stream, said=said: answer(stream, said), 0)
            port = listeners[0].socket.getsockname()[1]
            with pytest.raises(HandshakeFailed, match=why):
                await WebSocketLink.client(HOST, port, None, nursery)
            nursery.cancel_scope.cancel()


async def silent(_: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def test_a_server_that_does_not_answer(contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, silent, 0)
        with pytest.raises(HandshakeFailed, match="within"):
            await WebSocketLink.client(
                HOST, listeners[0].socket.getsockname()[1], None, nursery, handshake_timeout_s=0.2
            )
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("said", [b"G", b"GET", b"GEX", b"\x16\x03", b"\x0d\x00\x00\x00", b"GET / x"])
async def test_the_first_bytes_tell(said: bytes, contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    async with linked("tcp", contexts) as (client, server, _):
        assert isinstance(server, ByteLink)
        for byte in said:
            client.write(bytes([byte]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.aclose)
            assert await asks_for_http(server) is said.startswith(b"GET ")
            assert await receive_exactly(server, len(said)) == said, "nothing is lost by looking"
            server.close()


async def test_a_refusal_is_told_and_ends_it(contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    async with linked("tcp", contexts) as (client, server, _):
        assert isinstance(server, ByteLink)
        client.write(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        web = WebSocketLink(server)
        with pytest.raises(UpgradeRefused, match="404"):
            await web.accept(UpgradePolicy())
        web.write(ONE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(web.aclose)
            said = b""
            while data := await client.receive():
                said += data
            client.close()
        assert said.startswith(b"HTTP/1.1 404 ")
        assert ONE not in said
        assert b"408" not in said
