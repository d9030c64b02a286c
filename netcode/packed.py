"""Many byte strings in one array: what a tick reads from its players and writes to them, without an object for each.

    data    | packet 0 | packet 1 |   | packet 2 | …        uint8, with gaps or without
    begins    ^          ^              ^
    sizes     n0         n1             n2

Putting strings together row by row (`joined`) is compiled where that is possible (`_packed.c`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import attrs
import numpy as np

from netcode.ciphers import addresses

_MADE_OF = {
    *("add", "deltas", "open", "open_usual", "recv_all", "seal", "send_all", "take_in", "undelta", "undeltas"),
    *("use_ciphers",),
}
compiled: Any = None
with contextlib.suppress(ImportError):  # no C compiler when it was installed, or no ciphers for it
    _module, _ciphers = import_module("netcode._packed"), addresses()
    if vars(_module).keys() >= _MADE_OF:  # else it was built from an older source
        _module.use_ciphers(*_ciphers)
        compiled = _module


@attrs.frozen(eq=False)
class Packed:
    """Byte strings of these sizes, which begin there in `data`."""

    data: np.ndarray
    """(bytes,) uint8."""
    begins: np.ndarray
    """(n,) int64."""
    sizes: np.ndarray
    """(n,) int64."""

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, which: np.ndarray | slice) -> Packed:
        """Some of them: a mask, indices or a slice. Nothing is copied."""
        return Packed(self.data, self.begins[which], self.sizes[which])

    def strings(self) -> list[bytes]:
        """Each as bytes."""
        data = self.data.tobytes()
        return [data[at : at + size] for at, size in zip(self.begins.tolist(), self.sizes.tolist(), strict=True)]

    def string(self, index: int) -> bytes:
        """One of them."""
        begin = self.begins[index]
        found: bytes = self.data[begin : begin + self.sizes[index]].tobytes()
        return found


def dense(data: np.ndarray, sizes: np.ndarray) -> Packed:
    """Strings that stand one behind the other without a gap."""
    return Packed(data, np.cumsum(sizes) - sizes, sizes)


def packed(strings: Sequence[bytes]) -> Packed:
    """These strings."""
    return dense(np.frombuffer(b"".join(strings), np.uint8), np.fromiter(map(len, strings), np.int64, len(strings)))


def rows(table: np.ndarray) -> Packed:
    """The rows of a contiguous (n, size) uint8 array."""
    count, size = table.shape
    return Packed(table.reshape(-1), np.arange(0, count * size, size or 1)[:count], np.full(count, size, np.int64))


def stacked(several: Sequence[Packed]) -> Packed:
    """The strings of several, one behind the other."""
    if len(several) == 1:
        return several[0]
    lengths = np.array([len(one.data) for one in several], np.int64)
    moved = [one.begins + at for one, at in zip(several, (np.cumsum(lengths) - lengths).tolist(), strict=True)]
    return Packed(
        np.concatenate([one.data for one in several]),
        np.concatenate(moved),
        np.concatenate([one.sizes for one in several]),
    )


def joined(*parts: Packed) -> Packed:
    """String i is the strings i of all parts, put together."""
    sizes = np.add.reduce([part.sizes for part in parts])
    out = dense(np.empty(int(sizes.sum()), np.uint8), sizes)
    places = out.begins.copy()
    for part in parts:
        if compiled is not None:
            compiled.add(out.data, places, part.data, *whole(part.begins, part.sizes))
        else:
            at, where = _bytes_of(part.begins, part.sizes), _bytes_of(places, part.sizes)
            out.data[where] = part.data[at]
            places += part.sizes
    return out


def whole(*columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """The same columns as compiled code takes them: int64, contiguous; copied only if they are not so already."""
    return tuple(np.ascontiguousarray(column, np.int64) for column in columns)


def _bytes_of(begins: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The index of every byte of strings."""
    before = np.cumsum(sizes) - sizes
    found: np.ndarray = np.repeat(begins - before, sizes) + np.arange(int(sizes.sum()))
    return found
