"""Attacks on the HTTP port: too much, too slow, too large, not HTTP, with wrong tokens, and with the right one."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections import deque
from collections.abc import Iterator

import attrs

from tests.hostile.kit import Attack, Target, addresses, drain, tcp

KEPT_MAX = 200
"""Connections that an attacker holds at most, fewer than the server takes."""


def _there(target: Target) -> Target:
    """The target's HTTP port as a target."""
    return attrs.evolve(target, port=target.http_port)


def _request(target: Target, path: str, token: str = "", method: str = "GET", more: str = "") -> bytes:
    shown = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{target.http_port}\r\n{shown}{more}\r\n".encode()


def _asked(target: Target, said: tuple[bytes, ...], connections: int) -> Iterator[int]:
    """Requests over connections that stay, each of an address of its own; who was closed comes again as another."""
    there, hosts, heads = _there(target), addresses(), itertools.cycle(said)
    socks: list[socket.socket | None] = [None] * connections
    yield 0
    for at in itertools.cycle(range(connections)):
        sock = socks[at]
        try:
            if sock is None:
                sock = socks[at] = tcp(there, next(hosts))
            sock.send(next(heads))
            alive = drain(sock)
        except OSError:
            alive = False
        if not alive and sock is not None:
            sock.close()
            socks[at] = None
        yield 1


def requests(target: Target) -> Iterator[int]:
    """What everybody may ask, of fifty addresses, again and again."""
    paths = ("/healthz", "/readyz", "/api/v1/server", "/dashboard/", "/dashboard/style.css", "/nothing", "/../..")
    return _asked(target, tuple(_request(target, path) for path in paths), 50)


def tokens(target: Target) -> Iterator[int]:
    """Wrong tokens."""
    paths = ("/api/v1/cluster", "/api/v1/players", "/api/v1/rooms")
    return _asked(target, tuple(_request(target, path, "wrong" * 8) for path in paths), 50)


def operators(target: Target) -> Iterator[int]:
    """The right token, and the dearest questions."""
    paths = ("/metrics", "/api/v1/cluster", "/api/v1/players?limit=500", "/api/v1/rooms", "/api/v1/leaderboard")
    dear = tuple(_request(target, path, target.token) for path in paths)
    body = b'{"text":"hello"}'
    head = _request(
        target, "/api/v1/broadcast", target.token, "POST",
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n",
    )  # fmt: skip
    return _asked(target, (*dear, head + body), 20)


def heads(target: Target) -> Iterator[int]:
    """Heads of as many lines, or as long ones, as are just taken; and longer ones."""
    lines = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 1900 + b"\r\n"
    one = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 8000 + b"\r\n\r\n"
    long = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 16_000 + b"\r\n"
    return _asked(target, (lines, one, long), 20)


def bodies(target: Target) -> Iterator[int]:
    """Bodies that are too large, cut into the smallest pieces, or not what they say."""
    kind = "Content-Type: application/json\r\n"
    head = _request(target, "/api/v1/broadcast", target.token, "POST", kind + "Transfer-Encoding: chunked\r\n")
    large = _request(target, "/api/v1/broadcast", target.token, "POST", kind + "Content-Length: 60000\r\n")
    nested = b"[" * 4000
    deep = _request(target, "/api/v1/broadcast", target.token, "POST", kind + f"Content-Length: {len(nested)}\r\n")
    return _asked(target, (head + b"1\r\n \r\n" * 8000, large + b" " * 60_000, deep + nested), 20)


def junk(target: Target) -> Iterator[int]:
    """What is no HTTP/1.1, on a new connection each time."""
    said = (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(5000),
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n" + bytes(100),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600),
        b"\r\n" * 30_000,
        bytes(60_000),
    )
    there, kept = _there(target), deque[socket.socket]()
    yield 0
    for host, data in zip(addresses(), itertools.cycle(said), strict=False):
        with contextlib.suppress(OSError):
            sock = tcp(there, host)
            kept.append(sock)
            sock.settimeout(0.2)
            sock.sendall(data)
        if len(kept) > KEPT_MAX:
            kept.popleft().close()
        yield 1


def loris(target: Target) -> Iterator[int]:
    """Two hundred requests of one byte a second each."""
    there, hosts = _there(target), addresses()
    said = _request(target, "/healthz")
    socks: list[socket.socket | None] = [None] * KEPT_MAX
    yield 0
    for number in itertools.count():
        at = number % len(socks)
        sock = socks[at]
        try:
            if sock is None:
                sock = socks[at] = tcp(there, next(hosts))
            sock.send(said[(number // len(socks)) % (len(said) - 2) :][:1])
            alive = drain(sock)
        except OSError:
            alive = False
        if not alive and sock is not None:
            sock.close()
            socks[at] = None
        yield 1


def unread(target: Target) -> Iterator[int]:
    """Requests for what is large, whose answers nobody reads."""
    there, hosts = _there(target), addresses()
    said = _request(target, "/api/v1/openapi.json") * 20
    kept: deque[socket.socket] = deque()
    yield 0
    while True:
        if len(kept) < KEPT_MAX:
            with contextlib.suppress(OSError):
                kept.append(tcp(there, next(hosts)))
        sock = kept[0]
        kept.rotate(-1)
        sock.setblocking(False)
        try:
            sock.send(said)
        except BlockingIOError:
            pass
        except OSError:
            kept.remove(sock)
            sock.close()
        yield 1


def connects(target: Target) -> Iterator[int]:
    """Connections of as many addresses that say nothing, more than the server takes."""
    there, kept = _there(target), deque[socket.socket]()
    yield 0
    for host in addresses():
        with contextlib.suppress(OSError):
            kept.append(tcp(there, host, wait=False))
        if len(kept) > 2000:
            kept.popleft().close()
        yield 1


ATTACKS = {
    "http_requests": Attack(requests, 2000, "what everybody may ask, as fast as it goes"),
    "http_tokens": Attack(tokens, 2000, "wrong tokens"),
    "http_operators": Attack(operators, 500, "the dearest questions, with the right token"),
    "http_heads": Attack(heads, 200, "heads of very many lines"),
    "http_bodies": Attack(bodies, 100, "bodies that are too large or in crumbs"),
    "http_junk": Attack(junk, 100, "what is no HTTP/1.1"),
    "http_loris": Attack(loris, 200, "a byte a second"),
    "http_unread": Attack(unread, 500, "answers that nobody reads"),
    "http_connects": Attack(connects, 1000, "silent connections of thousands of addresses"),
}
