"""Attacks by datagrams: what is not ours, not for anybody, not genuine, or was said before."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator

from netcode.seal import PROTOCOL_VERSION, DatagramType
from tests.hostile.kit import Attack, Gun, Member, Target, udp

AT_ONCE = 100
_INPUT = PROTOCOL_VERSION << 4 | DatagramType.INPUT


def _flood(target: Target, packets: list[bytes], sockets: int = 1) -> Iterator[int]:
    """These again and again, AT_ONCE at a time."""
    gun, socks = Gun(target), [udp() for _ in range(sockets)]
    parts = [packets[at : at + AT_ONCE] for at in range(0, len(packets), AT_ONCE)]
    yield 0
    for part, sock in zip(itertools.cycle(parts), itertools.cycle(socks), strict=False):
        gun.fire(sock, part)
        yield len(part)


def junk(target: Target) -> Iterator[int]:
    """Random bytes of all lengths."""
    chance = random.Random(1)
    return _flood(target, [chance.randbytes(chance.randrange(1400)) for _ in range(5000)])


def strangers(target: Target) -> Iterator[int]:
    """The right version, and connection ids that are nobody's."""
    chance = random.Random(2)
    return _flood(target, [bytes([_INPUT]) + chance.randbytes(8 + 2 + 50) for _ in range(5000)])


def forged(target: Target) -> Iterator[int]:
    """Connection ids of good players under tags that do not fit, with every sequence."""
    chance = random.Random(3)
    packets = [
        struct.pack("<BQH", _INPUT, victim, sequence) + chance.randbytes(60)
        for sequence in range(0, 65536, 997)
        for victim in target.victims
    ]
    chance.shuffle(packets)
    return _flood(target, packets)


def replays(target: Target) -> Iterator[int]:
    """A genuine client's own datagrams, each a thousand times and more."""
    member = Member(target, seat=True)
    genuine = [member.end.seal_input(member.input_packet(newest=number), 0.0) for number in range(1, 11)]
    yield from _flood(target, genuine * 20)


def probes(target: Target) -> Iterator[int]:
    """Genuine probes of one session from two hundred ports, 1200 bytes each: who answers how much?"""
    member = Member(target)
    gun, socks = Gun(target), [udp() for _ in range(200)]
    yield 0
    for sock in itertools.cycle(socks):
        gun.fire(sock, [member.end._seal(DatagramType.PROBE, bytes(1173), 0.0) for _ in range(5)])
        yield 5


ATTACKS = {
    "udp_junk": Attack(junk, 20_000, "random datagrams"),
    "udp_strangers": Attack(strangers, 20_000, "datagrams for connections that are not there"),
    "udp_forged": Attack(forged, 10_000, "datagrams in good players' names with wrong tags"),
    "udp_replays": Attack(replays, 10_000, "genuine datagrams of a player, said again"),
    "udp_probes": Attack(probes, 3_000, "genuine probes from many ports"),
}
