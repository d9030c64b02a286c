"""Prediction: the player's own seat where it will be once the server has applied all inputs sent so far.

    frame of tick T, last_seq S  ──►  own columns at T ──► replay S+1, S+2 … newest ──► what the player sees at once
                                          │
                    what was predicted after S: the distance is the *correction*

The game's own `predict` is the client's side of its `step`: while nobody else interferes, the state after input S is
what was predicted, to the last bit, and the correction is zero. It is not zero when somebody interfered (a hit, a
respawn), and when the server had to *repeat* an input because the next one was late: prediction counts inputs, the
server ticks, and each repeat moves the seat one tick further than its inputs told. Nothing can foresee a repeat, so the
remedy is to make them rare (`netcode.steering`: one input in 400 is late on purpose, lost packets on top). A repeat
costs one correction of one tick's way, once: the next frame's state already holds it, and inputs after it are replayed
from there. Guessing repeats from the depth of the queue would be wrong more often than it would be right.

A correction is not shown as a leap. What is drawn is the predicted state plus an error that is set so that nothing
moves at the moment of the correction, and that halves every 35 ms (an eighth is left after 100). A leap further than
`jump` is a teleport (death, respawn): shown at once, and counted apart.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np

from game.api import RowGame
from game.view import Field, view_layout
from netcode.frame import Frame
from netcode.inputs import UNACKED_MAX
from netcode.interpolate import JUMP

HALVES_IN_S = 0.035
RECENT = 256
PLACES = ("x", "y")


@attrs.define
class Corrections:
    """How far predictions were off, in the units of the game's columns."""

    compared: int = 0
    """Frames that were compared with what had been predicted for the same inputs."""
    count: int = 0
    """Those that differed; teleports are not among them."""
    sum: float = 0.0
    max: float = 0.0
    jumps: int = 0
    """Teleports: further than `jump`."""
    recent: deque[float] = attrs.Factory(lambda: deque(maxlen=RECENT))
    """The latest that differed; older ones are dropped."""


@attrs.frozen
class _Sent:
    """One input that no frame has acknowledged, and the own columns after it."""

    seq: int
    wanted: dict[str, int]
    after: dict[str, int]


