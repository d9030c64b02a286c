"""Sealed datagrams at both ends, in memory: what is genuine passes once, everything else is dropped and
counted."""

from __future__ import annotations

from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from netcode import seal
from netcode.seal import (
    CLIENT_TO_SERVER,
    KEY_SIZE,
    OVERHEAD,
    PAYLOAD_MAX,
    PLAINTEXT_MAX,
    SERVER_TO_CLIENT,
    DatagramTooLarge,
    DatagramType,
    DropCounters,
    KeyExhausted,
    Opener,
    Sealer,
    Suite,
    peek_connection_id,
)

KEY = bytes(range(KEY_SIZE))
CONNECTION_ID = 0x1122334455667788


def ends(suite: Suite = Suite.AES_256_GCM) -> tuple[Sealer, Opener]:
    return (
        Sealer(KEY, CONNECTION_ID, CLIENT_TO_SERVER, suite),
        Opener(KEY, CONNECTION_ID, CLIENT_TO_SERVER, suite),
    )


@pytest.mark.parametrize("suite", Suite)
@given(plaintext=st.binary(max_size=PLAINTEXT_MAX), type=st.sampled_from(DatagramType))
def test_what_was_sealed_is_opened(suite: Suite, plaintext: bytes, type: DatagramType) -> None:
    sealer, opener = ends(suite)
    packet = sealer.seal(type, plaintext)
    assert len(packet) == len(plaintext) + OVERHEAD <= PAYLOAD_MAX
    assert peek_connection_id(packet) == CONNECTION_ID
    assert opener.open(memoryview(packet)) == (type, 1, plaintext)
    assert opener.drops == DropCounters()


@pytest.mark.parametrize(
    ("suite", "cipher"), [(Suite.AES_256_GCM, AESGCM), (Suite.CHACHA20_POLY1305, ChaCha20Poly1305)]
)
def test_the_packet_is_as_drawn(suite: Suite, cipher: type[AESGCM] | type[ChaCha20Poly1305]) -> None:
    sealer = Sealer(KEY, CONNECTION_ID, SERVER_TO_CLIENT, suite)
    sealer.sequence = 0x0123456
    packet = sealer.seal(DatagramType.FRAME, b"hello")
    assert packet[:11] == bytes.fromhex("12 8877665544332211 5734")
    nonce = bytes.fromhex("5734120000000000 00000000")
    assert cipher(KEY).decrypt(nonce, packet[11:], packet[:9] + b"\x01") == b"hello"


def test_types_may_alternate() -> None:
    sealer, opener = ends()
    for sequence, type in enumerate([*DatagramType, *DatagramType], start=1):
        assert opener.open(sealer.seal(type, b"x")) == (type, sequence, b"x")


@given(st.permutations(range(40)))
def test_any_order_passes_once_each(order: list[int]) -> None:
    sealer, opener = ends()
    packets = [sealer.seal(DatagramType.INPUT, bytes([number])) for number in range(40)]
    for number in order:
        assert opener.open(packets[number]) == (DatagramType.INPUT, number + 1, bytes([number]))
    assert [opener.open(packet) for packet in packets] == [None] * 40
    assert opener.drops == DropCounters(replayed=40)
    assert opener.highest == 40


@given(start=st.integers(0, 2**20), losses=st.lists(st.integers(1, 32767), min_size=1, max_size=20))
def test_the_short_sequence_survives_wrap_around_and_loss(start: int, losses: list[int]) -> None:
    sealer, opener = ends()
    for base in (*range(0, start, 30_000), start):
        sealer.sequence = base
        opened = opener.open(sealer.seal(DatagramType.INPUT, b""))
        assert opened is not None
    for lost in losses:
        sealer.sequence += lost - 1
        assert opener.open(sealer.seal(DatagramType.INPUT, b"x")) == (
            DatagramType.INPUT,
            sealer.sequence,
            b"x",
        )


