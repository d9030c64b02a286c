"""Datagrams of one call, as columns: a whole batch is looked at in one pass, and none is copied before that."""

from __future__ import annotations

import attrs
import numpy as np

from netcode.packed import Packed


@attrs.frozen(eq=False)
class Received:
    """Datagrams as columns, good until the next call of the batch that took them."""

    data: np.ndarray
    """(n, size) uint8, C-contiguous: a datagram a row."""
    sizes: np.ndarray
    """(n,) intp: how many bytes of its row a datagram has."""
    words: np.ndarray
    """(n, 4) uint32 for IPv4, (n, 7) for IPv6: the bytes of the address tokens."""

    def __len__(self) -> int:
        return len(self.sizes)

    def numbers(self, begin: int, end: int) -> np.ndarray:
        """The unsigned number that stands in these bytes of every row, little-endian."""
        found: np.ndarray = self.data[:, begin:end].copy().view(f"<u{end - begin}")[:, 0]
        return found

    def datagrams(self, at: np.ndarray) -> Packed:
        """These datagrams, where they lie."""
        return Packed(self.data.reshape(-1), at * self.data.shape[1], self.sizes[at])

    def packet(self, index: int) -> bytes:
        """One datagram."""
        packet: bytes = self.data[index, : self.sizes[index]].tobytes()
        return packet

    def address(self, index: int) -> bytes:
        """Its address token."""
        token: bytes = self.words[index].tobytes()
        return token

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """All of them as (packet, address token)."""
        count, longest = len(self), int(self.sizes.max(initial=0))
        # One copy of the used part of all rows, then cheap slices of `bytes`.
        blob, told = self.data[:, :longest].tobytes(), self.words.tobytes()
        starts = range(0, count * longest, longest) if longest else [0] * count
        width = 4 * self.words.shape[1]
        return [
            (blob[start : start + size], told[at : at + width])
            for start, size, at in zip(starts, self.sizes.tolist(), range(0, width * count, width), strict=True)
        ]
