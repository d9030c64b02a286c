"""Joins beside ticks: what is called late, and a small real run."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.bench.joins import judged, measure


def figures(late_ms: float = 3.0, skipped: int = 0, cpu_s: float = 1.0) -> dict[str, Any]:
    late = {"p50": 0.5, "p99": late_ms / 2, "max": late_ms}
    return {"tick_lateness_ms": late, "ticks_skipped": skipped, "ticks_overrun": 0, "cpu_s": cpu_s}


def report(idle: int = 0) -> dict[str, Any]:
    told = {"p50": 10.0, "p99": 20.0, "max": 30.0}
    same = dict.fromkeys(("join_ms", "frame_interval_ms", "generator_late_ms"), told)
    return {"players": 100, "could_not_play": idle, "inputs": {"lost": 0}, "errors": {}, **same}


def faults(before: dict[str, Any], after: dict[str, Any], seen: dict[str, Any], came: dict[str, Any]) -> list[str]:
    found: list[str] = judged(before, after, seen, came, 2.0, 20)["faults"]
    return found


def test_what_is_wrong_is_said() -> None:
    good = figures(), figures(late_ms=25.0), report(), report()
    assert faults(*good) == []
    assert faults(figures(skipped=3), figures(late_ms=26.0, skipped=5), *good[2:]) == [
        "a tick began 26 ms late",
        "2 ticks were skipped",
    ]
    assert faults(*good[:2], report(), report(idle=4)) == ["4 of 100 could not play"]


def test_what_the_server_did_before_does_not_count() -> None:
    run = judged(figures(cpu_s=5.0, skipped=7), figures(cpu_s=6.5, skipped=7), report(), report(), 2.0, 20)
    assert (run["ticks_skipped"], run["server_core_share"], run["joined_per_s"]) == (0, 0.75, 50.0)


def test_real_players_come_to_others() -> None:
    told = measure(players=24, per_s=60.0, there=10, tick_hz=20, repeats=1, calm_s=0.1)
    (run,) = told["runs"]
    assert run["errors"] == {}
    assert run["inputs_lost"] == 0
    assert run["joining_s"] >= 23 / 60.0, "the last one comes when it is to come"
    assert told["join_p99_ms"] == pytest.approx(run["join_ms"]["p99"])
    assert 0 < run["join_ms"]["p50"] <= run["join_ms"]["max"]
