"""Byte links over real loopback sockets: what arrives, what a slow or rude peer costs, and whom a client
trusts."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trustme

from netcode.certificate import (
    CertificateNotTrusted,
    ClientTrust,
    client_trust,
    development_certificate,
    server_context,
)
from netcode.errors import CloseReason, LinkClosed
from netcode.tcp import ByteLink, HandshakeFailed

HOST = "127.0.0.1"
HANG_S = 10.0


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ClientTrust]:
    """A development server's context, and the trust of a client on the same machine."""
    return server_context(*development_certificate(tmp_path_factory.mktemp("data"))), client_trust(HOST)


@pytest.fixture(params=["tls", "plain"])
def modes(
    request: pytest.FixtureRequest, contexts: tuple[ssl.SSLContext, ClientTrust]
) -> tuple[ssl.SSLContext | None, ClientTrust | None]:
    return contexts if request.param == "tls" else (None, None)


@contextlib.asynccontextmanager
async def linked(
    context: ssl.SSLContext | None, trust: ClientTrust | None, outbox_max: int = 256 * 1024
) -> AsyncIterator[tuple[ByteLink, ByteLink]]:
    """A client's and a server's link, connected."""
    links: dict[str, ByteLink] = {}
    with trio.fail_after(HANG_S), trio.socket.socket() as listener:
        await listener.bind((HOST, 0))
        listener.listen()
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                accepted, _ = await listener.accept()
                links["server"] = await ByteLink.server(accepted, context, nursery, outbox_max=outbox_max)

            async with trio.open_nursery() as handshakes:
                handshakes.start_soon(serve)
                client = await ByteLink.client(HOST, listener.getsockname()[1], trust, nursery)
            yield client, links["server"]
            client.close()
            links["server"].close()
            nursery.cancel_scope.cancel()


async def receive_exactly(link: ByteLink, size: int) -> bytes:
    data = bytearray()  # not bytes, which are copied with every piece
    while len(data) < size:
        piece = await link.receive()
        assert piece, f"the stream ended after {len(data)} of {size} bytes"
        data += piece
    assert len(data) == size
    return bytes(data)


async def test_bytes_arrive_both_ways(modes: tuple[ssl.SSLContext | None, ClientTrust | None]) -> None:
    async with linked(*modes) as (client, server):
        assert client.peer[0] == server.peer[0] == HOST
        client.write(b"hello")
        assert await server.receive() == b"hello"
        server.write(b"a")
        server.write(b"")
        server.write(b"b")
        assert await receive_exactly(client, 2) == b"ab"
        assert client.waiting == server.waiting == 0


async def test_more_than_the_sockets_hold_waits_in_the_outbox(
    modes: tuple[ssl.SSLContext | None, ClientTrust | None],
) -> None:
    async with linked(*modes, outbox_max=64 << 20) as (client, server):
        data = bytes(range(256)) * (16 << 12)
        for start in range(0, len(data), 100_000):
            server.write(data[start : start + 100_000])
        assert server.waiting > 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.flush)
            assert await receive_exactly(client, len(data)) == data
        assert server.waiting == 0
        server.write(b"still alive")
        assert await receive_exactly(client, 11) == b"still alive"


async def test_a_peer_that_stops_reading_is_closed_as_too_slow(
    modes: tuple[ssl.SSLContext | None, ClientTrust | None],
) -> None:
    async with linked(*modes, outbox_max=100_000) as (_client, server):
        chunk = bytes(50_000)
        for _ in range(2000):
            server.write(chunk)
            assert server.waiting <= 100_000
            if server.closed:
                break
        assert server.closed is CloseReason.TOO_SLOW
        server.write(chunk)
        assert server.waiting == 0
        with pytest.raises(LinkClosed, match="too slowly"):
            await server.receive()
        with pytest.raises(LinkClosed):
            await server.flush()


async def test_a_small_limit_hands_over_large_reads_in_pieces(
    modes: tuple[ssl.SSLContext | None, ClientTrust | None],
) -> None:
    async with linked(*modes) as (client, server):
        client.write(b"0123456789")
        client.write(b"abcdef")
        got = b""
        while len(got) < 16:
            piece = await server.receive(4)
            assert 0 < len(piece) <= 4
            got += piece
        assert got == b"0123456789abcdef"
        client.write(b"next")
        assert await server.receive(4) == b"next"


async def test_a_goodbye_ends_the_stream_after_all_that_was_written(
    modes: tuple[ssl.SSLContext | None, ClientTrust | None],
) -> None:
    async with linked(*modes) as (client, server):
        async with client:
            client.write(b"last words")
        assert client.closed is CloseReason.LOCAL
        assert await receive_exactly(server, 10) == b"last words"
        assert await server.receive() == b""
        assert await server.receive() == b""


