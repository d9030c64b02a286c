"""When an attack has succeeded: somebody else noticed it, or something of it stays behind.

before ──► attack ──► after       a window of what the good players saw each; the attack's is compared with the mean
                                  of its neighbours, for a machine has moods
"""

from __future__ import annotations

from typing import Any

import attrs

RATIO_MAX = 1.10
"""The good players' p99 frame interval under attack, against that without."""
TICK_DELAY_MAX_MS = 2.0
"""What HTTP may delay a tick by."""
RSS_RATIO_MAX = 1.15
"""The server's memory when the attack has settled, against that before it."""


@attrs.frozen(kw_only=True)
class Window:
    """What the good players saw for a while."""

    seconds: float
    frames_per_s: float
    """Frames a player and second, on average."""
    interval_p99_ms: float
    interval_max_ms: float
    late_p99_ms: float
    """How late the good players' own loop was: the attackers take their processor's time, too."""
    errors: dict[str, int]
    """What went wrong in this window, by kind."""
    skipped: int
    """Inputs that were lost on the way to the room in this window."""


@attrs.frozen(kw_only=True)
class Outcome:
    """One attack."""

    name: str
    what: str
    sent: int
    """Units that went out: datagrams, connections, requests."""
    failed: str
    """Why the attacker could not attack; "" when it did."""
    before: Window
    during: Window
    after: Window
    rss_before_mb: float
    rss_peak_mb: float
    rss_after_mb: float
    tick_late_before_ms: dict[str, float]
    """How late ticks started: p50, p99, max."""
    tick_late_during_ms: dict[str, float]
    cpu_share: float
    """Of one processor, used by the server during the attack."""
    refused: dict[str, float]
    """The server's counters that the attack has moved."""

    @property
    def ratio(self) -> float:
        """p99 of the frame interval during the attack, against the mean of before and after."""
        calm_ms = (self.before.interval_p99_ms + self.after.interval_p99_ms) / 2
        return self.during.interval_p99_ms / calm_ms if calm_ms else float("inf")

    @property
    def tick_delay_ms(self) -> float:
        """By how much later ticks started than before, p99."""
        return self.tick_late_during_ms["p99"] - self.tick_late_before_ms["p99"]

    @property
    def rss_ratio(self) -> float:
        """Memory after against before."""
        return self.rss_after_mb / self.rss_before_mb if self.rss_before_mb else float("inf")

    def faults(self, timing: bool = True) -> list[str]:
        """Why the attack has succeeded (or was none); empty when it has not."""
        found = [f"the attacker failed: {self.failed}"] if self.failed else []
        if timing and self.ratio >= RATIO_MAX:
            found.append(f"frame_interval_ms.p99 moved by {self.ratio - 1:+.0%}")
        if timing and self.name.startswith("http_") and self.tick_delay_ms > TICK_DELAY_MAX_MS:
            found.append(f"ticks start {self.tick_delay_ms:.1f} ms later (p99)")
        if timing and self.rss_ratio > RSS_RATIO_MAX:
            found.append(f"memory stays: {self.rss_before_mb:.0f} MB before, {self.rss_after_mb:.0f} MB after")
        for window in (self.during, self.after):
            found += [f"good players: {kind} x {count}" for kind, count in sorted(window.errors.items())]
        lost = self.during.skipped + self.after.skipped
        return [*found, f"good players: {lost} inputs lost"] if lost else found

    def figures(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**attrs.asdict(self), "ratio": self.ratio, "rss_ratio": self.rss_ratio, "faults": self.faults()}
