"""What a session takes of memory: the arithmetic, and real sessions beside bare connections."""

from __future__ import annotations

import mmap
import os
import sys

import pytest

from holdfast.bench.memory import beyond, child, measure, resident_mb
from holdfast.bench.serving import CannotMeasure

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is told by /proc")


def test_a_session_is_what_it_takes_more_than_a_bare_connection() -> None:
    told = beyond((100.0, 160.0), (20.0, 54.0), 2000)
    assert (told["session_kb"], told["socket_and_tls_kb"], told["beyond_kb"]) == (30.0, 17.0, 13.0)
    assert not told["goal_met"]
    assert beyond((100.0, 158.0), (20.0, 54.0), 2000)["goal_met"]


@LINUX
def test_memory_that_is_taken_is_seen() -> None:
    before = resident_mb(os.getpid())
    with mmap.mmap(-1, 30_000_000) as taken:  # fresh pages: an allocator might have some to give again
        for at in range(0, len(taken), mmap.PAGESIZE):
            taken[at] = 1
        assert resident_mb(os.getpid()) - before == pytest.approx(len(taken) / 1e6, abs=5)


def test_a_child_that_does_not_get_ready_is_told() -> None:
    with pytest.raises(CannotMeasure, match="sit ended with code 1"), child(["sit", "127.0.0.1:1", 1, 1]):
        pass


@LINUX
def test_real_sessions_and_bare_connections_are_held() -> None:
    told = measure(60, first=10, settle_s=0.0)
    assert told["session_kb"] > 1
    assert told["socket_and_tls_kb"] > 1
    assert told["beyond_kb"] == pytest.approx(told["session_kb"] - told["socket_and_tls_kb"], abs=0.02)
