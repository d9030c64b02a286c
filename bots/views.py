"""What full players in rows see: the last views of each in one array, so that those of a whole batch are read at once.

    a slot's views, by tick modulo BASELINES_MAX     tick 96 | tick 97 | … | tick 95
                                                       int64 wire values, what is shared and what is one's own apart

It does what `netcode.frame.FrameDecoder` does for one player, and takes its views over and gives them back.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from bots.brain import world_edges
from netcode.delta import delta_decoder
from netcode.frame import BASELINES_MAX, FrameDecoder
from netcode.packed import Packed
from netcode.play import SeatInfo

READ, BAD_FRAME, OUTSIDE_WORLD = range(3)
FAULTS = ("", "bad_frame", "outside_world")
"""What is wrong with a view, by the number that `Views.read` tells; what lies outside the world was read."""


class Views:
    """The views of players who see the same kind of room."""

    def __init__(self, info: SeatInfo) -> None:
        layout = info.layout
        self.kind = _kind(info)
        self._edges = world_edges(info) or []
        self._deltas = delta_decoder(layout.shared), delta_decoder(layout.own)
        self._ticks = np.zeros((0, BASELINES_MAX), np.int64)
        self._views = tuple(np.zeros((0, width), np.int64) for width in (layout.shared_width, layout.own_width))
        self._free: list[int] = []

    def takes(self, info: SeatInfo) -> bool:
        """Whether somebody in this seat sees the same kind of room."""
        return _kind(info) == self.kind

    def enter(self, frames: FrameDecoder) -> int:
        """Take over what a player has seen; returns its slot."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._ticks[slot] = -1
        for tick, views in frames.kept.items():
            self._ticks[slot, tick % BASELINES_MAX] = tick
            for every, one in zip(self._views, views, strict=True):
                every[slot * BASELINES_MAX + tick % BASELINES_MAX] = one
        return slot

    def leave(self, slot: int, frames: FrameDecoder) -> None:
        """Give a player back what it has seen; the slot is free then."""
        frames.kept.clear()
        for tick in sorted(self._ticks[slot][self._ticks[slot] >= 0].tolist()):
            frames.kept[tick] = self.at(slot, tick)
        self._free.append(slot)

    def at(self, slot: int, tick: int) -> tuple[array[int], array[int]]:
        """What a player saw at a tick: shared, own."""
        place = slot * BASELINES_MAX + tick % BASELINES_MAX
        shared, own = self._views
        return array("q", shared[place].tobytes()), array("q", own[place].tobytes())

    def know(self, slots: np.ndarray, ticks: np.ndarray, ages: np.ndarray) -> np.ndarray:
        """Which frames of these players and ticks can be read: those against nothing (age 0), or against a view, of
        `ages` ticks before, that is kept."""
        bases = ticks - ages
        known: np.ndarray = (ages == 0) | ((bases >= 0) & (self._ticks[slots, bases % BASELINES_MAX] == bases))
        return known

    def read(self, slots: np.ndarray, ticks: np.ndarray, ages: np.ndarray, deltas: Packed) -> np.ndarray:
        """Read and check the frames, which `know` has let through, of players, all different. What is wrong with each,
        as a number (see FAULTS)."""
        places = slots * BASELINES_MAX + ticks % BASELINES_MAX
        baselines = np.where(ages == 0, -1, slots * BASELINES_MAX + (ticks - ages) % BASELINES_MAX)
        self._ticks[slots, ticks % BASELINES_MAX] = -1
        good, rest = np.ones(len(slots), bool), deltas
        for decoder, views in zip(self._deltas, self._views, strict=True):
            ends = decoder.decode_all(rest, views, baselines, places)
            good &= ends >= 0
            ends = np.maximum(ends, 0)
            rest = Packed(rest.data, rest.begins + ends, rest.sizes - ends)
        self._ticks[slots[good], ticks[good] % BASELINES_MAX] = ticks[good]
        found = np.where(good, READ, BAD_FRAME)
        for start, end, edge in self._edges:
            seen = self._views[0][places, start:end]
            found[good & ((seen < 0) | (seen >= edge)).any(axis=1)] = OUTSIDE_WORLD
        return found

    def _grow(self) -> None:
        before = len(self._ticks)
        slots = max(16, 2 * before)
        self._ticks = np.concatenate([self._ticks, np.zeros((slots - before, BASELINES_MAX), np.int64)])
        more = (slots - before) * BASELINES_MAX
        self._views = tuple(
            np.concatenate([views, np.zeros((more, views.shape[1]), np.int64)]) for views in self._views
        )
        self._free.extend(range(slots - 1, before - 1, -1))


def _kind(info: SeatInfo) -> tuple[Any, ...]:
    return info.layout.shared, info.layout.own, world_edges(info)
