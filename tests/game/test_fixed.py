"""Whole-number maths: against Python's own big numbers, and the sine table against its checksum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from game import fixed

I31 = st.integers(-(2**31) + 1, 2**31 - 1)


def test_the_sine_table_is_the_same_everywhere() -> None:
    cos, sin = fixed.cos_sin(np.arange(0, fixed.TURN, 16))
    assert (len(sin), sin.dtype.str, cos.dtype.str) == (4096, "<i4", "<i4")
    digest = xxhash.xxh3_64_hexdigest(sin.astype("<i4").tobytes() + cos.astype("<i4").tobytes())
    assert digest == "d6663e1de948080c"


def test_sines_are_the_nearest_whole_numbers() -> None:
    cos, sin = fixed.cos_sin(np.arange(0, fixed.TURN, 16))
    true = [fixed.ONE * math.sin(math.tau * at / 4096) for at in range(4096)]
    assert np.abs(sin - true).max() <= 0.5 + 1e-9
    assert (cos == np.roll(sin, -1024)).all()


def test_angles_wrap_around_and_round() -> None:
    cos, sin = fixed.cos_sin(np.array([0, 16384, 32768, 49152, 65535, -1, 65536 + 7, 8]))
    assert cos.tolist()[:4] == [fixed.ONE, 0, -fixed.ONE, 0]
    assert sin.tolist()[:4] == [0, fixed.ONE, 0, -fixed.ONE]
    assert (cos[4:7].tolist(), sin[4:7].tolist()) == ([fixed.ONE] * 3, [0] * 3)
    assert sin[7] > 0


@given(st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 3_037_000_499).map(lambda r: r * r), min_size=1))
def test_isqrt_is_exact(values: list[int]) -> None:
    assert fixed.isqrt(np.array(values, np.int64)).tolist() == [math.isqrt(value) for value in values]


@pytest.mark.parametrize("root", [1, 2, 94_906_265, 94_906_266, 3_037_000_498, 3_037_000_499])
def test_isqrt_around_squares(root: int) -> None:
    square = root * root
    around = [square - 1, square, min(square + 1, 2**63 - 1)]
    assert fixed.isqrt(np.array(around, np.int64)).tolist() == [root - 1, root, root]


def test_isqrt_of_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        fixed.isqrt(np.array([4, -1]))


@given(I31, I31, st.integers(0, 2**31 - 1))
def test_clamp_length(x: int, y: int, length: int) -> None:
    short_x, short_y = (int(part[0]) for part in fixed.clamp_length(np.array([x]), np.array([y]), length))
    if x * x + y * y <= length * length:
        assert (short_x, short_y) == (x, y)
    else:
        assert short_x * short_x + short_y * short_y <= length * length
        assert short_x * x >= 0
        assert short_y * y >= 0
        # Nothing but rounding is lost: a step of one along each axis more would be too long.
        assert (abs(short_x) + 2) ** 2 + (abs(short_y) + 2) ** 2 >= length * length
