"""What the journal costs: the arithmetic of pairs, and a run with real servers and bots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.bench.journal import OTHERS_MAX, compare, order, warnings_of
from holdfast.cli import main


def run(pair: int, journal: str, cpu_us: float | None, rtt_p50_ms: float | None = 40.0, **more: Any) -> dict[str, Any]:
    return {
        "pair": pair,
        "journal": journal,
        "cpu_us_per_frame": cpu_us,
        "input_rtt_ms": {"p50": rtt_p50_ms, "p99": 80.0},
        "tick_lateness_ms": {"p50": 1.0, "p99": 2.0},
        "others_share": 0.0,
        "could_not_play": 0,
        "errors": {},
        "warnings": [],
        **more,
    }


def test_a_pair_is_compared_within_itself_and_the_median_of_the_pairs_is_told() -> None:
    """One pair fell into a bad minute: its differences are as good as the others', its figures are not."""
    runs = [
        *(run(1, "process", 33.0, 42.0), run(1, "off", 30.0, 40.0)),
        *(run(2, "off", 60.0, 95.0), run(2, "process", 63.0, 95.5)),
        *(run(3, "process", 31.5, 39.0), run(3, "off", 30.0, 38.0)),
    ]
    told = compare(runs, "process")
    assert [pair["pair"] for pair in told["pairs"]] == [1, 2, 3]
    assert [pair["cpu_ratio"] for pair in told["pairs"]] == [1.1, 1.05, 1.05]
    assert [pair["rtt_p50_more_ms"] for pair in told["pairs"]] == [2.0, 0.5, 1.0]
    assert told["median"]["cpu_ratio"] == 1.05
    assert told["median"]["rtt_p50_more_ms"] == 1.0
    assert told["median"]["rtt_p99_more_ms"] == told["median"]["late_p99_more_ms"] == 0.0
    assert told["goal_met"] == {"cpu_ratio": True, "rtt_p50_more_ms": True}


def test_more_than_the_goal_is_not_met() -> None:
    told = compare([run(1, "disk", 33.1, 40.0), run(1, "off", 30.0, 36.9)], "disk")
    assert told["goal_met"] == {"cpu_ratio": False, "rtt_p50_more_ms": False}


def test_what_is_not_known_is_left_out() -> None:
    runs = [
        *(run(1, "process", None, 40.0), run(1, "off", 30.0, None)),
        *(run(2, "process", 32.0, 40.0), run(2, "off", 0.0, 39.0)),
    ]
    told = compare(runs, "process")
    assert [pair["cpu_ratio"] for pair in told["pairs"]] == [None, None]
    assert [pair["rtt_p50_more_ms"] for pair in told["pairs"]] == [None, 1.0]
    assert told["median"]["cpu_ratio"] is None
    assert told["median"]["rtt_p50_more_ms"] == 1.0
    assert told["goal_met"] == {"cpu_ratio": None, "rtt_p50_more_ms": True}


def test_the_two_take_turns_in_being_first() -> None:
    assert [order(pair, "process") for pair in (1, 2, 3)] == [
        ("process", "off"),
        ("off", "process"),
        ("process", "off"),
    ]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"warnings": ["the bots themselves were late"]}, "the bots themselves were late"),
        ({"could_not_play": 3}, "3 of 8 bots could not play"),
        ({"errors": {"timed_out": 2}}, "2 errors timed_out"),
        ({"others_share": OTHERS_MAX * 2}, "other programs kept 20% of the machine busy"),
        ({"cpu_us_per_frame": None}, "the server did not tell its CPU time"),
    ],
)
def test_what_makes_a_run_worth_less_is_told_with_the_run(more: dict[str, Any], told: str) -> None:
    runs = [run(1, "process", 30.0), run(1, "off", 30.0, others_share=None), run(2, "off", 30.0)]
    assert warnings_of(runs, 8) == []
    runs[2] |= more
    assert warnings_of(runs, 8) == [f"pair 2, journal off: {told}"]


def test_real_servers_are_measured_in_turn(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    arguments = ["--players", "6", "--pairs", "1", "--seconds", "0.5", "--tick-hz", "30", "--json", str(file)]
    assert main(["bench", "journal", *arguments]) == 0
    told = json.loads(file.read_text())
    assert (told["players"], told["tick_hz"], told["journal"]) == (6, 30, "process")
    assert [(one["pair"], one["journal"]) for one in told["runs"]] == [(1, "process"), (1, "off")]
    for one in told["runs"]:
        assert (one["errors"], one["could_not_play"]) == ({}, 0)
        assert one["inputs"]["lost"] == 0
        assert one["inputs"]["acknowledged"] > 6 * 30 * 0.5 / 2
        assert one["cpu_us_per_frame"] > 0
    with_it, without = told["runs"]
    (pair,) = told["pairs"]
    assert pair["cpu_ratio"] == pytest.approx(with_it["cpu_us_per_frame"] / without["cpu_us_per_frame"], abs=1e-3)
    assert pair["cpu_ratio"] == told["median"]["cpu_ratio"]
    out, err = capfd.readouterr()
    assert "process less off" in out
    assert err.splitlines() == ["pair 1 of 1: journal process …", "pair 1 of 1: journal off …"]
