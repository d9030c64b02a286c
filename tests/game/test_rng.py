"""The arrays and the plain numbers draw the same bits; the bits are SplitMix64's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from game import rng

WORD = st.integers(0, 2**64 - 1)
TICK = st.integers(0, 2**32 - 1)
ENTITY = st.integers(-(2**31), 2**31 - 1)


@given(
    moments=st.lists(st.tuples(WORD, TICK), min_size=1, max_size=4),
    entities=st.lists(ENTITY, min_size=1, max_size=4),
    purpose=st.integers(0, 1000),
    limit=st.integers(1, 2**32),
)
def test_arrays_and_plain_numbers_agree(
    moments: list[tuple[int, int]], entities: list[int], purpose: int, limit: int
) -> None:
    seed = np.array([seed for seed, _ in moments], np.uint64)
    tick = np.array([tick for _, tick in moments], np.uint32)
    entity = np.array(entities)
    drawn = rng.bits(seed, tick, entity, purpose)
    assert drawn.dtype == np.uint32
    assert drawn.tolist() == [[rng.bits_of(s, t, e, purpose) for e in entities] for s, t in moments]
    lots = rng.below(seed, tick, entity, purpose, limit)
    assert lots.tolist() == [[rng.below_of(s, t, e, purpose, limit) for e in entities] for s, t in moments]
    assert ((lots >= 0) & (lots < limit)).all()


def test_entities_may_differ_by_room() -> None:
    seed, tick = np.array([1, 2], np.uint64), np.array([5, 5], np.uint32)
    entity = np.array([[1, 2, 3], [4, 5, 6]])
    expected = [[rng.bits_of(s, 5, e, 9) for e in row] for s, row in zip((1, 2), entity.tolist(), strict=True)]
    assert rng.bits(seed, tick, entity, 9).tolist() == expected


def test_one_round_is_the_published_generator() -> None:
    # First outputs of SplitMix64 from the state 1234567, as in the reference implementation's vectors.
    outputs = [rng._splitmix_of(1234567, index) for index in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_every_argument_counts_and_lots_are_even() -> None:
    base = (1, 2, 3, 4)
    changed = [rng.bits_of(*(value + (at == spot) for at, value in enumerate(base))) for spot in range(4)]
    assert len({rng.bits_of(*base), *changed}) == 5
    ticks = np.arange(10_000, dtype=np.uint32)
    lots = rng.below(np.full(10_000, 77, np.uint64), ticks, np.array([0]), 1, 10)
    counts = np.bincount(lots[:, 0], minlength=10)
    assert counts.min() > 850
    assert counts.max() < 1150


@pytest.mark.parametrize("limit", [0, -1, 2**32 + 1])
def test_a_limit_out_of_range_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="limit lies in"):
        rng.below_of(1, 2, 3, 4, limit)
    with pytest.raises(ValueError, match="limit lies in"):
        rng.below(np.ones(1, np.uint64), np.ones(1, np.uint32), np.ones(1, np.int64), 4, limit)
