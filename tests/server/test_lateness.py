"""Late ticks are told of, with what the thread did meanwhile."""

from __future__ import annotations

import threading
import time
from typing import Any

from structlog.testing import capture_logs

from server.lateness import TELL_EVERY_S, LateTicks


def told(ticks: LateTicks, *looks: tuple[float, float]) -> list[dict[str, Any]]:
    with capture_logs() as lines:
        for look in looks:
            ticks.look(*look)
    return [dict(line) for line in lines]


def test_a_tick_that_begins_half_a_period_late_is_told_of_and_none_that_is_earlier() -> None:
    ticks = LateTicks("arena", 0.05)
    assert told(ticks, (10.0, 0.0), (10.05, 0.025)) == []
    (line,) = told(ticks, (10.126, 0.026))
    assert (line["event"], line["log_level"], line["game"]) == ("tick_late", "warning", "arena")
    assert (line["late_ms"], line["since_ms"]) == (26.0, 76.0)


def test_of_many_late_ticks_one_a_second_is_told_of() -> None:
    ticks = LateTicks("arena", 0.05)
    lines = told(ticks, *((n * 0.05, 0.1) for n in range(1, 42)))  # the first has none before it
    assert [line["since_ms"] for line in lines] == [50.0, 50.0]
    assert TELL_EVERY_S == 1.0


def test_what_was_computed_and_what_was_waited_for_is_told_apart() -> None:
    ticks = LateTicks("arena", 0.05)
    ticks.look(0.0, 0.0)
    began_s = time.thread_time()
    while time.thread_time() < began_s + 0.03:
        pass
    (computed,) = told(ticks, (1.0, 0.04))
    never = threading.Event()
    for _ in range(5):
        never.wait(0.001)
    (waited,) = told(ticks, (2.0, 0.04))
    assert computed["cpu_ms"] >= 30.0 > waited["cpu_ms"]
    assert waited["waits"] >= 5
    assert {type(waited[name]) for name in ("waits", "preempted", "faults")} == {int}
