"""Handshakes: nothing is kept for the silent, and a crowd does not get through at once."""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from netcode import tls
from netcode.certificate import development_certificate, server_context
from netcode.tls import HandshakeFailed, Tls, accept

PEERS = 20


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    return server_context(*development_certificate(tmp_path))


@contextlib.contextmanager
def pairs(count: int) -> Iterator[tuple[list[socket.socket], list[socket.socket]]]:
    """Connected sockets: the peers' ends and the server's."""
    with contextlib.ExitStack() as stack:
        made = [socket.socketpair() for _ in range(count)]
        for pair in made:
            for sock in pair:
                stack.enter_context(sock)
                sock.setblocking(False)
        yield [peer for peer, _ in made], [server for _, server in made]


def client_hello() -> bytes:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


async def test_for_a_silent_peer_no_state_is_made(context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "Tls", None)
    with pairs(1) as ((peer,), (server,)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, server, context, trio.lowlevel.checkpoint)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert server.fileno() == -1
        peer.setblocking(True)
        assert peer.recv(100) == b""


async def test_each_step_of_a_handshake_waits_for_its_turn(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crowd says hello at the same moment; half of it hangs up before it has its turn, and costs no state."""
    made, step = list[Tls](), Tls.step
    send, turns = trio.open_memory_channel[None](math.inf)

    def stepped(self: Tls) -> bool:
        made.append(self)
        return step(self)

    async def shake(server: socket.socket) -> None:
        with contextlib.suppress(HandshakeFailed):
            await accept(server, context, turns.receive)

    monkeypatch.setattr(Tls, "step", stepped)
    hello = client_hello()
    with pairs(PEERS) as (peers, servers), trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for server in servers:
                nursery.start_soon(shake, server)
            for number, peer in enumerate(peers):
                peer.send(hello)
                if number % 2:
                    peer.close()
            await trio.testing.wait_all_tasks_blocked()
            assert made == []
            for given in range(1, PEERS + 1):
                send.send_nowait(None)
                await trio.testing.wait_all_tasks_blocked()
                assert len(made) <= given
            assert len(made) == PEERS // 2
            nursery.cancel_scope.cancel()


async def test_garbage_fails_and_closes(context: ssl.SSLContext) -> None:
    with pairs(1) as ((peer,), (server,)):
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ssl.SSLError):
            await accept(server, context, trio.lowlevel.checkpoint)
        assert server.fileno() == -1


async def test_without_a_context_there_is_no_tls() -> None:
    with pairs(1) as (_, (server,)):
        assert await accept(server, None, trio.lowlevel.checkpoint) == (None, b"")
        assert server.fileno() != -1
