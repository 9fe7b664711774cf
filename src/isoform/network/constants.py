# SPDX-License-Identifier: Apache-2.0
"""Exact arithmetic on constants: the narrowest array for a number, dyadic roots, quotients."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from isoform.errors import FormatError, TooLarge
from isoform.network.linear_map import Constant, exact
from isoform.numerics.exact import Exact, exact_fractions

ROOT_BITS = 81  # bits of a root's significand: rounding moves it by less than 2^-80, relatively
QUOTIENT_BITS = 1 << 31  # bits that the numerators of one quotient may take altogether


def tidy(value: Exact) -> Constant:
    """The same numbers as float32 where they all fit, else as float64, else as they are."""
    if not value.is_dyadic():
        return value.reduced()
    for dtype in (np.float32, np.float64):
        if value.is_representable(dtype):
            return value.to_float(dtype)
    return value.reduced()


def number_vector(number: int | float | Fraction, size: int) -> Constant:
    """`size` times the same number, exactly (a float means its dyadic value)."""
    fraction = Fraction(number)
    for dtype in (np.float32, np.float64):
        with np.errstate(over="ignore"):
            near = dtype(fraction.numerator / fraction.denominator)
        if np.isfinite(near) and Fraction(float(near)) == fraction:
            return np.full(size, near, dtype=dtype)
    numerator = np.empty(size, dtype=object)
    numerator[:] = fraction.numerator
    return Exact(numerator, fraction.denominator)


def real_array(array: np.ndarray, what: str = "a constant") -> np.ndarray | Exact:
    """Numbers of any numeric or Boolean dtype as a constant of the network, without loss.

    Raises FormatError on NaN and infinities, and on dtypes that hold no real numbers.
    """
    if array.dtype in (np.float32, np.float64):
        if not np.all(np.isfinite(array)):
            raise FormatError(f"{what} holds NaN or infinity: it means no real number")
        return array
    if array.dtype.kind == "b":
        return array.astype(np.float32)
    if array.dtype.kind in "iu":
        for dtype in (np.float32, np.float64):
            near = array.astype(dtype)
            limit = 2 ** (24 if dtype is np.float32 else 53)
            if array.size == 0 or (int(array.max()) <= limit and int(array.min()) >= -limit):
                return near
        return Exact.of(array)
    if array.dtype == np.float16 or array.dtype.name == "bfloat16":
        return real_array(array.astype(np.float32), what)
    raise FormatError(f"{what} has dtype {array.dtype}, which holds no real numbers")


def is_zero(constant: Constant) -> bool:
    return not (constant.any() if isinstance(constant, Exact) else np.any(constant))


def is_one(constant: Constant) -> bool:
    if isinstance(constant, Exact):
        return bool(np.all(constant.numerator == constant.denominator))
    return bool(np.all(constant == 1))


def broadcast(constant: Constant, shape: tuple[int, ...]) -> Constant:
    """numpy's broadcasting, as a contiguous constant."""
    if isinstance(constant, Exact):
        return Exact(np.array(np.broadcast_to(constant.numerator, shape)), constant.denominator)
    return np.ascontiguousarray(np.broadcast_to(constant, shape)).reshape(shape)


def times(constant: Constant, factor: int | float | Fraction) -> Constant:
    """The constant times an exact number."""
    if factor == 1:
        return constant
    return tidy(exact(constant) * Exact.of(Fraction(factor)))


def inverse(constant: Constant) -> Constant:
    """1 / c, entry by entry, as rationals (floats where every entry is a power of two).

    Raises FormatError on a zero, TooLarge where the common denominator explodes.
    """
    value = exact(constant).reduced()
    numerators = value.numerator.ravel().tolist()
    if any(n == 0 for n in numerators):
        raise FormatError("a division by a constant that is zero")
    distinct = sorted(set(numerators))
    bits = sum(abs(n >> ((n & -n).bit_length() - 1)).bit_length() for n in distinct)
    if bits * len(numerators) > QUOTIENT_BITS:
        raise TooLarge(
            f"a division by {len(distinct):,} distinct constants needs a common denominator of "
            f"{bits:,} bits; multiply by reciprocals in floating point instead"
        )
    quotients = {n: Fraction(value.denominator, n) for n in distinct}
    return tidy(exact_fractions([quotients[n] for n in numerators], value.shape))


def reciprocal_root(value: Fraction) -> Fraction:
    """The nearest dyadic to 1 / sqrt(value), with a significand of 81 bits.

    So its relative distance from the root is at most 2^-81. Raises FormatError where value <= 0.
    """
    if value <= 0:
        raise FormatError(f"the reciprocal square root of {float(value)!r} is no real number")
    p, q = value.numerator, value.denominator
    shift = ROOT_BITS - (q.bit_length() - p.bit_length()) // 2  # the root's integer: about 81 bits
    while True:
        scaled, below = (q << 2 * shift, p) if shift >= 0 else (q, p << -2 * shift)
        root = math.isqrt(scaled // below)
        if root.bit_length() == ROOT_BITS:
            break
        shift += ROOT_BITS - root.bit_length()
    if (2 * root + 1) ** 2 * below < 4 * scaled:
        root += 1
    return Fraction(root) / Fraction(2) ** shift