async def test_a_goodbye_waits_for_the_outbox(
    modes: tuple[ssl.SSLContext | None, ClientTrust | None],
) -> None:
    async with linked(*modes, outbox_max=64 << 20) as (client, server):
        server.write(bytes(8 << 20))
        assert server.waiting > 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            await receive_exactly(client, 8 << 20)
        assert await client.receive() == b""


async def test_a_goodbye_does_not_wait_for_ever(
    contexts: tuple[ssl.SSLContext, ClientTrust], autojump_clock: trio.testing.MockClock
) -> None:
    async with linked(*contexts, outbox_max=64 << 20) as (_client, server):
        server.write(bytes(8 << 20))
        await server.aclose()
        assert server.closed is CloseReason.LOCAL


async def test_closing_wakes_whoever_waits(modes: tuple[ssl.SSLContext | None, ClientTrust | None]) -> None:
    async with linked(*modes, outbox_max=64 << 20) as (_client, server):
        woken = []

        async def wait_in(name: str) -> None:
            with pytest.raises(LinkClosed) as caught:
                await (server.receive() if name == "receive" else server.flush())
            woken.append((name, caught.value.reason))

        server.write(bytes(8 << 20))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_in, "receive")
            nursery.start_soon(wait_in, "flush")
            await trio.testing.wait_all_tasks_blocked()
            server.close()
            server.close(CloseReason.TLS)
        assert sorted(woken) == [("flush", CloseReason.LOCAL), ("receive", CloseReason.LOCAL)]
        assert server.closed is CloseReason.LOCAL


async def test_a_peer_that_vanishes_is_told(modes: tuple[ssl.SSLContext | None, ClientTrust | None]) -> None:
    async with linked(*modes) as (client, server):
        client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with pytest.raises(LinkClosed) as caught:
            await server.receive()
        assert caught.value.reason is server.closed is CloseReason.RESET
        server.write(b"nobody hears this")


