"""The pool of links: who is read and taken when, with readers of our own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import numpy as np
import pytest
import trio

from netcode import pool as pool_module
from netcode.pool import READ_FOR_S, LinkPool
from netcode.streams import Pieces

READERS = 20


class Clock:
    """The pool's own clock, which goes on only when a reader is at work."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class SlowReader:
    """Takes as long for what it has read as the pool may work at once."""

    web, direct_max = False, 0

    def __init__(self, sock: socket.socket, key: int, clock: Clock, events: list[str]) -> None:
        self.sock, self.key, self._clock, self._events = sock, key, clock, events
        self.took = b""

    def read(self) -> bytes:
        self._events.append("read")
        return self.sock.recv(4)

    def take(self, data: bytes) -> None:
        self._clock.now += READ_FOR_S
        self._events.append("take")
        self.took += data

    def broke(self) -> None:
        """Nobody sees that: it reads for itself."""

    def leave(self) -> None:
        """The pool ends."""


@contextlib.contextmanager
def pairs(count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Connected sockets: ours, and the peer's."""
    with contextlib.ExitStack() as stack:
        found = [socket.socketpair() for _ in range(count)]
        for sock in [sock for pair in found for sock in pair]:
            sock.setblocking(False)
            stack.enter_context(sock)
        yield found


@pytest.mark.parametrize("key", [0, 7], ids=["for the readers alone", "left by the crowd"])
async def test_others_run_between_readers_that_take_long(monkeypatch: pytest.MonkeyPatch, key: int) -> None:
    """Each of many that have said something costs as much as the pool may take at once; and each gets all that it was
    sent, in order, though more has come before its turn."""
    clock, events = Clock(), list[str]()
    monkeypatch.setattr(pool_module, "time", clock)

    def crowd(came: Pieces) -> np.ndarray:
        return np.full(len(came.data), 1)

    with pairs(READERS) as sockets, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            pool = LinkPool(crowd)
            readers = [SlowReader(ours, key, clock, events) for ours, _ in sockets]
            for _, peer in sockets:
                peer.send(b"0123abcd")
            nursery.start_soon(pool.run)
            while not pool.available:
                await trio.lowlevel.checkpoint()
            for reader in readers:
                pool.add(reader.sock, reader)
            want = b"123bcd" if key else b"0123abcd"
            while any(len(reader.took) < len(want) for reader in readers):
                events.append("other")
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert [reader.took for reader in readers] == [want] * READERS
    work = " ".join(event for event in events if event != "read")
    assert "take take take" not in work, "two at most: which task of a pass of the scheduler comes first is chance"
