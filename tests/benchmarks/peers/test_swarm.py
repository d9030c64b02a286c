from __future__ import annotations

from array import array

import numpy as np
import pytest

from benchmarks.peers.swarm import Player, intervals_s


@pytest.mark.parametrize(
    ("arrivals", "closed_at", "intervals"),
    [
        ([], 9.0, []),
        ([1.0], 1.5, [0.5]),
        ([1.0, 1.05, 1.1], 1.12, [0.05, 0.05]),
        ([1.0, 1.05, 1.1], 9.0, [0.05, 0.05, 7.9]),
    ],
)
def test_silence_at_the_end_counts_as_an_interval(
    arrivals: list[float], closed_at: float, intervals: list[float]
) -> None:
    assert np.allclose(intervals_s(array("d", arrivals), closed_at), intervals)


@pytest.mark.parametrize("count", [200, 1000, 1990])
def test_one_in_twenty_is_a_full_client_and_they_sit_at_all_seats(count: int) -> None:
    full = [index for index in range(count) if Player.is_full(index)]
    assert len(full) >= count // 20
    assert {index % 10 for index in full} == set(range(10))