async def test_a_stream_cut_without_goodbye_ends(contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    async with linked(*contexts) as (client, server):
        client.close()
        assert await server.receive() == b""


async def test_a_link_that_is_over_keeps_no_tls(contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    """A session that may be resumed keeps its last link for half a minute."""
    async with linked(*contexts) as (_client, server):
        assert server._tls is not None
        tls = weakref.ref(server._tls.object)
        server.close()
        assert tls() is None


async def test_garbage_inside_tls_closes_the_link(contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    async with linked(*contexts) as (client, server):
        client._socket.send(b"this is no TLS record, by no means")
        with pytest.raises(LinkClosed) as caught:
            await server.receive()
        assert caught.value.reason is server.closed is CloseReason.TLS


async def test_a_cancelled_nursery_ends_the_links_that_still_flush(
    contexts: tuple[ssl.SSLContext, ClientTrust],
) -> None:
    async with linked(*contexts, outbox_max=64 << 20) as (_client, server):
        server.write(bytes(8 << 20))
        server._nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), pytest.raises(LinkClosed):
            await server.flush()


async def test_bytes_that_come_with_the_end_of_the_handshake_are_not_lost(
    contexts: tuple[ssl.SSLContext, ClientTrust],
) -> None:
    context, trust = contexts
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trust.context.wrap_bio(incoming, outgoing, server_hostname=HOST)
    async with served(context) as (peer, results):
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await peer.send(outgoing.read())
                incoming.write(await peer.recv(65536))
        tls.write(b"early bird")
        await peer.send(outgoing.read())
        link = await results.receive()
        assert isinstance(link, ByteLink)
        assert await link.receive() == b"early bird"
        link.close()


@contextlib.asynccontextmanager
async def served(
    context: ssl.SSLContext, handshake_timeout_s: float = 10.0
) -> AsyncIterator[tuple[trio.socket.SocketType, trio.MemoryReceiveChannel[ByteLink | HandshakeFailed]]]:
    """A raw client socket, and what comes of the server's handshake with it."""
    send, results = trio.open_memory_channel[ByteLink | HandshakeFailed](1)
    with trio.fail_after(60), trio.socket.socket() as listener, trio.socket.socket() as peer:
        await listener.bind((HOST, 0))
        listener.listen()
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                accepted, _ = await listener.accept()
                try:
                    result: ByteLink | HandshakeFailed = await ByteLink.server(
                        accepted, context, nursery, handshake_timeout_s=handshake_timeout_s
                    )
                except HandshakeFailed as error:
                    result = error
                await send.send(result)

            nursery.start_soon(serve)
            await peer.connect(listener.getsockname())
            yield peer, results
            nursery.cancel_scope.cancel()


async def test_a_client_that_speaks_no_tls_fails_the_handshake(
    contexts: tuple[ssl.SSLContext, ClientTrust],
) -> None:
    async with served(contexts[0]) as (peer, results):
        await peer.send(b"GET / HTTP/1.1\r\n\r\n")
        assert isinstance(await results.receive(), HandshakeFailed)


async def test_a_client_that_hangs_up_fails_the_handshake(
    contexts: tuple[ssl.SSLContext, ClientTrust],
) -> None:
    async with served(contexts[0]) as (peer, results):
        peer.close()
        result = await results.receive()
        assert isinstance(result, HandshakeFailed)
        assert "hung up" in str(result)


async def test_a_client_that_says_nothing_times_out(
    contexts: tuple[ssl.SSLContext, ClientTrust], autojump_clock: trio.testing.MockClock
) -> None:
    async with served(contexts[0], handshake_timeout_s=3.0) as (peer, results):
        result = await results.receive()
        assert isinstance(result, HandshakeFailed)
        assert "3 s" in str(result)
        assert await peer.recv(100) == b""


async def connect_to(context: ssl.SSLContext, host: str, trust: ClientTrust) -> ByteLink:
    """Connect to a server on loopback that accepts as often as it is asked; the link is closed again."""
    result: ByteLink | CertificateNotTrusted
    with trio.fail_after(HANG_S), trio.socket.socket() as listener:
        await listener.bind((HOST, 0))
        listener.listen()
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                while True:
                    accepted, _ = await listener.accept()
                    with contextlib.suppress(HandshakeFailed):
                        (await ByteLink.server(accepted, context, nursery)).close()

            nursery.start_soon(serve)
            try:
                result = await ByteLink.client(host, listener.getsockname()[1], trust, nursery)
                result.close()
            except CertificateNotTrusted as error:  # raised below, outside of the nursery's group
                result = error
            nursery.cancel_scope.cancel()
    if isinstance(result, CertificateNotTrusted):
        raise result
    return result


def authority_context(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server whose certificate is vouched for by a new authority, and the authority's file."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return context, folder / "authority.pem"


async def test_an_unknown_certificate_on_loopback_is_refused_with_a_remedy(tmp_path: Path) -> None:
    context, _ = authority_context(tmp_path, HOST)
    with pytest.raises(CertificateNotTrusted, match="--trust"):
        await connect_to(context, HOST, client_trust(HOST))


async def test_a_real_certificate_on_loopback_is_taken_at_the_second_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = authority_context(tmp_path, HOST)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert (await connect_to(context, HOST, client_trust(HOST))).closed is CloseReason.LOCAL


async def test_an_authority_file_is_trusted_for_the_names_it_vouches_for(tmp_path: Path) -> None:
    context, authority = authority_context(tmp_path, HOST)
    await connect_to(context, HOST, client_trust(HOST, str(authority)))
    other, authority = authority_context(tmp_path, "example.org")
    with pytest.raises(CertificateNotTrusted, match="--trust"):
        await connect_to(other, HOST, client_trust("localhost", str(authority)))


async def test_a_pinned_certificate_needs_no_name(tmp_path: Path) -> None:
    pair = development_certificate(tmp_path)
    trust = client_trust("game.example.org", str(pair[0]))
    await connect_to(server_context(*pair), HOST, trust)
    other = development_certificate(tmp_path / "other")
    with pytest.raises(CertificateNotTrusted, match="sha256:"):
        await connect_to(server_context(*other), HOST, trust)


async def test_nobody_listening_is_an_os_error() -> None:
    with trio.socket.socket() as unused:
        await unused.bind((HOST, 0))
        async with trio.open_nursery() as nursery:
            with pytest.raises(OSError, match="connect"):
                await ByteLink.client(HOST, unused.getsockname()[1], client_trust(HOST), nursery)


class Barren:
    """A TLS layer to which records come that bring nothing, such as key updates."""

    class Incoming:
        taken = 0
        pending = 0

        def write(self, data: bytes) -> None:
            self.taken += len(data)

    def __init__(self) -> None:
        self.incoming = self.outgoing = Barren.Incoming()

    def decrypt(self, bytes_max: int) -> tuple[None, bool]:
        return None, False


async def test_records_that_bring_nothing_end_the_link(contexts: tuple[ssl.SSLContext, ClientTrust]) -> None:
    async with linked(None, None) as (client, server):
        barren = server._tls = Barren()  # type: ignore[assignment]
        client.write(bytes(200_000))
        with trio.fail_after(HANG_S), pytest.raises(LinkClosed):
            await server.receive()
        assert server.closed is CloseReason.TLS
        assert barren.incoming.taken < 64 * 1024
