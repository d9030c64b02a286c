"""Wrap-around arithmetic against its definition, over all widths and edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcode.sequence import newer, widen

widths = st.integers(1, 64)


@given(value=st.integers(0, 2**70), bits=widths, data=st.data())
def test_the_value_comes_back_when_near_is_within_half_the_range(value: int, bits: int, data: st.DataObject) -> None:
    half = 1 << (bits - 1)
    near = data.draw(st.integers(max(0, value - half), value + half - 1))
    assert widen(value % (1 << bits), bits, near) == value


@given(low=st.integers(0, 7), near=st.integers(0, 100))
def test_it_is_the_nearest_congruent_value_and_ties_go_up(low: int, near: int) -> None:
    candidates = [value for value in range(200) if value % 8 == low]
    best = min(candidates, key=lambda value: (abs(value - near), -value))
    assert widen(low, 3, near) == best


@given(low=st.integers(0, 2**80), bits=widths, near=st.integers(0, 2**70))
def test_it_is_congruent_and_never_negative(low: int, bits: int, near: int) -> None:
    value = widen(low, bits, near)
    assert value >= 0
    assert (value - low) % (1 << bits) == 0


@pytest.mark.parametrize(
    ("low", "near", "value"),
    [
        (0, 65535, 65536),
        (65535, 65536, 65535),
        (65535, 0, 65535),
        (32768, 0, 32768),
        (5, 2**64 + 65530, 2**64 + 65541),
    ],
)
def test_sixteen_bits_at_the_edges(low: int, near: int, value: int) -> None:
    assert widen(low, 16, near) == value


@given(base=st.integers(0, 2**70), step=st.integers(1, 2**15 - 1))
def test_newer_orders_neighbours_across_the_wrap(base: int, step: int) -> None:
    older, later = base % 65536, (base + step) % 65536
    assert newer(later, older, 16)
    assert not newer(older, later, 16)


@given(a=st.integers(0, 65535))
def test_equal_and_opposite_numbers_are_in_no_order(a: int) -> None:
    assert not newer(a, a, 16)
    assert not newer(a, (a + 32768) % 65536, 16)
    assert not newer((a + 32768) % 65536, a, 16)
