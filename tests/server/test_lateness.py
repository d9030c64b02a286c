"""Late ticks are told of, with what became of the time."""

from __future__ import annotations

import threading
import time
from typing import Any

from structlog.testing import capture_logs

from server.lateness import LateTicks


def told(ticks: LateTicks, *looks: tuple[float, float]) -> list[dict[str, Any]]:
    with capture_logs() as lines:
        for now, late_s in looks:
            ticks.started(now, late_s, 0.001)
    return [dict(line) for line in lines]


def test_a_tick_that_begins_half_a_period_late_is_told_of_and_none_that_is_earlier() -> None:
    ticks = LateTicks("arena", 0.05, 10.0)
    assert told(ticks, (10.0, 0.0), (10.05, 0.025)) == []
    (line,) = told(ticks, (10.126, 0.026))
    assert (line["event"], line["log_level"], line["game"]) == ("tick_late", "warning", "arena")
    assert (line["late_ms"], line["since_ms"], line["held_ms"]) == (26.0, 76.0, 1.0)


def test_of_many_late_ticks_the_first_of_a_second_is_told_of_and_what_is_worse() -> None:
    ticks = LateTicks("arena", 0.05, 0.0)
    lines = told(ticks, *((n * 0.05, 0.11 if n == 7 else 0.1) for n in range(1, 28)))
    assert [(line["late_ms"], line["since_ms"]) for line in lines] == [(100.0, 50.0), (110.0, 50.0), (100.0, 50.0)]


def test_ticks_that_are_given_up_are_always_told_of() -> None:
    ticks = LateTicks("arena", 0.05, 0.0)
    with capture_logs() as lines:
        ticks.skipped(1.0, 0.3, 0.2, 6)
        ticks.skipped(1.1, 0.3, 0.0, 6)
    assert [(line["event"], line["ticks"], line["held_ms"]) for line in lines] == [
        ("ticks_skipped", 6, 200.0),
        ("ticks_skipped", 6, 0.0),
    ]


def test_what_was_computed_and_what_was_waited_for_is_told_apart() -> None:
    ticks, answered = LateTicks("arena", 0.05, 0.0), threading.Event()
    began_s = time.thread_time()
    while time.thread_time() < began_s + 0.03:
        pass
    (computed,) = told(ticks, (1.0, 0.04))

    def compute() -> None:
        began_s = time.thread_time()
        while time.thread_time() < began_s + 0.03:
            pass
        answered.set()

    threading.Thread(target=compute).start()
    answered.wait()
    (waited,) = told(ticks, (2.0, 0.04))
    assert computed["cpu_ms"] >= 30.0 > waited["cpu_ms"]
    assert computed["queued_ms"] is None or computed["queued_ms"] >= 0.0
