"""Many datagrams sealed and opened in one call: as `netcode.seal` does it one by one, compiled or not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netcode.packed import Packed, compiled, packed
from netcode.seal import (
    CLIENT_TO_SERVER,
    HEADER_SIZE,
    OVERHEAD,
    SERVER_TO_CLIENT,
    DatagramType,
    Opener,
    Sealer,
    Suite,
    prefix,
)
from netcode.seals import CompiledSeals, PortableSeals, Seals, make_seals
from tests.effort import examples

Kind = type[CompiledSeals] | type[PortableSeals]
KINDS: list[Kind] = [PortableSeals] if compiled is None else [CompiledSeals, PortableSeals]
compiled_only = pytest.mark.skipif(
    compiled is None, reason="netcode._packed was not built: no C compiler, or no ciphers for it"
)
KEYS = [bytes([number]) * 32 for number in range(1, 9)]


def seals(kind: Kind, suite: Suite, direction: int = CLIENT_TO_SERVER) -> Seals:
    """A key for each of eight slots."""
    one: Seals = kind(direction)
    one.grow(3)
    one.grow(8)
    for slot, key in enumerate(KEYS):
        one.put(slot, key, suite)
    return one


def heads(slots: np.ndarray, sequences: np.ndarray) -> np.ndarray:
    """The headers of frames of connections 1000 + slot."""
    told = [
        prefix(DatagramType.FRAME, 1000 + slot) + (sequence & 0xFFFF).to_bytes(2, "little")
        for slot, sequence in zip(slots.tolist(), sequences.tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(told), np.uint8).reshape(-1, HEADER_SIZE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suite", Suite)
@settings(max_examples=examples(30), deadline=None)
@given(data=st.data())
def test_many_are_as_one_by_one(kind: Kind, suite: Suite, data: st.DataObject) -> None:
    plain = data.draw(st.lists(st.binary(max_size=1173), min_size=1, max_size=8))
    slots = np.array(data.draw(st.permutations(range(8)))[: len(plain)])
    sequences = np.array(data.draw(st.lists(st.integers(1, 2**28), min_size=len(plain), max_size=len(plain))))
    sealed = seals(kind, suite, SERVER_TO_CLIENT).seal(slots, sequences, heads(slots, sequences), packed(plain))
    alone = []
    for slot, sequence, one in zip(slots.tolist(), sequences.tolist(), plain, strict=True):
        sealer = Sealer(KEYS[slot], 1000 + slot, SERVER_TO_CLIENT, suite)
        sealer.sequence = sequence - 1
        alone.append(sealer.seal(DatagramType.FRAME, one))
    assert sealed.strings() == alone
    opened, good = seals(kind, suite, SERVER_TO_CLIENT).open(slots, sequences, sealed)
    assert (opened.strings(), good.tolist()) == (plain, [True] * len(plain))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suite", Suite)
def test_what_was_changed_on_its_way_does_not_open(kind: Kind, suite: Suite) -> None:
    """A byte of the datagram, the key, the sequence, the direction: each is enough, and costs that one alone."""
    sealer = Sealer(KEYS[2], 1002, CLIENT_TO_SERVER, suite)
    datagram = sealer.seal(DatagramType.INPUT, b"forward")
    low = HEADER_SIZE - 2  # the low bits of the sequence are vouched for by the nonce
    for at in [*range(low), *range(HEADER_SIZE, len(datagram))]:
        changed = datagram[:at] + bytes([datagram[at] ^ 0x10]) + datagram[at + 1 :]
        plain, good = seals(kind, suite).open(np.array([2, 2]), np.array([1, 1]), packed([changed, datagram]))
        assert (good.tolist(), plain.string(1)) == ([False, True], b"forward")
        assert plain.string(0) == bytes(7)
    for slot, sequence, direction in [(3, 1, CLIENT_TO_SERVER), (2, 2, CLIENT_TO_SERVER), (2, 1, SERVER_TO_CLIENT)]:
        one = seals(kind, suite, direction)
        assert not one.open(np.array([slot]), np.array([sequence]), packed([datagram]))[1].any()


@pytest.mark.parametrize("suite", Suite)
def test_slots_may_have_different_suites(suite: Suite) -> None:
    one, other = make_seals(CLIENT_TO_SERVER), next(each for each in Suite if each is not suite)
    one.grow(2)
    one.put(0, KEYS[0], suite)
    one.put(1, KEYS[1], other)
    slots, sequences = np.array([0, 1, 0]), np.array([1, 1, 2])
    sealed = one.seal(slots, sequences, heads(slots, sequences), packed([b"a", b"b", b"c"])).strings()
    assert [Opener(KEYS[0], 1000, CLIENT_TO_SERVER, suite).open(sealed[at]) is not None for at in (0, 2)] == [True] * 2
    assert Opener(KEYS[1], 1001, CLIENT_TO_SERVER, other).open(sealed[1]) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_without_a_key_seals_and_opens_nothing(kind: Kind) -> None:
    one = seals(kind, Suite.AES_256_GCM)
    datagram = Sealer(KEYS[2], 1002, CLIENT_TO_SERVER).seal(DatagramType.INPUT, b"late")
    one.drop(2)
    one.grow(9)
    for slot in (2, 8):
        where = np.array([slot]), np.array([1])
        with pytest.raises(ValueError, match=r"no key|out of bounds"):
            one.open(*where, packed([datagram]))
        with pytest.raises(ValueError, match=r"no key|out of bounds"):
            one.seal(*where, heads(*where), packed([b"late"]))
    with pytest.raises(ValueError, match="a key has 32 bytes"):
        one.put(2, b"x", Suite.AES_256_GCM)


@compiled_only
@pytest.mark.parametrize(
    ("slot", "begin", "size"),
    [
        (-1, 0, 40),
        (8, 0, 40),
        (2**40, 0, 40),
        (0, -1, 40),
        (0, 25, 40),
        (0, 0, 65),
        (0, 0, OVERHEAD - 1),
        (0, 2**62, 40),
    ],
)
def test_rows_out_of_bounds_are_refused(slot: int, begin: int, size: int) -> None:
    """Nothing of ours calls it so; what comes from the network must not reach memory if something ever does."""
    keys, suites, data = np.zeros((8, 32), np.uint8), np.zeros(8, np.uint8), np.zeros(64, np.uint8)
    out, good = np.zeros(200, np.uint8), np.zeros(1, bool)
    where, head = (np.array([slot]), np.array([1])), np.zeros((1, HEADER_SIZE), np.uint8)
    part = Packed(data, np.array([begin]), np.array([size]))
    with pytest.raises(ValueError, match="out of bounds"):
        compiled.open(keys, suites, *where, 0, part.data, part.begins, part.sizes, out, good)
    if size >= OVERHEAD:
        with pytest.raises(ValueError, match="out of bounds"):
            compiled.seal(keys, suites, *where, head, 0, part.data, part.begins, part.sizes, out)


@compiled_only
def test_columns_of_different_lengths_are_refused() -> None:
    keys, suites, data = np.zeros((8, 32), np.uint8), np.zeros(8, np.uint8), np.zeros(64, np.uint8)
    one, two, out = np.array([0]), np.array([0, 0]), np.zeros(200, np.uint8)
    good, head = np.zeros(1, bool), np.zeros((1, HEADER_SIZE), np.uint8)
    for columns in [(two, one, one), (one, two, one), (one, one, two)]:
        with pytest.raises(ValueError, match="different lengths"):
            compiled.open(keys, suites, one, columns[0], 0, data, columns[1], columns[2], out, good)
        with pytest.raises(ValueError, match="different lengths"):
            compiled.seal(keys, suites, one, columns[0], head, 0, data, columns[1], columns[2], out)
    with pytest.raises(ValueError, match="different lengths"):
        compiled.open(keys, suites[:7], one, one, 0, data, one, one + 40, out, good)
