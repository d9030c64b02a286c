"""Attacks by players who have logged in like anybody else, and then do not behave."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
from collections.abc import Iterator

from netcode import messages
from netcode.control import message_bytes, realtime_bytes
from netcode.seal import DatagramType
from tests.hostile.kit import Attack, Gun, Member, Target, addresses, drain, udp

_INPUT = bytes([DatagramType.INPUT])


def _insist(target: Target, data: bytes, count: int, *, seat: bool) -> Iterator[int]:
    """The same bytes (`count` requests) as fast as the server takes them; a new session after each end."""
    hosts = addresses()
    member = Member(target, seat=seat)
    yield 0
    rest = b""
    while True:
        sock = member.sock
        sock.setblocking(False)
        alive = True
        try:
            rest = rest[sock.send(rest) :] if rest else data[sock.send(data) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            rest = rest or data
        except OSError:
            alive = False
        if not (drain(sock) and alive):
            sock.close()
            rest = b""
            with contextlib.suppress(OSError):
                member = Member(target, next(hosts), seat=seat)
        yield count if not rest else 0 if alive else 1


def requests(target: Target) -> Iterator[int]:
    """Ten thousand requests a second."""
    return _insist(target, message_bytes(messages.ListRooms(ref=1)) * 100, 100, seat=False)


def chats(target: Target) -> Iterator[int]:
    """A thousand chats a second."""
    return _insist(target, message_bytes(messages.Chat(text="spam " * 40, ref=1)) * 20, 20, seat=True)


def large_requests(target: Target) -> Iterator[int]:
    """Requests of 50 kB, all of them just within the rules."""
    options = {f"o{number}": [0] * 700 for number in range(64)}
    return _insist(target, message_bytes(messages.ListRooms(ref=1, options=options)), 1, seat=False)


def inputs(target: Target) -> Iterator[int]:
    """Five thousand genuine input packets a second: new, giant, cut, of the far future."""
    member = Member(target, seat=True)
    gun, sock = Gun(target), udp()
    numbers = itertools.count(1)
    yield 0
    while True:
        packets = []
        for newest in itertools.islice(numbers, 25):
            packets += [
                member.input_packet(newest=newest),
                member.input_packet(count=255, newest=newest, size=4),
                member.input_packet(count=32, newest=newest + 30_000),
                member.input_packet(newest=newest)[:-1],
            ]
        gun.fire(sock, [member.end.seal_input(packet, 0.0) for packet in packets])
        drain(member.sock)
        yield len(packets)


def control_inputs(target: Target) -> Iterator[int]:
    """The same over the control channel."""
    member = Member(target, seat=True)
    data = b"".join(realtime_bytes(_INPUT + member.input_packet(newest=number)) for number in range(1, 101))
    member.sock.close()
    return _insist(target, data, 100, seat=True)


def slow_readers(target: Target) -> Iterator[int]:
    """Twenty players who ask for frames and lists over the control channel and read nothing."""
    hosts = addresses()

    def one() -> Member:
        member = Member(target, next(hosts), seat=True, receive_bytes=4096)
        member.sock.sendall(realtime_bytes(_INPUT + member.input_packet()))
        member.sock.setblocking(False)
        return member

    readers = [one() for _ in range(20)]
    asked = message_bytes(messages.ListRooms(ref=1))
    yield 0
    for number in itertools.count():
        at = number % len(readers)
        try:
            readers[at].sock.send(asked)
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except OSError:
            readers[at].sock.close()
            with contextlib.suppress(OSError):
                readers[at] = one()
        yield 1


def seat_churn(target: Target) -> Iterator[int]:
    """Players who open a room, sit down in it and hang up: rooms and held seats pile up."""
    yield 0
    for host in addresses():
        with contextlib.suppress(OSError):
            member = Member(target, host, seat=True)
            member.sock.shutdown(socket.SHUT_RDWR)
            member.sock.close()
        yield 1


ATTACKS = {
    "requests": Attack(requests, 10_000, "requests of a player"),
    "large_requests": Attack(large_requests, 200, "requests of 50 kB"),
    "chats": Attack(chats, 1_000, "chats of a player"),
    "inputs": Attack(inputs, 5_000, "input packets of a player"),
    "control_inputs": Attack(control_inputs, 5_000, "input packets over the control channel"),
    "slow_readers": Attack(slow_readers, 400, "players who never read"),
    "seat_churn": Attack(seat_churn, 20, "take a seat, hang up"),
}
