# SPDX-License-Identifier: Apache-2.0
"""Fixed point against Python's integers: every result lies where its docstring says, or the numbers
are refused as too large."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from isoform.certificate.fixed import SLOPE, Fixed, Weights
from isoform.errors import CertificateRejected
from isoform.numerics.exact import Exact
from isoform.numerics.sparse import ExactSparse

# Failures are not made small: planted errors fail these tests by the dozen.
QUICK = settings(deadline=None, phases=(Phase.explicit, Phase.generate))
BITS = st.integers(8, 44)
MOST = (1 << 52) - 1
SIZES = st.integers(0, 52)


@st.composite
def values(draw: st.DrawFn, rows: int = 2, most_columns: int = 5) -> np.ndarray:
    """(rows, n) numbers of all sizes, with the extremes."""
    n = draw(st.integers(1, most_columns))
    size = draw(SIZES)
    each = st.one_of(
        st.integers(-(1 << size), 1 << size).map(lambda v: max(-MOST, min(MOST, v))),
        st.sampled_from([0, 1, -1, MOST, -MOST, 1 << 26, -(1 << 26), (1 << 26) - 1]),
    )
    return np.array(draw(st.lists(each, min_size=rows * n, max_size=rows * n))).reshape(rows, n)


@st.composite
def matrices(draw: st.DrawFn, n: int, m: int = 2) -> ExactSparse:
    """Weights that fit the fixed point, and such that have to be rounded."""
    size = draw(st.integers(0, 60))
    numbers = st.integers(-(1 << size), 1 << size)
    table = np.array(draw(st.lists(numbers, min_size=n * m, max_size=n * m)), dtype=object)
    over = draw(st.sampled_from([1, 1 << 20, 1 << 55, 3, 1000, 7 << 40]))
    return ExactSparse.of(Exact(table.reshape(n, m), over))


def or_refused(compute):  # type: ignore[no-untyped-def]
    try:
        return compute()
    except CertificateRejected as error:
        assert "too large" in error.why
        return None


@settings(QUICK, max_examples=300)
@given(st.data(), BITS, values())
def test_products_are_off_by_what_they_say(
    data: st.DataObject, bits: int, left: np.ndarray
) -> None:
    ops, matrix = Fixed(bits), data.draw(matrices(left.shape[1]))
    found = or_refused(lambda: ops.product(left, ops.weights(matrix)))
    assume(found is not None)
    product, off = found
    true = left.astype(object) @ matrix.dense().numerator
    for i in range(len(left)):
        for j in range(matrix.shape[1]):
            gap = Fraction(int(true[i, j]), matrix.denominator) - int(product[i, j])
            assert abs(gap) <= int(off[i])
    sizes = np.abs(left.astype(object)).sum(axis=1)
    shift = ops.weights(matrix).shift
    assert all(o <= 30 + int(s) // (1 << shift) for o, s in zip(off.tolist(), sizes, strict=True))


@settings(QUICK, max_examples=200)
@given(BITS, values(), st.data())
def test_times_is_below_by_less_than_two_units(
    bits: int, left: np.ndarray, data: st.DataObject
) -> None:
    ops = Fixed(bits)
    slope = data.draw(st.sampled_from([0, 1, 1 << SLOPE, (1 << SLOPE) - 1, 12345678]))
    slopes = np.full(left.shape, slope)
    found, steep = ops.times(left, slopes), ops.steep(slopes, left)
    for value, below, above in zip(
        left.ravel().tolist(), found.ravel().tolist(), steep.ravel().tolist(), strict=True
    ):
        true = Fraction(value * slope, 1 << SLOPE)
        assert 0 <= true - below < 2 == ops.times_off
        assert 0 <= above - true < 2


@settings(QUICK, max_examples=200)
@given(BITS, values(), st.data())
def test_dot_is_above_and_near(bits: int, left: np.ndarray, data: st.DataObject) -> None:
    ops = Fixed(bits)
    right = data.draw(values(most_columns=1))[:1].repeat(left.shape[1], axis=1).repeat(2, axis=0)
    found = or_refused(lambda: ops.dot(left, right))
    assume(found is not None)
    true = (left.astype(object) * right.astype(object)).sum(axis=1)
    for a, b in zip(found.tolist(), true.tolist(), strict=True):
        assert 0 <= a - Fraction(int(b), 1 << bits) <= 3


@pytest.mark.parametrize("count", [1, 511, 512, 513, 1500, 5000])
def test_long_dots_do_not_overflow(count: int) -> None:
    """Every entry as large as can be: an upper bound, or a refusal, never a wrapped number."""
    ops = Fixed(44)
    for size in (10, 20, 30, 40, 48, 52):
        for sign in (1, -1):
            left = np.full((1, count), sign * ((1 << size) - 1))
            right = np.full((1, count), MOST)
            found = or_refused(lambda left=left, right=right: ops.dot(left, right))
            if found is not None:
                assert int(found[0]) >= Fraction(sign * ((1 << size) - 1) * MOST * count, 1 << 44)


@pytest.mark.parametrize("count", [2, 100, 4096, 5000])
@pytest.mark.parametrize("size", [20, 40, 44])
def test_wide_products_do_not_overflow(count: int, size: int) -> None:
    """All weights and coefficients large, of one sign: exact, or refused."""
    ops = Fixed(16)
    weight = ExactSparse.of(Exact(np.array([[(1 << size) - 1]] * count, dtype=object)))
    for bits in (8, 20, 51, 52):
        left = np.full((1, count), (1 << bits) - 1)
        found = or_refused(lambda left=left: ops.product(left, ops.weights(weight)))
        if found is not None:
            true = ((1 << bits) - 1) * ((1 << size) - 1) * count
            assert abs(int(found[0][0, 0]) - true) <= int(found[1][0])


def test_sparse_weights_of_all_sizes_in_a_wide_layer() -> None:
    """Parts of a few bits, each full in other rows, so that no part is small beside the others."""
    n, ops = 1 << 14, Fixed(16)
    random = np.random.default_rng(0)
    weight = np.array([1 << int(b) for b in random.integers(0, 44, n)], dtype=object)
    left = random.integers(-(1 << 20), 1 << 20, (1, n))
    found = or_refused(lambda: ops.product(left, ops.weights(ExactSparse.of(
        Exact(weight.reshape(-1, 1))
    ))))
    if found is not None:
        assert abs(int(found[0][0, 0]) - int(left[0].astype(object) @ weight)) <= int(found[1][0])


@settings(QUICK, max_examples=200)
@given(BITS, st.integers(0, 1 << 21), st.integers(0, 1 << 59))
def test_slack_is_above(bits: int, off: int, size: int) -> None:
    ops = Fixed(bits)
    found = or_refused(lambda: ops.slack(np.array([off]), np.array([size])))
    if off < 1 << 20 and size < 1 << 56 and off * size >> bits < 1 << 52:
        assert found is not None
    if found is not None:
        assert 0 <= int(found[0]) - Fraction(off * size, 1 << bits) <= 2


@settings(QUICK, max_examples=100)
@given(BITS, st.integers(1, 3).flatmap(lambda n: matrices(n)))
def test_rows_are_off_by_less_than_a_unit(bits: int, matrix: ExactSparse) -> None:
    ops = Fixed(bits)
    found = or_refused(lambda: ops.rows(matrix))
    assume(found is not None)
    true = matrix.dense()
    for a, b in zip(found.ravel().tolist(), true.fractions(), strict=True):
        assert 0 <= b * (1 << bits) - a < 1
    assert np.abs(found).max() <= MOST


@settings(QUICK, max_examples=100)
@given(BITS, st.integers(-(1 << 70), 1 << 70), st.integers(1, 1 << 60))
def test_numbers_are_rounded_outward(bits: int, top: int, below: int) -> None:
    ops, value = Fixed(bits), Exact(np.array([top], dtype=object), below)
    ends = or_refused(lambda: [int(ops.rounded(value, up=up)[0]) for up in (False, True)])
    if ends is not None:
        true = Fraction(top, below) * (1 << bits)
        assert ends[0] <= true <= ends[1] and ends[1] - ends[0] <= 1


@settings(QUICK, max_examples=100)
@given(BITS, st.integers(0, MOST), st.integers(0, MOST))
def test_slopes_are_between_0_and_1(bits: int, above: int, below: int) -> None:
    ops = Fixed(bits)
    assert 0 <= int(ops.slope(np.array([above]), np.array([below]))[0]) <= ops.one()


@settings(QUICK, max_examples=100)
@given(BITS, st.integers(-MOST, MOST), st.integers(0, 60))
def test_the_middle_is_between(bits: int, low: int, width: int) -> None:
    ops, high = Fixed(bits), min(MOST, low + (1 << width))
    assert low <= int(ops.middle(np.array([low]), np.array([high]))[0]) <= high


def test_sums_over_many_units_do_not_wrap() -> None:
    ops = Fixed(44)
    for count in (1, 1000, 2048, 4096, 1 << 14):
        found = or_refused(lambda count=count: ops.total(np.full((1, count), MOST)))
        assert found is None or int(found[0]) == count * MOST


def test_numbers_that_are_no_numbers_of_bits_are_refused() -> None:
    for bits in (-1, 0, 7, 45, 64, 1 << 70):
        with pytest.raises(CertificateRejected, match="8 to 44"):
            Fixed(bits)


def test_the_largest_numbers_are_kept_and_larger_ones_are_not() -> None:
    ops = Fixed(20)
    for value in (MOST, -MOST):
        assert ops.kept(np.array([value]))[0] == value
    for value in (MOST + 1, -MOST - 1, 1 << 62, -(1 << 63)):
        with pytest.raises(CertificateRejected):
            ops.kept(np.array([value]))
    for end in (MOST, -MOST):
        with pytest.raises(CertificateRejected):
            ops.bounded(np.array([0, end]))
    ops.bounded(np.array([MOST - 1, 1 - MOST]))


def test_huge_weights_are_refused_before_they_are_cut() -> None:
    ops = Fixed(8)
    for entry in (1 << 63, -(1 << 63), 1 << 44):
        with pytest.raises(CertificateRejected, match="too large"):
            ops.weights(ExactSparse.of(Exact(np.array([[entry]], dtype=object))))
    kept = ops.weights(ExactSparse.of(Exact(np.array([[(1 << 44) - 1]], dtype=object))))
    assert isinstance(kept, Weights)


def test_products_of_many_terms_are_exact_to_the_last_unit() -> None:
    """Sums of thousands of products, of weights of 40 bits behind the point."""
    random, n, ops = np.random.default_rng(1), 1 << 12, Fixed(40)
    weight = np.array([(1 << 40) - 1 - 2 * int(v) for v in random.integers(0, 1 << 20, n)],
                      dtype=object)
    left = ((1 << 39) - 1 - 2 * random.integers(0, 1 << 20, (1, n))).astype(np.int64)
    product, off = ops.product(left, ops.weights(
        ExactSparse.of(Exact(weight.reshape(-1, 1), 1 << 40))
    ))
    true = Fraction(int(left[0].astype(object) @ weight), 1 << 40)
    assert abs(int(product[0, 0]) - true) <= int(off[0]) <= 8


def test_operands_beyond_the_largest_number_are_refused() -> None:
    ops, over = Fixed(40), np.array([[MOST + 1]])
    one = ops.weights(ExactSparse.of(Exact(np.array([[1]], dtype=object), 1 << 20)))
    for compute in (
        lambda: ops.product(over, one), lambda: ops.product(-over, one),
        lambda: ops.times(over, np.array([[1]])), lambda: ops.dot(over, np.array([[1]])),
        lambda: ops.dot(np.array([[1]]), over),
    ):
        with pytest.raises(CertificateRejected):
            compute()


def test_shifts_to_the_left_stay_small() -> None:
    ops = Fixed(8)
    assert int(ops.shifted(np.array([3]), 20)[0]) == 3 << 20
    for value, by in ((1, 60), (-1, 80), (1 << 40, 20)):
        with pytest.raises(CertificateRejected):
            ops.shifted(np.array([value]), by)
