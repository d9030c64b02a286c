"""What the node counts about itself, for `stats`, logs and tests: plain numbers."""

from __future__ import annotations

import math
import os
import time
from bisect import bisect_left
from typing import Any

import attrs
import numpy as np

from netcode.seal import DropCounters
from server.limits import LimitCounters

LATENESS_KEPT = 65536
"""Tick starts remembered: 8 minutes at 128 Hz and one phase; older ones are forgotten."""


TICK_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
TICKS_KEPT = 1024


class Recent:
    """The last values of a series and when they were, in memory that is all taken at the start: a node does not grow
    while it fills."""

    def __init__(self, kept: int) -> None:
        self._when, self._values = np.full(kept, -np.inf), np.full(kept, 0.0)
        self._count = 0

    def __len__(self) -> int:
        return min(self._count, len(self._when))

    def add(self, now: float, value: float) -> None:
        """One more; the oldest is forgotten."""
        at = self._count % len(self._when)
        self._when[at], self._values[at] = now, value
        self._count += 1

    def since(self, when: float) -> list[float]:
        """Those since then, smallest first."""
        found: list[float] = np.sort(self._values[self._when >= when]).tolist()
        return found


@attrs.define
class PhaseFigures:
    """The ticks of one phase of a game."""

    counts: list[int] = attrs.field(factory=lambda: [0] * (len(TICK_BUCKETS_S) + 1))
    """How many took at most as long as each of TICK_BUCKETS_S says (and longer than the one before); the last: longer
    than all."""
    busy_s: float = 0.0
    recent: Recent = attrs.field(factory=lambda: Recent(TICKS_KEPT))
    """Seconds of the last ones."""

    def took(self, now: float, took_s: float) -> None:
        """One more."""
        self.counts[bisect_left(TICK_BUCKETS_S, took_s)] += 1
        self.busy_s += took_s
        self.recent.add(now, took_s)

    def since(self, when: float) -> list[float]:
        """Seconds of each tick since then, shortest first."""
        return self.recent.since(when)


@attrs.define
class Metrics:
    """Counters of one node since its start."""

    ticks: int = 0
    ticks_busy_s: float = 0.0
    """Seconds spent in ticks; one tick of all rooms is `phases` of them."""
    ticks_overrun: int = 0
    """Ticks of a stage that took longer than the whole tick period."""
    ticks_skipped: int = 0
    """Wall-clock slots given up because the node was too far behind; they use up no tick number."""
    frames_sent: int = 0
    frames_dropped: int = 0
    """Frames that the socket did not take."""
    frames_too_large: int = 0
    """Frames that went over the control channel because they do not fit into a datagram."""
    inputs_applied: int = 0
    inputs_malformed: int = 0
    datagrams_truncated: int = 0
    """Datagrams dropped because they were longer than any of ours."""
    links_too_slow: int = 0
    sessions_opened: int = 0
    sessions_lost: int = 0
    """Times that a session lost its connection."""
    sessions_resumed: int = 0
    rooms_quarantined: int = 0
    rooms_rescued: int = 0
    """Rooms of dead nodes that go on here."""
    results_retried: int = 0
    drops: DropCounters = attrs.field(factory=DropCounters)
    limits: LimitCounters = attrs.field(factory=LimitCounters)
    lateness: Recent = attrs.field(factory=lambda: Recent(LATENESS_KEPT))
    """Seconds that every tick started late."""
    phases: dict[tuple[str, int], PhaseFigures] = attrs.field(factory=dict)
    """By game and phase of its tick."""
    load_since: tuple[float, float] = (0.0, 0.0)
    """When `load` was asked for last, and `ticks_busy_s` then."""

    def tick_started(self, now: float, late_s: float) -> None:
        """A tick starts `late_s` behind its deadline."""
        self.ticks += 1
        self.lateness.add(now, late_s)

    def tick_took(self, game: str, phase: int, now: float, took_s: float) -> None:
        """The rooms of one phase of a game have made a tick."""
        figures = self.phases.get((game, phase))
        if figures is None:
            figures = self.phases[game, phase] = PhaseFigures()
        figures.took(now, took_s)

    def late(self, now: float, window_s: float) -> list[float]:
        """How late ticks started over the last `window_s`, in seconds, in order."""
        return self.lateness.since(now - window_s)

    def load(self, now: float) -> float:
        """Share of the time since the last call that was spent in ticks, 0 to 1."""
        before_at, before_s = self.load_since
        self.load_since = (now, self.ticks_busy_s)
        return min(1.0, (self.ticks_busy_s - before_s) / (now - before_at)) if now > before_at else 0.0

    def figures(self, now: float, window_s: float) -> dict[str, Any]:
        """Everything by name; lateness over the last `window_s`, in ms."""
        late = self.late(now, window_s)
        counted = {
            field.name: getattr(self, field.name)
            for field in attrs.fields(Metrics)
            if field.name not in ("drops", "limits", "lateness", "load_since", "phases")
        }
        return {
            **counted,
            "drops": attrs.asdict(self.drops),
            "limits": attrs.asdict(self.limits),
            "tick_lateness_ms": {
                "p50": percentile(late, 0.50) * 1000,
                "p99": percentile(late, 0.99) * 1000,
                "max": (late[-1] if late else 0.0) * 1000,
            },
            "cpu_s": time.process_time(),
            "rss_mb": rss_mb(),
            "pid": os.getpid(),
        }


def percentile(ordered: list[float], share: float) -> float:
    """The value that `share` of an ordered list lies at or below; 0 for an empty one."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def rss_mb() -> float:
    """Resident memory of this process in MB (10^6 bytes); 0 where /proc is not there."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return 0.0
