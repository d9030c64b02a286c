"""TLS between two memory buffers, and its handshake over a raw non-blocking socket.

    socket ─► incoming ─► ssl.SSLObject ─► plain bytes        nothing here awaits but the handshake,
    socket ◄─ outgoing ◄─      "       ◄─ plain bytes         so that a tick can write to thousands of links

A handshake is the dearest thing that a stranger can ask for (0.4 ms of computing, 50 kB of state). So a server makes
the state only for those who speak and have not hung up meanwhile, and lets each step of a handshake *wait for its turn*
(`server.pace`): a thousand peers who begin one, or hang up, at the same moment do not make a tick wait for all of them.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable

import trio

from netcode.errors import NetcodeError

READ_SIZE = 16 * 1024
_HUNG_UP = "the peer hung up during the TLS handshake"
_RECORD_SIZE = 16384

Turn = Callable[[], Awaitable[None]]
"""Waits until the caller may work for a moment."""


class HandshakeFailed(NetcodeError):
    """The peer did not complete a TLS handshake, in time or at all."""


class Tls:
    """A TLS connection between two memory buffers."""

    __slots__ = ("incoming", "object", "outgoing")

    def __init__(self, context: ssl.SSLContext, server_side: bool, host: str | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side, server_hostname=host)

    def step(self) -> bool:
        """Go on with the handshake; whether it is complete. What to send is in `outgoing` either way."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def encrypt(self, data: bytes | memoryview) -> bytes:
        self.object.write(data)
        return self.outgoing.read()

    def decrypt(self, bytes_max: int) -> tuple[bytes | None, bool]:
        """Up to `bytes_max` plain bytes (None: no whole record yet, b"": the end), and whether to ask
        again."""
        plain = b""
        try:
            while part := self.object.read(min(bytes_max - len(plain), _RECORD_SIZE)):
                plain = plain + part if plain else part  # one record, nearly always
                more = self.incoming.pending > 0 or self.object.pending() > 0
                if not more or len(plain) == bytes_max:
                    return plain, more
        except ssl.SSLWantReadError:
            return plain or None, False
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        return plain, bool(plain)  # the end is found again when asked again

    def goodbye(self) -> bytes:
        """The bytes that announce the end of our side (close_notify)."""
        with contextlib.suppress(ssl.SSLError):
            self.object.unwrap()  # wants to read the peer's goodbye, which is not waited for
        return self.outgoing.read()


async def accept(
    raw: socket.socket, context: ssl.SSLContext | None, turn: Turn, *, http: bool = False
) -> tuple[Tls | None, bytes]:
    """The server's half of a handshake, begun when the peer speaks (`context` None: no TLS); closes `raw` on any
    failure. With `http`, who begins like an HTTP request gets no TLS, and
    what it has said is given with that: no record of TLS begins so."""
    if context is None:
        return None, b""
    try:
        said = await _receive_some(raw, turn)
        _check_there(raw)
    except BaseException:
        raw.close()
        raise
    if http and said.startswith(b"G"):
        return None, said
    tls = Tls(context, True)
    tls.incoming.write(said)
    await shake_hands(raw, tls, turn)
    return tls, b""


async def shake_hands(raw: socket.socket, tls: Tls, turn: Turn) -> None:
    """TLS over `raw`, once both ends agree; closes `raw` on any failure, and tells the peer why if it can."""
    try:
        while not tls.step():
            await _send_all(raw, tls.outgoing.read())
            tls.incoming.write(await _receive_some(raw, turn))
        await _send_all(raw, tls.outgoing.read())
    except BaseException:
        with contextlib.suppress(OSError):
            raw.send(tls.outgoing.read())  # the alert
        raw.close()
        raise


async def _receive_some(raw: socket.socket, turn: Turn) -> bytes:
    """What the peer says next, when it is this task's turn."""
    while True:
        await trio.lowlevel.wait_readable(raw)
        await turn()
        with contextlib.suppress(BlockingIOError, InterruptedError):
            if data := raw.recv(READ_SIZE):
                return data
            raise HandshakeFailed(_HUNG_UP)


def _check_there(raw: socket.socket) -> None:
    """Raises HandshakeFailed when the peer has hung up behind what it said: it had to wait for too long."""
    with contextlib.suppress(BlockingIOError, InterruptedError):
        if not raw.recv(1, socket.MSG_PEEK):
            raise HandshakeFailed(_HUNG_UP)


async def _send_all(raw: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[raw.send(data) :]
        except (BlockingIOError, InterruptedError):
            await trio.lowlevel.wait_writable(raw)
