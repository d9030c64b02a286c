"""The keys of one direction of many channels, in columns: many datagrams are sealed or opened in one call.

The format is that of `netcode.seal`, which does the same for one datagram at a time. Compiled (`_seals.c`) there is
nothing per channel but its key, and a datagram takes a sixth of the time that `cryptography` takes from Python;
`PortableSeals` is for everywhere else.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from cryptography.exceptions import InvalidTag

from netcode.packed import Packed, compiled, dense, whole
from netcode.seal import HEADER_SIZE, KEY_SIZE, NONCE_SIZE, OVERHEAD, SEQUENCE_AT, TAG_SIZE, Suite, make_cipher

_SUITES = (Suite.AES_256_GCM, Suite.CHACHA20_POLY1305)
"""In the order in which `_seals.c` numbers them."""
_NO_KEY = 255
"""The suite of a slot without a key, which `_seals.c` refuses."""


class Seals(Protocol):
    """Keys by slot, all of the same direction (see `netcode.seal`). A slot without a key is a ValueError."""

    def grow(self, slots: int) -> None:
        """Have room for so many."""

    def put(self, slot: int, key: bytes, suite: Suite) -> None:
        """Give a slot its key."""

    def drop(self, slot: int) -> None:
        """Forget a slot's key."""

    def seal(self, slots: np.ndarray, sequences: np.ndarray, heads: np.ndarray, plaintexts: Packed) -> Packed:
        """Datagrams under these headers, (n, HEADER_SIZE) uint8, which hold the low bits of the sequences, (n,) int64.
        Whoever calls sees to it that no sequence serves twice under a key."""

    def open(self, slots: np.ndarray, sequences: np.ndarray, datagrams: Packed) -> tuple[Packed, np.ndarray]:
        """The plaintexts, and which tags fit (n,) bool: a plaintext whose tag does not is worth nothing. Every datagram
        has at least OVERHEAD bytes."""


class CompiledSeals:
    """See `Seals`."""

    def __init__(self, direction: int) -> None:
        self._direction = direction
        self._keys = np.zeros((0, KEY_SIZE), np.uint8)
        self._suites = np.zeros(0, np.uint8)

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys and suites by slot, for other compiled code."""
        return self._keys, self._suites

    def grow(self, slots: int) -> None:
        """See `Seals.grow`."""
        more = slots - len(self._keys)
        before = self._keys
        self._keys = np.concatenate([before, np.zeros((more, KEY_SIZE), np.uint8)])
        before[:] = 0
        self._suites = np.concatenate([self._suites, np.full(more, _NO_KEY, np.uint8)])

    def put(self, slot: int, key: bytes, suite: Suite) -> None:
        """See `Seals.put`."""
        if len(key) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(key)}")
        self._keys[slot], self._suites[slot] = np.frombuffer(key, np.uint8), _SUITES.index(suite)

    def drop(self, slot: int) -> None:
        """See `Seals.drop`."""
        self._keys[slot], self._suites[slot] = 0, _NO_KEY

    def seal(self, slots: np.ndarray, sequences: np.ndarray, heads: np.ndarray, plaintexts: Packed) -> Packed:
        """See `Seals.seal`."""
        sizes = plaintexts.sizes + OVERHEAD
        out = dense(np.empty(int(sizes.sum()), np.uint8), sizes)
        compiled.seal(
            *(self._keys, self._suites, *whole(slots, sequences), heads, self._direction),
            *(plaintexts.data, *whole(plaintexts.begins, plaintexts.sizes), out.data),
        )
        return out

    def open(self, slots: np.ndarray, sequences: np.ndarray, datagrams: Packed) -> tuple[Packed, np.ndarray]:
        """See `Seals.open`."""
        sizes, good = datagrams.sizes - OVERHEAD, np.empty(len(slots), bool)
        out = dense(np.empty(int(sizes.sum()), np.uint8), sizes)
        compiled.open(
            *(self._keys, self._suites, *whole(slots, sequences), self._direction),
            *(datagrams.data, *whole(datagrams.begins, datagrams.sizes), out.data, good),
        )
        return out, good


class PortableSeals:
    """See `Seals`: one call of `cryptography` a datagram."""

    def __init__(self, direction: int) -> None:
        self._direction = bytes([direction])
        self._ciphers: list[Any] = []

    def grow(self, slots: int) -> None:
        """See `Seals.grow`."""
        self._ciphers.extend([None] * (slots - len(self._ciphers)))

    def put(self, slot: int, key: bytes, suite: Suite) -> None:
        """See `Seals.put`."""
        self._ciphers[slot] = make_cipher(key, suite)

    def drop(self, slot: int) -> None:
        """See `Seals.drop`."""
        self._ciphers[slot] = None

    def seal(self, slots: np.ndarray, sequences: np.ndarray, heads: np.ndarray, plaintexts: Packed) -> Packed:
        """See `Seals.seal`."""
        parts: list[bytes] = []
        rows = zip(slots.tolist(), sequences.tolist(), heads, plaintexts.strings(), strict=True)
        for slot, sequence, head, plaintext in rows:
            header = head.tobytes()
            told = header[:SEQUENCE_AT] + self._direction
            parts += header, self._cipher(slot).encrypt(sequence.to_bytes(NONCE_SIZE, "little"), plaintext, told)
        return dense(np.frombuffer(b"".join(parts), np.uint8), plaintexts.sizes + OVERHEAD)

    def open(self, slots: np.ndarray, sequences: np.ndarray, datagrams: Packed) -> tuple[Packed, np.ndarray]:
        """See `Seals.open`."""
        plaintexts, good = [], np.ones(len(slots), bool)
        rows = zip(slots.tolist(), sequences.tolist(), datagrams.strings(), strict=True)
        for number, (slot, sequence, datagram) in enumerate(rows):
            told, sealed = datagram[:SEQUENCE_AT] + self._direction, datagram[HEADER_SIZE:]
            try:
                plaintexts.append(self._cipher(slot).decrypt(sequence.to_bytes(NONCE_SIZE, "little"), sealed, told))
            except InvalidTag:
                plaintexts.append(bytes(len(sealed) - TAG_SIZE))
                good[number] = False
        return dense(np.frombuffer(b"".join(plaintexts), np.uint8), datagrams.sizes - OVERHEAD), good

    def _cipher(self, slot: int) -> Any:
        if (cipher := self._ciphers[slot]) is None:
            raise ValueError(f"slot {slot} has no key")
        return cipher


def make_seals(direction: int) -> Seals:
    """The fastest that this installation has."""
    return PortableSeals(direction) if compiled is None else CompiledSeals(direction)
