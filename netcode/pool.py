"""One task that reads thousands of links, where waking a task for each of them would cost more than what they say.

    epoll of all pooled sockets ─► readable? ─► each ready socket's reader, at most READERS_AT_ONCE ─► 2 ms later, again
                                                  └─► it has said something that needs a task: out of the pool

To wake a Trio task for a socket takes system calls to arm and to disarm it, a reschedule and a scope; a reader called
from here takes none of it. The kernel hands out ready sockets in turn, so nobody starves. Where there is no epoll,
`available` is false, and each link reads for itself.
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Callable

import trio

READERS_AT_ONCE = 128
"""Links read before other tasks may run: 1 to 2 ms of work."""
READ_EVERY_S = 0.002


class LinkPool:
    """Calls the readers of sockets that are readable. `run` must be running."""

    def __init__(self) -> None:
        self._readers: dict[int, Callable[[], None]] = {}
        self._epoll: select.epoll | None = None

    @property
    def available(self) -> bool:
        """Whether it is running, and can."""
        return self._epoll is not None

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, sock: socket.socket, read: Callable[[], None]) -> None:
        """Call `read` whenever `sock` is readable, until `remove`. It must not raise, and must read or remove."""
        assert self._epoll is not None
        fd = sock.fileno()
        self._readers[fd] = read
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
                    while self.read() == READERS_AT_ONCE:
                        await trio.lowlevel.checkpoint()
                    await trio.sleep(READ_EVERY_S)
            finally:
                self._epoll = None

    def read(self) -> int:
        """Call the readers of what is readable now, at most READERS_AT_ONCE; how many."""
        if self._epoll is None:
            return 0
        ready = self._epoll.poll(0, READERS_AT_ONCE)
        for fd, _ in ready:
            reader = self._readers.get(fd)
            if reader is not None:  # else: one before it has taken it out
                reader()
        return len(ready)
