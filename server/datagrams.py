"""The realtime channel's socket: one for all players of the node, drained and filled in batches.

    wait readable ─► recvmmsg (≤ 256) ─► connection id ─► session ─► seal opened ─► inputs into the seat's queue
         ▲                                                                                  │
         └──────── 2 ms later at the earliest, or when a tick collects ◄────────────────────┘

Whatever is malformed, forged, replayed or for nobody is dropped in silence and counted. A full send buffer drops the
rest of a batch (counted): the next frame is a delta against what the client has, so nothing must be repeated.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Sequence

import trio

from netcode.errors import BadFrame
from netcode.mmsg import make_batch
from netcode.seal import peek_connection_id
from netcode.session import SessionTable
from server.metrics import Metrics

RECEIVED_MAX = 256
"""Datagrams taken before other tasks may run: about 2 ms of work."""
RECEIVE_EVERY_S = 0.002
SENT_MAX = 1024
BUFFER_BYTES = 8 << 20


class Datagrams:
    """Owns the UDP socket."""

    def __init__(self, sock: socket.socket, sessions: SessionTable, metrics: Metrics) -> None:
        self._socket = sock
        self._sessions = sessions
        self._metrics = metrics
        self._inbox = make_batch(RECEIVED_MAX)
        self._outbox = make_batch(SENT_MAX)
        sock.setblocking(False)
        grow_buffers(sock)

    async def run(self) -> None:
        """Receive for ever, once in RECEIVE_EVERY_S: waking up for each datagram costs more than the datagram."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            while self.receive() == RECEIVED_MAX:
                await trio.lowlevel.checkpoint()
            await trio.sleep(RECEIVE_EVERY_S)

    def send(self, packets: Sequence[bytes], addresses: Sequence[bytes]) -> None:
        """Send datagrams in batches; what the socket does not take is dropped and counted."""
        for at in range(0, len(packets), SENT_MAX):
            part = packets[at : at + SENT_MAX]
            sent = self._outbox.send(self._socket, part, addresses[at : at + SENT_MAX])
            self._metrics.frames_dropped += len(part) - sent

    def receive(self) -> int:
        """Take what has arrived, at most RECEIVED_MAX datagrams; how many. A tick does so before it collects."""
        received = self._inbox.receive(self._socket)
        self._metrics.datagrams_truncated = self._inbox.truncated
        by_connection, now = self._sessions.by_connection, trio.current_time()
        replies: list[tuple[bytes, bytes]] = []
        for packet, address in received:
            connection = peek_connection_id(packet)
            session = None if connection is None else by_connection.get(connection)
            if session is None:
                self._metrics.datagrams_unknown += 1
                continue
            end = session.end
            inputs, reply = end.receive(packet, address, now)
            if reply is not None:
                replies.append((reply, address))
            if inputs is None or not session.budget.take_packet(len(packet), now):
                continue
            if end.path is not None:
                session.by_datagram = True
            if session.seat is not None:
                try:
                    session.seat.receive(inputs, now)
                except BadFrame:
                    self._metrics.inputs_malformed += 1
        if replies:
            self.send([reply for reply, _ in replies], [address for _, address in replies])
        return len(received)


def grow_buffers(sock: socket.socket) -> None:
    """Ask for room for a burst of ten thousand datagrams; beyond the system's limit where we may, else up to it."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF, *_BEYOND_LIMIT):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)


_BEYOND_LIMIT = (33, 32) if sys.platform == "linux" else ()
"""SO_RCVBUFFORCE and SO_SNDBUFFORCE, which the socket module does not name; they need CAP_NET_ADMIN."""
