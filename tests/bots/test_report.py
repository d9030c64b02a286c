"""What a report says of made-up runs, also of those that went wrong."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.histogram import Histogram, Histograms
from bots.report import BadCondition, PlayerSeries, Tally, figures, parse_condition, report

KEYS = {
    *("players", "full_clients", "rooms", "seconds", "tick_hz", "transport", "frames_per_s", "frame_interval_ms"),
    *("input_rtt_ms", "bytes_per_frame", "inputs", "reconnects", "errors", "server", "tick_lateness_ms"),
    *("lean_clients", "generator_late_ms", "generator_cpu_us_per_frame", "warnings"),
    *("link", "udp_share", "fallbacks", "corrections"),
}


def steady(ticks: int = 60, every_s: float = 0.05, start: float = 100.0) -> PlayerSeries:
    """A player who sees a frame of 70 bytes every tick, one before the window."""
    series = PlayerSeries()
    series.frame(0, start - every_s / 2, 70)
    series.open(start)
    for tick in range(1, ticks + 1):
        series.frame(tick, start + (tick - 0.5) * every_s, 70)
    series.close(start + ticks * every_s)
    return series


def report_of(*all_series: PlayerSeries, seconds: float = 3.0) -> dict[str, Any]:
    tally = Tally(rooms=1, tick_hz=20)
    for series in all_series:
        tally.add(series, full=True)
    return report(tally, seconds=seconds, transport="udp")


def test_a_steady_run_has_all_keys_and_the_right_figures() -> None:
    series = steady()
    series.sent = series.acknowledged = 60
    series.left = (60, 60)
    result = report_of(series, steady())
    assert set(result) >= KEYS
    assert json.loads(json.dumps(result)) == result
    assert result["players"] == result["full_clients"] == 2
    assert result["frames_per_s"] == {"min": 20.0, "mean": 20.0}
    assert result["frame_interval_ms"]["p50"] == pytest.approx(50, rel=0.011)
    assert result["frame_interval_ms"]["max"] == pytest.approx(50)
    assert result["bytes_per_frame"] == 70
    assert result["inputs"] == {"sent": 60, "acknowledged": 60, "lost": 0, "duplicated": 0}
    assert result["server"] == {"cpu_us_per_frame": None, "rss_mb": None}


@pytest.mark.parametrize(
    ("sent", "acknowledged", "skipped", "left", "lost", "duplicated"),
    [
        (60, 60, 0, (60, 63), 0, 3),
        (60, 58, 0, (60, 60), 2, 0),
        (60, 60, 4, (60, 56), 4, 0),
        (60, 60, 0, (60, 56), 4, 0),
        (60, 50, 0, None, 0, 0),
        (60, 50, 4, None, 4, 0),
    ],
    ids=["applied twice", "never acknowledged", "skipped", "skipped by the books", "session died", "skipped and died"],
)
def test_lost_and_duplicated_inputs_are_shown(
    sent: int, acknowledged: int, skipped: int, left: tuple[int, int] | None, lost: int, duplicated: int
) -> None:
    series = steady()
    series.sent, series.acknowledged, series.skipped, series.left = sent, acknowledged, skipped, left
    inputs = report_of(series, steady())["inputs"]
    assert (inputs["lost"], inputs["duplicated"]) == (lost, duplicated)


def test_one_tick_counts_once_and_a_late_one_counts() -> None:
    series = PlayerSeries()
    series.open(0.0)
    seen = [series.frame(tick, now / 100, 50) for now, tick in enumerate([5, 7, 6, 7, 6, 5, 8])]
    assert seen == [True, True, True, False, False, False, True]
    assert series.frames == 4
    assert series.gaps.count() == 2


def test_only_the_window_counts() -> None:
    series = PlayerSeries()
    series.frame(1, 9.99, 50)
    assert series.playing
    series.open(10.0)
    series.round_trips(deque([30.0]), 10.5)
    series.frame(2, 10.5, 50)
    series.close(11.0)
    series.frame(3, 11.0, 50)
    series.round_trips(deque([99.0]), 11.0)
    assert (series.frames, series.frame_bytes) == (1, 50)
    assert series.gaps.max_ms == pytest.approx(510)
    assert series.rtt.percentile(1.0) == pytest.approx(30, rel=0.011)


def test_channels_and_corrections_are_told() -> None:
    series, other = steady(ticks=10), steady(ticks=10)
    series.close(200.0)
    for tick in range(11, 41):
        series.frame(tick, 101.0, 70, by_datagram=tick % 3 == 0)
    series.fallbacks, series.reconnects = 2, 1
    series.corrected(4, [0.5, 2.0], 101.0)
    series.corrected(3, [], 101.5)
    series.corrected(9, [99.0], 200.0)  # behind the window
    result = report_of(series, other)
    assert result["udp_share"] == pytest.approx((20 + 10) / 50)
    assert (result["fallbacks"], result["reconnects"]) == (2, 1)
    corrections = result["corrections"]
    assert (corrections["predicting"], corrections["compared"], corrections["count"]) == (1, 7, 2)
    assert (corrections["p50"], corrections["max"]) == (pytest.approx(2.0, rel=0.02), 2.0)
    nobody = report_of(other)["corrections"]
    assert nobody == {"predicting": 0, "compared": 0, "count": 0, "p50": None, "p99": None, "max": None}


def test_silence_at_the_end_is_a_gap() -> None:
    series = steady(ticks=20)
    assert series.gaps.max_ms < 60
    series = PlayerSeries()
    series.open(0.0)
    for tick in range(20):
        series.frame(tick, tick * 0.05, 50)
    series.close(5.0)
    assert series.gaps.count() == 20
    assert report_of(series)["frame_interval_ms"]["max"] == pytest.approx(4050)


def test_a_player_who_did_not_play_counts_as_zero() -> None:
    result = report_of(steady(), PlayerSeries())
    assert result["frames_per_s"] == {"min": 0.0, "mean": 10.0}


def test_one_bad_client_among_good_ones_is_seen() -> None:
    result = report_of(*[steady() for _ in range(200)], steady(ticks=6, every_s=0.5))
    interval = result["frame_interval_ms"]
    assert interval["p99"] == pytest.approx(50, rel=0.011)
    assert interval["worst_client_p99"] == pytest.approx(500, rel=0.011)


def test_figures_of_the_server() -> None:
    late = {"p50": 0.5, "p99": 2.0, "max": 9.0}
    before = {"frames_sent": 1000, "cpu_s": 5.0, "rss_mb": 90.0, "tick_lateness_ms": late}
    after = {"frames_sent": 3000, "cpu_s": 5.04, "rss_mb": 95.0, "tick_lateness_ms": late}
    result = report(Tally(), seconds=1.0, transport="udp", before=before, after=after)
    assert result["server"] == {"cpu_us_per_frame": 20.0, "rss_mb": 95.0}
    assert result["tick_lateness_ms"] == late


def test_what_the_bots_themselves_took_is_told() -> None:
    tally = Tally(cpu_s=0.5)
    for full in (True, False, False):
        tally.add(steady(ticks=50), full=full)
    other = Tally.load(tally.dump())
    tally.merge(other)
    result = report(tally, seconds=2.5, transport="udp")
    assert (result["players"], result["full_clients"], result["lean_clients"]) == (6, 2, 4)
    assert result["generator_cpu_us_per_frame"] == round(1e6 / 300, 3)
    assert report(Tally(), seconds=1.0, transport="udp")["generator_cpu_us_per_frame"] is None


def test_a_late_generator_warns() -> None:
    tally = Tally(tick_hz=20)
    tally.late.add(24.0)
    assert report(tally, seconds=1.0, transport="udp")["warnings"] == []
    for _ in range(100):
        tally.late.add(40.0)
    assert "not the server's limits" in report(tally, seconds=1.0, transport="udp")["warnings"][0]


def test_tallies_of_processes_add_up() -> None:
    whole, parts = Tally(tick_hz=20), [Tally(tick_hz=20) for _ in range(3)]
    for number in range(9):
        series = steady(ticks=40 + number)
        series.sent = series.acknowledged = number
        series.round_trips(deque([float(number + 1)]), 100.0)
        series.corrected(2, [float(number)], 100.0)
        series.fallbacks = series.reconnects = number
        for tally in (whole, parts[number % 3]):
            tally.add(series, full=number % 2 == 0)
            tally.error("room_full", "the room is full")
            tally.late.add(1.0)
    total = Tally()
    for part in parts:
        total.merge(Tally.load(json.loads(json.dumps(part.dump()))))
    assert total.dump() == whole.dump()


@given(st.lists(st.floats(0.02, 200_000.0), min_size=1, max_size=600), st.floats(0, 1))
def test_percentiles_are_good_to_one_percent(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[min(int(share * len(values)), len(values) - 1)]
    assert histogram.percentile(share) == pytest.approx(exact, rel=0.0101)
    assert histogram.count() == len(values)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0.0, 200_000.0)), min_size=1, max_size=300))
def test_histograms_in_rows_count_the_same(added: list[tuple[int, float]]) -> None:
    one_by_one, moved, rows = [Histogram() for _ in range(5)], [Histogram() for _ in range(5)], Histograms()
    rows.grow(3)
    rows.grow(5)
    half = len(added) // 2
    for part in (added[:half], added[half:]):
        where, durations = np.array([row for row, _ in part], np.intp), np.array([value for _, value in part])
        rows.add_many(where, durations, once=len(set(where.tolist())) == len(where))
        for row, value in part:
            one_by_one[row].add(value)
        for row in range(5):
            rows.move(row, moved[row])
            assert moved[row].dump() == one_by_one[row].dump()


def test_no_durations_have_no_percentile() -> None:
    assert Histogram().percentile(0.5) is None


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("input_rtt_ms.p99>150", True),
        ("input_rtt_ms.p99 > 250", False),
        ("frames_per_s.min<=19.5", False),
        ("frames_per_s.min >= 20", True),
        ("inputs.lost==0", True),
        ("players<2", True),
        ("errors.room_full>0", True),
        ("errors.timed_out>0", False),
        ("server.cpu_us_per_frame>10", True),
    ],
)
def test_conditions(text: str, fails: bool) -> None:
    series = steady()
    for _ in range(10):
        series.rtt.add(200.0)
    result = report_of(series)
    result["errors"] = {"room_full": 3}
    assert (parse_condition(text).judge(result) is not None) is fails


@pytest.mark.parametrize("text", ["", "players", "players>", "players>many", "inputs>0", "no.such>1", "errors.>1"])
def test_conditions_that_make_no_sense(text: str) -> None:
    with pytest.raises(BadCondition):
        parse_condition(text)


def test_every_figure_can_be_a_condition() -> None:
    result = report_of(steady())
    for path in figures(result):
        parse_condition(f"{path}>0").judge(result)
