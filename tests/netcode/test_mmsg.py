"""Batched datagrams over real loopback sockets: both implementations pass the same tests, on IPv4 and
IPv6."""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from netcode.mmsg import Batch, DatagramBatch, PortableBatch, address_of, address_token, make_batch
from netcode.packed import packed

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
MakeBatch = Callable[[int, int], Batch]


def families() -> list[socket.AddressFamily]:
    """Those whose loopback address can be bound here."""
    found = []
    for family, host in LOOPBACK.items():
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.bind((host, 0))
        except OSError:
            continue
        found.append(family)
    return found


implementations: list[MakeBatch] = [PortableBatch]
if sys.platform == "linux":
    implementations.append(DatagramBatch)


@pytest.fixture(params=implementations, ids=lambda cls: cls.__name__)
def make(request: pytest.FixtureRequest) -> MakeBatch:
    found: MakeBatch = request.param
    return found


@pytest.fixture(params=families(), ids=lambda family: family.name)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two bound non-blocking UDP sockets."""
    with bound(request.param) as one, bound(request.param) as other:
        yield one, other


def bound(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((LOOPBACK[socket.AddressFamily(family)], 0))
    sock.setblocking(False)
    return sock


def token_of(sock: socket.socket) -> bytes:
    return address_token(sock.getsockname())


def receive_all(batch: Batch, sock: socket.socket, count: int) -> list[tuple[bytes, bytes]]:
    """Receive until `count` datagrams are here."""
    got: list[tuple[bytes, bytes]] = []
    while len(got) < count:
        assert select.select([sock], [], [], 5.0)[0], f"only {len(got)} of {count} arrived"
        got += batch.receive(sock)
    return got


def test_packets_and_addresses_arrive_whole_and_in_order(
    make: MakeBatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    packets = [bytes([number]) * (number * 37 % 1200) for number in range(100)]
    batch = make(64, 1280)
    assert batch.send(one, packets, [token_of(other)] * 100) == 100
    assert receive_all(batch, other, 100) == [(packet, token_of(one)) for packet in packets]
    assert batch.receive(other) == []
    assert batch.truncated == 0


def test_a_token_answers_its_sender(make: MakeBatch, pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    batch = make(8, 1280)
    batch.send(one, [b"ping"], [token_of(other)])
    [(packet, token)] = receive_all(batch, other, 1)
    assert address_of(token) == one.getsockname()
    assert batch.send(other, [packet + b" pong"], [token]) == 1
    assert receive_all(batch, one, 1) == [(b"ping pong", token_of(other))]


def test_one_call_reaches_many_destinations(make: MakeBatch, pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    batch = make(8, 1280)
    assert batch.send(one, [b"to other", b"to myself"], [token_of(other), token_of(one)]) == 2
    assert receive_all(batch, other, 1) == [(b"to other", token_of(one))]
    assert receive_all(batch, one, 1) == [(b"to myself", token_of(one))]


def test_connected_sockets_need_no_addresses(make: MakeBatch, pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    batch = make(8, 1280)
    batch.send(one, [b"with an address first"], [token_of(other)])
    one.connect(other.getsockname())
    assert batch.send(one, [b"a", b"b"]) == 2
    received = receive_all(batch, other, 3)
    assert [packet for packet, _ in received] == [b"with an address first", b"a", b"b"]


def test_what_was_received_is_not_overwritten(make: MakeBatch, pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    batch = make(8, 1280)
    batch.send(one, [b"first"], [token_of(other)])
    first = receive_all(batch, other, 1)
    batch.send(one, [b"other"], [token_of(other)])
    receive_all(batch, other, 1)
    assert first[0][0] == b"first"


def test_datagrams_that_are_too_long_are_dropped_and_counted(
    make: MakeBatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    batch = make(8, 100)
    packets = [bytes(100), bytes(101), b"", bytes(1200), b"last"]
    batch.send(one, packets, [token_of(other)] * 5)
    received = receive_all(batch, other, 3)
    assert [packet for packet, _ in received] == [bytes(100), b"", b"last"]
    assert batch.truncated == 2


def test_nothing_but_empty_datagrams(make: MakeBatch, pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    batch = make(8, 100)
    assert batch.send(one, [], []) == 0
    assert batch.send(one, [b"", b""], [token_of(other)] * 2) == 2
    assert receive_all(batch, other, 2) == [(b"", token_of(one))] * 2


def test_a_destination_that_refuses_costs_only_its_own_packets(
    make: MakeBatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    batch = make(8, 1280)
    one.connect(other.getsockname())
    other.close()
    sent = sum(batch.send(one, [b"x", b"y", b"z"]) for _ in range(4))
    assert 0 < sent < 12
    assert batch.receive(one) == []


def test_an_impossible_destination_costs_only_its_own_packet(
    make: MakeBatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    batch = make(8, 1280)
    nowhere = address_token((other.getsockname()[0], 0, *other.getsockname()[2:]))
    packets = [b"a", bytes(70_000), b"b", b"c"]
    assert batch.send(one, packets, [token_of(other), token_of(other), nowhere, token_of(other)]) == 2
    assert [packet for packet, _ in receive_all(batch, other, 2)] == [b"a", b"c"]


def test_a_full_buffer_ends_the_send(make: MakeBatch) -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        one.setblocking(False)
        packets = [bytes(1000)] * 5000
        sent = make(64, 1280).send(one, packets)
        assert 0 < sent < 5000
        for _ in range(sent):
            other.recv(1280)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1280)


def test_a_closed_socket_is_an_error(make: MakeBatch, pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    batch = make(8, 1280)
    to = token_of(other)
    one.close()
    with pytest.raises(OSError, match=r"Bad file descriptor|failed"):
        batch.send(one, [b"x"], [to])
    with pytest.raises(OSError, match=r"Bad file descriptor|failed"):
        batch.receive(one)


def test_addresses_must_match_packets(make: MakeBatch, pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    with pytest.raises(ValueError, match="2 packets for 3 addresses"):
        make(8, 1280).send(one, [b"a", b"b"], [token_of(other)] * 3)


@pytest.mark.parametrize(
    "address", [("127.0.0.1", 7777), ("0.0.0.0", 0), ("::1", 7777, 0, 0), ("fe80::1", 65535, 5, 3)]
)
def test_tokens_and_addresses_convert_both_ways(address: tuple[str, int]) -> None:
    token = address_token(address)
    assert len(token) == (28 if ":" in address[0] else 16)
    assert address_of(token) == address


def test_a_short_ipv6_address_has_the_token_of_the_long_one() -> None:
    assert address_token(("::1", 5)) == address_token(("::1", 5, 0, 0))


def test_the_fastest_one_is_taken() -> None:
    assert isinstance(make_batch(8, 100), DatagramBatch if sys.platform == "linux" else PortableBatch)


def words_of(*socks: socket.socket) -> np.ndarray:
    return np.frombuffer(b"".join(token_of(sock) for sock in socks), np.uint32).reshape(len(socks), -1)


@pytest.mark.parametrize("sizes", [[5] * 150, [1], [0, 4], [7, 7, 7, 9, 9, 1200, 3], [1200] * 60, list(range(1, 90))])
def test_a_burst_arrives_as_its_packets(
    make: MakeBatch, pair: tuple[socket.socket, socket.socket], sizes: list[int]
) -> None:
    sender, receiver = pair
    packets = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    assert make(512, 1280).burst(sender, packed(packets), words_of(*[receiver] * len(sizes))) == len(sizes)
    assert [packet for packet, _ in make(512, 1280).receive(receiver)] == packets


def test_a_burst_to_several_reaches_each(make: MakeBatch, pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    assert make(8, 1280).burst(one, packed([b"a", b"b", b"c"]), words_of(other, one, other)) == 3
    assert [packet for packet, _ in make(8, 1280).receive(other)] == [b"a", b"c"]
    assert [packet for packet, _ in make(8, 1280).receive(one)] == [b"b"]


def test_a_burst_that_nobody_takes_is_lost(make: MakeBatch, pair: tuple[socket.socket, socket.socket]) -> None:
    """The refusal of the first comes back on a later call and costs one packet at most."""
    sender, receiver = pair
    words, batch = words_of(*[receiver] * 4), make(8, 1280)
    receiver.close()
    batch.burst(sender, packed([b"x"] * 4), words)
    with bound(sender.family) as third:
        sent = batch.burst(sender, packed([b"y"] * 4), words_of(*[third] * 4))
        assert sent == len(make(8, 1280).receive(third)) >= 3
