"""What is usual of a batch: row by row in compiled code as in columns, whatever came with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netcode.ends import _COLUMNS, Opened
from netcode.mmsg import address_token
from netcode.packed import compiled
from netcode.realtime import ClientEnd
from netcode.seal import OVERHEAD, PLAINTEXT_MAX, DatagramType, DropCounters, Suite
from netcode.server_end import PACKETS_BURST_S, SIZES_BURST_S, SLOT_BITS
from netcode.usual import open_compiled, open_in_columns
from tests.effort import examples
from tests.netcode.ends import KEY_DOWN, KEY_UP
from tests.netcode.test_ends import Many, came, heard

compiled_only = pytest.mark.skipif(
    compiled is None, reason="netcode._packed was not built: no C compiler, or no ciphers for it"
)
KINDS = (
    *("input", "input", "input", "input", "large", "skip", "again", "forged", "header"),
    *("keepalive", "cut", "long", "roams", "nobody"),
)
V4 = [address_token(("10.0.0.1", 4000 + number)) for number in range(7)]
V6 = [address_token(("2001:db8::1", 4000 + number, 0, 0)) for number in range(7)]


def datagram(data: st.DataObject, many: Many, wire: list[tuple[bytes, bytes]], now: float) -> tuple[bytes, bytes]:
    """One that may come: good, late, doubled, forged, cut, too long, from elsewhere, for nobody."""
    who = data.draw(st.integers(0, len(many.clients) - 1))
    client, address, kind = many.clients[who], many.addresses[who], data.draw(st.sampled_from(KINDS))
    if kind == "again" and wire:
        return data.draw(st.sampled_from(wire))
    if kind == "skip":
        for _ in range(data.draw(st.sampled_from([1, 40, 61, 62, 63, 64, 300]))):
            client.seal_input(b"lost", now)
    size = PLAINTEXT_MAX - data.draw(st.integers(0, 1)) if kind == "large" else data.draw(st.integers(0, 40))
    packet = client.seal_input(bytes([who]) * size, now)
    if kind in ("forged", "header"):
        at = data.draw(st.integers(0, 10 if kind == "header" else len(packet) - 1))
        packet = packet[:at] + bytes([packet[at] ^ 1 << data.draw(st.integers(0, 7))]) + packet[at + 1 :]
    elif kind == "keepalive":
        packet = client._seal(DatagramType.KEEPALIVE, b"", now)
    elif kind == "cut":
        packet = packet[: data.draw(st.integers(0, OVERHEAD))]
    elif kind == "long":
        packet = packet.ljust(data.draw(st.integers(1199, 1280)), b"\0")
    elif kind == "roams":
        address = many.addresses[who - 1]
    elif kind == "nobody":
        near = many.servers[who].connection ^ 1 << data.draw(st.integers(0, SLOT_BITS + 3))
        connection = data.draw(st.sampled_from([near, 0, 1, who]))
        packet = ClientEnd(connection, KEY_UP, KEY_DOWN).seal_input(b"x", now)
    return packet, address


def by_end(opened: Opened) -> list[tuple[int, bytes]]:
    """Slots and input packets, those of an end in their order."""
    return sorted(heard(opened), key=lambda pair: pair[0])


@compiled_only
@settings(max_examples=examples(100), deadline=None)
@given(st.data())
def test_compiled_and_in_columns_are_the_same(data: st.DataObject) -> None:
    """The same packets and replies, the same drops, and every column of every end as it is there."""
    addresses = data.draw(st.sampled_from([V4, V6]))
    suites = data.draw(st.lists(st.sampled_from(list(Suite)), min_size=1, max_size=5))
    by_row, in_columns = Many.of(0), Many.of(0)
    for many in (by_row, in_columns):
        for suite, address in zip(suites, addresses, strict=False):
            many.add(address, suite=suite)
        many.add(addresses[-1], proven=False)
    by_row.ends._open_usual, in_columns.ends._open_usual = open_compiled, open_in_columns
    wire: list[tuple[bytes, bytes]] = []
    now = 1.0
    for _ in range(data.draw(st.integers(1, 5))):
        spent = data.draw(st.integers(1, 3 * len(suites)))  # a slot, or none
        for many in (by_row, in_columns):
            many.ends.packets_full_at[spent : spent + 1] = now + PACKETS_BURST_S - 0.01
            many.ends.sizes_full_at[spent + 1 : spent + 2] = now + SIZES_BURST_S - 0.005
        sent = [datagram(data, by_row, wire, now) for _ in range(data.draw(st.integers(1, 30)))]
        wire += sent
        batch = came(*data.draw(st.permutations(sent)))
        one, other = by_row.ends.receive(batch, now), in_columns.ends.receive(batch, now)
        assert by_end(one) == by_end(other)
        assert one.replies == other.replies
        assert by_row.ends.drops == in_columns.ends.drops
        for name in _COLUMNS:
            np.testing.assert_array_equal(getattr(by_row.ends, name), getattr(in_columns.ends, name), name)
        now += data.draw(st.sampled_from([0.0, 0.05, 3.0]))


@pytest.mark.parametrize("way", [open_in_columns, pytest.param(open_compiled, marks=compiled_only)])
def test_what_was_dropped_is_not_kept_with_the_packets(way: Any) -> None:
    many = Many.of(3)
    many.ends._open_usual = way
    packets = [client.seal_input(b"x" * 900, 1.0) for client in many.clients]
    packets[1] = bytes(len(packets[1]))
    opened = many.ends.receive(came(*zip(packets, many.addresses, strict=True)), 1.0)
    assert [slot for slot, _ in heard(opened)] == [many.servers[0].slot, many.servers[2].slot]
    ((_, told),) = opened.inputs
    assert len(told.data) == 1800
    assert many.ends.drops == DropCounters(unknown=1)


Columns = tuple[list[np.ndarray], list[np.ndarray], np.ndarray]


def columns_of_two() -> Columns:
    """What `open_usual` takes, for datagrams of two ends without keys."""
    many = Many.of(2)
    ends = many.ends
    datagrams = came(*((c.seal_input(b"x", 1.0), a) for c, a in zip(many.clients, many.addresses, strict=True)))
    for server in many.servers:
        ends._up.drop(server.slot)
    columns = [ends.connection, ends.path_bytes, ends.path, *ends._up.columns, ends.highest, ends.window]  # type: ignore[attr-defined]
    columns += [ends.heard_at, ends.path_heard_at, ends.packets_full_at, ends.sizes_full_at, ends.channel, ends.scratch]
    batch = [datagrams.sizes, datagrams.data, datagrams.words, *np.zeros((3, 2), np.int64)]
    return columns, batch, np.zeros(40, np.uint8)


def call(columns: list[np.ndarray], batch: list[np.ndarray], out: np.ndarray) -> None:
    compiled.open_usual(tuple(columns), tuple(batch), out, 1.0, 8, (1.0, 1.0, 1.0, 1.0))


def shorter(one: np.ndarray) -> np.ndarray:
    return one.reshape(-1)[:-1].copy()


def floats(one: np.ndarray) -> np.ndarray:
    return one.astype(np.float32)


def big_endian(one: np.ndarray) -> np.ndarray:
    return one.astype(np.dtype(f">{one.dtype.kind}{max(one.itemsize, 2)}"))


@compiled_only
@pytest.mark.parametrize(
    ("change", "why"), [(shorter, "different lengths"), (floats, "another type"), (big_endian, "another type")]
)
def test_columns_of_another_shape_are_refused(change: Callable[[np.ndarray], np.ndarray], why: str) -> None:
    """Nothing of ours calls it so; memory is not touched by what is no column of its kind."""
    for which, number in [(0, number) for number in range(13)] + [(1, number) for number in range(6)]:
        one: Any = columns_of_two()
        one[which][number] = change(one[which][number])
        with pytest.raises(ValueError, match=why):
            call(*one)
    columns, batch, out = columns_of_two()
    with pytest.raises(ValueError, match="another number of columns"):
        call(columns[:-1], batch, out)
    columns[0] = np.repeat(columns[0], 2)[::2]
    with pytest.raises(ValueError, match="contiguous"):
        call(columns, batch, out)


@compiled_only
@pytest.mark.parametrize("size", [-1, 1281, 2**62])
def test_a_row_out_of_bounds_is_refused(size: int) -> None:
    columns, batch, out = columns_of_two()
    batch[0][1] = size
    with pytest.raises(ValueError, match="a row out of bounds"):
        call(columns, batch, out)


@compiled_only
def test_an_end_without_a_key_opens_nothing() -> None:
    columns, batch, out = columns_of_two()
    with pytest.raises(ValueError, match="a row out of bounds"):
        call(columns, batch, out)
    columns[4][:] = 0  # suites
    with pytest.raises(ValueError, match="a row out of bounds"):
        call(columns, batch, out[:0])
