"""The realtime channel's socket: one for all players of the node, drained and filled in batches.

    wait readable ─► recvmmsg (≤ 2048) ─► connection id ─► session ─► seal opened ─► inputs into the seat's queue
         ▲                                                                                  │
         └──────── 30 ms later at the earliest, or when a tick collects ◄────────────────────┘

Whatever is malformed, forged, replayed or for nobody is dropped in silence and counted. A full send buffer drops the
rest of a batch (counted): the next frame is a delta against what the client has, so nothing must be repeated.
"""

from __future__ import annotations

import contextlib
import math
import socket
import sys
from collections.abc import Callable

import numpy as np
import trio

from netcode.mmsg import make_batch
from netcode.packed import Packed
from netcode.server_end import Channel
from netcode.session import SessionTable
from server.metrics import Metrics
from server.stage import Frames
from server.streams import send_frames

RECEIVED_MAX = 2048
"""Datagrams taken before other tasks may run: 2 to 4 ms of work."""
RECEIVE_EVERY_S, RECEIVE_OFTEN_S = 0.03, 0.002
"""Inputs matter at ticks, which drain the socket themselves, and a pass over a few datagrams costs as much as over
hundreds; so there is none sooner than this after another, or before a tick. More often only where the system gives the
socket little room."""
SENT_MAX = 2048
BUFFER_BYTES = 8 << 20


class Datagrams:
    """Owns the UDP socket."""

    def __init__(
        self, sock: socket.socket, sessions: SessionTable, metrics: Metrics, due: Callable[[], float] = lambda: math.inf
    ) -> None:
        """`due`: when the next tick is to begin; `math.inf` where there is none."""
        self._due = due
        self.ends = sessions.ends
        self._socket = sock
        self._metrics = metrics
        self._inbox = make_batch(RECEIVED_MAX)
        self._outbox = make_batch(SENT_MAX)
        self._received_at = -math.inf
        self._more = False  # the last call was a full one
        sock.setblocking(False)
        self._pause_s = RECEIVE_EVERY_S if grow_buffers(sock) >= BUFFER_BYTES else RECEIVE_OFTEN_S

    async def run(self) -> None:
        """Receive for ever, with pauses: waking up for each datagram costs more than the datagram."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            if trio.current_time() >= self._next_at():
                while self.receive() == RECEIVED_MAX:
                    await trio.lowlevel.checkpoint()
            await trio.sleep_until(self._next_at())

    def _next_at(self) -> float:
        """When to receive next, if a tick does not do so before: after a pause, and not within one before a tick;
        no pause where a tick has left something."""
        if self._more:
            return self._received_at
        soonest, due = self._received_at + self._pause_s, self._due()
        return due + self._pause_s if soonest <= due < soonest + self._pause_s else soonest

    def receive(self) -> int:
        """Take what has arrived, at most RECEIVED_MAX datagrams; how many. A tick does so before it collects."""
        self._received_at = now = trio.current_time()
        before = self._inbox.truncated
        came = self._inbox.take(self._socket)
        self._metrics.datagrams_truncated = self._inbox.truncated
        taken = len(came) + self._inbox.truncated - before
        self._more = taken == RECEIVED_MAX
        if not len(came):
            return taken
        opened = self.ends.receive(came, now)
        self.ends.deliver(opened)
        if opened.replies:
            packets, addresses = zip(*opened.replies, strict=True)
            self._outbox.send(self._socket, packets, addresses)
        return taken

    def send_frames(self, frames: Frames) -> None:
        """Send frames, by datagram where that is the way of their player, else over the control connection; those of
        connections that are gone since are dropped. So is what the socket does not take, and counted."""
        ends, now = self.ends, trio.current_time()
        slots, plaintexts = frames.slots, frames.plaintexts
        here = (ends.connection[slots] == frames.connections) & (frames.connections != 0)
        here &= ends.alone(slots)  # as ever: two frames under one sequence would give the key away
        if not here.all():
            slots, plaintexts = slots[here], plaintexts[here]
        self._metrics.frames_sent += len(slots)
        fits = ends.by_datagram(slots, plaintexts.sizes, now)
        if not fits.all():
            self._send_over_control(slots[~fits], plaintexts[~fits])
            slots, plaintexts = slots[fits], plaintexts[fits]
        for at in range(0, len(slots), SENT_MAX):
            part = slots[at : at + SENT_MAX]
            datagrams = ends.seal_frames(part, plaintexts[at : at + SENT_MAX])
            sent = self._outbox.put(self._socket, datagrams, ends.path[part])
            self._metrics.frames_dropped += len(part) - sent

    def _send_over_control(self, slots: np.ndarray, frames: Packed) -> None:
        ends = self.ends
        self._metrics.frames_too_large += int(np.count_nonzero(ends.channel[slots] == Channel.DATAGRAM))
        send_frames(ends, slots, frames)


def grow_buffers(sock: socket.socket) -> int:
    """Ask for room for a burst of ten thousand datagrams, beyond the system's limit where we may, else up to it; how
    many bytes the socket receives into now."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF, *_BEYOND_LIMIT):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


_BEYOND_LIMIT = (33, 32) if sys.platform == "linux" else ()
"""SO_RCVBUFFORCE and SO_SNDBUFFORCE, which the socket module does not name; they need CAP_NET_ADMIN."""
