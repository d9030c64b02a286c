"""Attacks at the WebSocket's door: requests that are no upgrade or never end, frames that break rules or only cost."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import socket
import struct
from collections import deque
from collections.abc import Iterator

from websockets.frames import Frame, Opcode

from netcode import messages
from netcode.control import message_bytes
from netcode.websocket import ClientUpgrade
from tests.hostile.kit import HELLO, Attack, Target, addresses, drain, tcp

UPGRADE = ClientUpgrade("127.0.0.1", 7777, secure=False).request


def masked(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """A frame of a client."""
    wire = bytearray(Frame(opcode, data).serialize(mask=True))
    wire[0] &= 0xFF if fin else 0x7F
    return bytes(wire)


def opened(target: Target, host: str, *, log_in: bool = False) -> socket.socket:
    """An open WebSocket. Raises OSError."""
    sock = tcp(target, host)
    try:
        sock.sendall(UPGRADE)
        if not sock.recv(4096).startswith(b"HTTP/1.1 101"):
            raise OSError("refused")
        if log_in:
            login = message_bytes(messages.Login(secret=secrets.token_bytes(32)))
            sock.sendall(masked(Opcode.BINARY, HELLO + login))
            while b"welcome" not in sock.recv(4096):
                pass
    except OSError:
        sock.close()
        raise
    return sock


def requests(target: Target) -> Iterator[int]:
    """Requests that are refused, broken, cut, giant, or of pages that may not play."""
    said = (
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        UPGRADE.replace(b"Host: 127.0.0.1:7777", b"Host: evil.example\r\nOrigin: http://evil.example"),
        UPGRADE.replace(b"\r\n\r\n", b"\r\nOrigin: http://evil.example\r\n\r\n"),
        UPGRADE.replace(b"holdfast.1", b"holdfast.99"),
        b"GET " + b"x" * 60_000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000,
        b"GET " + os.urandom(3000) + b"\r\n\r\n",
        UPGRADE[:60],
        UPGRADE + os.urandom(3000),
        b"GARBAGE" * 100,
    )
    kept: deque[socket.socket] = deque()
    yield 0
    for host, data in zip(addresses(), itertools.cycle(said), strict=False):
        with contextlib.suppress(OSError):
            sock = tcp(target, host)
            kept.append(sock)
            sock.settimeout(0.2)
            sock.sendall(data)
        if len(kept) > 200:
            kept.popleft().close()
        yield 1


def loris(target: Target) -> Iterator[int]:
    """Three hundred requests, a byte a second each."""
    hosts = addresses()
    socks = [tcp(target, host) for host in itertools.islice(hosts, 300)]
    yield 0
    for number in itertools.count():
        at = number % len(socks)
        try:
            socks[at].send(UPGRADE[(number // len(socks)) % len(UPGRADE) :][:1])
            alive = drain(socks[at])
        except OSError:
            alive = False
        if not alive:
            socks[at].close()
            with contextlib.suppress(OSError):
                socks[at] = tcp(target, next(hosts))
        yield 1


def broken_frames(target: Target) -> Iterator[int]:
    """Players who log in, and then break the protocol of WebSockets."""
    said = (
        masked(Opcode.TEXT, b"hello"),
        Frame(Opcode.BINARY, HELLO).serialize(mask=False),
        struct.pack("!BBQ", 0x82, 0xFF, 2**62),
        masked(Opcode.BINARY, HELLO[:-1]),
        masked(Opcode.CONT, b"x"),
        b"\xff" * 1000,
        os.urandom(2000),
    )
    yield 0
    for host, data in zip(addresses(), itertools.cycle(said), strict=False):
        with contextlib.suppress(OSError), opened(target, host, log_in=True) as sock:
            sock.sendall(data)
            while sock.recv(65536):
                pass
        yield 1


def _insist(target: Target, data: bytes, count: int) -> Iterator[int]:
    """The same frames as fast as the server takes them, by a player; a new one after each end."""
    hosts = addresses()
    sock = opened(target, next(hosts), log_in=True)
    yield 0
    rest = b""
    while True:
        sock.setblocking(False)
        alive = True
        try:
            rest = rest[sock.send(rest) :] if rest else data[sock.send(data) :]
        except BlockingIOError:
            rest = rest or data
        except OSError:
            alive = False
        if not (drain(sock) and alive):
            sock.close()
            rest = b""
            with contextlib.suppress(OSError):
                sock = opened(target, next(hosts), log_in=True)
        yield count if not rest else 0 if alive else 1


def pings(target: Target) -> Iterator[int]:
    """Ten thousand pings a second, each of which wants a pong."""
    return _insist(target, masked(Opcode.PING, bytes(125)) * 100, 100)


def fragments(target: Target) -> Iterator[int]:
    """Messages in fragments of one byte: the dearest way to say anything."""
    message = message_bytes(messages.Ping(time_us=1, ref=1))
    first, *middle, last = (message[at : at + 1] for at in range(len(message)))
    data = masked(Opcode.BINARY, first, fin=False)
    data += b"".join(masked(Opcode.CONT, byte, fin=False) for byte in middle) + masked(Opcode.CONT, last)
    return _insist(target, data * 10, 10 * len(message))


ATTACKS = {
    "web_requests": Attack(requests, 100, "requests that are no upgrade"),
    "web_loris": Attack(loris, 300, "requests of a byte a second"),
    "web_frames": Attack(broken_frames, 30, "frames that break the protocol"),
    "web_pings": Attack(pings, 10_000, "pings of a player"),
    "web_fragments": Attack(fragments, 10_000, "fragments of a byte"),
}
