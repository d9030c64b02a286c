"""A TLS byte stream whose `write` never blocks and never awaits, for a tick that writes to thousands of them.

::

     write(data) --> encrypt (memory BIO) --> socket, as much as it takes --> peer
                                     '--> outbox (bounded) --> flusher task, only while something waits
     receive()  <-- decrypt (memory BIO) <-- socket, when readable

The one stated outcome of a full outbox: the link is closed as `TOO_SLOW`, and later writes do nothing. So a
client that stops reading costs at most `outbox_max` bytes and delays nobody.

The socket is driven raw and non-blocking: Trio's `SSLStream` awaits on every send and holds 25 kB a
connection. An idle link has no task of its own; the flusher runs in the nursery that the owner passes in, and
ends with the outbox.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from types import TracebackType

import trio

from netcode.certificate import CertificateNotTrusted, ClientTrust
from netcode.errors import CloseReason, ErrorCode, LinkClosed
from netcode.pool import LinkPool
from netcode.pooled import PooledLink
from netcode.sockets import peer_of, take_over
from netcode.tls import READ_SIZE, Tls, Turn, accept, shake_hands
from netcode.tls import HandshakeFailed as HandshakeFailed

OUTBOX_MAX = 256 * 1024
"""The default limit in bytes of what the peer has not yet taken beyond the socket's own buffer."""
BARREN_MAX = 32 * 1024
"""Bytes of TLS records that a peer may send without one that is for us; a record holds 16 KiB."""
SEND_BUFFER = 128 * 1024
"""What a server lets the system keep for a peer who does not read; by itself that would grow to megabytes."""
_GOODBYE_S = 1.0


