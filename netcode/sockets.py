"""Raw non-blocking sockets: what Trio's have underneath."""

from __future__ import annotations

import socket

import trio


def take_over(sock: trio.socket.SocketType, send_buffer: int = 0) -> socket.socket:
    """The raw non-blocking socket of a Trio socket, which is empty afterwards."""
    raw = socket.socket(fileno=sock.detach())
    raw.setblocking(False)
    if send_buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw


def peer_of(raw: socket.socket) -> tuple[str, int]:
    """The peer's host and port; ("", 0) when it is gone."""
    try:
        host, port = raw.getpeername()[:2]
    except OSError:  # it has hung up already, as the first `receive` will tell
        return "", 0
    return host, port
