"""Fixed-point maths for row games: the same integers on every machine.

    position   24.8 in int32: 256 is one unit
    angle      16 bits: 65536 is a full turn, 0 points along +x, 16384 along +y
    cos, sin   Q14 in int32: 16384 is one

The sine table is worked out at import in Python's whole numbers of any length (pi by Machin's formula, the
first step by Taylor's series, the rest by turning), 96 bits deep and rounded once: no libm has a say in it,
and a test holds its checksum.
"""

from __future__ import annotations

import numpy as np

UNIT_BITS = 8
UNIT = 1 << UNIT_BITS
TURN = 1 << 16
ONE_BITS = 14
ONE = 1 << ONE_BITS
"""One, as `cos_sin` gives it."""

_DIRECTION_BITS = 12
_DEPTH = 96
_ROOT_MAX = 3_037_000_499  # the root of 2**63 - 1, rounded down


def _sine_table() -> np.ndarray:
    """(2 ** 12,) int32: the sine of every 4096th of a turn, in Q14, each the nearest whole number."""
    steps, one = 1 << _DIRECTION_BITS, 1 << _DEPTH
    angle = 2 * _pi() // steps
    step_sin, step_cos = _taylor(angle, angle, 1), _taylor(one, angle, 0)
    half, sin, cos = 1 << (_DEPTH - ONE_BITS - 1), 0, one
    quarter = [0]
    for _ in range(steps // 4):
        sin, cos = (sin * step_cos + cos * step_sin) >> _DEPTH, (cos * step_cos - sin * step_sin) >> _DEPTH
        quarter.append((sin + half) >> (_DEPTH - ONE_BITS))
    rising = quarter[:-1] + quarter[:0:-1]
    return np.array(rising + [-value for value in rising], np.int32)


def _pi() -> int:
    """Pi << 96 by Machin's formula: 16 arctan(1/5) - 4 arctan(1/239)."""
    spare = 16

    def arctan_of_inverse(x: int) -> int:
        power, total, n = (1 << (_DEPTH + spare)) // x, 0, 1
        while power:
            total += -(power // n) if n & 2 else power // n
            power //= x * x
            n += 2
        return total

    return (16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)) >> spare


def _taylor(term: int, angle: int, power: int) -> int:
    """Taylor's series of sine (from power 1) or cosine (from power 0), in units of 2**-96."""
    total, sign = 0, 1
    while term:
        total += sign * term
        term = (term * angle * angle >> 2 * _DEPTH) // ((power + 1) * (power + 2))
        sign, power = -sign, power + 2
    return total


_SIN = _sine_table()
_COS = np.roll(_SIN, -(1 << (_DIRECTION_BITS - 2)))
_DROP = 16 - _DIRECTION_BITS


def cos_sin(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of angles in 16-bit turns (any integer dtype, wraps around), as two int32 arrays in
    Q14.

    Angles are taken to the nearest 4096th of a turn (0.09 degrees).
    """
    at = ((angle.astype(np.int64) + (1 << (_DROP - 1))) >> _DROP) & ((1 << _DIRECTION_BITS) - 1)
    return _COS[at], _SIN[at]


def isqrt(values: np.ndarray) -> np.ndarray:
    """Square roots rounded down, exact for every int64 >= 0, as int64; negative values raise ValueError.

    IEEE 754's square root is only the first guess (it is off by at most one here); the answer is settled in
    integers.
    """
    wide = np.asarray(values, np.int64)
    if (wide < 0).any():
        raise ValueError("isqrt of a negative number")
    guess = np.minimum(np.sqrt(wide).astype(np.int64), _ROOT_MAX)
    low = np.where(guess * guess > wide, guess - 1, guess)
    high = np.minimum(low + 1, _ROOT_MAX)
    return np.where(high * high <= wide, high, low)


def clamp_length(x: np.ndarray, y: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors no longer than `length` (int64): longer ones are shortened in their direction, rounded towards
    zero.

    |x|, |y| and `length` are below 2**31.
    """
    wide_x, wide_y = np.asarray(x, np.int64), np.asarray(y, np.int64)
    long = np.maximum(isqrt(wide_x * wide_x + wide_y * wide_y), 1)
    # Rounded down, `long` may let a vector pass that is longer by less than one: compare the squares instead.
    over = wide_x * wide_x + wide_y * wide_y > length * length
    short_x, short_y = np.abs(wide_x) * length // (long + 1), np.abs(wide_y) * length // (long + 1)
    return np.where(over, np.sign(wide_x) * short_x, wide_x), np.where(over, np.sign(wide_y) * short_y, wide_y)