class Predictor:
    """Own columns of one seat, ahead of the server. `game` is an instance of the room's options and tick rate.

    `places`: the columns that are compared and smoothed (those of them that the seat sees); without any of them the
    game's `exact` columns. Times are seconds of the caller's monotonic clock.
    """

    def __init__(self, game: RowGame, seat: int, places: Sequence[str] = PLACES, jump: int = JUMP) -> None:
        self.state: dict[str, int] | None = None
        """Own columns after all inputs that were sent; None before the first frame."""
        self.corrections = Corrections()
        self._game, self._seat, self._jump = game, seat, jump
        layout = view_layout(game)
        self._own = layout.own
        self._per_seat = tuple(field for field in layout.shared if field.per == "seat")
        self._shapes = {column.name: (column.dtype, column.shape(game.seats)) for column in game.columns}
        seen = {field.name for field in (*self._own, *self._per_seat)}
        named = tuple(name for name in places if name in seen)
        self._places = named or tuple(field.name for field in self._own if field.exact)
        self._straight = bool(named)
        self._waiting: deque[_Sent] = deque(maxlen=UNACKED_MAX)
        self._base: dict[str, int] | None = None
        self._base_seq = 0
        self._view: _View | None = None
        self._period_s = 1.0 / game.tick_hz
        self._sent_at = -math.inf
        self._error: dict[str, float] = dict.fromkeys(self._places, 0.0)
        self._error_at = 0.0

    def restart(self, last_seq: int) -> None:
        """Another connection or another owner of the room: inputs up to `last_seq` are settled, the rest wait on."""
        self._drop(last_seq)
        self._base = None

    def sent(self, seq: int, wanted: Mapping[str, int], now: float) -> None:
        """Input `seq` was sent: the player sees it at once."""
        fields = dict(wanted)
        after = dict(self.state or {})
        if self.state is not None and self._view is not None:
            after = self.state = self._game.predict(self.state, self._view, fields)
        self._waiting.append(_Sent(seq, fields, after))
        self._sent_at = now

    def frame(self, frame: Frame, now: float) -> None:
        """The server's word, newer than all before: start from it and replay what it has not applied yet."""
        told = self._told(frame)
        predicted = self._after(frame.last_seq)
        before = self.smoothed(now) if self.state is not None else {}
        untouched = self._view is not None and not self._view.touched
        self._drop(frame.last_seq)
        self._base, self._base_seq, self._view = told, frame.last_seq, _View(frame, self._shapes)
        if predicted is None or told != predicted or not untouched:
            self._replay()
        if predicted is not None:
            self._count(self._distance(told, predicted))
        self._error = dict.fromkeys(self._places, 0.0)
        self._error_at = now
        if before:
            drawn = self.smoothed(now)
            error = {name: before[name] - drawn[name] for name in drawn}
            if self._length(list(error.values())) <= self._jump:
                self._error = error

    def smoothed(self, now: float) -> dict[str, float]:
        """The places to draw: between the last two predicted states as the time since the last input goes, plus what
        is left of the errors. Empty before the first frame."""
        if self.state is None:
            return {}
        newest = self.state
        previous = self._waiting[-2].after if len(self._waiting) > 1 else self._base
        if not self._waiting or not previous:
            previous = newest
        share = min(max((now - self._sent_at) / self._period_s, 0.0), 1.0)
        left = 0.5 ** (max(0.0, now - self._error_at) / HALVES_IN_S)
        return {
            name: previous[name] + (newest[name] - previous[name]) * share + self._error[name] * left
            for name in self._places
        }

    def _told(self, frame: Frame) -> dict[str, int]:
        """Every column per seat that the seat sees, exact where the frame has the lost bits."""
        shared, own, seat = frame.shared, frame.own, self._seat
        told = {field.name: shared[field.start + seat] << field.shift for field in self._per_seat}
        for field in self._own:
            low = own[field.start]
            told[field.name] = told[field.name] | low if field.exact else low << field.shift
        return told

    def _after(self, seq: int) -> dict[str, int] | None:
        """What was predicted for the state after input `seq`; None when that was never predicted."""
        if self._base is None:
            return None
        if seq == self._base_seq:
            return self._base
        return next((sent.after for sent in self._waiting if sent.seq == seq), None)

    def _drop(self, last_seq: int) -> None:
        while self._waiting and self._waiting[0].seq <= last_seq:
            self._waiting.popleft()

    def _replay(self) -> None:
        assert self._base is not None
        assert self._view is not None
        state = self._base
        for _ in range(len(self._waiting)):
            sent = self._waiting.popleft()
            state = self._game.predict(state, self._view, sent.wanted)
            self._waiting.append(_Sent(sent.seq, sent.wanted, state))
        self.state = state

    def _count(self, distance: float) -> None:
        books = self.corrections
        books.compared += 1
        if distance > self._jump:
            books.jumps += 1
        elif distance > 0:
            books.count += 1
            books.sum += distance
            books.max = max(books.max, distance)
            books.recent.append(distance)

    def _distance(self, told: Mapping[str, int], predicted: Mapping[str, int]) -> float:
        return self._length([float(told[name] - predicted[name]) for name in self._places])

    def _length(self, parts: Sequence[float]) -> float:
        """Of places: the straight way; of other columns: the largest difference."""
        return math.hypot(*parts) if self._straight else max(map(abs, parts), default=0.0)


class _View(Mapping[str, np.ndarray]):
    """A frame's shared columns as a game's `predict` sees them, made when they are asked for.

    Each has the column's own type and the shape of one room: (), (seats,) or (n,).
    """

    def __init__(self, frame: Frame, shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        self.touched = False
        """Whether anything was asked for: then what was predicted from it depends on the others, too."""
        self._frame, self._shapes = frame, shapes
        self._fields: dict[str, Field] = {field.name: field for field in frame.layout.shared}
        self._made: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        self.touched = True
        if name not in self._made:
            field = self._fields[name]
            dtype, shape = self._shapes[name]
            wire = self._frame.shared[field.start : field.start + field.count]
            self._made[name] = (np.array(wire, np.int64) << field.shift).astype(dtype).reshape(shape)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        self.touched = True
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)
