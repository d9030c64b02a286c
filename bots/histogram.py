"""Histograms of durations: of one player, or of many at once.

Buckets are logarithmic, 2 % wide: percentiles are good to 1 %, `max_ms` is exact, and a run of an hour takes the memory
of a run of a second.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

LOW_MS = 0.01
STEP = 1.02
BUCKETS = 860
"""The last bucket holds everything above 4 minutes."""
RAW_MAX = 256
_LOG_STEP = math.log(STEP)


class Histogram:
    """Durations in ms (or distances), counted in logarithmic buckets."""

    __slots__ = ("_counts", "_raw", "max_ms")

    def __init__(self) -> None:
        self.max_ms = 0.0
        self._counts = np.zeros(BUCKETS, np.uint32)
        self._raw = array("d")

    def add(self, duration_ms: float) -> None:
        """Count one duration."""
        raw = self._raw
        raw.append(duration_ms)
        if len(raw) >= RAW_MAX:
            self._fold()

    def merge(self, other: Histogram) -> None:
        """Count everything that `other` counted."""
        other._fold()
        self.count_in(other._counts, other.max_ms)

    def count_in(self, counts: np.ndarray, max_ms: float) -> None:
        """Count what was counted elsewhere: how many a bucket, and the longest."""
        self._fold()
        self._counts += counts
        self.max_ms = max(self.max_ms, max_ms)

    def count(self) -> int:
        """How many durations there are."""
        self._fold()
        return int(self._counts.sum())

    def percentile(self, share: float) -> float | None:
        """The duration that `share` of all do not exceed, to 1 %; None when there is none."""
        self._fold()
        total = int(self._counts.sum())
        if not total:
            return None
        bucket = int(np.searchsorted(np.cumsum(self._counts), min(int(share * total), total - 1), side="right"))
        return min(self.max_ms, LOW_MS * STEP ** (bucket + 0.5)) if bucket else min(self.max_ms, LOW_MS)

    def dump(self) -> dict[str, Any]:
        """Plain data, for another process; `load` is the inverse."""
        self._fold()
        where = np.flatnonzero(self._counts)
        return {"max_ms": self.max_ms, "buckets": where.tolist(), "counts": self._counts[where].tolist()}

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Histogram:
        """A histogram from `dump`."""
        one = cls()
        one.max_ms = data["max_ms"]
        one._counts[data["buckets"]] = data["counts"]
        return one

    def _fold(self) -> None:
        if not self._raw:
            return
        values = np.array(self._raw)
        self._raw = array("d")
        self.max_ms = max(self.max_ms, float(values.max()))
        self._counts += np.bincount(_buckets(values), minlength=BUCKETS).astype(np.uint32)


class Histograms:
    """A histogram a row: durations of many players are counted in one call."""

    def __init__(self) -> None:
        self._counts = np.zeros((0, BUCKETS), np.uint32)
        self._max_ms = np.zeros(0)

    def grow(self, rows: int) -> None:
        """Room for so many rows."""
        self._counts = np.concatenate([self._counts, np.zeros((rows - len(self._counts), BUCKETS), np.uint32)])
        self._max_ms = np.concatenate([self._max_ms, np.zeros(rows - len(self._max_ms))])

    def add_many(self, rows: np.ndarray, durations_ms: np.ndarray, *, once: bool) -> None:
        """Count a duration in each of these rows; `once`: each row is there once."""
        counts, at = self._counts.reshape(-1), rows * BUCKETS + _buckets(durations_ms)
        if once:  # several times as fast
            counts[at] += 1
            self._max_ms[rows] = np.maximum(self._max_ms[rows], durations_ms)
        else:
            np.add.at(counts, at, 1)
            np.maximum.at(self._max_ms, rows, durations_ms)

    def move(self, row: int, into: Histogram) -> None:
        """What a row has counted counts in `into` from now on."""
        into.count_in(self._counts[row], float(self._max_ms[row]))
        self._counts[row] = 0
        self._max_ms[row] = 0.0


def _buckets(durations_ms: np.ndarray) -> np.ndarray:
    at = np.log(np.maximum(durations_ms, LOW_MS) / LOW_MS) / _LOG_STEP
    found: np.ndarray = np.minimum(at, BUCKETS - 1).astype(np.intp)
    return found
