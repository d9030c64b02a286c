"""The node's own figures."""

from __future__ import annotations

import tracemalloc

import msgpack
import pytest

from netcode.messages import Stats, decode, encode
from server.metrics import LATENESS_KEPT, Metrics, percentile, rss_mb


def test_figures_are_numbers_that_a_message_can_carry() -> None:
    metrics = Metrics()
    metrics.tick_started(1.0, 0.5)
    metrics.drops.forged += 1
    figures = metrics.figures(2.0, 60.0)
    assert (figures["ticks"], figures["drops"]["forged"]) == (1, 1)
    assert decode(encode(Stats(figures=figures))) == Stats(figures=figures)
    assert len(msgpack.packb(figures)) < 4096
    assert figures["rss_mb"] > 1.0
    assert figures["cpu_s"] > 0.0


def test_lateness_is_of_the_window_and_bounded() -> None:
    metrics = Metrics()
    for second in range(100):
        metrics.tick_started(float(second), second / 1000)
    late = metrics.figures(99.0, 9.0)["tick_lateness_ms"]
    assert late == {"p50": pytest.approx(94.0), "p99": pytest.approx(99.0), "max": pytest.approx(99.0)}
    assert metrics.figures(1000.0, 9.0)["tick_lateness_ms"] == {"p50": 0.0, "p99": 0.0, "max": 0.0}
    for _ in range(LATENESS_KEPT):
        metrics.tick_started(200.0, 0.0)
    assert len(metrics.lateness) == LATENESS_KEPT


def test_what_is_remembered_of_ticks_takes_its_memory_at_the_start() -> None:
    metrics = Metrics()
    metrics.tick_took("counter", 0, 0.0, 0.001)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(LATENESS_KEPT):
        metrics.tick_started(float(number), 0.001)
        metrics.tick_took("counter", 0, float(number), 0.001)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 4096
    assert len(metrics.lateness) == LATENESS_KEPT


def test_percentiles_of_little() -> None:
    assert percentile([], 0.5) == 0.0
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 1.0) == 4.0
    assert rss_mb() >= 0.0
