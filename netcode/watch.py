"""Frames for those who watch a room without a seat: its shared part alone, encoded once for all of them.

    views   of the rooms that are watched, as they are now ─► kept by the caller as what was sent last
    bodies  what has changed since, and an own part that says that nothing has
    head    + body = a frame as in `netcode.frame`, of a stream of its own; last_seq and depth are 0

They go over the control channel, where nothing is lost or overtaken: each is against the one before, and nobody
acknowledges anything.
"""

from __future__ import annotations

import numpy as np

from game.api import RowGame
from game.rows import Rows
from game.view import Viewer
from netcode.delta import DeltaEncoder
from netcode.frame import HEADER

WATCH_HZ = 10
"""Frames a second that a watcher gets, or a few more or fewer: only every so many ticks."""


class WatchEncoder:
    """Frames of the rooms of one configured game."""

    def __init__(self, game: RowGame) -> None:
        self._viewer = Viewer(game)
        layout = self._viewer.layout
        self._shared = DeltaEncoder(layout.shared)
        self._own = bytes(-(-len(layout.own) // 4))
        self.described = layout.describe()
        self.every = max(1, round(game.tick_hz / WATCH_HZ))
        """How many ticks lie between two frames."""

    def views(self, rows: Rows, which: list[int]) -> np.ndarray:
        """(k, V) int32: what these rows show to everybody."""
        return self._viewer.shared(rows, np.array(which, np.intp))

    def deltas(self, views: np.ndarray, before: list[np.ndarray]) -> list[bytes]:
        """Bodies of frames against those before."""
        both = np.concatenate([views, np.array(before, np.int32).reshape(views.shape)])
        return self._bodies(both, np.arange(len(views)), np.arange(len(views)) + len(views))

    def full(self, views: np.ndarray) -> list[bytes]:
        """Bodies of full frames."""
        return self._bodies(views, np.arange(len(views)), np.full(len(views), -1))

    def _bodies(self, views: np.ndarray, current: np.ndarray, before: np.ndarray) -> list[bytes]:
        return [delta + self._own for delta in self._shared.encode(views, current, before).strings()]


def head(stream: int, epoch: int, tick: int, age: int) -> bytes:
    """A frame's header; `age`: ticks since the frame that it is against, 0 for a full one."""
    return HEADER.pack(0, stream & 0xFF, epoch & 0xFF, tick & 0xFFFF, age, 0, 0)
