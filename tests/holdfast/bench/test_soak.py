"""Soaks: what is called growth, what is called late, and a short real one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from holdfast.bench.soak import growth, measure, sample_of, verdict

INPUTS = {"sent": 100, "acknowledged": 100, "lost": 0, "duplicated": 0}


def points(per_hour: float, noise_mb: float = 0.5, minutes: int = 15) -> list[tuple[float, float]]:
    chance = random.Random(7)
    at_s = [at * 10.0 for at in range(minutes * 6)]
    return [(at, 120.0 * (1 + per_hour * at / 3600) + chance.gauss(0, noise_mb)) for at in at_s]


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        (points(0.0, 0.1), "flat"),
        (points(-0.3), "flat"),
        (points(0.05), "grows"),
        (points(0.02, 0.01), "grows"),
        (points(0.009, 0.01), "flat"),
        (points(0.01, 1.0), "not known"),
        (points(0.02, 2.0, minutes=1), "not known"),
        ([], "not known"),
        ([(1.0, 100.0), (2.0, 200.0)], "not known"),
        ([(1.0, 100.0)] * 5, "not known"),
    ],
)
def test_memory_grows_only_beyond_doubt_and_is_flat_only_then(measured: list[tuple[float, float]], told: str) -> None:
    assert growth(measured)["memory"] == told


def test_the_trend_is_a_share_an_hour() -> None:
    trend = growth([(at * 600.0, 100.0 + at) for at in range(7)])
    assert trend["growth_per_hour"] == pytest.approx(6 / 103, abs=1e-4)
    assert trend["growth_low"] == trend["growth_high"] == trend["growth_per_hour"], "all of them are on the line"


def samples(late_ms: float = 2.0, grown_mb: float = 0.0) -> list[dict[str, Any]]:
    return [
        {"at_s": at * 10.0, "rss_mb": 100 + grown_mb * max(0, at - 10), "late_max_ms": late_ms if at == 3 else 1.0}
        for at in range(20)
    ]


def test_what_is_wrong_is_said() -> None:
    assert verdict(samples(), 20, 0, INPUTS)["faults"] == []
    assert verdict(samples(late_ms=25.0), 20, 0, INPUTS)["faults"] == []
    told = verdict(samples(late_ms=26.0), 20, 0, INPUTS)
    assert told["faults"] == ["ticks were late in 1 of 20 samples, by up to 26 ms"]
    assert verdict(samples(), 20, 3, {**INPUTS, "lost": 2})["faults"] == ["3 bots could not play", "2 inputs lost"]
    (fault,) = verdict(samples(grown_mb=1.0), 20, 0, INPUTS)["faults"]
    assert fault.startswith("memory grows by ")


def test_a_look_keeps_what_is_judged() -> None:
    figures = dict.fromkeys(("rss_mb", "sessions", "rooms", "ticks_overrun", "ticks_skipped"), 1.23456)
    figures |= dict.fromkeys(("frames_sent", "frames_dropped", "cpu_s"), 7)
    sample = sample_of(12.34, {**figures, "tick_lateness_ms": {"p50": 1, "p99": 2.0, "max": 3.0}, "pid": 5})
    assert sample["rss_mb"] == 1.235
    assert (sample["at_s"], sample["late_p99_ms"], sample["late_max_ms"]) == (12.3, 2.0, 3.0)


def test_players_come_and_go_on_a_real_server() -> None:
    seen: list[Any] = []
    told = measure(3.0, 4, 1.0, 20, look_every_s=0.5, groups=2, show=seen.append)
    assert told["stays"] >= 2
    assert (told["could_not_play"], told["errors"], told["inputs"]["lost"]) == (0, {}, 0)
    assert told["samples"] == seen
    assert told["inputs"]["acknowledged"] > 0
    assert all(sample["rss_mb"] > 10 for sample in seen)
    assert all(line["late_ms"] >= told["late_limit_ms"] for line in told["late_ticks"])
