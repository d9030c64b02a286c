"""A byte link in the pool: what it reads is taken by the pool's crowd, by its owner's callback, or ends its stay."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from netcode.errors import CloseReason, NetcodeError
from netcode.packed import compiled
from netcode.pool import LinkPool

if TYPE_CHECKING:
    from netcode.tcp import ByteLink


class PooledLink:
    """A link's stay in the pool: a `netcode.pool.Reader`."""

    __slots__ = ("_ask_key", "_bytes_max", "_left", "_link", "_pool", "_socket", "_take", "direct_max", "key", "web")

    def __init__(
        self,
        link: ByteLink,
        sock: socket.socket,
        take: Callable[[bytes], bool],
        left: Callable[[], None],
        pool: LinkPool,
        key: Callable[[], int],
        bytes_max: int,
        web: bool,
    ) -> None:
        self._link, self._take, self._left, self._pool, self._bytes_max = link, take, left, pool, bytes_max
        self._socket, self._ask_key, self.key, self.web = sock, key, key(), web
        self.direct_max = bytes_max if compiled is not None and not link.secure else 0

    def read(self) -> bytes:
        """What the pool is to have taken."""
        link = self._link
        try:
            data = link.read_now(self._bytes_max)
        except NetcodeError:  # and `leave` was called
            return b""
        if data and not link.undelivered:
            return data
        if data:
            self.take(data)
        elif data is not None:
            self.leave()
        return b""

    def take(self, data: bytes) -> None:
        """Have it taken, and leave if nothing more can be."""
        if self._link.pooled is not self:  # closed meanwhile
            return
        if self._take(data) and not self._link.undelivered:
            self.key = self._ask_key()
        else:
            self.leave()

    def broke(self) -> None:
        """Its socket has failed."""
        self._link.close(CloseReason.RESET)

    def leave(self) -> None:
        """Out of the pool."""
        link = self._link
        if link.pooled is self:
            link.pooled = None
            self._pool.remove(self._socket)
            self._left()
