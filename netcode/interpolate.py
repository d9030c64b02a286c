"""Interpolation: what to draw of the others between two frames.

    frames      5 ─────── 6 ─────── 7 ─────── 8 (newest)             line of the tick clock: 8.4
                               ▲ playhead: 2 frames, or more for jitter, behind it
                     drawn at 6.4: 0.6 of frame 6, 0.4 of frame 7

Places go straight from frame to frame, angles the shorter way round; everything else is that of the older frame. A
frame that is missing is bridged by its neighbours. When the newest frame is behind the playhead, places go on as they
last moved for a quarter of a second at most, then stand. What leapt (further than `jump` in a tick) or changed its
`state` between two frames did not walk: it stays at the older place until the newer frame's tick has come.

The playhead runs with the caller's clock, a tenth faster or slower while its distance from the line is not what it
should be, so nothing on the screen leaps or goes back when the estimate of the clock gets better.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence

import attrs

from game.fixed import UNIT
from game.view import ViewLayout
from netcode.frame import Frame
from netcode.timesync import TickClock

FRAMES_KEPT = 32
"""When there are more, the oldest is dropped."""
PLACES = ("x", "y", "z")
ANGLES = ("facing", "angle", "aim", "yaw", "pitch", "heading")
"""Names by which columns per seat or entity are taken for places and angles, unless the caller names others."""
STATE = "state"
"""A column per seat that says what a seat is (dead, alive): from one to another nothing is interpolated."""
JUMP = 64 * UNIT
"""Further than this in a tick is a leap, in the column's units (64 of a 24.8 place)."""
EXTRAPOLATED_MAX_S = 0.25
BEHIND_TICKS = 2.0
"""How far the playhead is behind the line on a quiet link."""
JITTERS = 3.0
"""A frame that is so many mean deviations late is still in time for the playhead."""
BEHIND_MAX_S = 0.25
"""The playhead is never further behind than this (or two ticks): lag compensation rewinds no further."""
SLEW = 0.1
"""How much faster or slower than the clock the playhead may run."""


@attrs.frozen
class _Column:
    """How one shared column is drawn."""

    name: str
    start: int
    stop: int
    unit: int
    """What one on the wire is in the column's units."""
    turn: int
    """A full turn on the wire; 0: no angle."""
    moves: bool
    per_seat: bool


class Interpolator:
    """The last 32 frames of one seat, in any order they came. The caller clears it when the room's epoch rises."""

    def __init__(
        self,
        layout: ViewLayout,
        tick_hz: int,
        places: Sequence[str] = PLACES,
        angles: Sequence[str] = ANGLES,
        jump: int = JUMP,
    ) -> None:
        self._ahead_max = EXTRAPOLATED_MAX_S * tick_hz
        self._jump = jump
        self._ticks: list[int] = []
        self._frames: dict[int, Frame] = {}
        self._state: slice | None = None
        self._columns: list[_Column] = []
        for field in layout.shared:
            whole = slice(field.start, field.start + field.count)
            one_by_one = field.per != "room"
            if field.name == STATE and field.per == "seat":
                self._state = whole
            self._columns.append(
                _Column(
                    field.name,
                    whole.start,
                    whole.stop,
                    unit=1 << field.shift,
                    turn=1 << field.bits if field.name in angles else 0,
                    moves=one_by_one and (field.name in places or field.name in angles),
                    per_seat=field.per == "seat",
                )
            )

    def __len__(self) -> int:
        return len(self._ticks)

    def add(self, frame: Frame) -> None:
        """Keep a decoded frame; one of a tick that is known already changes nothing."""
        if frame.tick in self._frames:
            return
        insort(self._ticks, frame.tick)
        self._frames[frame.tick] = frame
        if len(self._ticks) > FRAMES_KEPT:
            del self._frames[self._ticks.pop(0)]

    def clear(self) -> None:
        """Forget all frames."""
        self._ticks.clear()
        self._frames.clear()

    def at(self, tick: float) -> dict[str, list[float]]:
        """Every shared column at this moment of the room, by name, in the units of the game's column.

        Before the oldest frame it is the oldest; without any frame it is empty.
        """
        ticks = self._ticks
        if not ticks:
            return {}
        after = bisect_right(ticks, tick)
        if not after or len(ticks) == 1:
            only = self._frames[ticks[0]]
            return self._between(only, only, 0.0)
        after = min(after, len(ticks) - 1)
        older, newer = self._frames[ticks[after - 1]], self._frames[ticks[after]]
        tick = min(tick, newer.tick + self._ahead_max)
        return self._between(older, newer, (tick - older.tick) / (newer.tick - older.tick))

    def _between(self, older: Frame, newer: Frame, share: float) -> dict[str, list[float]]:
        """`share` of the way from one frame to the next; more than 1 goes on beyond it."""
        steady = newer if share >= 1.0 else older
        changed = self._changed(older, newer)
        leap = self._jump * (newer.tick - older.tick)
        view: dict[str, list[float]] = {}
        for column in self._columns:
            unit, turn = column.unit, column.turn
            drawn = [float(value * unit) for value in steady.shared[column.start : column.stop]]
            view[column.name] = drawn
            if not column.moves or older is newer:
                continue
            for at, index in enumerate(range(column.start, column.stop)):
                start, way = older.shared[index], newer.shared[index] - older.shared[index]
                if turn:
                    way = (way + turn // 2) % turn - turn // 2
                if not way or (column.per_seat and at in changed) or (not turn and abs(way) * unit > leap):
                    continue
                there = start + way * share
                drawn[at] = (there % turn if turn else there) * unit
        return view

    def _changed(self, older: Frame, newer: Frame) -> set[int]:
        """Seats whose state is another one."""
        if self._state is None or older.shared[self._state] == newer.shared[self._state]:
            return set()
        states = zip(older.shared[self._state], newer.shared[self._state], strict=True)
        return {seat for seat, (before, after) in enumerate(states) if before != after}


class Playhead:
    """The moment of the room that is being drawn: behind the tick line, and never going back."""

    def __init__(self, clock: TickClock) -> None:
        self._clock = clock
        self._tick = 0.0
        self._moved_at: float | None = None

    def restart(self) -> None:
        """Begin anew where the clock says: another connection or another owner of the room."""
        self._moved_at = None

    @property
    def behind_ticks(self) -> float:
        """How far behind the line it should be: two ticks, or one and three mean deviations of the frames' arrival."""
        hz = self._clock.tick_hz
        for_jitter = 1.0 + JITTERS * self._clock.jitter_ms / 1000.0 * hz
        return max(BEHIND_TICKS, min(for_jitter, BEHIND_MAX_S * hz))

    def at(self, now: float) -> float:
        """Where it is at `now`, as a tick with a fraction. A frame must have come."""
        hz = self._clock.tick_hz
        wanted = self._clock.tick_at(now) - self.behind_ticks
        if self._moved_at is None:
            self._tick = wanted
        else:
            run = max(0.0, now - self._moved_at) * hz
            ahead = self._tick + run - wanted
            if abs(ahead) > BEHIND_MAX_S * hz:  # a pause: the picture stood, or it has to catch up
                self._tick = max(self._tick, wanted)
            else:
                self._tick += run - max(-SLEW * run, min(SLEW * run, ahead))
        self._moved_at = now
        return self._tick
