"""One task that reads thousands of links, where waking a task for each of them would cost more than what they say.

    epoll of all pooled sockets ─► readable? ─► each ready socket is read, for READ_FOR_S at most ─► 5 ms later, again
        │                                       (those without TLS: all in one call, at most 2 kB of each)
        ├─► usual realtime packets: those of all of them in one pass (`crowd`)
        └─► whatever else: each one's reader, for READ_FOR_S at most ─► what needs a task: out of the pool

To wake a Trio task for a socket takes system calls to arm and to disarm it, a reschedule and a scope; a reader called
from here takes none of it. Nor need there be a task: a link in the pool has none. The kernel hands out ready sockets in
turn, so nobody starves. Where there is no epoll, `available` is false, and each link reads for itself.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import trio

from netcode.packed import Packed, packed, stacked
from netcode.sockets import FAILED, recv_all
from netcode.streams import Pieces

READERS_AT_ONCE = 256
"""Sockets that the kernel names at once; usually 1 to 2 ms of work."""
READ_FOR_S = 0.002
"""After so long other tasks run before the rest is read, and after so long again before the rest is taken: a thousand
who flood at once do not make a tick wait for all of them."""
READ_EVERY_S = 0.005

Crowd = Callable[[Pieces], np.ndarray]
"""Takes what is usual of what many connections have said, in one pass; how many bytes of each that was, from its
beginning. May not raise."""


class Reader(Protocol):
    """Who reads a socket of the pool. No method may raise."""

    key: int
    """Connection id of the realtime channel whose packets the crowd may take; 0: what comes is for `take` alone."""
    web: bool
    """Whether they come by WebSocket."""
    direct_max: int
    """At most so many bytes of what its socket has are what `read` would return; 0: `read` must be asked."""

    def read(self) -> bytes:
        """What has come and is to be taken; b"" where nothing is."""

    def take(self, data: bytes) -> None:
        """Take it, or what the crowd has left of it; or take the socket out."""

    def broke(self) -> None:
        """The socket has failed."""

    def leave(self) -> None:
        """Take the socket out: the pool ends."""


class LinkPool:
    """Reads sockets that are readable. `run` must be running."""

    def __init__(
        self, crowd: Crowd | None = None, *, at_once: int = READERS_AT_ONCE, for_s: float = READ_FOR_S
    ) -> None:
        """`at_once`, `for_s`: how much is read, and then taken, before other tasks run; a pass of the crowd has a price
        of its own."""
        self._crowd = crowd
        self._at_once, self._for_s = at_once, for_s
        self._readers: dict[int, Reader] = {}
        self._epoll: select.epoll | None = None
        self._ready: list[int] = []  # named by the kernel, and not read yet
        self._left: list[tuple[Reader, bytes]] = []  # read, and not taken yet; nothing more is read before it is

    @property
    def available(self) -> bool:
        """Whether it is running, and can."""
        return self._epoll is not None

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, sock: socket.socket, reader: Reader) -> None:
        """Have this one read `sock` whenever it is readable, until `remove`."""
        assert self._epoll is not None
        fd = sock.fileno()
        self._readers[fd] = reader
        self._epoll.register(fd, select.EPOLLIN)

    def remove(self, sock: socket.socket) -> None:
        """The socket reads for itself again; to be called before it is closed. Harmless when it is not in the pool."""
        fd = sock.fileno()
        if self._readers.pop(fd, None) is not None and self._epoll is not None:
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Read until cancelled."""
        if sys.platform != "linux":
            return
        with select.epoll() as self._epoll:
            try:
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    while self.read():
                        await trio.lowlevel.checkpoint()
                    await trio.sleep(READ_EVERY_S)
            finally:
                self._epoll = None
                for reader in list(self._readers.values()):
                    reader.leave()

    def read(self) -> bool:
        """Read what is readable now, and have it taken; whether there is more."""
        more = not self._left and self._read_ready()
        until = time.perf_counter() + self._for_s
        while self._left:
            reader, data = self._left.pop()
            reader.take(data)
            if time.perf_counter() >= until:
                break
        return more or bool(self._ready or self._left)

    def _read_ready(self) -> bool:
        """Read sockets, and have the crowd take what it can; whether the kernel may name more of them."""
        assert self._epoll is not None
        more = False
        if not self._ready:
            self._ready = [fd for fd, _ in self._epoll.poll(0, self._at_once)]
            more = len(self._ready) == self._at_once
        readers, data = self._read_some()
        taken = np.zeros(len(readers), np.int64)
        if self._crowd is not None and readers:
            keys = np.fromiter((reader.key for reader in readers), np.uint64, len(readers))
            web = np.fromiter((reader.web for reader in readers), bool, len(readers))
            usual = np.flatnonzero(keys)
            if len(usual):
                taken[usual] = self._crowd(Pieces(data[usual], keys[usual], web[usual]))
        left = np.flatnonzero(taken < data.sizes)
        if not len(left):
            return more
        rest = Packed(data.data, data.begins[left] + taken[left], data.sizes[left] - taken[left])
        self._left.extend(zip([readers[index] for index in left.tolist()], rest.strings(), strict=True))
        return more

    def _read_some(self) -> tuple[list[Reader], Packed]:
        """Read sockets that are ready: whose, and what they have said."""
        until, find = time.perf_counter() + self._for_s, self._readers.get
        readers: list[Reader] = []
        pieces: list[bytes] = []
        direct: list[tuple[int, Reader]] = []
        while self._ready and time.perf_counter() < until:
            fd = self._ready.pop()
            reader = find(fd)
            if reader is None:  # it was taken out since
                continue
            if reader.direct_max:
                direct.append((fd, reader))
            elif data := reader.read():
                readers.append(reader)
                pieces.append(data)
        direct = [(fd, reader) for fd, reader in direct if find(fd) is reader]
        if not direct:
            return readers, packed(pieces)
        most = min(reader.direct_max for _, reader in direct)  # it is the same for all who speak alike
        came, sizes = recv_all([fd for fd, _ in direct], most)
        for index in np.flatnonzero(sizes == 0).tolist():
            direct[index][1].read()  # which finds the end, too, and leaves
        for index in np.flatnonzero(sizes == FAILED).tolist():
            direct[index][1].broke()
        some = np.flatnonzero(sizes > 0)
        readers = [*(direct[index][1] for index in some.tolist()), *readers]
        return readers, stacked([came[some], packed(pieces)] if pieces else [came[some]])
