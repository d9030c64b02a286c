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
import enum
import socket
import ssl
from types import TracebackType

import trio

from netcode.certificate import CertificateNotTrusted, ClientTrust
from netcode.errors import NetcodeError

OUTBOX_MAX = 256 * 1024
"""The default limit in bytes of what the peer has not yet taken beyond the socket's own buffer."""
_READ_SIZE = 65536
_RECORD_SIZE = 16384
_GOODBYE_S = 1.0


class CloseReason(enum.StrEnum):
    """Why a link ended."""

    LOCAL = "closed by this side"
    TOO_SLOW = "the peer reads too slowly"
    RESET = "the connection broke"
    TLS = "the peer broke the TLS protocol"


class LinkClosed(NetcodeError):
    """The link is closed; `reason` says why."""

    def __init__(self, reason: CloseReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class HandshakeFailed(NetcodeError):
    """The peer did not complete a TLS handshake, in time or at all."""


class ByteLink:
    """One end of a TCP connection, with TLS or without. Made by `server` and `client`.

    One task may be in `receive` at a time. `write` and `close` may be called from anywhere in the Trio
    thread.
    """

    __slots__ = (
        "_ended",
        "_flushing",
        "_idle",
        "_nursery",
        "_outbox",
        "_outbox_max",
        "_socket",
        "_tls",
        "_undelivered",
        "closed",
        "peer",
    )

    def __init__(self, sock: socket.socket, tls: _Tls | None, nursery: trio.Nursery, outbox_max: int) -> None:
        self.closed: CloseReason | None = None
        """Why the link is closed; None while it is open."""
        self.peer: tuple[str, int] = _peer_of(sock)
        """The peer's host and port."""
        self._socket = sock
        self._tls = tls
        self._nursery = nursery
        self._outbox = bytearray()
        self._outbox_max = outbox_max
        self._flushing = False
        self._idle: trio.Event | None = None  # somebody waits in `flush`
        self._ended: trio.Event | None = None  # somebody waits in `aclose` for the end that `receive` will see
        # Bytes from the peer wait above the socket, which may not be readable: left over by the last
        # `receive`, or come together with the end of the handshake.
        self._undelivered = tls is not None and tls.incoming.pending > 0

    @classmethod
    async def server(
        cls,
        sock: trio.socket.SocketType,
        context: ssl.SSLContext | None,
        nursery: trio.Nursery,
        *,
        handshake_timeout_s: float = 10.0,
        outbox_max: int = OUTBOX_MAX,
    ) -> ByteLink:
        """Take over an accepted socket and shake hands (`context` None: no TLS). `nursery` must outlive the
        link.

        Raises `HandshakeFailed`; the socket is then closed.
        """
        try:
            raw = _take_over(sock)
        except OSError as error:  # reset before we could look at it
            sock.close()
            raise HandshakeFailed(f"the connection broke at once: {error}") from error
        try:
            with trio.fail_after(handshake_timeout_s):
                return cls(raw, await _shake_hands(raw, context, server_side=True), nursery, outbox_max)
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
                raw = _take_over((await trio.open_tcp_stream(host, port)).socket)
                tls = await _shake_hands(raw, None if trust is None else trust.context, host=host)
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

    def peer_certificate(self) -> bytes:
        """The peer's certificate as DER; empty when it showed none."""
        return (self._tls.object.getpeercert(binary_form=True) if self._tls is not None else None) or b""

    def write(self, data: bytes) -> None:
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

    async def receive(self, bytes_max: int = _READ_SIZE) -> bytes:
        """The next bytes, at least one; b"" when the peer has ended the stream. Raises `LinkClosed`."""
        if self._undelivered:
            await trio.lowlevel.checkpoint()
        while not self._is_closed():
            if not self._undelivered:
                try:
                    await trio.lowlevel.wait_readable(self._socket)
                except (trio.ClosedResourceError, trio.BusyResourceError):
                    break  # closed, or `aclose` is reading to the end already
                if self._is_closed():
                    break
            data = self._read(bytes_max)
            if data is not None:
                return data
        raise LinkClosed(self.closed or CloseReason.LOCAL)

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
        self._outbox = bytearray()
        self._undelivered = False
        self._wake()
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    async def aclose(self) -> None:
        """Say goodbye (TLS close_notify), give the peer a second to take it and to end, then `close`."""
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
                    if not self._socket.recv(_READ_SIZE):
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

    def _read(self, bytes_max: int) -> bytes | None:
        """What the socket and the TLS layer have now; None for nothing yet, b"" for the end of the stream."""
        tls = self._tls
        try:
            if tls is None:
                data = self._socket.recv(bytes_max)
                self._tell_end(data)
                return data
            if not self._undelivered:
                data = self._socket.recv(_READ_SIZE)
                if data:
                    tls.incoming.write(data)
                else:
                    tls.incoming.write_eof()
            plain, self._undelivered = tls.decrypt(bytes_max)
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

    def _send(self, data: bytes) -> None:
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


class _Tls:
    """A TLS connection between two memory buffers."""

    __slots__ = ("incoming", "object", "outgoing")

    def __init__(self, context: ssl.SSLContext, server_side: bool, host: str | None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side, server_hostname=host)

    def step(self) -> bool:
        """Go on with the handshake; whether it is complete. What to send is in `outgoing` either way."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def encrypt(self, data: bytes) -> bytes:
        self.object.write(data)
        return self.outgoing.read()

    def decrypt(self, bytes_max: int) -> tuple[bytes | None, bool]:
        """Up to `bytes_max` plain bytes (None: no whole record yet, b"": the end), and whether to ask
        again."""
        parts: list[bytes] = []
        left = bytes_max
        try:
            while part := self.object.read(min(left, _RECORD_SIZE)):
                parts.append(part)
                left -= len(part)
                more = self.incoming.pending > 0 or self.object.pending() > 0
                if not more or not left:
                    return b"".join(parts), more
        except ssl.SSLWantReadError:
            return (b"".join(parts) if parts else None), False
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        return b"".join(parts), bool(parts)  # the end is found again when asked again

    def goodbye(self) -> bytes:
        """The bytes that announce the end of our side (close_notify)."""
        with contextlib.suppress(ssl.SSLError):
            self.object.unwrap()  # wants to read the peer's goodbye, which is not waited for
        return self.outgoing.read()


def _take_over(sock: trio.socket.SocketType) -> socket.socket:
    """The raw non-blocking socket of a Trio socket, which is empty afterwards."""
    raw = socket.socket(fileno=sock.detach())
    raw.setblocking(False)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw


def _peer_of(raw: socket.socket) -> tuple[str, int]:
    try:
        host, port = raw.getpeername()[:2]
    except OSError:  # it has hung up already, as the first `receive` will tell
        return "", 0
    return host, port


async def _shake_hands(
    raw: socket.socket, context: ssl.SSLContext | None, *, server_side: bool = False, host: str | None = None
) -> _Tls | None:
    """TLS over `raw`, once both ends agree; closes `raw` on any failure, and tells the peer why if it can."""
    if context is None:
        return None
    tls = _Tls(context, server_side, host)
    try:
        while not tls.step():
            await _send_all(raw, tls.outgoing.read())
            tls.incoming.write(await _receive_some(raw))
        await _send_all(raw, tls.outgoing.read())
    except BaseException:
        with contextlib.suppress(OSError):
            raw.send(tls.outgoing.read())  # the alert
        raw.close()
        raise
    return tls


async def _receive_some(raw: socket.socket) -> bytes:
    while True:
        await trio.lowlevel.wait_readable(raw)
        with contextlib.suppress(BlockingIOError, InterruptedError):
            if data := raw.recv(_READ_SIZE):
                return data
            raise HandshakeFailed("the peer hung up during the TLS handshake")


async def _send_all(raw: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[raw.send(data) :]
        except (BlockingIOError, InterruptedError):
            await trio.lowlevel.wait_writable(raw)
