"""The tick line: when each tick's frame comes, learnt from the frames that did.

    arrival                 . o            o  a frame: (tick, arrival)
      ▲          .  o    o /               /  the line: arrival = offset + tick / tick_hz
      │    o  . o    o /                      under all frames that came lately: what is above it was delayed
      │   o /   / o
      │ /  o /                             lateness = arrival - line ≥ 0
      └──────────────► tick

A frame is never early, so the least delayed one of the last seconds tells the pace of the server's clock as this
client sees it (a minimum filter, as NTP's clock filter, RFC 5905 section 10). It is released over two windows of a
second, so drift and a path that got longer are followed; four frames in a row that are later than two ticks and 50 ms
mean that the server's time stood still (a pause uses up no tick number) and are believed at once.

Everything that is aimed at the server counts on this line: no clock of the server's is ever read, and none need agree.
Jitter is RFC 3550's (section 6.4.1). Round trips come from Ping and Pong: the best of the last eight.
"""

from __future__ import annotations

import math
from collections import deque

WINDOW_S = 1.0
STEP_TICKS, STEP_S = 2, 0.05
"""A frame later than both together is no jitter, if others are, too."""
STEP_FRAMES = 4
ROUND_TRIPS = 8
_JITTER_GAIN = 1 / 16


class TickClock:
    """The tick line of one room, and the round trip to its server. Times are seconds by a monotonic clock."""

    def __init__(self, tick_hz: int) -> None:
        self.tick_hz = tick_hz
        self.jitter_ms = 0.0
        """Mean deviation of the frames' arrivals from their pace."""
        self._period_s = 1.0 / tick_hz
        self._step_s = STEP_TICKS * self._period_s + STEP_S
        self._window = max(1, round(WINDOW_S * tick_hz))
        self._round_trips: deque[float] = deque(maxlen=ROUND_TRIPS)
        self.restart()

    def restart(self) -> None:
        """Forget the line: another connection or another owner of the room has one of its own."""
        self._newest = -1
        self._previous = 0.0
        self._offset = math.inf
        self._low = self._low_before = math.inf
        self._window_from = 0
        self._late_frames = 0
        self._late_low = math.inf

    @property
    def newest(self) -> int:
        """The highest tick whose frame has come; -1: none has."""
        return self._newest

    def frame(self, tick: int, now: float) -> None:
        """The frame of `tick` has come. Frames that others have overtaken say nothing and are left out."""
        if tick <= self._newest:
            return
        offset = now - tick * self._period_s
        if self._newest < 0:
            self._window_from = tick
        elif (off_pace := abs(offset - self._previous)) < self._step_s:  # else time stood still: no jitter
            self.jitter_ms += (off_pace * 1000.0 - self.jitter_ms) * _JITTER_GAIN
        self._newest, self._previous = tick, offset
        if tick - self._window_from >= self._window:
            self._window_from, self._low_before, self._low = tick, self._low, offset
        elif offset < self._low:
            self._low = offset
        if offset - self._offset > self._step_s:
            self._late(offset)
        else:
            self._late_frames = 0
        self._offset = min(self._low, self._low_before)

    def arrival_of(self, tick: float) -> float:
        """When the frame of `tick` comes, at the least delay. A frame must have come before."""
        assert self._newest >= 0, "no frame has come yet"
        return self._offset + tick * self._period_s

    def tick_at(self, now: float) -> float:
        """The tick whose frame comes now at the least delay: what can be known of the server. A frame must have come
        before."""
        assert self._newest >= 0, "no frame has come yet"
        return (now - self._offset) * self.tick_hz

    def pong(self, sent_at: float, now: float) -> None:
        """The answer to a Ping that left at `sent_at` is here."""
        if now >= sent_at:
            self._round_trips.append(now - sent_at)

    @property
    def rtt_ms(self) -> float | None:
        """The best round trip of the last eight; None before the first."""
        return min(self._round_trips) * 1000.0 if self._round_trips else None

    def _late(self, offset: float) -> None:
        self._late_low = offset if not self._late_frames else min(self._late_low, offset)
        self._late_frames += 1
        if self._late_frames >= STEP_FRAMES:
            self._late_frames = 0
            self._low = self._low_before = self._late_low
            self._window_from = self._newest
