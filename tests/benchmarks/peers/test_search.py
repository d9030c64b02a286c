from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers.search import Search, Verdict, judge


def report(
    frames: float = 20.0, worst: float | None = 60.0, late: float = 1.0, busy: float | None = 0.5
) -> dict[str, Any]:
    return {
        "frames_per_s": {"min": frames},
        "frame_interval_ms": {"worst_client_p99": worst},
        "generator_late_ms": {"p99": late},
        "generator_cpu_share": busy,
        "players": 10,
        "could_not_play": 0,
        "errors": {},
    }


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (report(), Verdict.KEPT),
        (report(frames=19.0, worst=75.0), Verdict.KEPT),
        (report(late=40.0, busy=1.0), Verdict.KEPT),
        (report(frames=18.9), Verdict.BROKEN),
        (report(worst=75.1), Verdict.BROKEN),
        (report(worst=None), Verdict.BROKEN),
        (report() | {"errors": {"closed": 1}}, Verdict.BROKEN),
        (report() | {"could_not_play": 1}, Verdict.BROKEN),
        (report(worst=80.0, late=11.0), Verdict.GENERATOR),
        (report(frames=18.0, busy=0.95), Verdict.GENERATOR),
        (report(frames=18.0, busy=None), Verdict.BROKEN),
        ({}, Verdict.BROKEN),
    ],
)
def test_the_rule(seen: dict[str, Any], verdict: Verdict) -> None:
    assert judge(seen) is verdict


def searched(search: Search, limit: int, beyond: Verdict = Verdict.BROKEN) -> int:
    """How many runs a search needs when `limit` is the truth."""
    for runs in range(40):
        if (players := search.next()) is None:
            return runs
        assert players % 10 == 0
        assert players > 0
        search.tell(players, Verdict.KEPT if players <= limit else beyond)
    raise AssertionError("no end")


@given(st.integers(1, 900), st.integers(0, 900))
def test_a_search_ends_near_the_truth(start: int, limit: int) -> None:
    search = Search(start * 10)
    searched(search, limit * 10)
    assert search.broken is not None
    assert search.kept <= limit * 10 < search.broken
    assert search.broken - search.kept <= max(10, 0.05 * search.broken)


def test_a_search_that_begins_near_the_truth_is_short() -> None:
    assert searched(Search(1000), 1040) <= 4
    assert searched(Search(1000), 980) <= 4


def test_a_limit_of_the_generator_is_told() -> None:
    search = Search(1000)
    searched(search, 1300, Verdict.GENERATOR)
    assert search.by_generator
    search = Search(1000)
    searched(search, 1300)
    assert not search.by_generator
