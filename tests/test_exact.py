# SPDX-License-Identifier: Apache-2.0
"""Exact tensors against Fractions, and correct rounding to every float."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoform.numerics.exact import Exact, concatenate, integers

FRACTIONS = st.one_of(
    st.fractions(), st.integers(-(2**70), 2**70).map(Fraction),
    st.builds(lambda m, e: Fraction(m) * Fraction(2) ** e,
              st.integers(-(2**60), 2**60), st.integers(-1200, 1100)),
)
SMALL = st.integers(-9, 9).map(Fraction) | st.fractions(-3, 3, max_denominator=12)


def matrix(rows: int, columns: int) -> st.SearchStrategy[list[list[Fraction]]]:
    row = st.lists(SMALL, min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows)


def exact(rows: list[list[Fraction]]) -> Exact:
    return Exact.of(np.array(rows, dtype=object))


def nearest(value: Fraction, dtype: type) -> np.floating:
    """The float by its definition: the neighbours of a first guess, ties to the even one."""
    info = np.finfo(dtype)
    ulp = Fraction(2) ** (info.maxexp - 1 - info.nmant)
    if abs(value) >= Fraction(float(info.max)) + ulp / 2:
        return dtype(np.inf if value > 0 else -np.inf)
    with np.errstate(over="ignore"):
        guess = dtype(value.numerator / value.denominator)
    around = [guess, *(np.nextafter(guess, dtype(to)) for to in (-np.inf, np.inf))]
    finite = [c for c in around if np.isfinite(c)]
    best = min(abs(Fraction(float(c)) - value) for c in finite)
    near = {float(c): c for c in finite if abs(Fraction(float(c)) - value) == best}
    if len(near) == 1:
        return next(iter(near.values()))
    kind = {2: np.uint16, 4: np.uint32, 8: np.uint64}[info.bits // 8]
    return next(c for c in near.values() if int(c.view(kind)) % 2 == 0)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRACTIONS, min_size=1, max_size=5), st.sampled_from(["f2", "f4", "f8"]))
def test_to_float_is_correctly_rounded(values: list[Fraction], kind: str) -> None:
    dtype = np.dtype(kind)
    floats = Exact.of(np.array(values, dtype=object)).to_float(dtype)
    assert floats.dtype == dtype
    for value, found in zip(values, floats, strict=True):
        assert found == nearest(value, dtype.type), (value, found)


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**24), 2**24), st.integers(-1150, 1030), st.integers(-3, 3),
       st.integers(1, 80), st.sampled_from(["f2", "f4", "f8"]), st.booleans())
def test_ties_and_their_neighbours(
    m: int, e: int, off: int, far: int, kind: str, third: bool
) -> None:
    """Half way between two floats of every dtype, and just beside it."""
    dtype = np.dtype(kind)
    bits = np.finfo(dtype).nmant
    value = (Fraction(2 * (2**bits + m % 2**bits) + 1) + Fraction(off, 2**far)) * Fraction(2) ** e
    value = value / 3 if third else value
    for signed in (value, -value):
        assert Exact.of(signed).to_float(dtype).item() == nearest(signed, dtype.type)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_the_edges(kind: str) -> None:
    info = np.finfo(kind)
    largest = Fraction(float(info.max))
    ulp = Fraction(2) ** (info.maxexp - 1 - info.nmant)
    least = Fraction(float(info.smallest_subnormal))
    cases = {
        largest: info.max, largest + ulp / 2: np.inf, largest + ulp / 2 - least: info.max,
        -largest - ulp: -np.inf, Fraction(10) ** 400: np.inf, least: info.smallest_subnormal,
        least / 2: 0.0, least / 2 + least / 2**60: info.smallest_subnormal, least / 2**80: 0.0,
        3 * least / 2: 2 * info.smallest_subnormal, Fraction(0): 0.0,
    }
    values = Exact.of(np.array(list(cases), dtype=object))
    assert values.to_float(kind).tolist() == [float(c) for c in cases.values()]
    for value, expected in cases.items():
        assert Exact.of(value).to_float(kind).item() == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=6))
def test_floats_mean_their_dyadic_value(numbers: list[float]) -> None:
    array = np.array(numbers)
    value = Exact.of(array)
    assert value.fractions() == [Fraction(x) for x in numbers]
    assert np.array_equal(value.to_float(), array)
    assert value.is_dyadic() and value.is_representable(np.float64)
    with np.errstate(over="ignore"):
        assert np.array_equal(value.to_float("f4"), array.astype("f4"))
        assert np.array_equal(value.to_float("f2"), array.astype("f2"))


@settings(max_examples=60, deadline=None)
@given(matrix(3, 4), matrix(4, 2), matrix(3, 4), SMALL)
def test_arithmetic_is_that_of_fractions(
    a: list[list[Fraction]], b: list[list[Fraction]], c: list[list[Fraction]], s: Fraction
) -> None:
    A, B, C = (np.array(rows, dtype=object) for rows in (a, b, c))
    assert exact(a) @ exact(b) == Exact.of(A.dot(B))
    assert exact(a) + exact(c) == Exact.of(A + C)
    assert exact(a) - exact(c) == Exact.of(A - C)
    assert exact(a) * exact(c) == Exact.of(A * C)
    assert exact(a) * s == Exact.of(A * s) == s * exact(a)
    assert -exact(a) == Exact.of(-A)
    assert exact(a).relu() == Exact.of(np.maximum(A, 0))
    assert exact(a).sum(axis=0) == Exact.of(A.sum(axis=0))
    assert exact(a).max_abs() == max(abs(x) for row in a for x in row)
    assert exact(a).T.shape == (4, 3)
    assert exact(a).reduced() == exact(a)
    assert concatenate([exact(a), exact(c)], axis=1) == Exact.of(np.concatenate([A, C], axis=1))
    assert (exact(a) == exact(c)) == (a == c)
    assert exact(a).sign().tolist() == [[(x > 0) - (x < 0) for x in row] for row in a]


def test_large_products_go_through_flint_and_agree() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(12, 9)), rng.normal(size=(9, 11))
    product = Exact.of(a) @ Exact.of(b)
    entry = sum(Fraction(a[3, k]) * Fraction(b[k, 5]) for k in range(9))
    assert product[3, 5].item() == entry


def test_what_has_no_exact_value() -> None:
    for values, error in [
        (np.array([np.nan]), ValueError), (np.array([np.inf]), ValueError),
        (np.array(["1"]), TypeError), (np.array([1.5, None], dtype=object), TypeError),
        (np.array([True, None], dtype=object), TypeError),
    ]:
        with pytest.raises(error):
            Exact.of(values)
    with pytest.raises(ValueError, match="positive"):
        Exact(integers([1], (1,)), 0)
    with pytest.raises(ValueError, match="multiply"):
        Exact.eye(2) @ Exact.eye(3)


def test_conversion_is_quick() -> None:
    """200,000 entries to float32 in well under the 0.6 s that one by one takes."""
    import time

    value = Exact.of(np.random.default_rng(0).normal(size=200_000))
    start = time.perf_counter()
    value.to_float(np.float32)
    assert time.perf_counter() - start < 0.3
