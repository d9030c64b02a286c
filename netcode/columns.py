"""What both ends of many sealed channels do in columns."""

from __future__ import annotations

import numpy as np

AHEAD_MAX = 63
"""A sequence, or a tick, that is further ahead of the newest is not usual: `shifted` moves windows so far."""


def shifted(window: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """Replay windows (n, WORDS) uint64 after a datagram each that is so far ahead (1 to 63) of the newest."""
    by = ahead.astype(np.uint64)[:, None]
    moved: np.ndarray = window << by
    moved[:, 1:] |= window[:, :-1] >> (np.uint64(64) - by)
    moved[:, 0] |= np.uint64(1)
    return moved
