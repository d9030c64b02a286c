"""Many stream sockets written and read in one call, with real sockets."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from netcode.packed import compiled, packed
from netcode.sockets import FAILED, NOTHING, recv_all, send_all

pytestmark = pytest.mark.skipif(
    compiled is None, reason="netcode._packed was not built: no C compiler, or no ciphers for it"
)


@contextlib.contextmanager
def connected(count: int) -> Iterator[tuple[list[socket.socket], list[socket.socket]]]:
    """Two ends of as many TCP connections."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        here, there = [], []
        for _ in range(count):
            here.append(stack.enter_context(socket.create_connection(listener.getsockname())))
            there.append(stack.enter_context(listener.accept()[0]))
            here[-1].setblocking(False)
        yield here, there


def reset(sock: socket.socket) -> None:
    """Close it so that its peer gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_each_gets_its_own() -> None:
    with connected(4) as (here, there):
        said = [b"one", b"", b"three" * 100, b"four"]
        fds = [sock.fileno() for sock in here]
        fds[3] = -1
        assert send_all(fds, packed(said)).tolist() == [3, 0, 500, 0]
        assert (there[0].recv(10), there[2].recv(1000, socket.MSG_WAITALL | socket.MSG_DONTWAIT)) == (
            b"one",
            b"three" * 100,
        )
        for sock, word in zip(there, [b"a", b"bc" * 40, b"", b"d"], strict=True):
            sock.sendall(word)
        there[3].close()
        came, sizes = recv_all([sock.fileno() for sock in here], 64)
        assert sizes.tolist() == [1, 64, NOTHING, 1]
        assert came.strings() == [b"a", b"bc" * 32, b"", b"d"]
        came, sizes = recv_all([sock.fileno() for sock in here], 64)
        assert (sizes.tolist(), came.string(1)) == ([NOTHING, 16, NOTHING, 0], b"bc" * 8)


def test_one_that_is_full_or_broken_costs_nobody_else() -> None:
    with connected(4) as (here, there):
        here[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        there[1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reset(there[2])
        big = bytes(4 << 20)
        sent = send_all([sock.fileno() for sock in here], packed([b"first", big, b"third", b"last"]))
        assert sent[[0, 2, 3]].tolist() == [5, 0, 4], "who is gone takes nothing"
        assert 0 < sent[1] < len(big), "as much as there is room for"
        assert (there[0].recv(10), there[3].recv(10)) == (b"first", b"last")


def test_a_reset_is_told_from_an_end() -> None:
    with connected(2) as (here, there):
        reset(there[0])
        there[1].close()
        assert recv_all([sock.fileno() for sock in here], 64)[1].tolist() == [FAILED, 0]


def test_rows_out_of_bounds_are_refused() -> None:
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)
    for columns in [(one, b"abc", one, one + 4, one), (one, b"abc", one - 1, one, one), (one, b"abc", one, one, two)]:
        with pytest.raises(ValueError, match=r"out of bounds|different lengths"):
            compiled.send_all(*columns)
    for room in [
        (one, 64, bytearray(63), one),
        (one, 0, bytearray(64), one),
        (one, -1, bytearray(64), one),
        (one[:0], 1 << 31, bytearray(64), one[:0]),
        (one, 64, bytearray(64), two),
    ]:
        with pytest.raises(ValueError, match=r"no room|different lengths"):
            compiled.recv_all(*room)
