"""Wrap-around arithmetic: short numbers on the wire, whole numbers in memory.

A datagram carries only the low bits of its sequence number. The receiver knows roughly where its peer is, so
the low bits suffice as long as the two differ by less than half of their range::

            near - half          near          near + half
     ------------|----------------|----------------|-----------> whole numbers
                 '--------- exactly one of these 2**bits ------'
                            values is congruent to `low`

Inside the process a sequence is a plain Python int that never wraps; only `widen` and `newer` know about the
wire.
"""

from __future__ import annotations

import numpy as np


def widen(low: int, bits: int, near: int) -> int:
    """The whole number congruent to `low` modulo `2**bits` that is nearest to `near`.

    Of two equally near values the higher one is taken; the result is never negative (then it is the lowest
    non-negative value congruent to `low`). `low` may have more bits than `bits`; those are ignored. The same
    rule as QUIC's packet number decoding (RFC 9000, appendix A.3).
    """
    span = 1 << bits
    half = span >> 1
    value = near + (((low - near + half - 1) & (span - 1)) - half + 1)
    return value if value >= 0 else value & (span - 1)


def widen_all(low: np.ndarray, bits: int, near: np.ndarray) -> np.ndarray:
    """`widen` for whole columns (int64)."""
    span = 1 << bits
    half = span >> 1
    value = near + (((low.astype(np.int64) - near + half - 1) & (span - 1)) - half + 1)
    wide: np.ndarray = np.where(value >= 0, value, value & (span - 1))
    return wide


def newer(a: int, b: int, bits: int) -> bool:
    """Whether the short number `a` comes after the short number `b`, both taken modulo `2**bits`.

    Serial number arithmetic (RFC 1982). Two numbers exactly half the range apart are in no order: then
    neither is newer.
    """
    span = 1 << bits
    return 0 < (a - b) & (span - 1) < span >> 1
