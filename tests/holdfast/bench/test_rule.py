"""When so many players are carried, and how the most are found."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.bench.rule import Rule, Search, judged, median_run, most_held, spread


def report(cpu_us: float | None = 20.0, slowest: float | None = 20.0, worst_ms: float | None = 60.0) -> dict[str, Any]:
    return {
        "players": 1000,
        "could_not_play": 0,
        "frames_per_s": {"min": slowest, "mean": 20.0},
        "frame_interval_ms": {"worst_client_p99": worst_ms},
        "input_rtt_ms": {"p50": 40.0},
        "tick_lateness_ms": {"p99": 1.0},
        "generator_late_ms": {"p99": 9.0},
        "server": {"cpu_us_per_frame": cpu_us},
    }


def test_the_rule_follows_the_tick_rate() -> None:
    assert Rule.at(20) == Rule(19.0, 75.0)
    assert Rule.at(30) == Rule(28.5, 50.0)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (report(), []),
        (report(slowest=19.0, worst_ms=75.0), []),
        (report(slowest=18.9), ["a client got 18.9 frames/s, not 19"]),
        (report(worst_ms=75.4), ["a client's p99 interval was 75 ms, over 75"]),
        (
            report(slowest=None, worst_ms=None),
            ["a client got 0.0 frames/s, not 19", "no interval between frames is known"],
        ),
        ({**report(), "could_not_play": 3}, ["3 of 1000 could not play"]),
    ],
)
def test_each_client_must_see_the_game(seen: dict[str, Any], told: list[str]) -> None:
    assert Rule.at(20).broken(seen) == told


@pytest.mark.parametrize("most", [0, 90, 500, 1000, 1300, 4999, 5000, 30_000])
def test_the_search_finds_the_most_to_a_step(most: int) -> None:
    search, tried = Search(1000, 500), []
    while (number := search.next()) is not None:
        tried.append(number)
        search.tried(number, number <= most)
    assert search.best == min(most // 500 * 500, 20_000)
    assert len(tried) == len(set(tried)) <= 10
    assert all(number % 500 == 0 for number in tried)


def test_a_report_is_judged_beside_its_floor() -> None:
    told = judged(report(cpu_us=9.0), {"floor_us_per_frame": 3.0}, Rule.at(20))
    assert (told["floor_us_per_frame"], told["floor_ratio"]) == (3.0, 3.0)
    assert told["server_core_share"] == pytest.approx(9.0 * 20 * 1000 / 1e6)
    assert told["broken"] == []
    blind = judged(report(cpu_us=None), None, Rule.at(20))
    assert (blind["floor_us_per_frame"], blind["floor_ratio"], blind["server_core_share"]) == (None, None, None)


def test_bots_that_are_late_themselves_say_nothing_about_the_server() -> None:
    rule, floor = Rule.at(20), {"floor_us_per_frame": 3.0}
    assert judged(report(), floor, rule)["limited_by"] is None
    assert judged(report(worst_ms=90.0), floor, rule)["limited_by"] == "server"
    assert judged({**report(worst_ms=90.0), "generator_late_ms": {"p99": 10.1}}, floor, rule)["limited_by"] == "bots"
    assert judged({**report(worst_ms=90.0), "generator_late_ms": {"p99": None}}, floor, rule)["limited_by"] == "server"


def test_some_runs_are_one_figure_by_their_median_and_their_majority() -> None:
    runs = [judged(report(cpu_us=cpu_us), {"floor_us_per_frame": 3.0}, Rule.at(20)) for cpu_us in (12.0, 9.0, 10.0)]
    assert median_run(runs)["server"]["cpu_us_per_frame"] == 10.0
    assert spread(runs)["cpu_us_per_frame"] == {"min": 9.0, "median": 10.0, "max": 12.0}
    assert most_held(runs)
    runs[0]["broken"] = runs[1]["broken"] = ["too slow"]
    assert not most_held(runs)
    assert not most_held(runs[1:]), "half of them is not most of them"
