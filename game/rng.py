"""Randomness as a pure function of (seed, tick, entity, purpose): nothing is drawn, so nothing has to be
saved.

    stream = splitmix(seed, purpose);  moment = splitmix(stream, tick);  word = splitmix(moment, entity);
    result = word >> 32

`splitmix(state, k)` is output number k of the SplitMix64 generator started at `state` (Steele, Lea, Flood:
"Fast splittable pseudorandom number generators", OOPSLA 2014) with Stafford's mix 13 as its finaliser
("Better bit mixing", 2011). Which room is asked first, how often, or on which row it lies makes no
difference. The array functions (row games) and the scalar ones (object games) agree bit for bit.
"""

from __future__ import annotations

import numpy as np

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_GAMMA = 0x9E37_79B9_7F4A_7C15
_MIX_1 = 0xBF58_476D_1CE4_E5B9
_MIX_2 = 0x94D0_49BB_1331_11EB

_GAMMA_U8, _MIX_1_U8, _MIX_2_U8 = np.uint64(_GAMMA), np.uint64(_MIX_1), np.uint64(_MIX_2)
_S27, _S30, _S31, _S32 = (np.uint64(shift) for shift in (27, 30, 31, 32))


def bits(seed: np.ndarray, tick: np.ndarray, entity: np.ndarray, purpose: int) -> np.ndarray:
    """32 random bits for each entity, as uint32.

    `seed` and `tick` have the shape (n,), `entity` is any integer array that broadcasts to (n, k); the result
    is (n, k). `purpose` keeps the draws of one tick apart: give every use in a game a number of its own.
    """
    stream = _splitmix(seed.astype(np.uint64), np.array([purpose & _MASK], np.uint64))
    moment = _splitmix(stream, tick.astype(np.uint64))
    word = _splitmix(moment[:, None], np.atleast_1d(entity).astype(np.uint64))
    return (word >> _S32).astype(np.uint32)


def below(seed: np.ndarray, tick: np.ndarray, entity: np.ndarray, purpose: int, limit: int) -> np.ndarray:
    """Whole numbers in 0..limit-1 as int64 (n, k), for a limit of 1 to 2**32.

    Multiply and shift (Lemire 2019, without the rejection): no value is likelier than another by more than
    limit / 2**32.
    """
    _check_limit(limit)
    drawn = bits(seed, tick, entity, purpose).astype(np.uint64)
    return ((drawn * np.uint64(limit)) >> _S32).astype(np.int64)


def bits_of(seed: int, tick: int, entity: int, purpose: int) -> int:
    """The same 32 bits as `bits` gives, in plain whole numbers."""
    return _splitmix_of(_splitmix_of(_splitmix_of(seed, purpose), tick), entity) >> 32


def below_of(seed: int, tick: int, entity: int, purpose: int, limit: int) -> int:
    """The same number as `below` gives."""
    _check_limit(limit)
    return bits_of(seed, tick, entity, purpose) * limit >> 32


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= 1 << 32:
        raise ValueError(f"a random number below {limit}: the limit lies in 1..2**32")


def _splitmix(state: np.ndarray, index: np.ndarray) -> np.ndarray:
    z: np.ndarray = state + (index + np.uint64(1)) * _GAMMA_U8
    z = (z ^ (z >> _S30)) * _MIX_1_U8
    z = (z ^ (z >> _S27)) * _MIX_2_U8
    z ^= z >> _S31
    return z


def _splitmix_of(state: int, index: int) -> int:
    z = (state + (index + 1) * _GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    return z ^ (z >> 31)
