"""Raw non-blocking sockets: what Trio's have underneath, one at a time or many in one call.

A call of Python's for each of thousands of sockets costs half as much again as what the system does in it; compiled
code makes the calls of all of them (`_sockets.c`).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

import numpy as np
import trio

from netcode.packed import Packed, compiled, dense, whole

NOTHING, FAILED = -1, -2
"""What `recv_all` says of a socket that has nothing now, and of one that has broken."""


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


def send_all(sockets: Sequence[int], data: Packed) -> np.ndarray:
    """Send each string to the stream socket of this number, without waiting: (n,) int64, how many bytes it took. A
    socket may be -1, and takes none then; so it does where sending fails, which a call of its own will tell. Without
    compiled code none takes any."""
    sent = np.zeros(len(data), np.int64)
    if compiled is not None:
        compiled.send_all(np.array(sockets, np.int64), data.data, *whole(data.begins, data.sizes), sent)
    return sent


def recv_all(sockets: Sequence[int], most: int) -> tuple[Packed, np.ndarray]:
    """What the stream sockets of these numbers have, at most so many bytes of each; and (n,) int64, how many, 0 at the
    end of a stream, NOTHING, FAILED. Compiled only."""
    scratch, sizes = np.empty(len(sockets) * most, np.uint8), np.empty(len(sockets), np.int64)
    compiled.recv_all(np.array(sockets, np.int64), most, scratch, sizes)
    came = np.maximum(sizes, 0)
    return dense(scratch[: int(came.sum())].copy(), came), sizes