class ByteLink:
    """One end of a TCP connection, with TLS or without. Made by `server` and `client`.

    One task may be in `receive` at a time. `write` and `close` may be called from anywhere in the Trio
    thread.
    """

    __slots__ = (
        "_barren",
        "_early",
        "_ended",
        "_flushing",
        "_idle",
        "_nursery",
        "_outbox",
        "_outbox_max",
        "_socket",
        "_tls",
        "closed",
        "peer",
        "pooled",
        "turn",
        "unasked",
        "undelivered",
    )

    def __init__(self, sock: socket.socket, tls: Tls | None, nursery: trio.Nursery, outbox_max: int) -> None:
        self.closed: CloseReason | None = None
        """Why the link is closed; None while it is open."""
        self.peer: tuple[str, int] = peer_of(sock)
        """The peer's host and port."""
        self.turn: Turn | None = None
        """While set, `receive` waits for it before it reads."""
        self.unasked = False
        """Whether the peer was to speak TLS, and does not."""
        self._socket = sock
        self._tls = tls
        self._nursery = nursery
        self._outbox = bytearray()
        self._outbox_max = outbox_max
        self._flushing = False
        self._barren = 0  # bytes of TLS records since the last that brought anything
        self._idle: trio.Event | None = None  # somebody waits in `flush`
        self._ended: trio.Event | None = None  # somebody waits in `aclose` for the end that `receive` will see
        self.pooled: PooledLink | None = None
        """Its stay in the pool that reads it; None: nobody reads it, or `receive` does."""
        self._early = b""  # what was given back
        self.undelivered = tls is not None and tls.incoming.pending > 0
        """Bytes from the peer wait above the socket, which may not be readable: left over by the last `receive`, or
        come together with the end of the handshake."""

    @classmethod
    async def server(
        cls,
        sock: trio.socket.SocketType,
        context: ssl.SSLContext | None,
        nursery: trio.Nursery,
        *,
        turn: Turn | None = None,
        http: bool = False,
        handshake_timeout_s: float = 10.0,
        outbox_max: int = OUTBOX_MAX,
    ) -> ByteLink:
        """Take over an accepted socket and shake hands (`context` None: no TLS). `nursery` must outlive the
        link. `turn` is waited for before each step, and stays the link's. With `http`, a peer that seems to begin
        with an HTTP request is taken without TLS (`unasked`).

        Raises `HandshakeFailed`; the socket is then closed.
        """
        try:
            raw = take_over(sock, SEND_BUFFER)
        except OSError as error:  # reset before we could look at it
            sock.close()
            raise HandshakeFailed(f"the connection broke at once: {error}") from error
        try:
            with trio.fail_after(handshake_timeout_s):
                tls, said = await accept(raw, context, turn or trio.lowlevel.checkpoint, http=http)
                link = cls(raw, tls, nursery, outbox_max)
                link.turn, link.unasked = turn, tls is None and context is not None
                link.unread(said)
                return link
        except trio.TooSlowError:
            raise HandshakeFailed(f"no TLS handshake within {handshake_timeout_s:g} s") from None
        except OSError as error:
            raw.close()
            raise HandshakeFailed(f"the TLS handshake failed: {error}") from error

    @classmethod
    async def client(
        cls,
        host: str,
        port: int,
        trust: ClientTrust | None,
        nursery: trio.Nursery,
        *,
        handshake_timeout_s: float = 10.0,
        outbox_max: int = OUTBOX_MAX,
    ) -> ByteLink:
        """Connect and shake hands (`trust` None: no TLS). `nursery` must outlive the link.

        Raises `OSError` when nobody listens, `HandshakeFailed` when nobody answers as agreed, and
        `netcode.certificate.CertificateNotTrusted` before a byte was written to a server that is not trusted.
        """
        timeout_s = handshake_timeout_s
        try:
            with trio.fail_after(timeout_s):
                raw = take_over((await trio.open_tcp_stream(host, port)).socket)
                tls = None if trust is None else Tls(trust.context, False, host)
                if tls is not None:
                    await shake_hands(raw, tls, trio.lowlevel.checkpoint)
                link = cls(raw, tls, nursery, outbox_max)
        except trio.TooSlowError:
            raise HandshakeFailed(f"{host}:{port} did not answer within {timeout_s:g} s") from None
        except ssl.SSLCertVerificationError as error:
            assert trust is not None
            raise trust.refusal(error) from None
        except ssl.SSLError as error:
            raise HandshakeFailed(f"the TLS handshake with {host}:{port} failed: {error}") from error
        if trust is None:
            return link
        try:
            trust.verify(link.peer_certificate())
        except CertificateNotTrusted:
            link.close()
            if trust.strict is None:
                raise
        else:
            return link
        return await cls.client(host, port, trust.strict, nursery, handshake_timeout_s=timeout_s, outbox_max=outbox_max)

    @property
    def waiting(self) -> int:
        """How many bytes wait in the outbox."""
        return len(self._outbox)

    @property
    def plain_fd(self) -> int:
        """The number of its socket, where what is written now would go there as it is; else -1."""
        if self._tls is not None or self._outbox or self.closed is not None:
            return -1
        return self._socket.fileno()

    @property
    def secure(self) -> bool:
        """Whether it goes through TLS; while it is open."""
        return self._tls is not None

    def peer_certificate(self) -> bytes:
        """The peer's certificate as DER; empty when it showed none."""
        return (self._tls.object.getpeercert(binary_form=True) if self._tls is not None else None) or b""

    def write(self, data: bytes | memoryview) -> None:
        """Send `data`, now as far as the socket takes it, the rest from the outbox. Never blocks, never
        raises.

        A link whose outbox would exceed its limit is closed as `TOO_SLOW`; on a closed link this does
        nothing.
        """
        if self.closed is not None or not data:
            return
        if self._tls is not None:
            try:
                data = self._tls.encrypt(data)
            except ssl.SSLError:
                self.close(CloseReason.TLS)
                return
        self._send(data)

    def write_framed(self, data: bytes | memoryview) -> None:
        """As `write`, of what is framed for this kind of link already (`netcode.streams`)."""
        self.write(data)

    async def receive(self, bytes_max: int = READ_SIZE) -> bytes:
        """The next bytes, at least one; b"" when the peer has ended the stream. Raises `LinkClosed`."""
        if self.undelivered:
            await trio.lowlevel.checkpoint()
        while not self._is_closed():
            if not self.undelivered:
                try:
                    await trio.lowlevel.wait_readable(self._socket)
                except (trio.ClosedResourceError, trio.BusyResourceError):
                    break  # closed, or `aclose` is reading to the end already
                if self.turn is not None:
                    await self.turn()
                if self._is_closed():
                    break
            data = self.read_now(bytes_max)
            if data is not None:
                return data
        raise LinkClosed(self.closed or CloseReason.LOCAL)

    def take_overhead(self) -> int:
        """As that of a WebSocket; a byte stream has none."""
        return 0

    def unread(self, data: bytes) -> None:
        """Give back what was received: the next `receive` begins with it."""
        if data and self.closed is None:
            self._early = data + self._early
            self.undelivered = True

    def be_read(
        self,
        take: Callable[[bytes], bool],
        left: Callable[[], None],
        pool: LinkPool,
        key: Callable[[], int] = lambda: 0,
        *,
        bytes_max: int = READ_SIZE,
        web: bool = False,
    ) -> bool:
        """Have `take` called from the pool with what comes, for as long as it returns True; when it does not, or the
        link ends or is closed, `left` is called, once, and the next is up to `receive`. None may raise. False:
        nothing of this happens, for bytes wait already, the link is closed, or there is no pool.

        `key`, asked now and after every `take`, is the connection id under which the pool's crowd may take realtime
        packets before `take` sees them; 0: it may not, for instance because a packet has come in part."""
        if self.undelivered or self.closed is not None or not pool.available:
            return False
        self.pooled = PooledLink(self, self._socket, take, left, pool, key, bytes_max, web)
        pool.add(self._socket, self.pooled)
        return True

    async def until_hung_up(self) -> None:
        """Wait until the peer has gone, for somebody who neither reads nor writes meanwhile; for ever when it says
        something instead."""
        while not self._is_closed() and not self.undelivered:
            try:
                await trio.lowlevel.wait_readable(self._socket)
                if self._socket.recv(1, socket.MSG_PEEK):
                    break
                return
            except (BlockingIOError, InterruptedError):
                continue
            except (OSError, trio.ClosedResourceError):
                return
        if not self._is_closed():
            await trio.sleep_forever()

    async def flush(self) -> None:
        """Wait until the outbox is empty. Raises `LinkClosed`."""
        await trio.lowlevel.checkpoint()
        while self._outbox:
            if self._idle is None:
                self._idle = trio.Event()
            await self._idle.wait()
        if self.closed is not None:
            raise LinkClosed(self.closed)

    def close(self, reason: CloseReason = CloseReason.LOCAL) -> None:
        """End the link at once and wake everybody who waits on it; what waits in the outbox is dropped."""
        if self.closed is not None:
            return
        self.closed = reason
        if self._ended is not None:
            self._ended.set()
        if self.pooled is not None:
            self.pooled.leave()
        self._outbox = bytearray()
        self._early, self.undelivered = b"", False
        self._tls = None  # 20 kB, and a session that may be resumed keeps its last link for a while
        self._wake()
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    async def aclose(self, why: ErrorCode | None = None) -> None:
        """Say goodbye (TLS close_notify), give the peer a second to take it and to end, then `close`. `why`, which the
        last message has told, is for links that can say it again."""
        try:
            with contextlib.suppress(LinkClosed, OSError, trio.ClosedResourceError), trio.move_on_after(_GOODBYE_S):
                if self._tls is not None:
                    self._send(self._tls.goodbye())
                await self.flush()
                self._socket.shutdown(socket.SHUT_WR)
                await self._read_to_end()
        finally:
            self.close()

    async def _read_to_end(self) -> None:
        """Closing with unread bytes would reset the connection, and our last words might be lost with it."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                with contextlib.suppress(BlockingIOError, InterruptedError):
                    if not self._socket.recv(READ_SIZE):
                        return
        except trio.BusyResourceError:  # somebody is in `receive` and will see the end
            self._ended = trio.Event()
            await self._ended.wait()

    async def __aenter__(self) -> ByteLink:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _is_closed(self) -> bool:
        return self.closed is not None

    def read_now(self, bytes_max: int) -> bytes | None:
        """What the socket and the TLS layer have now; None for nothing yet, b"" for the end of the stream. For
        `receive` and the pool. Raises `LinkClosed`."""
        tls = self._tls
        if self._early:
            early, self._early = self._early[:bytes_max], self._early[bytes_max:]
            self.undelivered = bool(self._early or (tls and (tls.incoming.pending or tls.object.pending())))
            return early
        try:
            if tls is None:
                data = self._socket.recv(bytes_max)
                self._tell_end(data)
                return data
            if not self.undelivered:
                data = self._socket.recv(READ_SIZE)
                if data:
                    tls.incoming.write(data)
                else:
                    tls.incoming.write_eof()
                self._barren += len(data)
            plain, self.undelivered = tls.decrypt(bytes_max)
            self._barren = 0 if plain else self._barren
            if self._barren > BARREN_MAX:  # key updates without end cost us, and the peer nothing
                self.close(CloseReason.TLS)
                raise LinkClosed(CloseReason.TLS)
            self._tell_end(plain)
            if tls.outgoing.pending:  # an answer of the TLS layer itself, such as a key update
                self._send(tls.outgoing.read())
            return plain
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:  # an SSLError is one, too
            self.close(CloseReason.TLS if isinstance(error, ssl.SSLError) else CloseReason.RESET)
            raise LinkClosed(self.closed or CloseReason.RESET) from error

    def _tell_end(self, plain: bytes | None) -> None:
        if plain == b"" and self._ended is not None:
            self._ended.set()

    def _send(self, data: bytes | memoryview) -> None:
        """Send through the socket, or behind what waits already; closes the link when that would be too
        much."""
        if self.closed is not None:
            return
        if not self._outbox:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.close(CloseReason.RESET)
                return
            if sent == len(data):
                return
            data = data[sent:]
        if len(self._outbox) + len(data) > self._outbox_max:
            self.close(CloseReason.TOO_SLOW)
            return
        self._outbox += data
        if not self._flushing:
            try:
                self._nursery.start_soon(self._flush_outbox)
            except RuntimeError:  # the owner's nursery is closed: nobody is left to flush
                self.close()
                return
            self._flushing = True

    async def _flush_outbox(self) -> None:
        """Send the outbox as the peer takes it; ends when it is empty or the link is closed."""
        try:
            while self._outbox:
                await trio.lowlevel.wait_writable(self._socket)
                with contextlib.suppress(BlockingIOError, InterruptedError):
                    del self._outbox[: self._socket.send(self._outbox)]
        except trio.ClosedResourceError:
            pass
        except OSError:
            self.close(CloseReason.RESET)
        finally:
            self._flushing = False
            if self._outbox:  # the owner's nursery was cancelled: nobody is left to flush
                self.close()
            self._wake()

    def _wake(self) -> None:
        if self._idle is not None:
            self._idle.set()
            self._idle = None