@given(st.data())
def test_one_flipped_bit_anywhere_is_dropped(data: st.DataObject) -> None:
    sealer, opener = ends()
    packet = bytearray(sealer.seal(DatagramType.INPUT, b"move"))
    bit = data.draw(st.integers(0, 8 * len(packet) - 1))
    packet[bit // 8] ^= 1 << bit % 8
    assert opener.open(bytes(packet)) is None
    assert opener.highest == 0
    drops = opener.drops
    assert drops.malformed + drops.version + drops.forged + drops.replayed == 1


@given(st.binary(max_size=1500))
def test_garbage_is_dropped_without_a_word(packet: bytes) -> None:
    opener = ends()[1]
    assert opener.open(packet) is None
    assert opener.open(memoryview(packet)) is None


def test_each_reason_has_its_counter_and_the_object_may_be_shared() -> None:
    drops = DropCounters()
    sealer = Sealer(KEY, CONNECTION_ID, CLIENT_TO_SERVER)
    opener = Opener(KEY, CONNECTION_ID, CLIENT_TO_SERVER, drops=drops)
    other = Opener(KEY, CONNECTION_ID + 1, CLIENT_TO_SERVER, drops=drops)
    packet = sealer.seal(DatagramType.INPUT, b"x")
    opener.open(b"\x21" + packet[1:])
    assert drops == DropCounters(version=1)
    opener.open(packet[: OVERHEAD - 1])
    opener.open(packet + bytes(PAYLOAD_MAX))
    opener.open(b"\x1f" + packet[1:])
    other.open(packet)
    assert drops == DropCounters(version=1, malformed=4)
    opener.open(packet[:-1] + bytes([packet[-1] ^ 1]))
    assert drops == DropCounters(version=1, malformed=4, forged=1)
    assert opener.open(packet) is not None
    opener.open(packet)
    assert drops == DropCounters(version=1, malformed=4, forged=1, replayed=1)


def test_direction_key_suite_and_connection_are_bound() -> None:
    packet = Sealer(KEY, CONNECTION_ID, CLIENT_TO_SERVER).seal(DatagramType.INPUT, b"x")
    reflected = Opener(KEY, CONNECTION_ID, SERVER_TO_CLIENT)
    wrong_key = Opener(bytes(KEY_SIZE), CONNECTION_ID, CLIENT_TO_SERVER)
    wrong_suite = Opener(KEY, CONNECTION_ID, CLIENT_TO_SERVER, Suite.CHACHA20_POLY1305)
    for opener in (reflected, wrong_key, wrong_suite):
        assert opener.open(packet) is None
        assert opener.drops == DropCounters(forged=1)


def test_a_forged_far_sequence_does_not_move_the_window() -> None:
    sealer, opener = ends()
    first, second = (sealer.seal(DatagramType.INPUT, b"x") for _ in range(2))
    assert opener.open(first) is not None
    assert opener.open(first[:9] + (30_000).to_bytes(2, "little") + first[11:]) is None
    assert opener.open(second) is not None


def test_a_number_below_the_first_is_never_fresh() -> None:
    sealer, opener = ends()
    packet = sealer.seal(DatagramType.INPUT, b"x")
    for low in (0, 65535, 40_000):
        assert opener.open(packet[:9] + low.to_bytes(2, "little") + packet[11:]) is None
    assert opener.drops == DropCounters(replayed=3)


def test_a_larger_payload_is_refused_and_uses_up_no_number() -> None:
    sealer, opener = ends()
    with pytest.raises(DatagramTooLarge, match="1174 bytes"):
        sealer.seal(DatagramType.FRAME, bytes(PLAINTEXT_MAX + 1))
    packet = sealer.seal(DatagramType.PROBE, bytes(PLAINTEXT_MAX))
    assert len(packet) == PAYLOAD_MAX
    assert opener.open(packet) == (DatagramType.PROBE, 1, bytes(PLAINTEXT_MAX))


def test_a_key_is_given_up_before_it_is_worn_out() -> None:
    sealer = ends()[0]
    sealer.sequence = seal.SEQUENCE_MAX - 1
    sealer.seal(DatagramType.FRAME, b"last")
    for _ in range(2):
        with pytest.raises(KeyExhausted):
            sealer.seal(DatagramType.FRAME, b"one more")


def test_the_same_plaintext_never_looks_the_same() -> None:
    sealer = ends()[0]
    packets = [sealer.seal(DatagramType.FRAME, bytes(50))[11:] for _ in range(50)]
    assert all(a != b for a, b in pairwise(packets))
    assert len(set(packets)) == 50


def test_a_short_packet_has_no_connection_id() -> None:
    assert peek_connection_id(b"") is None
    assert peek_connection_id(bytes(OVERHEAD - 1)) is None
    assert peek_connection_id(memoryview(bytes(OVERHEAD))) == 0


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(b"short", 1, CLIENT_TO_SERVER)
