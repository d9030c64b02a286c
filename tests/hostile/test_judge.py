"""When an attack counts as a success, and how fast an attacker goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.hostile.attack import ATTACKS, fire
from tests.hostile.judge import Outcome, Window

CALM = Window(
    seconds=8.0, frames_per_s=20.0, interval_p99_ms=50.0, interval_max_ms=60.0, late_p99_ms=1.0, errors={}, skipped=0
)
FUTILE = Outcome(
    name="x", what="", sent=1, failed="", before=CALM, during=CALM, after=CALM, rss_before_mb=100.0, rss_peak_mb=200.0,
    rss_after_mb=100.0, cpu_share=0.5, refused={}, tick_late_before_ms={"p99": 1.0}, tick_late_during_ms={"p99": 9.0},
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"during": attrs.evolve(CALM, interval_p99_ms=54.9)}, []),
        ({"during": attrs.evolve(CALM, interval_p99_ms=55.1)}, ["frame_interval_ms.p99 moved by +10%"]),
        ({"during": attrs.evolve(CALM, interval_p99_ms=55.1), "after": attrs.evolve(CALM, interval_p99_ms=52.0)}, []),
        ({"during": attrs.evolve(CALM, interval_max_ms=500.0)}, []),
        ({"rss_after_mb": 114.0}, []),
        ({"rss_after_mb": 116.0}, ["memory stays: 100 MB before, 116 MB after"]),
        ({"during": attrs.evolve(CALM, errors={"timed_out": 2})}, ["good players: timed_out x 2"]),
        ({"after": attrs.evolve(CALM, skipped=3)}, ["good players: 3 inputs lost"]),
        ({"before": attrs.evolve(CALM, errors={"timed_out": 2})}, []),
        ({"name": "http_x"}, ["ticks start 8.0 ms later (p99)"]),
        ({"name": "http_x", "tick_late_during_ms": {"p99": 2.9}}, []),
        ({"failed": "OSError: refused"}, ["the attacker failed: OSError: refused"]),
    ],
)
def test_an_attack_has_succeeded_when_somebody_notices_or_something_stays(
    changed: dict[str, Any], said: list[str]
) -> None:
    outcome = attrs.evolve(FUTILE, **changed)
    assert outcome.faults() == said
    assert outcome.figures()["faults"] == said


def test_without_timing_only_players_and_attackers_are_judged() -> None:
    slow = attrs.evolve(FUTILE, during=attrs.evolve(CALM, interval_p99_ms=500.0), rss_after_mb=900.0)
    assert slow.faults(timing=False) == []
    assert attrs.evolve(slow, during=attrs.evolve(CALM, errors={"x": 1})).faults(timing=False)


def test_nothing_seen_is_no_calm() -> None:
    nothing = attrs.evolve(CALM, interval_p99_ms=0.0)
    assert attrs.evolve(FUTILE, before=nothing, after=nothing).faults()


async def test_an_attacker_keeps_its_rate(autojump_clock: trio.testing.MockClock) -> None:
    def steps() -> Iterator[int]:
        while True:
            yield 10

    assert await fire(steps(), 1000.0, 5.0) == pytest.approx(5000, abs=20)
    assert trio.current_time() == pytest.approx(5.0, abs=0.02)


async def test_an_attacker_that_can_do_nothing_waits_and_one_that_is_done_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert await fire(iter([0] * 100), 1000.0, 5.0) == 0
    assert trio.current_time() == pytest.approx(0.5, abs=0.01)


def test_every_attack_says_what_it_is() -> None:
    assert len(ATTACKS) >= 20
    assert all(attack.what and attack.rate > 0 and attack.run.__doc__ for attack in ATTACKS.values())
