"""What a run says of the rule, and the search for how many players keep it.

    rule    `holdfast.bench.rule`: at 20 Hz every client ≥ 19 frames/s, worst client's p99 interval ≤ 75 ms; nobody lost
    search  first try ─► while it holds: more, in growing strides ─► one that breaks ─► halves, until as near as wanted

A run in which the generator itself was late or had no processor time left says nothing against the server: it is
neither kept nor broken, and a search that ends at one has found a lower bound. The search is another than that of
`holdfast.bench.rule`, which begins far below: this one begins where the last one ended, and is soon done.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from holdfast.bench.rule import Rule

RULE = Rule.at(20)
GENERATOR_LATE_MAX_MS = 10.0
"""p99 of the generator's own lateness, above which a broken rule may be its own doing."""
GENERATOR_CPU_MAX = 0.9
STEP = 10
"""A room: nobody is measured with half of one."""


class Verdict(enum.Enum):
    """What a run says of the rule."""

    KEPT = "kept"
    BROKEN = "broken"
    GENERATOR = "the generator was the limit"


def judge(report: Mapping[str, Any]) -> Verdict:
    """By the rule; `report`: of `swarm.py` or `holdfast bots`, empty when not all could come in."""
    if not report:
        return Verdict.BROKEN
    if not RULE.broken(report) and not report["errors"]:
        return Verdict.KEPT
    late = report["generator_late_ms"]["p99"]
    busy = report.get("generator_cpu_share")
    was_late = late is not None and late > GENERATOR_LATE_MAX_MS
    return Verdict.GENERATOR if was_late or (busy or 0.0) > GENERATOR_CPU_MAX else Verdict.BROKEN


@attrs.define
class Search:
    """Asks for runs until it knows the most players that keep the rule, to `near` of them."""

    start: int
    near: float = 0.05
    kept: int = 0
    """The most that have kept it so far."""
    broken: int | None = None
    """The fewest that have not."""
    by_generator: bool = False
    """Whether it was the generator that did not let more be shown."""
    _tried: int = 0

    def next(self) -> int | None:
        """Players of the next run; None: it is known."""
        stride = _rooms(self.start * 0.1) << max(0, self._tried - 1)
        if self.broken is None:
            return self.kept + stride if self.kept else _rooms(self.start)
        if self.broken - self.kept <= max(STEP, self.near * self.broken):
            return None
        if not self.kept:
            return max(self.broken - stride, _rooms(self.broken // 2))
        return min(self.broken - STEP, _rooms((self.kept + self.broken) / 2))

    def tell(self, players: int, verdict: Verdict) -> None:
        """What the run showed."""
        self._tried += 1
        if verdict is Verdict.KEPT:
            self.kept = max(self.kept, players)
        elif self.broken is None or players < self.broken:
            self.broken = players
            self.by_generator = verdict is Verdict.GENERATOR


def _rooms(players: float) -> int:
    return max(STEP, round(players / STEP) * STEP)
