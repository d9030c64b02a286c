"""Handshakes: nothing is kept for the silent, and a crowd does not get through at once."""

from __future__ import annotations

import contextlib
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


class Passes:
    """Counts the passes of the scheduler, and notes in which something happened."""

    def __init__(self) -> None:
        self.now = 0
        self.noted: list[int] = []

    async def run(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.now += 1


async def shake(server: socket.socket, context: ssl.SSLContext, turn: trio.Lock, passes: Passes) -> None:
    try:
        await accept(server, context, turn)
    except (HandshakeFailed, OSError):
        passes.noted.append(passes.now)


async def test_for_a_silent_peer_no_state_is_made(context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "Tls", None)
    with pairs(1) as ((peer,), (server,)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, server, context, trio.Lock())
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert server.fileno() == -1
        peer.setblocking(True)
        assert peer.recv(100) == b""


@pytest.mark.parametrize("hang_up", [False, True])
async def test_of_a_crowd_one_goes_on_in_each_pass(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, hang_up: bool
) -> None:
    """All say hello, or hang up, at the same moment."""
    passes, turn, step = Passes(), trio.Lock(), Tls.step

    def stepped(self: Tls) -> bool:
        passes.noted.append(passes.now)
        return step(self)

    monkeypatch.setattr(Tls, "step", stepped)
    hello = client_hello()
    with pairs(PEERS) as (peers, servers), trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for server in servers:
                nursery.start_soon(shake, server, context, turn, passes)
            await trio.testing.wait_all_tasks_blocked()
            for peer in peers:
                if hang_up:
                    peer.close()
                else:
                    peer.send(hello)
            nursery.start_soon(passes.run)
            while len(passes.noted) < PEERS:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    taken = passes.noted[PEERS - 1] - passes.noted[0]
    assert taken >= PEERS - 3  # the counter runs before or after the others in a pass, as it comes


async def test_garbage_fails_and_closes(context: ssl.SSLContext) -> None:
    with pairs(1) as ((peer,), (server,)):
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ssl.SSLError):
            await accept(server, context, trio.Lock())
        assert server.fileno() == -1


async def test_without_a_context_there_is_no_tls() -> None:
    with pairs(1) as (_, (server,)):
        assert await accept(server, None, trio.Lock()) == (None, b"")
        assert server.fileno() != -1
