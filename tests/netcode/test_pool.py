"""The pool of links: who is read and taken when, with readers of our own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import numpy as np
import pytest
import trio

from netcode import pool as pool_module
from netcode.packed import compiled
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


@pytest.mark.skipif(compiled is None, reason="netcode._packed was not built: no C compiler, or no ciphers for it")
async def test_a_socket_that_another_reader_takes_out_is_not_read() -> None:
    """Nobody knows whose its number is by then."""
    with pairs(3) as sockets, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            pool = LinkPool()
            nursery.start_soon(pool.run)
            while not pool.available:
                await trio.lowlevel.checkpoint()
            told: list[bytes] = []
            (first, _), (second, _), (third, _) = sockets

            class Direct:
                key, web, direct_max = 0, False, 64

                def read(self) -> bytes:
                    raise AssertionError("it is read with the others")

                def take(self, data: bytes) -> None:
                    told.append(data)

                def broke(self) -> None:
                    raise AssertionError("it is whole")

                def leave(self) -> None:
                    """The pool ends."""

            class Rude(Direct):
                direct_max = 0

                def read(self) -> bytes:
                    pool.remove(first)
                    pool.remove(third)
                    return second.recv(64)

            for _, peer in sockets:
                peer.send(b"word")
            for sock, reader in ((first, Direct()), (second, Rude()), (third, Direct())):
                pool.add(sock, reader)
            while not told:
                await trio.lowlevel.checkpoint()
            assert told == [b"word"]
            assert (first.recv(64), third.recv(64)) == (b"word", b"word"), "nobody has read them"
            nursery.cancel_scope.cancel()
