"""Attacks by connections that never log in: too many, too slow, too large, or not what they should be."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import ssl
import struct
from collections import deque
from collections.abc import Iterator

import msgpack

from netcode import messages
from netcode.control import message_bytes
from tests.hostile.kit import ALONE, HELLO, TLS, Attack, Target, addresses, client_hello, drain, secure, tcp

KEPT_MAX = 4000
"""Connections that an attacker holds at most."""


def _connects(target: Target, hosts: Iterator[str]) -> Iterator[int]:
    kept: deque[socket.socket] = deque()
    yield 0
    for host in hosts:
        with contextlib.suppress(OSError):
            kept.append(tcp(target, host, wait=False))
        if len(kept) > KEPT_MAX:
            kept.popleft().close()
        yield 1


def connects(target: Target) -> Iterator[int]:
    """Connections of one address that say nothing."""
    return _connects(target, itertools.repeat(ALONE))


def half_open(target: Target) -> Iterator[int]:
    """Connections of as many addresses that say nothing."""
    return _connects(target, addresses())


def salvo(target: Target) -> Iterator[int]:
    """A thousand silent connections of many addresses; then all of them begin TLS at the same time, again and again."""
    hosts, hello = addresses(), client_hello()
    socks = [tcp(target, host) for host in itertools.islice(hosts, 1000)]
    yield 0
    while True:
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.send(hello)
        yield 1
        for sock in socks:
            sock.close()
        socks = []
        for host in itertools.islice(hosts, 1000):
            with contextlib.suppress(OSError):
                socks.append(tcp(target, host, wait=False))
            if len(socks) % 20 == 0:
                yield 0


def loris(target: Target) -> Iterator[int]:
    """Three hundred connections that say their hello one byte a second."""
    hosts = addresses()
    socks: list[ssl.SSLSocket] = [secure(target, host) for host in itertools.islice(hosts, 300)]
    yield 0
    for number in itertools.count():
        at = number % len(socks)
        try:
            socks[at].send(HELLO[(number // len(socks)) % len(HELLO) :][:1])
            alive = drain(socks[at])
        except OSError:
            alive = False
        if not alive:
            socks[at].close()
            with contextlib.suppress(OSError):
                socks[at] = secure(target, next(hosts))
        yield 1


def tls_garbage(target: Target) -> Iterator[int]:
    """What is no TLS, what begins as TLS, and a handshake that is asked for again and again."""
    hello = client_hello()
    said = (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(2000),
        hello[: len(hello) // 2],
        hello + hello * 20,
        b"\x16\x03\x01\xff\xff" + os.urandom(60_000),
        os.urandom(5000),
        b"\x15\x03\x03\x00\x02\x01\x00" * 500,
        b"\x16\x03\x03\x00\x00" * 10_000,
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


def _greetings(target: Target, said: tuple[bytes, ...]) -> Iterator[int]:
    """A TLS connection for each of these greetings, which must be its last."""
    yield 0
    for host, data in zip(addresses(), itertools.cycle(said), strict=False):
        with contextlib.suppress(OSError), secure(target, host) as sock:
            sock.sendall(data)
            while sock.recv(65536):
                pass
        yield 1


def lengths(target: Target) -> Iterator[int]:
    """Lengths of gigabytes, of nothing, and of what is just too long."""
    giant = [struct.pack("<IB", length, 0) for length in (2**32 - 1, 2**31, 65538, 0)]
    return _greetings(target, (*giant, *(HELLO + each for each in giant)))


BOMBS = tuple(
    struct.pack("<IB", len(bomb) + 1, 0) + bomb
    for bomb in (
        b"\x81\xa1t" + b"\x91" * 60_000,
        b"\x81\xa1t" + b"\x81\xa1x" * 20_000,
        b"\xdd\xff\xff\xff\xff" + b"\xc0" * 60_000,
        b"\xdf\xff\xff\xff\xff" + b"\xa1a\xc0" * 20_000,
        b"\xdb\xff\xff\xff\xff" + b"a" * 60_000,
        b"\xc6\xff\xff\xff\xff" + b"a" * 60_000,
        b"\xc9\xff\xff\xff\xff\x01" + b"a" * 60_000,
        msgpack.packb({"t": "hello", "x": [[]] * 4000}),
        msgpack.packb({"t": "hello", **{f"key {number}": 0 for number in range(1000)}}),
    )
)


def bombs(target: Target) -> Iterator[int]:
    """Small messages that would unpack into large things."""
    return _greetings(target, (*BOMBS, *(HELLO + bomb for bomb in BOMBS)))


def logins(target: Target) -> Iterator[int]:
    """New guests of one address, one after the other, as fast as it lets them."""
    yield 0
    while True:
        with contextlib.suppress(OSError), secure(target) as sock:
            sock.sendall(HELLO + message_bytes(messages.Login(secret=os.urandom(32))))
            sock.recv(65536)
            sock.recv(65536)
        yield 1


def resumes(target: Target) -> Iterator[int]:
    """Sessions taken up again with secrets that are guessed, of one address."""
    yield 0
    while True:
        guess = messages.Resume(session=os.urandom(16).hex(), secret=os.urandom(32))
        with contextlib.suppress(OSError), secure(target) as sock:
            sock.sendall(HELLO + message_bytes(guess))
            sock.recv(65536)
            sock.recv(65536)
        yield 1


def churn(target: Target) -> Iterator[int]:
    """Players of many addresses who log in and hang up at once, politely or not."""
    yield 0
    for number, host in enumerate(addresses()):
        with contextlib.suppress(OSError):
            sock = TLS.wrap_socket(tcp(target, host))
            sock.sendall(HELLO + message_bytes(messages.Login(secret=host.encode() + bytes(16))))
            sock.recv(65536)
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        yield 1


ATTACKS = {
    "connects": Attack(connects, 1200, "silent connections of one address"),
    "half_open": Attack(half_open, 1200, "silent connections of thousands of addresses"),
    "tls_salvo": Attack(salvo, 100, "a thousand handshakes begun at once"),
    "slow_loris": Attack(loris, 300, "a byte a second"),
    "tls_garbage": Attack(tls_garbage, 100, "what is no TLS, or too much of it"),
    "lengths": Attack(lengths, 30, "giant lengths"),
    "bombs": Attack(bombs, 30, "msgpack bombs"),
    "logins": Attack(logins, 100, "new guests of one address"),
    "resumes": Attack(resumes, 100, "guessed sessions"),
    "churn": Attack(churn, 30, "log in, hang up"),
}
