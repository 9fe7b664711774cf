# SPDX-License-Identifier: Apache-2.0
"""Integers over one denominator to the nearest floats, ties to even, many at once.

Each quotient becomes m 2^e with an integer m of at most 62 bits whose last bit is set where
something was cut off ("rounding to odd"). Such an m rounds to any float of up to 60 bits as the
exact quotient does, so the rest is ordinary float conversion.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BITS = 61  # of the integers m; at least two more than the widest significand
SIGNIFICAND = 53
FAR = 5_000  # binary exponents beyond it are zero or infinity in every float


def nearest_floats(numerator: np.ndarray, denominator: int, dtype: Any) -> np.ndarray:
    """The floats of `dtype` (float16, 32 or 64) nearest to numerator / denominator.

    numerator: object array of integers. Values beyond the largest float become infinities.
    """
    dtype = np.dtype(dtype)
    flat = numerator.ravel()
    filled = np.flatnonzero(flat)
    if 2 * len(filled) < len(flat):  # a diagonal as a matrix, say: zeros need no division
        sparse = np.zeros(len(flat), dtype)
        sparse[filled] = nearest_floats(flat[filled], denominator, dtype)
        return sparse.reshape(numerator.shape)
    m, e = leading(flat, denominator)
    with np.errstate(over="ignore", under="ignore"):
        if dtype == np.float64:
            floats = np.ldexp(m.astype(np.float64), np.clip(e, -FAR, FAR))
            # Subnormal, or rounded up from there to the least normal: rounded twice so far.
            tiny = np.flatnonzero((np.abs(floats) <= np.finfo(np.float64).tiny) & (m != 0))
            for i in tiny.tolist():
                floats[i] = flat[i] / denominator
        else:
            floats = odd_doubles(m, e).astype(dtype)
    return floats.reshape(numerator.shape)


def leading(flat: np.ndarray, denominator: int) -> tuple[np.ndarray, np.ndarray]:
    """m and e (int64) of each quotient, rounded to odd."""
    shift = denominator.bit_length() - 1
    if denominator == 1 << shift:
        try:
            m = flat.astype(np.int64)
        except OverflowError:
            m = None
        if m is not None and (m.size == 0 or (m.max() < 1 << 62 and m.min() > -(1 << 62))):
            return m, np.full(m.shape, -shift)
        pairs = [cut(n) for n in flat.tolist()]
    else:
        pairs = [quotient(n, denominator) for n in flat.tolist()]
        shift = 0
    m = np.array([pair[0] for pair in pairs], dtype=np.int64)
    return m, np.array([min(pair[1], 1 << 40) - shift for pair in pairs], dtype=np.int64)


def cut(n: int) -> tuple[int, int]:
    """n as (m, e), rounded to odd."""
    surplus = n.bit_length() - BITS
    if surplus <= 0:
        return n, 0
    m = abs(n) >> surplus
    if m << surplus != abs(n):
        m |= 1
    return (m if n > 0 else -m), surplus


def quotient(n: int, denominator: int) -> tuple[int, int]:
    """n / denominator as (m, e), rounded to odd."""
    if n == 0:
        return 0, 0
    raised = max(0, BITS - 1 + denominator.bit_length() - n.bit_length())
    m, rest = divmod(abs(n) << raised, denominator)
    m, e = cut(m)
    if rest:
        m |= 1
    return (m if n > 0 else -m), e - raised


def odd_doubles(m: np.ndarray, e: np.ndarray) -> np.ndarray:
    """m 2^e as doubles rounded to odd, so that a narrower float is rounded once only."""
    size = np.abs(m)
    surplus = np.maximum(np.frexp(size.astype(np.float64))[1] - SIGNIFICAND, 0)
    top = size >> surplus
    top |= (top << surplus) != size
    return np.copysign(np.ldexp(top.astype(np.float64), np.clip(e + surplus, -FAR, FAR)), m)
