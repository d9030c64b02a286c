"""When so many players are carried: the rule by which capacity is judged, and the search for the most that keep it.

    every client gets 95 % of the ticks' frames          at 20 Hz: 19 frames a second
    the worst client's p99 interval is 1.5 periods       at 20 Hz: 75 ms
    everybody can play

Nothing is averaged over clients: one who sees a game that stutters does not care how the others are.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

FRAMES_SHARE = 0.95
PERIODS = 1.5
CPU_GOAL_US = 10.0
FLOOR_RATIO_GOAL = 3.0
PLAYERS_MAX = 20_000
BOTS_LATE_MS = 10.0
"""Bots whose own loop is later than that (p99) see intervals that are not the server's."""


@attrs.frozen
class Rule:
    """What every client must see."""

    frames_per_s_min: float
    worst_client_p99_ms: float

    @classmethod
    def at(cls, tick_hz: int) -> Rule:
        """The rule for this tick rate."""
        return cls(round(FRAMES_SHARE * tick_hz, 3), round(PERIODS * 1000 / tick_hz, 3))

    def broken(self, report: Mapping[str, Any]) -> list[str]:
        """What of the rule a report of the bots does not keep, in words; a figure that is not known does not."""
        told = []
        slowest, interval_ms = report["frames_per_s"]["min"], report["frame_interval_ms"]["worst_client_p99"]
        if slowest is None or slowest < self.frames_per_s_min:
            told.append(f"a client got {slowest or 0:.1f} frames/s, not {self.frames_per_s_min:g}")
        if interval_ms is None:
            told.append("no interval between frames is known")
        elif interval_ms > self.worst_client_p99_ms:
            told.append(f"a client's p99 interval was {interval_ms:.0f} ms, over {self.worst_client_p99_ms:g}")
        if report["could_not_play"]:
            told.append(f"{report['could_not_play']} of {report['players']} could not play")
        return told


def judged(report: Mapping[str, Any], floor: Mapping[str, Any] | None, rule: Rule) -> dict[str, Any]:
    """A report of the bots with what is made of it: the floor beside it, the core's share, what of the rule it broke.

    `floor`: see `bench.floor.figures`; None where there is none to compare with.
    """
    cpu_us, frames_per_s = report["server"]["cpu_us_per_frame"], report["frames_per_s"]["mean"]
    below_us = None if floor is None else floor["floor_us_per_frame"]
    busy = None if cpu_us is None or frames_per_s is None else cpu_us * frames_per_s * report["players"] / 1e6
    return {
        **report,
        "floor_us_per_frame": below_us,
        "floor_ratio": round(cpu_us / below_us, 3) if cpu_us is not None and below_us else None,
        "floor": floor,
        "server_core_share": None if busy is None else round(busy, 3),
        "broken": (broken := rule.broken(report)),
        "limited_by": _limit(report) if broken else None,
    }


def _limit(report: Mapping[str, Any]) -> str:
    """Who broke the rule: the server, or bots that were late themselves, which says nothing about the server."""
    late_ms = report["generator_late_ms"]["p99"]
    return "bots" if late_ms is not None and late_ms > BOTS_LATE_MS else "server"


class Search:
    """Finds the largest number that holds, to a step, when all below one that holds do: doubling, then halving."""

    def __init__(self, first: int, step: int) -> None:
        """`first` is tried first; both are multiples of `step`."""
        self.best = 0
        """The largest that held so far; 0: none did."""
        self._step = step
        self._first = first
        self._failed: int | None = None

    def next(self) -> int | None:
        """What to try now; None when it is found."""
        if self._failed is None:
            wanted = min(self.best * 2, PLAYERS_MAX // self._step * self._step) if self.best else self._first
            return wanted if wanted > self.best else None
        if self._failed - self.best <= self._step:
            return None
        return (self.best + self._failed) // 2 // self._step * self._step

    def tried(self, number: int, held: bool) -> None:
        """What came of it."""
        if held:
            self.best = max(self.best, number)
        else:
            self._failed = number if self._failed is None else min(self._failed, number)


def most_held(runs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether more than half of some runs kept the rule."""
    return sum(not run["broken"] for run in runs) * 2 > len(runs)


def median_run(runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The run in the middle by processor time a frame: figures of one run, that belong together."""
    by_cost = sorted(runs, key=lambda run: run["server"]["cpu_us_per_frame"] or float("inf"))
    return by_cost[(len(by_cost) - 1) // 2]


def spread(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Least, median and most of the figures that count, over some runs."""
    figures = {
        "cpu_us_per_frame": [run["server"]["cpu_us_per_frame"] for run in runs],
        "floor_us_per_frame": [run["floor_us_per_frame"] for run in runs],
        "floor_ratio": [run["floor_ratio"] for run in runs],
        "frames_per_s_min": [run["frames_per_s"]["min"] for run in runs],
        "worst_client_p99_ms": [run["frame_interval_ms"]["worst_client_p99"] for run in runs],
        "input_rtt_p50_ms": [run["input_rtt_ms"]["p50"] for run in runs],
        "tick_lateness_p99_ms": [run["tick_lateness_ms"]["p99"] for run in runs],
    }
    return {name: _spread([value for value in values if value is not None]) for name, values in figures.items()}


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {"min": None, "median": None, "max": None}
    return {"min": min(values), "median": round(statistics.median(values), 3), "max": max(values)}
