"""Memory is given back when a crowd has left, and not before."""

from __future__ import annotations

import pytest

from server.memory import CROWD, Relief, give_back


@pytest.mark.parametrize(
    ("seen", "times"),
    [
        ([0, 0, 0], 0),
        ([CROWD - 1, 0], 0),
        ([CROWD, 0], 1),
        ([CROWD, CROWD // 2, 0, 0, 0], 1),
        ([1000, 1000, 999, 1000 - CROWD, 1000 - CROWD], 1),
        ([CROWD, 0, CROWD, 0], 2),
        ([5000, *range(5000, 0, -10), 0], 38),
    ],
)
async def test_a_crowd_that_has_left_is_worth_it_once(seen: list[int], times: int) -> None:
    given: list[bool] = []
    relief = Relief(lambda: given.append(True))
    for connections in seen:
        await relief.look(connections)
    assert len(given) == times


def test_giving_back_is_harmless() -> None:
    give_back()
