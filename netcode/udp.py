"""A client's datagram socket, which may be opened anew at any time: networks change under a running game.

A connected UDP socket keeps the local address that it was given. When that is gone (Wi-Fi to cellular, an interface
down) every send fails, so the socket is opened anew, at most once in REBIND_EVERY_S; the server sees a new address and
challenges it. What could not be sent is lost, as datagrams are: inputs are repeated.
"""

from __future__ import annotations

import socket
from typing import Any

import trio

REBIND_EVERY_S = 1.0
_DATAGRAM_MAX = 2048


class DatagramSocket:
    """A socket connected to one server address."""

    def __init__(self, host: str, port: int) -> None:
        """`host` is an address, not a name. Raises OSError."""
        self.rebinds = 0
        """How often it was opened anew."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        self._family: socket.AddressFamily = found[0][0]
        self._address: Any = found[0][4]
        self._socket: socket.socket | None = self._opened()
        self._opened_anew = trio.Event()
        self._rebound_at = float("-inf")
        self._closed = False

    def send(self, packet: bytes) -> None:
        """Send, or lose, a datagram. Never blocks, never raises."""
        try:
            if self._socket is None:
                self._rebind_sometimes()
            if self._socket is not None:
                self._socket.send(packet)
        except (BlockingIOError, ConnectionRefusedError):
            pass  # the buffer is full, or nobody listens there (yet)
        except OSError:
            self._rebind_sometimes()

    async def receive(self) -> bytes:
        """The next datagram. Raises trio.ClosedResourceError once `close` was called."""
        while not self._closed:
            sock = self._socket
            if sock is None:
                await self._opened_anew.wait()
                continue
            try:
                await trio.lowlevel.wait_readable(sock)
                return sock.recv(_DATAGRAM_MAX)
            except (BlockingIOError, ConnectionRefusedError, trio.ClosedResourceError):
                continue
            except OSError:
                if sock is self._socket:
                    self._discard()
        raise trio.ClosedResourceError

    def rebind(self) -> None:
        """Open it anew, at a new local address if there is another; without a network it is tried again by `send`."""
        if self._closed:
            return
        self._rebound_at = trio.current_time()
        self._discard()
        try:
            self._socket = self._opened()
        except OSError:
            return
        self.rebinds += 1
        self._opened_anew.set()
        self._opened_anew = trio.Event()

    def close(self) -> None:
        """Close it for good."""
        self._closed = True
        self._discard()
        self._opened_anew.set()

    def _rebind_sometimes(self) -> None:
        if trio.current_time() - self._rebound_at >= REBIND_EVERY_S:
            self.rebind()

    def _opened(self) -> socket.socket:
        sock = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(self._address)
        except OSError:
            sock.close()
            raise
        return sock

    def _discard(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            trio.lowlevel.notify_closing(sock)
            sock.close()
